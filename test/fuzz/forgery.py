"""Files that a malicious person writes: any value anywhere in a header, a table or an array, and checksums that fit."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import struct
import tempfile
from collections.abc import Iterator, MutableMapping, MutableSequence
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.maps.tensor_file import read_tensors, write_tensors

__all__ = ["forged", "forged_json", "forged_tensors", "opened", "sealed"]

_VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 7, 2**31, 2**63, 2**64, -(2**63), 10**400, 1.5, 1e300, -1e300, 1e-300,
    float("nan"), float("inf"), [float("nan")] * 4, [10**400], [1] * 100, [0, 2**63], [-8, 8], [2**62, 4], [], {}, [[]],
    "", "x", "\ud800", "\x1b[2J", "\0", "/", "a/../../b", "x" * 5000, "F64", "OBJECT", "PINHOLE", "OPENCV",
    {"": None}, {"recordings": 5},
)  # fmt: skip


def opened(content: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """(header without its description, description, arrays) of an honest map file."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"].pop("description")), content[8 + length :]


def sealed(header: dict[str, Any], description: Any, arrays: bytes) -> bytes:
    """A map file of these parts. See hfnet_core/maps/tensor_file.py."""
    metadata = header.get("__metadata__")
    own = {"header_sha256": "0" * 64, "description": json.dumps(description)}
    header = {**header, "__metadata__": {**metadata, **own} if isinstance(metadata, dict) else own}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    raw = raw.replace(b"0" * 64, hashlib.sha256(raw).hexdigest().encode(), 1)
    return struct.pack("<Q", len(raw)) + raw + arrays


def forged(content: bytes, rng: random.Random) -> bytes:
    """One to three values of the header replaced, lost, doubled or put deep inside of others."""
    header, description, arrays = opened(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(description if rng.random() < 0.7 else header, rng)
    return sealed(header, description, arrays)


def forged_json(content: bytes, rng: random.Random) -> bytes:
    """The same done to a JSON text."""
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(value, rng)
    return json.dumps(value).encode()


def forged_tensors(content: bytes, rng: random.Random) -> bytes:
    """A file of tensors, see hfnet_core/maps/tensor_file.py: arrays or tables among its metadata changed, sealed."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a"
        path.write_bytes(content)
        stored = read_tensors(path, verify=True, accept=lambda metadata: None, in_memory=True)
        arrays, metadata = dict(stored.arrays), dict(stored.metadata)
        tables = [key for key, text in metadata.items() if text.startswith("{")]
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if tables and rng.random() < 0.4:
                key = rng.choice(tables)
                metadata[key] = forged_json(metadata[key].encode(), rng).decode()
            elif arrays:
                _change_array(arrays, rng)
        write_tensors(path, arrays, metadata)
        return path.read_bytes()


def _change(value: Any, rng: random.Random) -> None:
    table, key = rng.choice(list(_places(value)) or [({"": None}, "")])
    how = rng.random()
    if how < 0.1:
        del table[key]
    elif how < 0.2:
        found = table[key]
        for _level in range(rng.choice((1, 60, 300))):  # thrice in one place, and json can still write it
            found = [found]
        table[key] = found
    elif how < 0.3 and isinstance(table, MutableMapping):
        table[rng.choice(("strange", "\x1b", "", "__class__"))] = table[key]
    else:
        table[key] = copy.deepcopy(rng.choice(_VALUES))


def _change_array(arrays: dict[str, Any], rng: random.Random) -> None:
    """Other numbers in one, another shape or type, or none."""
    name = rng.choice(sorted(arrays))
    array, how = np.array(arrays[name]), rng.random()
    if how < 0.05:
        del arrays[name]
    elif how < 0.12:
        arrays[name] = array.astype(rng.choice(("f8", "f4", "f2", "i8", "i4", "i1", "u1")))
    elif how < 0.2:
        arrays[name] = rng.choice((array.reshape(-1), array[None], array[:0], array[..., None], array[:-1]))
    elif how < 0.25:
        arrays[name] = np.concatenate([array, array[-1:]])
    elif array.size:
        flat = array.reshape(-1)
        most = rng.choice((1, 1, 3, flat.size))
        for index in rng.sample(range(flat.size), k=min(most, flat.size, 1000)):
            flat[index] = _number(array.dtype, rng)
        arrays[name] = array


def _number(dtype: np.dtype[Any], rng: random.Random) -> Any:
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        return rng.choice(
            (0.0, -1.0, 1e-30, 1e3, 60000.0, largest, -largest, float("nan"), float("inf"), -float("inf"))
        )
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return rng.choice((0, 1, 2, 7, 100, low, high, low // 2, high // 2, max(low, -1)))


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every (table, key) and (list, index) below a value; of long lists the first few."""
    if depth > 20:
        return
    if isinstance(value, MutableMapping):
        for key in list(value):
            yield value, key
            yield from _places(value[key], depth + 1)
    elif isinstance(value, MutableSequence):
        for index in range(min(len(value), 5)):
            yield value, index
            yield from _places(value[index], depth + 1)
