"""Which topic is the picture, and whose calibration it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bags import CAMERA, START, STEP, write_bag

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_writer import BagWriter, WriterTopics, open_writer
from hfnet_core.recordings.bags import Bag


def image(writer: BagWriter, topic: str, encoding: str, stamp: int = START) -> None:
    size = {"16UC1": 2, "mono16": 2, "32FC1": 4}[encoding]
    writer.write(
        topic, "sensor_msgs/msg/Image", stamp, header=writer.header(stamp, "camera"), height=120, width=160,
        encoding=encoding, is_bigendian=0, step=160 * size, data=np.zeros(120 * 160 * size, np.uint8),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "encoding"),
    [("/camera/depth/image_rect_raw", "16UC1"), ("/device_0/sensor_0/Depth_0/image/data", "mono16"),
     ("/camera/aligned_depth_to_color/image_raw", "16UC1"), ("/zed/confidence_map", "32FC1")],
)  # fmt: skip
def test_depth_beside_a_picture_is_not_taken_for_one(tmp_path: Path, topic: str, encoding: str) -> None:
    path = write_bag(tmp_path / "a", extra=lambda writer: image(writer, topic, encoding))
    with Bag(path) as bag:
        assert bag.image_topic.name == "/camera/image_raw/compressed"


def test_depth_alone_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a", "mcap") as writer:
        for index in range(3):
            image(writer, "/camera/depth/image_rect_raw", "16UC1", START + index * STEP)
            writer.camera_info(START + index * STEP, CAMERA)
    with pytest.raises(DatasetError, match=r"only images are depth \(/camera/depth/image_rect_raw .*infrared"):
        Bag(tmp_path / "a")


def test_a_thermal_camera_in_16_bits_is_a_picture(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a", "mcap") as writer:
        image(writer, "/thermal/image_raw", "16UC1")
        writer.camera_info(START, CAMERA)
    with Bag(tmp_path / "a") as bag:
        assert bag.image_topic.name == "/thermal/image_raw"


def test_recordings_of_the_realsense_viewer_name_their_calibration_in_their_own_way(tmp_path: Path) -> None:
    def stream(name: str) -> WriterTopics:
        return WriterTopics(
            image=f"/device_0/sensor_1/{name}/image/data", camera_info=f"/device_0/sensor_1/{name}/info/camera_info"
        )

    with open_writer(tmp_path / "a.bag", "rosbag1", stream("Color_0")) as writer:
        image(writer, "/device_0/sensor_0/Depth_0/image/data", "mono16")
        for index in range(3):
            writer.image(START + index * STEP, np.full((120, 160, 3), 40 * index, np.uint8))
        writer.camera_info(START, CAMERA)
        writer.topics = stream("Infrared_1")
        writer.camera_info(START, CAMERA)
    with Bag(tmp_path / "a.bag") as bag:
        assert bag.image_topic.name == "/device_0/sensor_1/Color_0/image/data"
        assert bag.info_topic is not None
        assert bag.info_topic.name == "/device_0/sensor_1/Color_0/info/camera_info"
        assert [frame.camera for frame in bag.frames()] == [CAMERA] * 3


def test_a_topic_of_several_types_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bags = []
    for name, kind in (("a", "std_msgs/msg/String"), ("b", "std_msgs/msg/Bool")):
        value = {"data": "x" if name == "a" else True}
        bags.append(
            write_bag(
                tmp_path / name, extra=lambda writer, kind=kind, value=value: writer.write("/odd", kind, START, **value)
            )
        )  # type: ignore[misc]
    whole = tmp_path / "whole"
    whole.mkdir()
    for number, bag in enumerate(bags):
        next(bag.glob("*.mcap")).rename(whole / f"{number}.mcap")
    with Bag(whole) as both:
        assert len(both) == 8
        assert "/odd" not in [topic.name for topic in both.topics]
    assert "/odd has messages of several types" in caplog.text
