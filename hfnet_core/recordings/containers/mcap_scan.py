"""MCAP files read from front to back, without the index at their end: cut by a power loss, or of ROS 1.

Layout after the MCAP specification (mcap.dev/spec): a magic number, then records of one byte for the kind, eight for
the length, and the content. Whatever is complete is used; of a chunk that is cut off, the messages before the cut.
"""

from __future__ import annotations

import logging
import struct
import sys
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import lz4.frame
from rosbags.typesys import Stores, get_typestore

from hfnet_core.errors import DatasetError
from hfnet_core.limits import CHUNK
from hfnet_core.recordings.containers.decompression import TooLargeError
from hfnet_core.recordings.containers.definitions import store_of, types_from_idl, types_from_msg

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["McapScan", "ScannedConnection", "profile_of"]

MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
_CHUNK = struct.Struct("<QQQI")
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE_KIND, _CHUNK_KIND, _DATA_END = 1, 2, 3, 4, 5, 6, 15
_LATCHED = ("durability: 1", "transient_local", "latching\x01\x00\x00\x001")  # as ROS 2 and ROS 1 write it
_KEPT = 4  # decompressed chunks
_DECOMPRESSORS: dict[str, Any] = {"zstd": zstd.ZstdDecompressor, "lz4": lz4.frame.LZ4FrameDecompressor}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ScannedConnection:
    """A channel of one of the files; named as rosbags names its connections. ext: whether late subscribers got its last
    messages."""

    topic: str
    msgtype: str
    encoding: str
    schema: tuple[str, str]
    ext: Any
    rows: list[tuple[int, int, int, int]] = field(default_factory=list)  # log time, chunk, start and end in it


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Where a chunk lies. A message outside chunks is a chunk of its own without compression."""

    path: Path
    start: int
    length: int
    compression: str
    size: int


class McapScan:
    """The messages of MCAP files in order of their time. Has what `BagReader` uses of rosbags' AnyReader."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self.connections: list[ScannedConnection] = []
        self._chunks: list[_Chunk] = []
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._damage: list[str] = []
        self.is2 = True
        self._types: Any = None

    def open(self) -> None:
        """Read every file once. Raises DatasetError for what is no MCAP file, or has no complete message."""
        for path in self._paths:
            _File(path, self.connections, self._chunks, self._damage).scan()
        for line in self._damage:
            _log.warning("%s", line)
        if not any(connection.rows for connection in self.connections):
            raise DatasetError("holds no complete message; `mcap recover` may find some")
        encodings = {connection.encoding for connection in self.connections}
        if len(encodings) > 1 or not encodings <= {"cdr", "ros1"}:
            raise DatasetError(f"messages are encoded as {', '.join(sorted(encodings))}; only cdr or only ros1 is read")
        self.is2 = encodings == {"cdr"}
        self._types = _typestore(self.connections, self.is2)

    def close(self) -> None:
        """Forget what was read."""
        self._cache.clear()
        self.connections.clear()

    @property
    def topics(self) -> dict[str, Any]:
        """By name: type (None for several), number of messages, connections."""
        out = {}
        for name in sorted({connection.topic for connection in self.connections}):
            own = [connection for connection in self.connections if connection.topic == name]
            kinds = {connection.msgtype for connection in own}
            count = sum(len(connection.rows) for connection in own)
            out[name] = SimpleNamespace(
                msgtype=kinds.pop() if len(kinds) == 1 else None, msgcount=count, connections=own
            )
        return out

    def messages(self, connections: Collection[ScannedConnection]) -> Iterator[tuple[ScannedConnection, int, bytes]]:
        """(connection, time of recording in ns, message as it is encoded), in order of time."""
        rows = [(row, owner) for owner in connections for row in owner.rows]
        for (time_ns, chunk, start, end), owner in sorted(rows, key=lambda item: item[0]):
            yield owner, time_ns, self._content(chunk)[start:end]

    def deserialize(self, raw: bytes, msgtype: str) -> Any:
        """A message as an object."""
        return self._types.deserialize_cdr(raw, msgtype) if self.is2 else self._types.deserialize_ros1(raw, msgtype)

    def _content(self, index: int) -> bytes:
        if index not in self._cache:
            chunk = self._chunks[index]
            with chunk.path.open("rb") as file:
                file.seek(chunk.start)
                self._cache[index] = _decompressed(file.read(chunk.length), chunk.compression, chunk.size)
            while len(self._cache) > _KEPT:
                self._cache.popitem(last=False)
        self._cache.move_to_end(index)
        return self._cache[index]


