"""Decompression that stops: a megabyte of zstd may hold gigabytes of zeros.

rosbags decompresses whatever a recording holds, whole. `bound_rosbags` puts functions in the place of its own that give
up at our limits; nothing else of it changes.
"""

from __future__ import annotations

import bz2
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, BinaryIO

import lz4.frame
from rosbags.rosbag1 import reader as rosbag1
from rosbags.rosbag2 import reader as rosbag2
from rosbags.rosbag2 import storage_mcap

from hfnet_core.errors import DatasetError
from hfnet_core.limits import ARCHIVE, CHUNK, Limit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["TooLargeError", "bound_rosbags", "decompress"]

_FORMATS: dict[str, Callable[[], Any]] = {
    "zstd": zstd.ZstdDecompressor,
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "bz2": bz2.BZ2Decompressor,
}


class TooLargeError(DatasetError):
    """What is decompressed exceeds a limit. The message names neither file nor place; whoever knows them adds them."""

    def __init__(self, what: str, limit: Limit) -> None:
        super().__init__(f"{what} holds more than the limit of {limit}")


def decompress(data: bytes, kind: str, what: str) -> bytes:
    """All frames in `data`, as far as they stay within the limit for chunks. kind: zstd, lz4 or bz2.

    Raises TooLargeError, ValueError for data that are cut off, and what the library raises for damage.
    """
    pieces: list[bytes] = []
    room, rest = CHUNK.value() + 1, data
    while rest or not pieces:
        stream = _FORMATS[kind]()
        piece = stream.decompress(rest, max_length=room)
        pieces.append(piece)
        room -= len(piece)
        if room <= 0:
            raise TooLargeError(what, CHUNK)
        if not stream.eof:
            raise ValueError(f"{kind} data are cut off")
        rest = stream.unused_data or b""
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _BoundedFile:
    """A compressed file that is read to the disk, up to the limit for archives."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._room = zstd.open(file, "rb"), ARCHIVE.value()

    def __enter__(self) -> _BoundedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        """As of any file."""
        data: bytes = self._file.read(min(size, _PIECE) if size >= 0 else _PIECE)
        self._room -= len(data)
        if self._room < 0:
            raise TooLargeError("the compressed recording", ARCHIVE)
        return data


_PIECE = 1 << 20


def _of_chunk(kind: str) -> Callable[[bytes, int], bytes]:
    def run(data: bytes, size: int) -> bytes:
        if size > CHUNK.value():  # announced, so that nothing has to be tried
            raise TooLargeError(f"a chunk of {size / 1e6:.0f} MB", CHUNK)
        return decompress(data, kind, "a chunk")

    return run


def bound_rosbags() -> None:
    """Bound decompression of chunks, messages and whole files in this process. Doing it twice changes nothing."""
    for kind in ("zstd", "lz4"):
        storage_mcap.DECOMPRESSORS[kind] = _of_chunk(kind)
    for kind in ("lz4", "bz2"):
        rosbag1.decompressors[kind] = lambda data, kind=kind: decompress(data, kind, "a chunk")
    bounded = SimpleNamespace(
        decompress=lambda data: decompress(data, "zstd", "a message"), open=lambda file, mode: _BoundedFile(file)
    )
    rosbag2.zstd = bounded
