"""Map files that a malicious person writes: any value anywhere in the header, and a checksum that fits it."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import struct
from collections.abc import Iterator, MutableMapping, MutableSequence
from typing import Any

__all__ = ["forged", "opened", "sealed"]

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
        places = list(_places(description if rng.random() < 0.7 else header))
        table, key = rng.choice(places)
        how = rng.random()
        if how < 0.1:
            del table[key]
        elif how < 0.2:
            value = table[key]
            for _level in range(rng.choice((1, 60, 300))):  # thrice in one place, and json can still write it
                value = [value]
            table[key] = value
        elif how < 0.3 and isinstance(table, MutableMapping):
            table[rng.choice(("strange", "\x1b", "", "__class__"))] = table[key]
        else:
            table[key] = copy.deepcopy(rng.choice(_VALUES))
    return sealed(header, description, arrays)


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