@dataclass(eq=False)
class _File:
    """One file being scanned into lists that all files share."""

    path: Path
    connections: list[ScannedConnection]
    chunks: list[_Chunk]
    damage: list[str]
    schemas: dict[int, tuple[str, str, str]] = field(default_factory=dict)  # name, encoding, text
    channels: dict[int, ScannedConnection] = field(default_factory=dict)

    def scan(self) -> None:
        with self.path.open("rb") as file:
            size = self.path.stat().st_size
            if file.read(len(MAGIC)) != MAGIC:
                raise DatasetError(f"{self.path.name} does not begin as an MCAP file")
            position = len(MAGIC)
            while position + _HEAD.size <= size:
                file.seek(position)
                kind, length = _HEAD.unpack(file.read(_HEAD.size))
                start, position = position + _HEAD.size, position + _HEAD.size + length
                if kind in (_FOOTER, _DATA_END):
                    return
                whole = position <= size
                if not whole and kind != _CHUNK_KIND:
                    break
                self._record(file, kind, start, min(length, size - start))
            self.damage.append(f"{self.path}: was cut off and is read up to there")

    def _record(self, file: BinaryIO, kind: int, start: int, length: int) -> None:
        if kind == _SCHEMA:
            self._learn_schema(file.read(length))
        elif kind == _CHANNEL:
            self._learn_channel(file.read(length))
        elif kind == _MESSAGE_KIND and length >= _MESSAGE.size:
            channel, _, time_ns, _ = _MESSAGE.unpack(file.read(_MESSAGE.size))
            self._add(channel, time_ns, len(self.chunks), _MESSAGE.size, length)
            self.chunks.append(_Chunk(self.path, start, length, "", length))
        elif kind == _CHUNK_KIND and length > _CHUNK.size + 12:
            self._chunk(file, start, length)

    def _chunk(self, file: BinaryIO, start: int, length: int) -> None:
        _, _, size, crc = _CHUNK.unpack(file.read(_CHUNK.size))
        name = file.read(int.from_bytes(file.read(4), "little")).decode("ascii", "replace")
        packed = int.from_bytes(file.read(8), "little")
        begin = file.tell()
        there = min(packed, start + length - begin)
        try:
            content = _decompressed(file.read(there), name, size)
        except (DatasetError, RuntimeError, ValueError, EOFError, zstd.ZstdError) as error:
            self.damage.append(f"{self.path}: a chunk at byte {start} is damaged and left out: {error}")
            return
        if there == packed and crc and zlib.crc32(content) != crc:
            self.damage.append(f"{self.path}: a chunk at byte {start} is damaged and left out: its checksum is wrong")
            return
        number = len(self.chunks)
        self.chunks.append(_Chunk(self.path, begin, there, name, size))
        position = 0
        while position + _HEAD.size <= len(content):
            kind, own = _HEAD.unpack_from(content, position)
            first, position = position + _HEAD.size, position + _HEAD.size + own
            if position > len(content):
                return
            if kind == _SCHEMA:
                self._learn_schema(content[first:position])
            elif kind == _CHANNEL:
                self._learn_channel(content[first:position])
            elif kind == _MESSAGE_KIND and own >= _MESSAGE.size:
                channel, _, time_ns, _ = _MESSAGE.unpack_from(content, first)
                self._add(channel, time_ns, number, first + _MESSAGE.size, position)

    def _add(self, channel: int, time_ns: int, chunk: int, start: int, end: int) -> None:
        if channel in self.channels:
            self.channels[channel].rows.append((time_ns, chunk, start, end))

    def _learn_schema(self, data: bytes) -> None:
        number, rest = int.from_bytes(data[:2], "little"), _Text(data[2:])
        self.schemas[number] = (rest.text(), rest.text(), rest.text())

    def _learn_channel(self, data: bytes) -> None:
        number, schema = struct.unpack_from("<HH", data)
        if number in self.channels:
            return
        rest = _Text(data[4:])
        topic, encoding, metadata = rest.text(), rest.text(), rest.text()
        name, form, text = self.schemas.get(schema, ("", "", ""))
        kind = name if name.count("/") == 2 else name.replace("/", "/msg/")  # ROS 1 leaves the middle out
        latched = any(word in metadata for word in _LATCHED)
        known = ScannedConnection(topic, kind, encoding, (form, text), SimpleNamespace(latching=latched))
        self.channels[number] = known
        self.connections.append(known)


class _Text:
    """Texts that follow each other, each after its length."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def text(self) -> str:
        start = self._position + 4
        self._position = start + int.from_bytes(self._data[self._position : start], "little")
        return self._data[start : self._position].decode("utf-8", "replace")


def _decompressed(data: bytes, name: str, size: int) -> bytes:
    """What can be had of a chunk whose content is `size` bytes when whole. Raises DatasetError and what the libraries
    raise for damage."""
    if size > CHUNK.value():
        raise TooLargeError(f"a chunk of {size / 1e6:.0f} MB", CHUNK)
    if not name:
        return data[:size]
    if name not in _DECOMPRESSORS:
        raise DatasetError(f"compression {name!r} is not known")
    pieces: list[bytes] = []
    room = size
    while data and room > 0:
        stream = _DECOMPRESSORS[name]()
        piece = stream.decompress(data, max_length=room)
        pieces.append(piece)
        room -= len(piece)
        data = (stream.unused_data or b"") if stream.eof else b""
    return b"".join(pieces)


def _typestore(connections: Sequence[ScannedConnection], is2: bool) -> Any:
    """Types as the files define them; of those that they do not define, today's."""
    found = dict(get_typestore(Stores.ROS2_JAZZY if is2 else Stores.ROS1_NOETIC).fielddefs)
    for connection in connections:
        form, text = connection.schema
        if form in ("ros2msg", "ros1msg"):
            found.update(types_from_msg(text, connection.msgtype))
        elif form in ("ros2idl", "omgidl"):
            found.update(types_from_idl(text))
    return store_of(found, [connection.msgtype for connection in connections])


def profile_of(path: Path) -> str:
    """What a file says of the messages in it: ros1, ros2 or "". "" also for what is no MCAP file."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return ""
        kind, length = _HEAD.unpack(file.read(_HEAD.size).ljust(_HEAD.size, b"\0"))
        return _Text(file.read(min(length, 4096))).text() if kind == _HEADER else ""
