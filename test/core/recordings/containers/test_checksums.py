"""What we write can be told from a damaged copy; what others wrote without checksums is said."""

from __future__ import annotations

import random
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from bags import write_bag

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_reader import BagReader
from hfnet_core.recordings.containers.checksums import has_checksums


def storage_file(bag: Path) -> Path:
    return next(bag.glob("*.mcap"))


def chunks(content: bytes) -> list[tuple[int, int]]:
    """(start, end) of the content of each chunk, found by walking the records."""
    out, position = [], 8
    while content[position] != 0x02:
        kind, length = struct.unpack_from("<BQ", content, position)
        if kind == 0x06:
            out.append((position + 9, position + 9 + length))
        position += 9 + length
    return out


def test_every_chunk_the_data_and_the_summary_have_their_checksum(tmp_path: Path) -> None:
    content = storage_file(write_bag(tmp_path / "a")).read_bytes()
    assert chunks(content)
    for start, end in chunks(content):
        stored = struct.unpack_from("<I", content, start + 24)[0]
        name = struct.unpack_from("<I", content, start + 28)[0]
        assert stored == zlib.crc32(content[start + 28 + 4 + name + 8 : end])
    footer = len(content) - 8 - 20
    summary, _, stored = struct.unpack_from("<QQI", content, footer)
    assert stored == zlib.crc32(content[summary : footer + 16])
    data_end = content.rindex(struct.pack("<BQ", 0x0F, 4), 0, summary)
    assert struct.unpack_from("<I", content, data_end + 9)[0] == zlib.crc32(content[:data_end])


def test_a_flipped_byte_in_a_chunk_is_noticed(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a")
    file, rng = storage_file(path), random.Random(1)
    content = file.read_bytes()
    start, end = chunks(content)[0]
    for _ in range(30):
        position = rng.randrange(start + 40, end)
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(DatasetError, match="Chunk checksum mismatch"), BagReader(path) as reader:
            list(reader.messages([topic.name for topic in reader.topics]))


def test_who_has_checksums_and_who_has_none(tmp_path: Path) -> None:
    ours = write_bag(tmp_path / "a")
    assert has_checksums(ours)
    assert has_checksums(storage_file(ours))
    shutil.copytree(ours, tmp_path / "b")
    content = bytearray(storage_file(tmp_path / "b").read_bytes())
    for start, _ in chunks(bytes(content)):
        content[start + 24 : start + 28] = bytes(4)  # as most recorders leave them
    storage_file(tmp_path / "b").write_bytes(content)
    assert not has_checksums(tmp_path / "b")
    assert not has_checksums(write_bag(tmp_path / "c", storage="sqlite3"))
    assert not has_checksums(write_bag(tmp_path / "d.bag", storage="rosbag1"))
    assert not has_checksums(tmp_path / "none.mcap")


def test_damaged_records_do_not_hold_up_the_look_for_checksums(tmp_path: Path) -> None:
    path = storage_file(write_bag(tmp_path / "a"))
    content, rng = path.read_bytes(), random.Random(2)
    for _ in range(100):
        damaged = bytearray(content[: rng.randrange(len(content))])
        for _ in range(5):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        assert has_checksums(path) in (True, False)
