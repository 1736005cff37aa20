"""A recording of a megabyte never takes gigabytes."""

from __future__ import annotations

import bz2
import resource
import subprocess
import sys
from pathlib import Path

import lz4.frame
import pytest
from bags import write_bag
from rosbags.rosbag1 import reader as rosbag1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, storage_mcap
from rosbags.rosbag2 import reader as rosbag2
from rosbags.typesys import Stores, get_typestore

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_reader import BagReader
from hfnet_core.recordings.containers import decompression
from hfnet_core.recordings.containers.decompression import TooLargeError, bound_rosbags, decompress

COMPRESS = {"zstd": decompression.zstd.compress, "lz4": lz4.frame.compress, "bz2": bz2.compress}
STRING = "std_msgs/msg/String"


@pytest.mark.parametrize("kind", COMPRESS)
def test_what_fits_comes_out_whole(kind: str) -> None:
    content = bytes(range(256)) * 5000
    assert decompress(COMPRESS[kind](content), kind, "a chunk") == content
    twice = COMPRESS[kind](content) + COMPRESS[kind](b"more")  # frames may follow each other
    assert decompress(twice, kind, "a chunk") == content + b"more"


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_bomb_is_left_alone_at_the_limit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFNET_MAX_CHUNK_MB", "3")
    with pytest.raises(TooLargeError, match="a chunk holds more than the limit of 3 MB, raised by HFNET_MAX_CHUNK_MB"):
        decompress(COMPRESS[kind](bytes(3_000_001)), kind, "a chunk")
    with pytest.raises(TooLargeError):
        decompress(COMPRESS[kind](bytes(2_000_000)) * 2, kind, "a chunk")
    assert len(decompress(COMPRESS[kind](bytes(3_000_000)), kind, "a chunk")) == 3_000_000


@pytest.mark.parametrize("kind", COMPRESS)
def test_what_is_cut_off_is_no_content(kind: str) -> None:
    with pytest.raises(ValueError, match="cut off"):
        decompress(COMPRESS[kind](bytes(range(256)) * 50)[:-3], kind, "a chunk")


def test_rosbags_uses_ours() -> None:
    """It may rename what we replace: then this fails, and the floor in setup.py is to be looked at."""
    bound_rosbags()
    for run in (storage_mcap.DECOMPRESSORS["zstd"], storage_mcap.DECOMPRESSORS["lz4"]):
        assert run.__module__ == decompression.__name__
    for kind in ("lz4", "bz2"):
        assert rosbag1.decompressors[kind].__module__ == decompression.__name__
    assert rosbag2.zstd.decompress.__module__ == decompression.__name__


def bomb(path: Path, mode: CompressionMode, storage: StoragePlugin, size: int) -> Path:
    """A bag with one message of `size` zeros."""
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/text", STRING, typestore=store)
        writer.write(connection, 1, store.serialize_cdr(store.types[STRING](data="a" * size), STRING))
    return path


CASES = [
    (CompressionMode.STORAGE, StoragePlugin.MCAP, "a chunk of 30 MB holds more"),
    (CompressionMode.MESSAGE, StoragePlugin.MCAP, "a message holds more"),
    (CompressionMode.MESSAGE, StoragePlugin.SQLITE3, "a message holds more"),
]


@pytest.mark.parametrize(("mode", "storage", "said"), CASES)
def test_a_bag_that_unpacks_to_too_much_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: CompressionMode, storage: StoragePlugin, said: str
) -> None:
    path = bomb(tmp_path / "bomb", mode, storage, 30_000_000)
    with BagReader(path) as reader:
        assert len(next(reader.messages(["/text"]))[2].data) == 30_000_000
    monkeypatch.setenv("HFNET_MAX_CHUNK_MB", "5")
    with BagReader(path) as reader, pytest.raises(DatasetError, match=f"bomb: {said} than the limit of 5 MB") as caught:
        next(reader.messages(["/text"]))
    assert "reindex" not in str(caught.value)


def test_a_bag_compressed_as_a_whole_is_refused_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bomb(tmp_path / "bomb", CompressionMode.FILE, StoragePlugin.SQLITE3, 30_000_000)
    with BagReader(path) as reader:
        assert len(next(reader.messages(["/text"]))[2].data) == 30_000_000
    monkeypatch.setenv("HFNET_MAX_ARCHIVE_MB", "5")
    with pytest.raises(DatasetError, match="bomb: the compressed recording holds more than the limit of 5 MB"):
        BagReader(path)


def test_a_bomb_takes_no_more_memory_than_the_limit(tmp_path: Path) -> None:
    """100 MB in a chunk of 10 kB, and a limit of 50 MB."""
    path = bomb(tmp_path / "bomb", CompressionMode.STORAGE, StoragePlugin.MCAP, 100_000_000)
    code = (
        "import sys; from pathlib import Path; from hfnet_core.recordings.bag_reader import BagReader\n"
        "from hfnet_core.errors import DatasetError; import resource\n"
        "reader = BagReader(Path(sys.argv[1])); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: next(reader.messages(['/text']))\n"
        "except DatasetError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True, timeout=60,
        env={"HFNET_MAX_CHUNK_MB": "50", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert int(done.stdout) < 60_000, "kilobytes"
    assert resource.RUSAGE_CHILDREN  # the unit is that of Linux


def test_metadata_that_would_take_minutes_to_parse_are_refused(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a")
    with (path / "metadata.yaml").open("a") as file:
        file.write("# " + "x" * 5_000_000)
    with pytest.raises(DatasetError, match="has 5 MB, more than the limit of 4 MB, raised by HFNET_MAX_METADATA_MB"):
        BagReader(path)
