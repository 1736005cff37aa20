"""Reads MATLAB files of version 5 to 7, as far as networks of MatConvNet need: numbers, texts, cells and structs.

Layout after MathWorks' "MAT-File Format" (level 5). Our own, because scipy's reader may crash the process on a damaged
file; a process of its own for that reader would need limits, a way to send nested values back without pickles, and a
message for each way to die, which reads no simpler. Every size is checked before it is used, no class of the file is
instantiated.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.errors import ModelError
from hfnet_core.files import read_file
from hfnet_core.limits import MODEL

__all__ = ["MatlabObject", "read_matlab"]

_HEADER_BYTES = 128
_COMPRESSED, _MATRIX = 15, 14
_NUMBERS = {1: "i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_COMPLEX = 0x800
_MAX_DEPTH = 12  # of cells and structs in each other
_MAX_BYTES = 2**31  # of one variable; the format allows no more


@dataclass(frozen=True)
class MatlabObject:
    """Stands for a value that is not read: an object, function, sparse or complex matrix.

    kind: MATLAB's number of its class.
    """

    kind: int


def read_matlab(path: Path, name: str) -> Any:
    """The variable `name` of a MATLAB file.

    Numbers become arrays with MATLAB's dimensions, row vectors of characters strings, cells lists in column-major
    order, structs dictionaries (arrays of them lists); the rest a MatlabObject. Raises ModelError when the file is
    missing, damaged, of another version, or has no such variable.
    """
    data = read_file(path, MODEL, ModelError)
    try:
        return _find(memoryview(data), name)
    except (ValueError, zlib.error) as error:
        raise ModelError(f"{path}: {error}") from error


def _find(data: memoryview, name: str) -> Any:
    if bytes(data[:19]) == b"MATLAB 7.3 MAT-file":
        raise ValueError("MATLAB file of version 7.3; save it with the option '-v7'")
    if len(data) < _HEADER_BYTES or bytes(data[124:128]) != b"\x00\x01IM":
        raise ValueError("not a MATLAB file of version 5 to 7 (little-endian)")
    position = _HEADER_BYTES
    while position < len(data):
        kind, content, position = _element(data, position, last_may_be_unpadded=True)
        if kind == _COMPRESSED:
            kind, content = _decompressed(content)
        if kind == _MATRIX:
            found, value = _matrix(content, 0, name)
            if found == name:
                return value
    raise ValueError(f"holds no variable {name!r}")


def _decompressed(content: memoryview) -> tuple[int, memoryview]:
    """Type and content of the one element in a compressed one."""
    stream = zlib.decompressobj()
    tag = stream.decompress(content, 8)
    if len(tag) < 8:
        raise ValueError("damaged or truncated (a compressed variable is too short)")
    kind, size = (int(number) for number in np.frombuffer(tag, "<u4"))
    if size > _MAX_BYTES:
        raise ValueError(f"damaged (a variable of {size} bytes)")
    value = stream.decompress(stream.unconsumed_tail, size) if size else b""
    if len(value) < size:
        raise ValueError("damaged or truncated (a compressed variable is too short)")
    stream.decompress(stream.unconsumed_tail, 1)  # reaches the end of the stream, where its checksum is compared
    if not stream.eof:
        raise ValueError("damaged or truncated (a compressed variable does not end)")
    return kind, memoryview(value)


def _element(data: memoryview, position: int, last_may_be_unpadded: bool = False) -> tuple[int, memoryview, int]:
    """Type and content of the element at `position`, and the position of the next."""
    if position + 8 > len(data):
        raise ValueError("damaged or truncated (an element begins at the end)")
    kind, size = (int(number) for number in np.frombuffer(data[position : position + 8], "<u4"))
    if kind >> 16:  # up to four bytes lie in the tag itself
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise ValueError(f"damaged (a small element of {size} bytes)")
        return kind, data[position + 4 : position + 4 + size], position + 8
    start, end = position + 8, position + 8 + size
    if end > len(data):
        raise ValueError("damaged or truncated (an element reaches beyond its parent)")
    following = end if kind == _COMPRESSED else start + -(-size // 8) * 8
    if following > len(data) and not last_may_be_unpadded:
        following = end
    return kind, data[start:end], following


def _matrix(data: memoryview, depth: int, wanted: str | None = None) -> tuple[str, Any]:
    """Name and value of a matrix element's content; the value is left out (None) if another name is wanted."""
    if len(data) == 0:
        return "", np.zeros((0, 0))
    if depth > _MAX_DEPTH:
        raise ValueError("damaged (values nested too deeply)")
    _, flags, position = _element(data, 0)
    if len(flags) != 8:
        raise ValueError("damaged (array flags)")
    word = int(np.frombuffer(flags, "<u4")[0])
    kind = word & 0xFF
    if kind not in _CLASSES and kind not in (_CELL, _STRUCT, _CHAR):
        return "", MatlabObject(kind)
    _, sizes, position = _element(data, position)
    if len(sizes) % 4 or len(sizes) < 8:
        raise ValueError("damaged (dimensions)")
    shape = tuple(int(size) for size in np.frombuffer(sizes, "<i4"))
    if min(shape) < 0:
        raise ValueError("damaged (a negative dimension)")
    _, name_bytes, position = _element(data, position)
    name = bytes(name_bytes).decode("latin-1")
    if wanted is not None and name != wanted:
        return name, None
    if word & _COMPLEX:
        return name, MatlabObject(kind)
    return name, _value(data, position, kind, shape, depth)


def _value(data: memoryview, position: int, kind: int, shape: tuple[int, ...], depth: int) -> Any:
    count = math.prod(shape)
    if kind == _CELL:
        return _values(data, position, count, depth)
    if kind == _STRUCT:
        return _structs(data, position, count, depth)
    element, content, _ = _element(data, position)
    if kind == _CHAR:
        if element not in _TEXTS:
            raise ValueError(f"damaged (text of type {element})")
        return bytes(content).decode(_TEXTS[element])
    if element not in _NUMBERS:
        raise ValueError(f"damaged (numbers of type {element})")
    dtype = np.dtype(_NUMBERS[element])
    if len(content) != count * dtype.itemsize:
        raise ValueError(f"damaged (an array {shape} with {len(content)} bytes)")
    return np.frombuffer(content, dtype).astype(_CLASSES[kind], copy=False).reshape(shape, order="F")


def _values(data: memoryview, position: int, count: int, depth: int) -> list[Any]:
    """`count` matrix elements, one after another."""
    if count > len(data) // 8:
        raise ValueError(f"damaged ({count} values in {len(data)} bytes)")
    values = []
    for _ in range(count):
        kind, content, position = _element(data, position)
        if kind != _MATRIX:
            raise ValueError(f"damaged (an element of type {kind} among values)")
        values.append(_matrix(content, depth + 1)[1])
    return values


def _structs(data: memoryview, position: int, count: int, depth: int) -> Any:
    """One dictionary, or a list of them if there are more or fewer."""
    _, length_bytes, position = _element(data, position)
    _, names, position = _element(data, position)
    length = int.from_bytes(length_bytes, "little")
    if len(length_bytes) != 4 or length < 1 or len(names) % length:
        raise ValueError("damaged (names of fields)")
    fields = [
        bytes(names[start : start + length]).split(b"\0")[0].decode("latin-1") for start in range(0, len(names), length)
    ]
    values = _values(data, position, count * len(fields), depth)
    if not fields:
        return {}
    structs = [
        dict(zip(fields, values[start : start + len(fields)], strict=True))
        for start in range(0, len(values), len(fields))
    ]
    return structs[0] if count == 1 else structs
