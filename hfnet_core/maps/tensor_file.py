"""Named arrays in one file, in the safetensors layout, plus checks that the layout leaves to the reader.

Layout: 8 bytes little-endian length of the header, the header (JSON, padded with spaces), then the arrays without
gaps. Our metadata adds two things: `header_sha256`, over the header with that hash as zeros, so that no byte of the
header can change unnoticed; and `sha256`, of each array's bytes. Any safetensors reader can open the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import stat
import struct
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import MapError
from hfnet_core.files import shortage
from hfnet_core.limits import MAP_HEADER
from hfnet_core.maps.description import parse_json

__all__ = ["UNFINISHED", "Pieces", "TensorFile", "read_tensors", "write_tensors"]

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_DIMENSIONS = 8  # of an array; ours have three
_NO_HASH = "0" * 64
_CHUNK = 1 << 20
UNFINISHED = ".part"  # how the names of files end that are being written


@dataclass(frozen=True, eq=False)
class TensorFile:
    """What a file holds: read-only memory-mapped arrays, and its metadata (text to text, hashes removed)."""

    arrays: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Pieces:
    """An array too large for the memory, made while it is written: consecutive rows that together have `shape`."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    rows: Iterable[NDArray[Any]]


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any] | Pieces], metadata: Mapping[str, str]) -> None:
    """Write a file complete or not at all: a temporary one beside it, synchronised, then renamed.

    The same content gives the same bytes. Raises MapError where the place cannot be written.
    """
    # Largest items first keeps every array aligned to its item size without gaps.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    stored = {name: arrays[name] for name in names}
    header = _header(stored, dict.fromkeys(names, _NO_HASH), metadata)  # as long as the final one
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    except OSError as error:
        raise MapError(f"{path}: cannot be written ({error.strerror})") from error
    unfinished = Path(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            hashes = {name: _write(file, array) for name, array in stored.items()}
            file.seek(8)
            file.write(_header(stored, hashes, metadata))
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
    except OSError as error:
        raise MapError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _write(file: BinaryIO, array: NDArray[Any] | Pieces) -> str:
    """Write an array's bytes. Returns their hash."""
    digest = hashlib.sha256()
    rows = array.rows if isinstance(array, Pieces) else (array,)
    written, dtype = 0, array.dtype.newbyteorder("<")
    for piece in rows:
        raw = np.ascontiguousarray(piece, dtype=dtype).reshape(-1).view(np.uint8).data
        digest.update(raw)
        file.write(raw)
        written += len(raw)
    if written != _bytes_of(array):
        raise ValueError(f"pieces of {written} bytes for an array of {_bytes_of(array)}")
    return digest.hexdigest()


def _bytes_of(array: NDArray[Any] | Pieces) -> int:
    return math.prod(array.shape) * array.dtype.itemsize


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _header(
    arrays: Mapping[str, NDArray[Any] | Pieces], hashes: Mapping[str, str], metadata: Mapping[str, str]
) -> bytes:
    content: dict[str, Any] = {
        "__metadata__": {**metadata, "sha256": json.dumps(hashes, sort_keys=True), "header_sha256": _NO_HASH}
    }
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + _bytes_of(array)
        dtype = _NAMES[array.dtype.newbyteorder("<")]
        content[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    text += b" " * (-(len(text)) % 8)
    return text.replace(_hash_entry(_NO_HASH), _hash_entry(hashlib.sha256(text).hexdigest()), 1)


def _hash_entry(value: str) -> bytes:
    return f'"header_sha256":"{value}"'.encode("ascii")


def read_tensors(
    path: Path,
    *,
    verify: bool,
    accept: Callable[[Mapping[str, str]], None],
    in_memory: bool = False,
    between: Callable[[], None] = lambda: None,
) -> TensorFile:
    """Open a file. Sizes are checked before anything is allocated; arrays are mapped, not read.

    accept: called with the metadata before the arrays are looked at, to refuse foreign files. verify: compare every
    array with its hash (reads the whole file). in_memory: read the file instead of mapping it: a mapped file
    that somebody shortens ends the process. between: called after every megabyte that is verified; what it raises ends
    the work. Raises MapError naming the file and what is wrong, ShortageError where that is not the file.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise MapError(f"{path}: is no regular file")
            size = status.st_size
            raw = _read_header(path, file.read(8), size, file.read)
            content = _parse(path, raw)
            metadata = _metadata(path, content, raw)
            accept(metadata)
            start = 8 + len(raw)
            layout = _layout(path, content, size - start)
            mapped = _contents(file) if in_memory else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if verify:
                _verify(path, layout, _hashes(path, metadata), _Pieces(file, start, between))
    except OSError as error:
        raise shortage(path, error) or MapError(f"{path}: cannot be opened ({error.strerror or error})") from error
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in layout.items():
        count = (entry.end - entry.begin) // entry.dtype.itemsize
        flat = (
            np.frombuffer(mapped, dtype=entry.dtype, count=count, offset=start + entry.begin)
            if count
            else (np.zeros(0, dtype=entry.dtype))
        )
        arrays[name] = flat.reshape(entry.shape)
    shown = {name: value for name, value in metadata.items() if name not in ("sha256", "header_sha256")}
    return TensorFile(arrays, shown)


def _contents(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


@dataclass(frozen=True)
class _Entry:
    """Where an array lies, in bytes from the end of the header."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def _read_header(path: Path, prefix: bytes, size: int, read: Callable[[int], bytes]) -> bytes:
    if len(prefix) < 8:
        raise MapError(f"{path}: is no map file ({size} bytes); build one with `hfnet map build`")
    length = struct.unpack("<Q", prefix)[0]
    if 8 + length > size:
        raise MapError(f"{path}: is no map file or is cut off (header of {length} bytes in a file of {size})")
    if length > MAP_HEADER.value():
        raise MapError(f"{path}: has a header of {length / 1e6:.0f} MB, more than the limit of {MAP_HEADER}")
    return read(length)


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        content = parse_json(raw.decode("utf-8"))
    except ValueError as error:
        raise MapError(f"{path}: is no map file or its header is damaged; build it again") from error
    if not isinstance(content, dict):
        raise MapError(f"{path}: is no map file (its header is no table)")
    return content


def _metadata(path: Path, content: dict[str, Any], raw: bytes) -> dict[str, str]:
    metadata = content.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MapError(f"{path}: is no map file (no metadata)")
    written = metadata.get("header_sha256")
    if written is None or not written.isascii():
        raise MapError(f"{path}: is no map file (safetensors without our metadata)")
    blank = raw.replace(_hash_entry(written), _hash_entry(_NO_HASH), 1)
    if hashlib.sha256(blank).hexdigest() != written:
        raise MapError(f"{path}: the header does not match its checksum: the file is damaged, copy or build it again")
    return metadata


def _layout(path: Path, content: Mapping[str, Any], available: int) -> dict[str, _Entry]:
    """Every array's place, once dtype, shape and offsets have been checked to be sane, adjacent and complete."""
    out = {name: _entry(path, name, value) for name, value in content.items()}
    position = 0
    for name, entry in sorted(out.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            raise MapError(f"{path}: array {name} starts at byte {entry.begin}, expected {position}: damaged header")
        position = entry.end
    if position != available:
        raise MapError(
            f"{path}: has {available} bytes of arrays, its header announces {position}: the file is cut off "
            "or damaged, copy or build it again"
        )
    return out


def _entry(path: Path, name: str, value: Any) -> _Entry:
    try:
        dtype = _DTYPES[value["dtype"]]
        shape = tuple(_size(item) for item in value["shape"])
        begin, end = (_size(item) for item in value["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise MapError(f"{path}: the description of array {name!r} is damaged or of an unknown type") from error
    if len(shape) > _MAX_DIMENSIONS:
        raise MapError(f"{path}: array {name!r} has {len(shape)} dimensions, more than {_MAX_DIMENSIONS}: damaged")
    items = 1
    for item in shape:
        items *= item  # Python integers: no overflow
    if items * dtype.itemsize != end - begin:
        raise MapError(f"{path}: array {name!r} of shape {shape} does not fit its {end - begin} bytes")
    return _Entry(dtype, shape, begin, end)


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value


def _hashes(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        return dict(parse_json(metadata["sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise MapError(f"{path}: has no checksums; build it again") from error


@dataclass(frozen=True, eq=False)
class _Pieces:
    """A file read in pieces, so that checking a large map does not fill the memory. start: where its arrays begin."""

    file: BinaryIO
    start: int
    between: Callable[[], None]

    def of(self, entry: _Entry) -> Iterable[bytes]:
        self.file.seek(self.start + entry.begin)
        left = entry.end - entry.begin
        while left > 0 and (piece := self.file.read(min(_CHUNK, left))):
            left -= len(piece)
            yield piece
            self.between()


def _verify(path: Path, layout: Mapping[str, _Entry], hashes: Mapping[str, Any], pieces: _Pieces) -> None:
    """Compare arrays with their hashes."""
    for name, entry in layout.items():
        digest = hashlib.sha256()
        for piece in pieces.of(entry):
            digest.update(piece)
        if digest.hexdigest() != hashes.get(name):
            raise MapError(f"{path}: array {name} does not match its checksum: damaged, copy or build it again")
