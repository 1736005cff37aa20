"""Writes TensorFlow checkpoints for the tests; TensorFlow 2.21 was seen to read them back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import google_crc32c
import numpy as np

_FLOAT32 = 1


def write_checkpoint(prefix: Path, variables: Mapping[str, np.ndarray], shards: int = 1, per_block: int = 40) -> None:
    """Float32 variables as PREFIX.index and PREFIX.data-*; `per_block`: keys in each block of the index."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    pairs = [(b"", _number(1, shards) + _bytes(3, _number(1, 1)))]
    files = [prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}").open("wb") for shard in range(shards)]
    for index, (name, value) in enumerate(sorted(variables.items())):
        data = np.ascontiguousarray(value, dtype="<f4").tobytes()
        shard = index % shards
        shape = b"".join(_bytes(2, _number(1, size)) for size in value.shape)
        entry = _number(1, _FLOAT32) + _bytes(2, shape) + _number(3, shard) + _number(4, files[shard].tell())
        entry += _number(5, len(data)) + bytes([6 << 3 | 5]) + masked(data).to_bytes(4, "little")
        files[shard].write(data)
        pairs.append((name.encode(), entry))
    for file in files:
        file.close()
    prefix.with_name(prefix.name + ".index").write_bytes(_table(pairs, per_block))


def masked(data: bytes) -> int:
    """The checksum of `data` as it is stored."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table(pairs: list[tuple[bytes, bytes]], per_block: int) -> bytes:
    content, index = b"", []
    for start in range(0, len(pairs), per_block):
        chunk = pairs[start : start + per_block]
        handle, content = _append(content, _block(chunk))
        index.append((chunk[-1][0], handle))
    metaindex, content = _append(content, _block([]))
    handle, content = _append(content, _block(index))
    return content + (metaindex + handle).ljust(40, b"\0") + 0xDB4775248B80FB57.to_bytes(8, "little")


def _append(content: bytes, block: bytes) -> tuple[bytes, bytes]:
    """Handle of the block, and the content with it and its trailer."""
    stored = block + b"\0"
    handle = _varint(len(content)) + _varint(len(block))
    return handle, content + stored + masked(stored).to_bytes(4, "little")


def _block(pairs: list[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    content, restarts, last = b"", [0], b""
    for number, (key, value) in enumerate(pairs):
        shared = 0
        if number % interval == 0:
            restarts = restarts if number == 0 else [*restarts, len(content)]
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        content += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        last = key
    return content + np.array([*restarts, len(restarts)], "<u4").tobytes()


def _varint(value: int) -> bytes:
    result = b""
    while value > 127:
        result += bytes([value & 127 | 128])
        value >>= 7
    return result + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
