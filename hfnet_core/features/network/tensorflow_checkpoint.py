"""Reads TensorFlow checkpoints ("tensor bundles", format V2) without TensorFlow.

Layout, after tensorflow/core/protobuf/tensor_bundle.proto and LevelDB's doc/table_format.md: `PREFIX.index` is a sorted
string table from variable names to BundleEntryProto messages (type, shape, place, checksum), with a BundleHeaderProto
under the empty name; `PREFIX.data-SSSSS-of-NNNNN` hold the raw values. A SavedModel keeps one of these as
`variables/variables`. Every block and every tensor carries a masked CRC-32C, and all that are read are checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, ModelError
from hfnet_core.features.network.protobuf import fields, varint
from hfnet_core.files import read_file
from hfnet_core.limits import TEXT

__all__ = ["TensorFlowCheckpoint", "checkpoint_prefix"]

_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # compression type and checksum after each block
_SLICE = b"\0"  # starts the keys of parts of partitioned variables, which have an entry of their own as well
_FLOAT32 = 1  # DataType.DT_FLOAT
_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class _Entry:
    """Where one variable lies; `dtype` is TensorFlow's DataType, `crc` still masked."""

    dtype: int
    shape: tuple[int, ...] | None
    shard: int
    offset: int
    size: int
    crc: int
    sliced: bool


