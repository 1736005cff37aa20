"""Arrays in an `.npz` that anybody may have written."""

from __future__ import annotations

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError, first_line
from hfnet_core.files import read_file
from hfnet_core.limits import FEATURES

__all__ = ["read_arrays"]

# What zipfile, its decompressors and numpy's headers, which are Python literals, raise of what is none.
_DAMAGED = (
    OSError, zipfile.BadZipFile, ValueError, TypeError, KeyError, NotImplementedError, RuntimeError, EOFError,
    zlib.error, lzma.LZMAError, struct.error, SyntaxError, tokenize.TokenError, OverflowError,
)  # fmt: skip


def read_arrays(path: Path, keys: Sequence[str], what: str) -> dict[str, NDArray[Any]]:
    """Arrays of an `.npz` by their names, as far as it has them. what: it is, for messages.

    Nothing is allocated that the file does not hold; objects are not unpacked. Raises DatasetError naming the file
    where it is missing, damaged or larger than the limit.
    """
    found: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(read_file(path, FEATURES, what=what))) as archive:
            members = {item.filename: item for item in archive.infolist()}
            left = FEATURES.value()
            for key in keys:
                member = members.get(f"{key}.npy")
                if member is None:
                    continue
                left -= member.file_size
                if left < 0:
                    raise DatasetError(f"{path}: its arrays have more than the limit of {FEATURES}")
                with archive.open(member) as stored:
                    found[key] = _array(stored.read(member.file_size))  # bounded, whatever it unpacks to
    except _DAMAGED as error:
        raise DatasetError(f"{path}: cannot be read as {what} ({first_line(error)})") from error
    return found


def _array(content: bytes) -> NDArray[Any]:
    """An array as numpy stores it. Raises ValueError where its bytes are not those that it promises."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array of version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "fiuUb" or (dtype.kind == "f" and dtype.itemsize > 8):
        raise ValueError(f"an array of {dtype}")
    count = 1
    for side in shape:
        count *= side
    rest = len(content) - file.tell()
    if count * dtype.itemsize != rest or any(side < 0 for side in shape):
        raise ValueError(f"an array {list(shape)} in {rest} bytes")
    flat = np.frombuffer(content, dtype, count, file.tell()) if rest else np.zeros(count, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
