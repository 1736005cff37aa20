"""A node with two cameras over real DDS: solved together, and each alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.qos import qos_profile_sensor_data
from robot import LATCHED, Robot, image_msg, info_msg, stamp_of, transforms, until
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from wall import RIG_SHIFTS, base_from_camera, map_from_base, noise_image, view

from hfnet_core.geometry import Pose, pose_error
from hfnet_ros.conversions import pose_from_msg, pose_from_transform, pose_to_transform

NAMES = ("left", "right")
SHIFT = 80
LEFT, RIGHT = (view(SHIFT + own) for own in RIG_SHIFTS)
MOUNTS = [base_from_camera(own) for own in RIG_SHIFTS]


class Eyes:
    """A robot with two cameras."""

    def __init__(self, ros, world, **parameters) -> None:
        model, map_file = world
        common = {"map_file": str(map_file), "model_file": str(model), "autostart": True, "cameras": list(NAMES),
                  "base_frame_id": "base", "rig_timeout_s": 0.2}  # fmt: skip
        self.robot = Robot(ros, {**common, **parameters})
        self.tf = self.robot.listen(TFMessage, "tf")
        self.infos = [self.robot.publisher(CameraInfo, f"{name}/camera_info", qos_profile_sensor_data)
                      for name in NAMES]  # fmt: skip
        self.images = [self.robot.publisher(Image, f"{name}/image", qos_profile_sensor_data) for name in NAMES]
        self.static = self.robot.publisher(TFMessage, "tf_static", LATCHED)

    def wait_active(self) -> None:
        until(lambda: all(p.get_subscription_count() for p in (*self.infos, *self.images)), 20, "subscriptions")

    def place(self, *numbers: int) -> None:
        """Say where cameras sit."""
        placed = [pose_to_transform(MOUNTS[number], "base", NAMES[number], 0) for number in numbers]
        self.static.publish(TFMessage(transforms=placed))

    def show(
        self, *pictures: np.ndarray | None, apart_ns: int = 0, frames: tuple[str, ...] = NAMES,
        sizes: tuple[tuple[int, int], ...] = ((320, 240), (320, 240)),
    ) -> int:  # fmt: skip
        """Publish calibrations, and an image of each camera that has one, with one stamp; returns it."""
        stamp_ns = self.robot.stamp()
        for number, frame in enumerate(frames):
            self.infos[number].publish(info_msg(*sizes[number], frame_id=frame))
        time.sleep(0.03)  # the calibration first
        for number, picture in enumerate(pictures):
            if picture is not None:
                message = image_msg(picture, stamp_ns + number * apart_ns, frame_id=frames[number])
                self.images[number].publish(message)
        return stamp_ns

    def pose_of(self, *pictures: np.ndarray | None, timeout_s: float = 15.0) -> PoseStamped:
        """Show images until a pose with one of their stamps comes: best effort may lose the first."""
        deadline, stamps = time.monotonic() + timeout_s, set()
        while time.monotonic() < deadline:
            stamps.add(self.show(*pictures))
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                for pose in list(self.robot.poses):
                    if stamp_of(pose) in stamps:
                        return pose
                time.sleep(0.01)
        raise AssertionError(f"no pose within {timeout_s} s; diagnostics say {self.robot.said()!r}")


def assert_base(pose: Pose, shift: int = SHIFT) -> None:
    metres, degrees = pose_error(pose, map_from_base(shift))
    assert metres < 0.01
    assert degrees < 0.3


def values(status) -> dict[str, str]:
    return {item.key: item.value for item in status.values}


@pytest.fixture(scope="module")
def rig(ros, wall_world) -> Iterator[Eyes]:
    eyes = Eyes(ros, wall_world)
    try:
        eyes.place(0, 1)
        eyes.wait_active()
        yield eyes
    finally:
        eyes.robot.close()


@pytest.fixture(autouse=True)
def no_prior(request):
    """Every test of the shared node starts without a past."""
    if "rig" in request.fixturenames:
        assert request.getfixturevalue("rig").robot.call(Trigger, "localization/relocalize").success


def test_two_images_of_one_time_give_one_pose_of_the_base(rig):
    pose = rig.pose_of(LEFT, RIGHT)
    assert pose.header.frame_id == "map"
    assert_base(pose_from_msg(pose.pose))
    stamp = stamp_of(pose)
    transform = until(lambda: next((t for t in transforms(rig.tf, "base") if stamp_of(t) == stamp), None))
    assert_base(pose_from_transform(transform.transform))
    assert [stamp_of(pose) for pose in rig.robot.poses].count(stamp) == 1
    both = values(rig.robot.until_says("localized (", again=lambda: rig.show(LEFT, RIGHT)))
    assert both["camera left"].endswith("images")
    assert int(both["inliers"]) > 40
    covariance = np.array(rig.robot.with_covariance[-1].pose.covariance).reshape(6, 6)
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_a_camera_that_sees_nothing_known_does_not_hurt(rig):
    assert_base(pose_from_msg(rig.pose_of(LEFT, noise_image()).pose))
    assert_base(pose_from_msg(rig.pose_of(noise_image(), RIGHT).pose))
    before = len(rig.robot.poses)
    status = rig.robot.until_says("not localized", again=lambda: rig.show(noise_image(0), noise_image(1)))
    assert values(status)["localized"] == "false"
    time.sleep(0.3)
    assert len(rig.robot.poses) == before


def test_a_missing_image_is_waited_for_and_a_silent_camera_is_named(rig):
    rig.pose_of(LEFT, RIGHT)
    assert_base(pose_from_msg(rig.pose_of(LEFT, None).pose))
    status = rig.robot.until_says("right/image for", again=lambda: rig.show(LEFT, None))
    assert status.level == DiagnosticStatus.WARN
    assert "left/image" not in status.message
    assert_base(pose_from_msg(rig.pose_of(LEFT, None).pose))
    status = rig.robot.until_says("left/image for", 5)
    assert status.level == DiagnosticStatus.ERROR
    assert values(status)["localized"] == "false"
    status = rig.robot.until_says("localized (", again=lambda: rig.show(LEFT, RIGHT))
    assert "no image" not in status.message
    assert status.level == DiagnosticStatus.OK


def test_a_camera_with_the_wrong_calibration_is_named_and_left_out(rig):
    def show():
        return rig.show(LEFT, RIGHT, sizes=((320, 240), (640, 480)))

    status = rig.robot.until_says("right/camera_info is for images of 640x480, got 320x240", again=show)
    assert status.level == DiagnosticStatus.WARN
    assert "left/camera_info" not in status.message
    before = len(rig.robot.poses)
    until(lambda: show() and time.sleep(0.2) is None and len(rig.robot.poses) > before, 10, "a pose")
    assert_base(pose_from_msg(rig.robot.poses[-1].pose))
    both = ((640, 480), (640, 480))
    text = "right/camera_info is for images of 640x480, got 320x240"
    worst = rig.robot.until_says(text, again=lambda: rig.show(LEFT, RIGHT, sizes=both), level=DiagnosticStatus.ERROR)
    assert "left/camera_info is for images of 640x480, got 320x240" in worst.message
    rig.robot.until_says("localized (", again=lambda: rig.show(LEFT, RIGHT), level=DiagnosticStatus.OK)


def test_an_unusable_image_of_one_camera_is_named_and_left_out(rig):
    def show():
        return rig.show(LEFT, np.zeros((4, 8), np.uint8), sizes=((320, 240), (8, 4)))

    status = rig.robot.until_says("right: the image cannot be used", again=show)
    assert status.level == DiagnosticStatus.WARN
    before = len(rig.robot.poses)
    until(lambda: show() and time.sleep(0.2) is None and len(rig.robot.poses) > before, 10, "a pose")
    assert_base(pose_from_msg(rig.robot.poses[-1].pose))
    rig.robot.until_says("localized (", again=lambda: rig.show(LEFT, RIGHT), level=DiagnosticStatus.OK)


def test_two_cameras_in_one_frame_are_named_and_give_no_pose(rig):
    rig.pose_of(LEFT, RIGHT)
    text = "left and right are both in frame 'left'"
    rig.robot.until_says(text, again=lambda: rig.show(LEFT, RIGHT, frames=("left", "left")))
    before = len(rig.robot.poses)
    rig.show(LEFT, RIGHT, frames=("left", "left"))
    time.sleep(0.5)
    assert len(rig.robot.poses) == before
    rig.robot.until_says("localized (", again=lambda: rig.show(LEFT, RIGHT), level=DiagnosticStatus.OK)


def test_the_debug_image_shows_both(rig):
    pictures = rig.robot.listen(Image, "localization/debug_image", qos_profile_sensor_data)
    until(lambda: rig.pose_of(LEFT, RIGHT) and any(p.width == 640 for p in pictures), 10)
    picture = next(p for p in pictures if p.width == 640)
    pixels = np.frombuffer(picture.data, np.uint8).reshape(240, 640, 3)
    green = (pixels == (40, 220, 60)).all(axis=2)
    assert green[:, :320].sum() > 100
    assert green[:, 320:].sum() > 100


def test_each_image_alone(ros, wall_world):
    """Independent cameras: one pose of the base for each image, through that camera's own place on the base."""
    eyes = Eyes(ros, wall_world, camera_mode="independent")
    try:
        eyes.wait_active()
        eyes.place(0)
        eyes.robot.until_says("right: no transform from the camera to the base", 20, lambda: eyes.show(LEFT, RIGHT))
        assert_base(pose_from_msg(eyes.pose_of(LEFT, None).pose))
        eyes.place(0, 1)
        stamps: list[int] = []

        def both() -> bool:
            stamps.append(eyes.show(LEFT, RIGHT, apart_ns=5_000_000))
            time.sleep(0.3)
            known = {stamp_of(pose) for pose in eyes.robot.poses}
            return any({stamp, stamp + 5_000_000} <= known for stamp in stamps)

        until(both, 15, "a pose for each of the two images")
        for pose in eyes.robot.poses:
            assert_base(pose_from_msg(pose.pose))
        assert_base(pose_from_msg(eyes.pose_of(None, RIGHT).pose))
    finally:
        eyes.robot.close()