class TensorFlowCheckpoint:
    """The variables of one checkpoint.

    prefix: path without `.index`. Raises ModelError when the index is missing, damaged or of an unknown kind.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        index = _with_suffix(prefix, ".index")
        content = read_file(index, TEXT, ModelError, "a checkpoint's index")
        try:
            table = dict(_table(content))
            self._shards = _shard_count(table.pop(b"", None))
            self._entries = {key.decode(): _entry(value) for key, value in table.items() if key[:1] != _SLICE}
        except ValueError as error:
            raise ModelError(f"{index}: {error}; {_AGAIN}") from error

    def names(self) -> list[str]:
        """Names of all variables, sorted."""
        return sorted(self._entries)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a variable; None where the checkpoint leaves it open. KeyError if there is no such variable."""
        return self._entries[name].shape

    def read(self, name: str) -> NDArray[np.float32]:
        """The values of a float32 variable, checksum verified; ModelError with the reason otherwise."""
        entry = self._entries[name]
        if entry.sliced:
            raise ModelError(f"{self.prefix}: variable {name!r} is stored in slices; save it unpartitioned")
        if entry.dtype != _FLOAT32 or entry.shape is None:
            raise ModelError(f"{self.prefix}: variable {name!r} has data type {entry.dtype}, not float32 ({_FLOAT32})")
        if entry.size != 4 * math.prod(entry.shape) or entry.shard >= self._shards:
            raise ModelError(f"{self.prefix}.index: entry of {name!r} contradicts itself; {_AGAIN}")
        path = _with_suffix(self.prefix, f".data-{entry.shard:05d}-of-{self._shards:05d}")
        values = self._values(path, name, entry)
        if _checksum(values.view(np.uint8)) != _unmasked(entry.crc):
            raise ModelError(f"{path}: checksum of variable {name!r} is wrong, the file is damaged; {_AGAIN}")
        return values.reshape(entry.shape)

    def _values(self, path: Path, name: str, entry: _Entry) -> NDArray[np.float32]:
        try:
            available = path.stat().st_size
            if entry.offset + entry.size > available:
                raise ModelError(
                    f"{path}: truncated, variable {name!r} ends at byte {entry.offset + entry.size} "
                    f"of {available}; {_AGAIN}"
                )
            return np.fromfile(path, dtype="<f4", count=entry.size // 4, offset=entry.offset)
        except OSError as error:
            reason = error.strerror or "read failed"
            raise ModelError(f"{path}: cannot be read ({reason}); it belongs beside the .index file") from error


def checkpoint_prefix(source: Path) -> Path:
    """The prefix that `source` means: a SavedModel or checkpoint folder, a prefix, or one of the files.

    Raises ModelError where there is no checkpoint, or several.
    """
    if source.name == "saved_model.pb":
        source = source.parent
    if source.is_dir():
        for folder in (source / "variables", source):
            found = sorted(folder.glob("*.index"))
            if len(found) > 1:
                raise ModelError(f"{folder}: holds {len(found)} checkpoints; give one, such as {found[-1]}")
            if found:
                return found[0].with_name(_SUFFIX.sub("", found[0].name))
        raise ModelError(f"{source}: neither a SavedModel (no variables/variables.index) nor a checkpoint folder")
    prefix = source.with_name(_SUFFIX.sub("", source.name))
    if not _with_suffix(prefix, ".index").is_file():
        raise ModelError(
            f"{_with_suffix(prefix, '.index')}: no such file; give a SavedModel folder or a checkpoint prefix"
        )
    return prefix


def _with_suffix(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)  # Path.with_suffix would cut `model.ckpt-83096`


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All pairs of a sorted string table; ValueError for damage."""
    footer = content[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or not footer.endswith(_MAGIC):
        raise ValueError("not a TensorFlow checkpoint index, or truncated (no table footer)")
    _, _, position = _handle(footer, 0)  # of the metaindex, always empty here
    offset, size, _ = _handle(footer, position)
    for _, handle in _block(content, offset, size):
        offset, size, _ = _handle(handle, 0)
        yield from _block(content, offset, size)


def _handle(data: bytes, position: int) -> tuple[int, int, int]:
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return offset, size, position


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The pairs of one block; keys share a prefix with the one before."""
    end = offset + size
    if size < 4 or end + _TRAILER_BYTES > len(content) - _FOOTER_BYTES:
        raise ValueError("truncated or damaged (a block reaches beyond the file)")
    stored = int.from_bytes(content[end + 1 : end + _TRAILER_BYTES], "little")
    if _checksum(content[offset : end + 1]) != _unmasked(stored):
        raise ValueError(f"damaged (checksum of the block at byte {offset} is wrong)")
    if content[end] != 0:
        raise ValueError(f"compressed index (type {content[end]}) as only TensorFlow 1.1 wrote it is not supported")
    restarts = int.from_bytes(content[end - 4 : end], "little")
    limit = end - 4 * (restarts + 1)
    key, position = b"", offset
    while position < limit:
        shared, position = varint(content, position)
        own, position = varint(content, position)
        length, position = varint(content, position)
        if shared > len(key) or position + own + length > limit:
            raise ValueError("damaged (an entry reaches beyond its block)")
        key = key[:shared] + content[position : position + own]
        position += own
        yield key, content[position : position + length]
        position += length


def _checksum(data: bytes | NDArray[np.uint8]) -> int:
    try:
        import google_crc32c
    except ImportError as error:
        raise ConfigError("reading a checkpoint needs google-crc32c; pip install 'hfnet_ros[import]'") from error
    return int(google_crc32c.value(data))


def _unmasked(stored: int) -> int:
    """The checksum behind a stored one: LevelDB and TensorFlow rotate it and add a constant."""
    rotated = (stored - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated << 15 | rotated >> 17) & 0xFFFFFFFF


def _shard_count(header: bytes | None) -> int:
    """Number of data files, from the BundleHeaderProto."""
    if header is None:
        raise ValueError("not a TensorFlow checkpoint (its index has no header)")
    values = {number: value for number, value, _ in fields(header)}
    if values.get(2, 0) != 0:
        raise ValueError("written on a big-endian machine, which is not supported")
    if not 1 <= values.get(1, 0) <= 99999:
        raise ValueError(f"damaged ({values.get(1, 0)} data files)")
    return values[1]


def _entry(message: bytes) -> _Entry:
    """A BundleEntryProto."""
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    shape: tuple[int, ...] | None = ()
    sliced = False
    for number, value, chunk in fields(message):
        if number == 2:
            shape = _shape(chunk)
        elif number == 7:
            sliced = True
        elif number in numbers:
            numbers[number] = value
    return _Entry(numbers[1], shape, numbers[3], numbers[4], numbers[5], numbers[6], sliced)


def _shape(message: bytes | memoryview) -> tuple[int, ...] | None:
    """A TensorShapeProto; None for one of unknown rank or size."""
    sizes = []
    for number, value, chunk in fields(message):
        if number == 3 and value:
            return None
        if number == 2:
            sizes.append(next((size for field, size, _ in fields(chunk) if field == 1), 0))
    return tuple(sizes)
