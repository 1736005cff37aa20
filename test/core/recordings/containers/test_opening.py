"""Recordings that are not whole are read as far as they go."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bags import START, STEP, along_x, write_bag
from helpers import textured_image
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.typesys import Stores, get_typestore

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import pose_error
from hfnet_core.recordings.bag_reader import BagReader
from hfnet_core.recordings.bag_writer import BagWriter
from hfnet_core.recordings.bags import Bag, BagFrame


def read(path: Path) -> list[BagFrame]:
    with Bag(path) as bag:
        return list(bag.frames())


def storage_file(bag: Path) -> Path:
    return next(item for item in bag.iterdir() if item.suffix in (".mcap", ".db3"))


def assert_first_frames(found: list[BagFrame], at_least: int) -> None:
    """As `write_bag` wrote them."""
    assert len(found) >= at_least
    for index, frame in enumerate(found):
        assert frame.index == index
        assert np.array_equal(frame.image, textured_image(160, 120, index))
    posed = [frame for frame in found if frame.map_from_camera is not None]
    assert len(posed) >= at_least - 1
    for frame in posed:
        assert frame.map_from_camera is not None
        assert pose_error(frame.map_from_camera, along_x(frame.index)) == pytest.approx((0, 0), abs=1e-6)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("metadata", [True, False])
def test_a_recording_that_was_cut_off_is_read_up_to_there(
    tmp_path: Path, storage: str, metadata: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bag = write_bag(tmp_path / "a", storage, frames=40)
    data = storage_file(bag)
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    if not metadata:
        (bag / "metadata.yaml").unlink()
    before = data.read_bytes()
    with caplog.at_level(logging.WARNING):
        found = read(bag)
    assert_first_frames(found, 12)
    assert len(found) < 40
    assert "was cut off and is read up to there" in caplog.text
    assert data.read_bytes() == before
    assert_first_frames(read(data), 12)  # and the bare file


def test_a_rosbag1_that_was_cut_off_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a.bag", "rosbag1", frames=8)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DatasetError, match=r"a\.bag: cannot be read as a bag .*`rosbag reindex`"):
        read(path)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_nothing_left_to_read_is_one_line(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "a", storage, frames=4)
    data = storage_file(bag)
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(DatasetError) as caught:
        read(bag)
    assert str(bag) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("mcap recover" if storage == "mcap" else ".recover") in str(caught.value)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("content", [None, "", "rosbag2_bagfile_information:\n", "x: [\n"])
def test_a_recording_without_usable_metadata_is_read(tmp_path: Path, storage: str, content: str | None) -> None:
    bag = write_bag(tmp_path / "a", storage)
    if content is None:
        (bag / "metadata.yaml").unlink()
    else:
        (bag / "metadata.yaml").write_text(content)
    assert_first_frames(read(bag), 4)


def test_an_empty_storage_identifier_is_found_out(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "a", "mcap")
    text = (bag / "metadata.yaml").read_text()
    assert "storage_identifier: mcap" in text
    (bag / "metadata.yaml").write_text(text.replace("storage_identifier: mcap", "storage_identifier: ''"))
    assert_first_frames(read(bag), 4)


def test_the_parts_of_a_split_recording_are_put_together(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    for part in (2, 10):
        one = write_bag(tmp_path / f"part_{part}", frames=4)
        shutil.copy(storage_file(one), whole / f"drive_{part}.mcap")
    with BagReader(whole) as reader:
        assert reader.topic("/camera/image_raw/compressed").count == 8
    data = whole / "drive_10.mcap"
    data.write_bytes(data.read_bytes()[:-200])  # the last part was being written
    with BagReader(whole) as reader:
        assert reader.topic("/camera/image_raw/compressed").count == 8


def test_a_journal_beside_a_database_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bag = write_bag(tmp_path / "a", "sqlite3", frames=6)
    data = storage_file(bag)
    with sqlite3.connect(data) as source:
        rows = source.execute("SELECT topic_id, timestamp, data FROM messages WHERE id > 9").fetchall()
        source.execute("DELETE FROM messages WHERE id > 9")
    source.close()
    open_one = sqlite3.connect(data)
    open_one.execute("PRAGMA journal_mode=WAL")
    open_one.execute("PRAGMA wal_autocheckpoint=0")
    open_one.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows)
    open_one.commit()
    cut = tmp_path / "cut"
    shutil.copytree(bag, cut)  # while it is being written
    open_one.close()
    assert (cut / f"{data.name}-wal").stat().st_size > 0
    with caplog.at_level(logging.WARNING):
        assert_first_frames(read(cut), 6)


def mcap_record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def mcap_text(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()


def ros1_in_mcap(source: Path, target: Path, *, finished: bool = True) -> Path:
    """A rosbag1 as `mcap convert` writes it: messages and definitions of ROS 1, outside chunks."""
    magic = b"\x89MCAP0\r\n"
    out = [magic, mcap_record(1, mcap_text("ros1") + mcap_text("test"))]
    with Rosbag1Reader(source) as reader:
        for item in reader.connections:
            name = item.msgtype.replace("/msg/", "/")
            text = mcap_text(name) + mcap_text("ros1msg") + mcap_text(item.msgdef.data)
            out.append(mcap_record(3, struct.pack("<H", item.id + 1) + text))
            text = mcap_text(item.topic) + mcap_text("ros1") + struct.pack("<I", 0)
            out.append(mcap_record(4, struct.pack("<HH", item.id, item.id + 1) + text))
        for connection, stamp, raw in reader.messages():
            out.append(mcap_record(5, struct.pack("<HIQQ", connection.id, 0, stamp, stamp) + raw))
    if finished:
        out += [mcap_record(15, bytes(4)), mcap_record(2, bytes(20)), magic]
    target.write_bytes(b"".join(out))
    return target


@pytest.mark.parametrize("finished", [True, False])
def test_messages_of_ros1_in_an_mcap_are_read(tmp_path: Path, finished: bool) -> None:
    source = write_bag(tmp_path / "a.bag", "rosbag1")
    path = ros1_in_mcap(source, tmp_path / "b.mcap", finished=finished)
    assert_first_frames(read(path), 4)
    with BagReader(path) as reader, BagReader(source) as original:  # as a player sends them
        names = [topic.name for topic in original.topics]
        assert list(reader.serialized(names)) == list(original.serialized(names))


@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_chunks_of_a_cut_file_are_decompressed_and_damaged_ones_left_out(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    pack: Callable[[bytes], bytes]
    if name == "zstd":
        pack = pytest.importorskip("backports.zstd").compress
    else:
        pack = pytest.importorskip("lz4.frame").compress
    plain = ros1_in_mcap(write_bag(tmp_path / "a.bag", "rosbag1"), tmp_path / "b.mcap", finished=False).read_bytes()
    head_end = 8 + 9 + struct.unpack_from("<Q", plain, 9)[0]
    content = plain[head_end:]

    def chunk(data: bytes, packed: bytes) -> bytes:
        head = struct.pack("<QQQI", 0, 0, len(data), 0)
        return mcap_record(6, head + mcap_text(name) + struct.pack("<Q", len(packed)) + packed)

    path = tmp_path / "c.mcap"
    broken = chunk(content, b"\x00" * 40)
    path.write_bytes(plain[:head_end] + broken + chunk(content, pack(content)))
    with caplog.at_level(logging.WARNING):
        assert_first_frames(read(path), 4)
    assert "is damaged and left out" in caplog.text
    assert "was cut off" in caplog.text


def test_a_definition_that_does_not_fit_its_digest_matters_to_nobody_else(tmp_path: Path) -> None:
    """Recordings of the RealSense viewer have types whose digests are not those of their definitions."""
    path = write_bag(tmp_path / "a.bag", "rosbag1")
    data = path.read_bytes()
    digest = get_typestore(Stores.ROS1_NOETIC).generate_msgdef("sensor_msgs/msg/CameraInfo")[1].encode()
    assert digest in data
    path.write_bytes(data.replace(digest, digest[::-1]))
    assert_first_frames(read(path), 4)


def test_a_damaged_message_among_others_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(writer: BagWriter) -> None:
        connection = writer._connections["/camera/camera_info"]
        writer._writer.write(connection, START + 10 * STEP, b"\x00\x01\x00\x00\xff\xff")

    bag = write_bag(tmp_path / "a", extra=broken)
    assert_first_frames(read(bag), 4)
    assert "1 messages are damaged and left out, the first of /camera/camera_info" in caplog.text


def test_the_chunks_after_a_damaged_one_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def noisy(writer: BagWriter) -> None:
        rng = np.random.default_rng(0)
        for index in range(4, 40):
            writer.image(START + index * STEP, rng.integers(0, 256, (240, 320, 3), np.uint8))

    bag = write_bag(tmp_path / "a", raw=True, info=False, poses=False, extra=noisy)
    data = storage_file(bag)
    content = bytearray(data.read_bytes())
    with BagReader(bag) as reader:
        whole = [stamp for _, stamp, _ in reader.messages(["/camera/image_raw"])]
    assert len(whole) == 40
    chunks = chunk_starts(bytes(content))
    assert len(chunks) > 3
    content[chunks[1] + 1000] ^= 1
    data.write_bytes(content)
    with BagReader(bag) as reader:
        found = [stamp for _, stamp, _ in reader.messages(["/camera/image_raw"])]
    assert 20 < len(found) < 40
    assert set(found) < set(whole)
    assert found == sorted(found)


def chunk_starts(content: bytes) -> list[int]:
    """Where the chunks of an MCAP file begin."""
    position, out = 8, []
    while position + 9 < len(content):
        kind, length = struct.unpack_from("<BQ", content, position)
        if kind == 6:
            out.append(position)
        position += 9 + length
    return out
