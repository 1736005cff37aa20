"""Depth beside the images of a recording: which topic, which image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import textured_image

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_writer import WriterTopics, open_writer, write_folder_bag
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.depth.layouts import depth_topics_of, registered_depth
from hfnet_core.recordings.depth.recorded import recorded_depth
from hfnet_core.recordings.image_folder import list_folder
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera

CAMERA = Camera("PINHOLE", 160, 120, (150.0, 150.0, 79.5, 59.5))
STEP_NS = 100_000_000


def png(millimetres: int, width: int = 160, height: int = 120) -> bytes:
    return cv2.imencode(".png", np.full((height, width), millimetres, np.uint16))[1].tobytes()


def recording(path: Path, depths: dict[int, int], topics: WriterTopics | None = None) -> Path:
    """Five images 100 ms apart, and depth images of so many millimetres by their stamps."""
    with open_writer(path, "mcap", topics) as writer:
        for index in range(5):
            writer.image((index + 1) * STEP_NS, textured_image(seed=index))
            writer.camera_info((index + 1) * STEP_NS, CAMERA)
        for stamp_ns, millimetres in depths.items():
            writer.depth(stamp_ns, png(millimetres))
    return path


def told(path: Path, options: BagOptions | None = None) -> list[float | None]:
    """The depth of each image."""
    with Bag(path, options) as bag, recorded_depth(bag) as depth:
        found = [depth.at(frame.stamp_ns) for frame in bag.frames()]
    return [None if one is None else round(float(one.metres[5, 5]), 3) for one in found]


def test_the_depth_nearest_in_time_counts_and_one_of_another_time_does_not(tmp_path: Path) -> None:
    depths = {
        STEP_NS: 1000,
        2 * STEP_NS + 15_000_000: 2000,
        2 * STEP_NS - 5_000_000: 1500,
        4 * STEP_NS + 30_000_000: 4000,
    }
    assert told(recording(tmp_path / "bag", depths)) == [1.0, 1.5, None, None, None]


def test_depth_is_asked_for_again_from_the_beginning(tmp_path: Path) -> None:
    path = recording(tmp_path / "bag", {STEP_NS: 1000, 3 * STEP_NS: 3000})
    with Bag(path) as bag, recorded_depth(bag) as depth:
        assert depth.at(3 * STEP_NS) is not None
        first = depth.at(STEP_NS)
    assert first is not None
    assert first.metres[0, 0] == pytest.approx(1.0)


def test_depth_can_be_named_or_left_out(tmp_path: Path) -> None:
    path = recording(tmp_path / "bag", {STEP_NS: 1000}, WriterTopics(depth="/elsewhere/depth"))
    assert told(path) == [None] * 5
    assert told(path, BagOptions(depth_topic="/elsewhere/depth")) == [1.0, None, None, None, None]
    usual = recording(tmp_path / "usual", {STEP_NS: 1000})
    assert told(usual, BagOptions(depth_topic="none")) == [None] * 5


def test_a_topic_without_depth_is_refused_when_it_was_asked_for(tmp_path: Path) -> None:
    path = recording(tmp_path / "bag", {STEP_NS: 1000})
    with pytest.raises(DatasetError, match="holds no depth images"):
        told(path, BagOptions(depth_topic="/camera/camera_info"))
    with pytest.raises(DatasetError, match=r"/camera/image_raw.*not read; use 16UC1"):
        told(path, BagOptions(depth_topic="/camera/image_raw"))


def test_a_damaged_depth_image_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_writer(tmp_path / "bag", "mcap") as writer:
        for index in range(3):
            writer.image((index + 1) * STEP_NS, textured_image(seed=index))
            writer.camera_info((index + 1) * STEP_NS, CAMERA)
            writer.depth((index + 1) * STEP_NS, png(1000) if index != 1 else b"no picture")
    assert told(tmp_path / "bag") == [1.0, None, 1.0]
    assert "no image of 16 bits" in caplog.text


@pytest.mark.parametrize(
    ("image", "depth"),
    [
        ("/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"),  # RealSense, ROS 1
        ("/camera/camera/color/image_raw", "/camera/camera/aligned_depth_to_color/image_raw"),  # ROS 2
        ("/camera/infra1/image_rect_raw", "/camera/depth/image_rect_raw"),
        ("/oak/rgb/image_raw", "/oak/stereo/image_raw"),
        ("/stereo_inertial_publisher/color/image", "/stereo_inertial_publisher/stereo/depth"),
        ("/zed/zed_node/rgb/image_rect_color", "/zed/zed_node/depth/depth_registered"),
        ("/zed/zed_node/rgb/color/rect/image", "/zed/zed_node/depth/depth_registered"),
        ("/camera/rgb/image_rect_color", "/camera/depth_registered/image_raw"),  # Kinect
        ("/rgb/image_raw", "/depth_to_rgb/image_raw"),  # Azure Kinect
        ("/kinect2/qhd/image_color_rect", "/kinect2/qhd/image_depth_rect"),
        ("/camera/image_raw", "/camera/depth/image_raw"),
    ],
)
def test_drivers_layouts_are_known(image: str, depth: str) -> None:
    assert depth in registered_depth(image)
    assert depth_topics_of(image, {image, f"{depth}/compressedDepth"}) == [f"{depth}/compressedDepth"]


def test_depth_that_is_not_registered_is_not_taken_for_it() -> None:
    assert depth_topics_of("/camera/color/image_raw", {"/camera/depth/image_rect_raw"}) == []


def test_a_folder_of_images_takes_its_depth_into_the_bag(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "depth").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / "images" / f"{index:06d}.png"), textured_image(seed=index))
    (tmp_path / "depth" / "000002.png").write_bytes(png(2500))
    write_folder_bag(list_folder(tmp_path, None, rate_hz=10.0), CAMERA, tmp_path / "bag", storage="mcap")
    assert told(tmp_path / "bag") == [None, None, 2.5, None]
