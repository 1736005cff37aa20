"""The right camera of a rectified pair in a recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import textured_image

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_writer import BagWriter, WriterTopics, open_writer
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.depth.layouts import right_of
from hfnet_core.recordings.depth.pair import recorded_pair
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera

CAMERA = Camera("PINHOLE", 160, 120, (150.0, 150.0, 79.5, 59.5))
BASELINE_M = 0.12
LEFT = WriterTopics("/stereo/left/image_rect", camera_info="/stereo/left/camera_info")
RIGHT = WriterTopics("/stereo/right/image_rect", camera_info="/stereo/right/camera_info")


def right_info(writer: BagWriter, stamp_ns: int, tx: float, focal_px: float = 150.0, binning: int = 0) -> None:
    """A camera_info whose P tells a baseline; zeros without a focal length."""
    p = np.array([focal_px, 0, 79.5, tx, 0, focal_px, 59.5, 0, 0, 0, 1, 0]) * (focal_px > 0)
    roi = writer.type("sensor_msgs/msg/RegionOfInterest")(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    writer.write(
        writer.topics.camera_info, "sensor_msgs/msg/CameraInfo", stamp_ns, header=writer.header(stamp_ns, "right"),
        height=120, width=160, distortion_model="plumb_bob", d=np.zeros(5), k=p.reshape(3, 4)[:, :3].reshape(-1).copy(),
        r=np.eye(3).reshape(-1), p=p, binning_x=binning, binning_y=binning, roi=roi,
    )  # fmt: skip


def recording(path: Path, tx: float = -150.0 * BASELINE_M) -> Path:
    with open_writer(path, "mcap", LEFT) as writer:
        for index in range(1, 4):
            stamp_ns = index * 100_000_000
            writer.topics = LEFT
            writer.image(stamp_ns, textured_image(seed=index))
            writer.camera_info(stamp_ns, CAMERA)
            writer.topics = RIGHT
            writer.image(stamp_ns + (0 if index != 2 else 20_000_000), textured_image(seed=10 + index))
            right_info(writer, stamp_ns, tx)
    return path


OPTIONS = BagOptions(image_topic=LEFT.image)


def test_the_right_camera_is_found_beside_the_left_one_with_its_baseline(tmp_path: Path) -> None:
    with Bag(recording(tmp_path / "bag"), OPTIONS) as bag, recorded_pair(bag) as pair:
        assert pair is not None
        assert (pair.topic.name, pair.focal_px) == (RIGHT.image, 150.0)
        assert pair.baseline_m == pytest.approx(BASELINE_M)
        first = pair.image(100_000_000)
        assert first is not None
        assert np.array_equal(first, textured_image(seed=11))
        assert pair.image(200_000_000) is None  # 20 ms apart: not one time


def test_it_can_be_left_out_and_a_camera_without_baseline_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = recording(tmp_path / "bag")
    with Bag(path, replace(OPTIONS, stereo_topic="none")) as bag, recorded_pair(bag) as pair:
        assert pair is None
    mono = recording(tmp_path / "mono", tx=0.0)
    with Bag(mono, OPTIONS) as bag, recorded_pair(bag) as pair:
        assert pair is None
    assert "P tells no baseline" in caplog.text
    named = replace(OPTIONS, stereo_topic=RIGHT.image)
    with Bag(mono, named) as bag, pytest.raises(DatasetError, match="P tells no baseline"), recorded_pair(bag):
        pass


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("/camera/infra1/image_rect_raw", "/camera/infra2/image_rect_raw"),
        ("/zed/zed_node/left/image_rect_color", "/zed/zed_node/right/image_rect_color"),
        ("/camera/color/image_raw", ""),
        ("/left/camera/image_rect", ""),
    ],
)
def test_pairs_are_known_by_their_names(left: str, right: str) -> None:
    assert right_of(left) == right


def test_a_driver_that_begins_without_calibration_and_bins_its_images(tmp_path: Path) -> None:
    with open_writer(tmp_path / "bag", "mcap", LEFT) as writer:
        writer.image(100_000_000, textured_image(seed=1))
        writer.camera_info(100_000_000, CAMERA)
        writer.topics = RIGHT
        writer.image(100_000_000, textured_image(seed=2))
        right_info(writer, 50_000_000, 0.0, focal_px=0.0)
        right_info(writer, 100_000_000, -150.0 * BASELINE_M, binning=2)
    with Bag(tmp_path / "bag", OPTIONS) as bag, recorded_pair(bag) as pair:
        assert pair is not None
        assert pair.focal_px == 75.0  # of the images as they are delivered
        assert pair.baseline_m == pytest.approx(BASELINE_M)


def test_right_images_of_twelve_bits_are_as_bright_as_the_left_ones(tmp_path: Path) -> None:
    def deep(writer: BagWriter, topic: str, pixels: np.ndarray) -> None:
        header = writer.header(100_000_000, "left")
        twelve = (pixels.astype(np.uint16) << 4).reshape(-1).view(np.uint8)
        writer.write(topic, "sensor_msgs/msg/Image", 100_000_000, header=header, height=120, width=160,
                     encoding="mono16", is_bigendian=0, step=320, data=twelve)  # fmt: skip

    with open_writer(tmp_path / "bag", "mcap", LEFT) as writer:
        deep(writer, LEFT.image, textured_image(seed=1))
        writer.camera_info(100_000_000, CAMERA)
        writer.topics = RIGHT
        deep(writer, RIGHT.image, textured_image(seed=1))
        right_info(writer, 100_000_000, -150.0 * BASELINE_M)
    with Bag(tmp_path / "bag", OPTIONS) as bag, recorded_pair(bag) as pair:
        assert pair is not None
        (left,) = bag.frames()
        right = pair.image(100_000_000)
    assert right is not None
    assert np.array_equal(left.image, right)
    assert right.max() > 50_000
