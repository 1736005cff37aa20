"""Depth beside the images while mapping, over DDS: keyframes know how far away keypoints are, and so does the map."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from depth_camera import DepthCamera, OffsetDepthCamera
from mapping_robot import STEPS, Driver, ask, parameters, values
from robot import Mapper, until
from sensor_msgs.msg import CompressedImage, Image
from wall import DISTANCE_M

from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.maps.storage import load_map


class DeepDriver(Driver):
    """Its camera has depth: of the wall, the same everywhere."""

    encoding = "16UC1"

    def has(self, depth: DepthCamera) -> None:
        self.depth = depth

    def wait(self) -> None:
        super().wait()
        until(self.depth.heard, 30.0, "the subscription to depth")

    def show(self, shift: int, pixels: np.ndarray | None = None) -> int:
        stamp_ns = super().show(shift, pixels)
        self.depth.show(stamp_ns, DISTANCE_M, self.encoding)  # after the image, as drivers compute it
        return stamp_ns


@pytest.fixture
def mapper(ros, wall_world, tmp_path):
    robots = []

    def start(*remaps: str, **others) -> Mapper:
        robot = Mapper(ros, parameters(tmp_path, wall_world[0], **others), *remaps)
        robots.append(robot)
        robot.driver = DeepDriver(robot)
        return robot

    yield start
    for robot in robots:
        robot.close()


def ranges(folder) -> list[np.ndarray]:
    """Of the keypoints of each keyframe, those that are known."""
    out = []
    for item in DriveFolder(folder).keyframes():
        own = item.keyframe
        assert own.ranges is not None
        known = np.isfinite(own.ranges.metres)
        assert known.mean() > 0.9
        out.append(own.ranges.metres[known])
    return out


@pytest.mark.parametrize(
    ("kind", "topic", "encoding"),
    [(Image, "depth", "16UC1"), (Image, "depth", "32FC1"), (CompressedImage, "depth/compressedDepth", "compressed")],
)
def test_keyframes_are_recorded_with_their_depth(mapper, tmp_path, kind, topic, encoding):
    robot = mapper(depth_topic=topic, solve="never")
    robot.driver.encoding = encoding
    robot.driver.has(DepthCamera(robot, kind, topic))
    robot.driver.wait()
    robot.driver.drive(STEPS[:25])
    until(lambda: f"{topic}, with " in values(robot).get("depth images", ""), 20.0, "the fact of the depth images")
    assert robot.transition("deactivate")
    found = ranges(tmp_path / "wall.hfdrive")
    assert len(found) >= 5
    for metres in found:
        assert np.allclose(metres, DISTANCE_M, atol=2e-3)


def test_depth_of_another_camera_is_brought_to_the_images(mapper, tmp_path):
    told = {"depth_topic": "far/depth", "depth_camera_info_topic": "far/info"}
    robot = mapper(**told, solve="never")
    robot.driver.has(OffsetDepthCamera(robot, Image, "far/depth", "far/info"))
    robot.driver.wait()
    robot.driver.drive(STEPS[:25])
    assert robot.transition("deactivate")
    found = ranges(tmp_path / "wall.hfdrive")
    assert len(found) >= 5
    assert np.allclose(np.concatenate(found), DISTANCE_M, atol=2e-2)


def test_depth_is_found_by_the_layout_of_the_driver_and_the_map_has_landmarks_by_it(mapper, tmp_path):
    """Also where nothing could be triangulated: of the places that one keyframe alone has seen."""
    pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install 'hfnet_ros[mapping]'")
    robot = mapper("image:=camera/color/image_raw", "camera_info:=camera/color/camera_info", depth_topic="auto",
                   **{"build.depth_landmarks": 2000})  # fmt: skip
    robot.driver.images = robot.publisher(Image, "camera/color/image_raw", 50)
    robot.driver.infos = robot.publisher(type(robot.driver.info), "camera/color/camera_info", 50)
    robot.driver.has(DepthCamera(robot, Image, "camera/aligned_depth_to_color/image_raw"))
    robot.driver.wait()
    robot.driver.drive()
    answer = ask(robot, "finish")
    assert answer.success, answer.message
    made = load_map(tmp_path / "wall.hfmap")
    assert made.provenance["recordings"][0]["keyframes_with_depth"] >= 8
    assert made.measured.sum() > 50
    assert np.abs(made.landmarks_xyz[made.measured, 2] - DISTANCE_M).max() < 0.1  # in the odometry's frame
