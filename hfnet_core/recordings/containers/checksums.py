"""Checksums of recordings: mcap has room for them, which few writers fill; the other containers have none.

Records after the MCAP specification: a byte of kind, eight of length, content.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["add_checksums", "has_checksums"]

_MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")
_FOOTER, _CHUNK, _DATA_END = 0x02, 0x06, 0x0F
_CHUNK_CRC, _CHUNK_BODY = 24, 28  # where in a chunk its checksum lies, and what follows it
_PIECE = 1 << 20


def has_checksums(bag: Path) -> bool:
    """Whether every chunk of a recording can be told from a damaged one. A file that is no mcap has none."""
    files = sorted(bag.glob("*.mcap")) if bag.is_dir() else [bag]
    try:
        found = [_chunk_checksums(path) for path in files if path.suffix == ".mcap"]
    except OSError:
        return False
    return bool(found) and all(bool(values) and all(values) for values in found)


def _chunk_checksums(path: Path) -> list[int]:
    """Of every chunk, 0 where it has none; [] where there are no chunks."""
    out = []
    with path.open("rb") as file:
        for kind, start, length in _records(file):
            if kind == _CHUNK and length >= _CHUNK_BODY:
                file.seek(start + _CHUNK_CRC)
                out.append(int.from_bytes(file.read(4), "little"))
    return out


def _records(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """(kind, start of the content, its length) of each record, as far as the file is whole."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        return
    position = len(_MAGIC)
    while True:
        file.seek(position)
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or head.startswith(_MAGIC):
            return
        kind, length = _HEAD.unpack(head)
        start = position + _HEAD.size
        position = start + length
        if position > size:
            return
        yield kind, start, length


def add_checksums(path: Path) -> None:
    """Fill in the checksums of a finished, uncompressed mcap file: of each chunk, of the data, of the summary."""
    with path.open("r+b") as file:
        records = list(_records(file))
        for kind, start, _ in records:
            if kind == _CHUNK:
                _put(file, start + _CHUNK_CRC, _crc_of_chunk(file, start))
        for kind, start, _ in records:
            if kind == _DATA_END:  # of everything before this record
                _put(file, start, _crc(file, 0, start - _HEAD.size))
            if kind == _FOOTER:
                file.seek(start)
                summary = int.from_bytes(file.read(8), "little")
                _put(file, start + 16, _crc(file, summary, start + 16) if summary else 0)
        file.flush()
        os.fsync(file.fileno())


def _crc_of_chunk(file: BinaryIO, start: int) -> int:
    """Of its records; what lies between is the name of the compression, which is none."""
    file.seek(start + _CHUNK_BODY)
    name = int.from_bytes(file.read(4), "little")
    file.seek(start + _CHUNK_BODY + 4 + name)
    length = int.from_bytes(file.read(8), "little")
    begin = start + _CHUNK_BODY + 4 + name + 8
    return _crc(file, begin, begin + length)


def _crc(file: BinaryIO, begin: int, end: int) -> int:
    file.seek(begin)
    value = 0
    while begin < end:
        piece = file.read(min(_PIECE, end - begin))
        if not piece:
            raise OSError("the file ends too early")
        value, begin = zlib.crc32(piece, value), begin + len(piece)
    return value


def _put(file: BinaryIO, position: int, value: int) -> None:
    file.seek(position)
    file.write(value.to_bytes(4, "little"))
