"""Depth beside the images, over real DDS: a pose must explain it too."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from robot import DISCOVERY_S, Robot, assert_at, bytes_of, image_msg, info_msg, stamp_of, until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from wall import CAMERA, DISTANCE_M, view

from hfnet_ros.conversions import pose_from_msg

SHIFT = 64


class DepthRobot(Robot):
    """A robot whose camera has depth, the same everywhere."""

    depth_frame = "camera"

    def start(self, kind: type, topic: str, node_topic: str) -> None:
        self.depths = self.publisher(kind, topic, qos_profile_sensor_data)
        self.depth_topic = node_topic

    def heard(self) -> bool:
        return self.depths.get_subscription_count() > 0

    def show_with(self, pixels: np.ndarray, metres: float, encoding: str = "16UC1") -> int:
        """Depth first, then the image of the same stamp."""
        stamp_ns = self.stamp()
        self.show_depth(stamp_ns, metres, encoding)
        time.sleep(0.05)
        return self.show(pixels, stamp_ns)

    def show_depth(self, stamp_ns: int, metres: float, encoding: str = "16UC1") -> None:
        shape = (CAMERA.height, CAMERA.width)
        if encoding == "16UC1":
            message = image_msg(np.full(shape, round(1000 * metres), np.uint16), stamp_ns, "16UC1")
        elif encoding == "32FC1":
            message = image_msg(np.full(shape, metres, np.float32), stamp_ns, "32FC1")
        elif encoding == "rgb8":
            message = image_msg(np.zeros((*shape, 3), np.uint8), stamp_ns, "rgb8")
        else:
            png = cv2.imencode(".png", np.full(shape, round(1000 * metres), np.uint16))[1].tobytes()
            message = CompressedImage(format="16UC1; compressedDepth png", data=bytes_of(bytes(12) + png))
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        message.header.frame_id = self.depth_frame
        self.depths.publish(message)

    def fact(self) -> str:
        values = {item.key: item.value for status in self.statuses()[-1:] for item in status.values}
        return values.get(f"{self.fact_name}", "")

    fact_name = "depth images"


def localized(robot: DepthRobot, metres: float, encoding: str) -> bool:
    """Whether an image with this depth gives a pose that is right; repeated until something is said of it."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        stamp_ns = robot.show_with(view(SHIFT), metres, encoding)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            for pose in list(robot.poses):
                if stamp_of(pose) == stamp_ns:
                    assert_at(pose_from_msg(pose.pose), SHIFT)
                    return True
            if "depths fit the pose" in robot.said():
                return False
            time.sleep(0.01)
    raise AssertionError(f"nothing was said: {robot.said()!r}")


@pytest.mark.parametrize(
    ("kind", "topic", "encoding"),
    [(Image, "depth", "16UC1"), (Image, "depth", "32FC1"), (CompressedImage, "depth/compressedDepth", "compressed")],
)
def test_a_photograph_of_the_wall_is_refused_by_its_depth(ros, wall_world, kind, topic, encoding):
    model, map_file = wall_world
    parameters = {"map_file": str(map_file), "model_file": str(model), "autostart": True, "depth_topic": topic}
    robot = DepthRobot(ros, parameters)
    try:
        robot.start(kind, topic, topic)
        robot.wait_active()
        until(robot.heard, DISCOVERY_S, "the subscription to depth")
        assert localized(robot, DISTANCE_M, encoding)
        assert not localized(robot, 0.3 * DISTANCE_M, encoding)
        robot.until_says("not localized", again=lambda: robot.show_with(view(SHIFT), 0.6, encoding))
        until(lambda: f"{topic}, with " in robot.fact(), 10, "the fact of the depth images")
    finally:
        robot.close()


