"""Images of recordings that need more than one message to be read: their bits, and video."""

from __future__ import annotations

import fractions
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bags import CAMERA, START, STEP, write_bag
from helpers import textured_image
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from hfnet_core.errors import DatasetError
from hfnet_core.images.pixels import to_gray
from hfnet_core.recordings.bag_writer import BagWriter, open_writer
from hfnet_core.recordings.bags import Bag, BagFrame
from hfnet_core.recordings.options import BagOptions
from hfnet_core.recordings.pictures import image_messages, pictures

UNCALIBRATED = BagOptions(camera_optional=True)


def read(path: Path, options: BagOptions = UNCALIBRATED) -> list[BagFrame]:
    with Bag(path, options) as bag:
        return list(bag.frames())


def deep(index: int, bits: int) -> np.ndarray:
    return (textured_image(160, 120, index).astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)


def write_deep(writer: BagWriter, index: int, bits: int, encoding: str = "mono16") -> None:
    stamp = START + index * STEP
    data = deep(index, bits).reshape(-1).view(np.uint8)
    header = writer.header(stamp, "camera")
    writer.write("/camera/image_raw", "sensor_msgs/msg/Image", stamp, header=header, height=120, width=160,
                 encoding=encoding, is_bigendian=0, step=320, data=data)  # fmt: skip


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_16_bit_recordings_look_like_the_same_in_8_bits(tmp_path: Path, bits: int, encoding: str) -> None:
    with open_writer(tmp_path / "bag", "mcap") as writer:
        for index in range(5):
            write_deep(writer, index, bits, encoding)
    frames = read(tmp_path / "bag")
    assert len(frames) == 5
    for frame in frames:
        assert frame.image.dtype == np.uint16
        assert np.abs(to_gray(frame.image) - textured_image(160, 120, frame.index)).max() < 1.0


def test_a_dark_image_of_a_recording_stays_dark(tmp_path: Path) -> None:
    """The bits are those of the recording, not of each image, though the dark one comes first."""
    with open_writer(tmp_path / "bag", "mcap") as writer:
        write_deep(writer, 0, 8)
        for index in range(1, 6):
            write_deep(writer, index, 12)
    frames = read(tmp_path / "bag")
    assert frames[0].image.max() <= 255 * 17
    assert frames[1].image.max() > 60_000
    with Bag(tmp_path / "bag", UNCALIBRATED) as bag:
        (chosen,) = bag.frames([0])
    assert np.array_equal(chosen.image, frames[0].image)


def test_16_bit_png_of_12_bits(tmp_path: Path) -> None:
    with open_writer(tmp_path / "bag", "mcap") as writer:
        for index in range(3):
            png = cv2.imencode(".png", deep(index, 12))[1].tobytes()
            writer.compressed(START + index * STEP, png, "mono16; png compressed ")
    frames = read(tmp_path / "bag")
    assert len(frames) == 3
    for frame in frames:
        assert np.abs(to_gray(frame.image) - textured_image(160, 120, frame.index)).max() < 1.0


def test_the_first_image_may_be_damaged(tmp_path: Path) -> None:
    def damage(writer: BagWriter) -> None:
        writer.compressed(START - STEP, b"\xff\xd8 no jpeg", "jpeg")

    path = tmp_path / "bag"
    with open_writer(path, "mcap") as writer:
        damage(writer)
        for index in range(3):
            png = cv2.imencode(".png", textured_image(160, 120, index))[1].tobytes()
            writer.compressed(START + index * STEP, png, "png")
    with Bag(path, UNCALIBRATED) as bag:
        assert [frame.index for frame in bag.frames()] == [1, 2, 3]
        assert len(bag.broken) == 1
        assert "image 0" in bag.broken[0]


def packets(count: int = 8, key_every: int = 4) -> list[bytes]:
    """H.264, a picture n of it 30 n bright."""
    av = pytest.importorskip("av")
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 160, 120, "yuv420p"
    context.time_base, context.options = fractions.Fraction(1, 30), {"tune": "zerolatency", "g": str(key_every)}
    out: list[bytes] = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 30 * index, np.uint8), "rgb24")
        frame.pts = index
        out += [bytes(packet) for packet in context.encode(frame)]
    return out + [bytes(packet) for packet in context.encode(None)]


def write_video(path: Path, coded: list[bytes]) -> Path:
    with open_writer(path, "mcap") as writer:
        for index, data in enumerate(coded):
            writer.compressed(START + index * STEP, data, "h264")
            writer.camera_info(START + index * STEP, CAMERA)
    return path


def brightness(frames: list[BagFrame]) -> list[int]:
    return [round(float(frame.image.mean()) / 30) for frame in frames]


def test_video_in_a_recording_gives_each_message_its_picture(tmp_path: Path) -> None:
    frames = read(write_video(tmp_path / "bag", packets()))
    assert [frame.index for frame in frames] == list(range(8))
    assert brightness(frames) == list(range(8))
    assert [frame.stamp_ns for frame in frames] == [START + index * STEP for index in range(8)]


def test_chosen_pictures_of_video_are_those_of_the_whole(tmp_path: Path) -> None:
    with Bag(write_video(tmp_path / "bag", packets())) as bag:
        assert brightness(list(bag.frames([2, 6]))) == [2, 6]


def test_a_recording_that_begins_in_the_middle_of_video_waits_for_a_key_frame(tmp_path: Path) -> None:
    with Bag(write_video(tmp_path / "bag", packets()[1:])) as bag:
        frames = list(bag.frames())
        assert brightness(frames) == [4, 5, 6, 7]
        assert [frame.index for frame in frames] == [3, 4, 5, 6]
        assert len(bag.broken) == 3
        assert "before its first key frame" in bag.broken[0]


def test_video_without_pyav_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "bag", packets(2))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(
        DatasetError, match=r"is H.264 video, for which PyAV is needed: pip install 'hfnet_ros\[video\]'"
    ):
        Bag(path)


def test_foxglove_video_has_a_stamp_and_frame_of_its_own(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    kind = "foxglove_msgs/msg/CompressedVideo"
    store.register(
        get_types_from_msg("builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format", kind)
    )
    path = tmp_path / "bag"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/camera/video", kind, typestore=store)
        for index, data in enumerate(packets(4)):
            stamp = START + index * STEP
            time = store.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
            message = store.types[kind](time, "front", np.frombuffer(data, np.uint8), "h264")
            writer.write(connection, stamp + 5, store.serialize_cdr(message, kind))
    with Bag(path, UNCALIBRATED) as bag:
        frames = list(bag.frames())
        assert bag.camera_frame == "front"
    assert brightness(frames) == [0, 1, 2, 3]
    assert [frame.stamp_ns for frame in frames] == [START + index * STEP for index in range(4)]


def test_packets_of_ffmpeg_image_transport_are_video() -> None:
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="front")
    messages = [
        (
            "/camera/image_raw/ffmpeg",
            7,
            SimpleNamespace(header=header, encoding="libx264", data=np.frombuffer(data, np.uint8)),
        )
        for data in packets(3)
    ]
    adapted = image_messages(messages, "ffmpeg_image_transport_msgs/FFMPEGPacket")
    found = list(pictures(adapted, raw=False))
    assert [picture.error for picture in found] == ["", "", ""]
    assert [round(float(picture.image.mean()) / 30) for picture in found if picture.image is not None] == [0, 1, 2]
    assert found[0].message.header.frame_id == "front"


def test_images_that_are_not_wanted_are_not_decoded(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag")
    with Bag(path) as bag:
        found = list(pictures(bag._image_messages(), raw=False, wanted=[1]))
    assert [picture.index for picture in found] == [1]