def test_places_on_the_base_as_a_parameter_and_odometry(ros, wall_world):
    texts = [" ".join(str(value) for value in (*mount.translation, *mount.quat_xyzw())) for mount in MOUNTS]
    eyes = Eyes(ros, wall_world, base_from_camera=" ; ".join(texts), odom_frame_id="odom", odom_timeout_s=0.5)
    try:
        eyes.wait_active()
        odom_from_map = Pose.from_quat_xyzw([0.0, 0.0, 0.6, 0.8], [3.0, 1.0, 0.0])
        moving = eyes.robot.publisher(TFMessage, "tf")

        def show() -> bool:
            stamp_ns = eyes.show(LEFT, RIGHT)
            for offset_ns in (-10_000_000, 10_000_000):
                transform = pose_to_transform(
                    odom_from_map @ map_from_base(SHIFT), "odom", "base", stamp_ns + offset_ns
                )
                moving.publish(TFMessage(transforms=[transform]))
            time.sleep(0.3)
            return bool(eyes.robot.poses and transforms(eyes.tf, "odom"))

        until(show, 15, "a pose, and map->odom")
        assert_base(pose_from_msg(eyes.robot.poses[-1].pose))
        metres, degrees = pose_error(pose_from_transform(transforms(eyes.tf, "odom")[-1].transform),
                                     odom_from_map.inverse())  # fmt: skip
        assert metres < 0.03
        assert degrees < 0.3
    finally:
        eyes.robot.close()