def test_depth_is_found_by_the_layout_of_the_driver_and_what_it_cannot_use_is_said(ros, wall_world):
    model, map_file = wall_world
    parameters = {"map_file": str(map_file), "model_file": str(model), "autostart": True, "depth_topic": "auto"}
    robot = DepthRobot(ros, parameters, "image:=camera/color/image_raw")
    try:
        robot.images = robot.publisher(Image, "camera/color/image_raw", qos_profile_sensor_data)
        robot.infos = robot.publisher(CameraInfo, "camera/color/camera_info", qos_profile_sensor_data)
        robot.start(Image, "camera/aligned_depth_to_color/image_raw", "auto")
        robot.wait_active()
        until(robot.heard, DISCOVERY_S, "the subscription to depth")
        assert localized(robot, DISTANCE_M, "16UC1")
        robot.until_says(
            "depth is not used", again=lambda: robot.show_with(view(SHIFT), 1.0, "rgb8"), level=DiagnosticStatus.WARN
        )
    finally:
        robot.close()


class OffsetDepthRobot(DepthRobot):
    """The depth is of another camera, half a metre behind the one of the images and of another focal length."""

    BEHIND_M = 0.5
    depth_frame = "depth_camera"

    def place(self, info: str) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.static = self.publisher(TFMessage, "tf_static", latched)
        mount = TransformStamped(child_frame_id=self.depth_frame)
        mount.header.frame_id = "camera"
        mount.transform.translation.z = -self.BEHIND_M
        self.static.publish(TFMessage(transforms=[mount]))
        self.depth_infos = self.publisher(CameraInfo, info, qos_profile_sensor_data)

    def show_depth(self, stamp_ns: int, metres: float, encoding: str = "16UC1") -> None:
        message = info_msg(frame_id=self.depth_frame)
        message.k = [1.1 * value if index in (0, 4) else value for index, value in enumerate(message.k)]
        message.p = [*message.k[:3], 0.0, *message.k[3:6], 0.0, *message.k[6:], 0.0]  # counts for image_rect_raw
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        self.depth_infos.publish(message)
        super().show_depth(stamp_ns, metres + self.BEHIND_M, encoding)


@pytest.mark.parametrize(
    ("parameters", "image", "depth", "info"),
    [
        ({"depth_topic": "far/depth", "depth_camera_info_topic": "far/info"}, "image", "far/depth", "far/info"),
        ({"depth_topic": "auto"}, "camera/color/image_raw", "camera/depth/image_rect_raw", "camera/depth/camera_info"),
    ],
)
def test_depth_of_another_camera_is_brought_to_the_images(ros, wall_world, parameters, image, depth, info):
    model, map_file = wall_world
    settings = {"map_file": str(map_file), "model_file": str(model), "autostart": True, **parameters}
    robot = OffsetDepthRobot(ros, settings, *([] if image == "image" else [f"image:={image}"]))
    try:
        robot.images = robot.publisher(Image, image, qos_profile_sensor_data)
        camera_info = image.rpartition("/")[0] + "/camera_info" if "/" in image else "camera_info"
        robot.infos = robot.publisher(CameraInfo, camera_info, qos_profile_sensor_data)
        robot.place(info)
        robot.start(Image, depth, depth)
        robot.wait_active()
        until(robot.heard, DISCOVERY_S, "the subscription to depth")
        until(lambda: robot.depth_infos.get_subscription_count() > 0, DISCOVERY_S, "that to its calibration")
        robot.show_with(view(SHIFT), DISTANCE_M)  # its first calibration
        assert localized(robot, DISTANCE_M, "16UC1")
        assert not localized(robot, 0.5 * DISTANCE_M, "16UC1")
    finally:
        robot.close()


def test_depth_whose_place_nobody_tells_is_not_used_and_that_is_said(ros, wall_world):
    model, map_file = wall_world
    told = {"depth_topic": "far/depth", "depth_camera_info_topic": "far/info"}
    robot = OffsetDepthRobot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True, **told})
    try:
        robot.place("far/info")
        robot.depth_frame = "somewhere"
        robot.start(Image, "far/depth", "far/depth")
        robot.wait_active()
        until(robot.heard, DISCOVERY_S, "the subscription to depth")
        robot.until_says(
            "TF does not tell where it is from",
            again=lambda: robot.show_with(view(SHIFT), 0.3 * DISTANCE_M),
            level=DiagnosticStatus.WARN,
        )
        assert localized(robot, 0.3 * DISTANCE_M, "16UC1")  # by the image alone
    finally:
        robot.close()
