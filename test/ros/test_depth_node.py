"""Depth beside the images, over real DDS: a pose must explain it too."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from depth_camera import DepthCamera, OffsetDepthCamera
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from robot import DISCOVERY_S, Robot, assert_at, stamp_of, until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from wall import DISTANCE_M, view

from hfnet_ros.conversions import pose_from_msg

SHIFT = 64


class DepthRobot(Robot):
    """A robot whose camera has depth, the same everywhere."""

    depth: DepthCamera

    def show_with(self, pixels: np.ndarray, metres: float, encoding: str = "16UC1") -> int:
        """Depth first, then the image of the same stamp."""
        stamp_ns = self.stamp()
        self.depth.show(stamp_ns, metres, encoding)
        time.sleep(0.05)
        return self.show(pixels, stamp_ns)

    def fact(self) -> str:
        values = {item.key: item.value for status in self.statuses()[-1:] for item in status.values}
        return values.get("depth images", "")


def localized(robot: DepthRobot, metres: float, encoding: str) -> bool:
    """Whether an image with this depth gives a pose, which is right then; repeated until something is said of it."""
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
        robot.depth = DepthCamera(robot, kind, topic)
        robot.wait_active()
        until(robot.depth.heard, DISCOVERY_S, "the subscription to depth")
        assert localized(robot, DISTANCE_M, encoding)
        # repeated: a depth image that gets lost on its way (best effort, a busy machine) cannot contradict
        robot.until_says("depths fit the pose", again=lambda: robot.show_with(view(SHIFT), 0.3 * DISTANCE_M, encoding))
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
        robot.depth = DepthCamera(robot, Image, "camera/aligned_depth_to_color/image_raw")
        robot.wait_active()
        until(robot.depth.heard, DISCOVERY_S, "the subscription to depth")
        assert localized(robot, DISTANCE_M, "16UC1")
        robot.until_says(
            "depth is not used", again=lambda: robot.show_with(view(SHIFT), 1.0, "rgb8"), level=DiagnosticStatus.WARN
        )
    finally:
        robot.close()


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
    robot = DepthRobot(ros, settings, *([] if image == "image" else [f"image:={image}"]))
    try:
        robot.images = robot.publisher(Image, image, qos_profile_sensor_data)
        camera_info = image.rpartition("/")[0] + "/camera_info" if "/" in image else "camera_info"
        robot.infos = robot.publisher(CameraInfo, camera_info, qos_profile_sensor_data)
        robot.depth = OffsetDepthCamera(robot, Image, depth, info)
        robot.wait_active()
        until(robot.depth.heard, DISCOVERY_S, "the subscription to depth")
        robot.show_with(view(SHIFT), DISTANCE_M)  # its first calibration
        assert localized(robot, DISTANCE_M, "16UC1")
        robot.until_says("depths fit the pose", again=lambda: robot.show_with(view(SHIFT), 0.5 * DISTANCE_M, "16UC1"))
    finally:
        robot.close()


def test_depth_whose_place_nobody_tells_is_not_used_and_that_is_said(ros, wall_world):
    model, map_file = wall_world
    told = {"depth_topic": "far/depth", "depth_camera_info_topic": "far/info"}
    robot = DepthRobot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True, **told})
    try:
        robot.depth = OffsetDepthCamera(robot, Image, "far/depth", "far/info")
        robot.depth.frame = "somewhere"
        robot.wait_active()
        until(robot.depth.heard, DISCOVERY_S, "the subscription to depth")
        robot.until_says(
            "TF does not tell where it is from",
            again=lambda: robot.show_with(view(SHIFT), 0.3 * DISTANCE_M),
            level=DiagnosticStatus.WARN,
        )
        assert localized(robot, 0.3 * DISTANCE_M, "16UC1")  # by the image alone
    finally:
        robot.close()
