"""The wire format of protocol buffers, as far as checkpoints and models need it; no library, no generated code."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["fields", "varint"]

_MAX_BITS = 70  # of a number of seven bits a byte, for 64 in all


def varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """A base-128 number of at most 64 bits, and the position after it. Raises ValueError."""
    value = 0
    for shift in range(0, _MAX_BITS, 7):
        if position >= len(data):
            raise ValueError("truncated or damaged (a number is cut off)")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("damaged (a number has more than 64 bits)")


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int, bytes | memoryview]]:
    """Fields of a message as (number, integer value, bytes value); the one that does not apply is empty.

    Of a memoryview the values are parts of it, not copies. Raises ValueError for damage.
    """
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = varint(message, position)
            yield number, value, b""
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"damaged (protobuf wire type {wire})")
        if wire == 2:
            length, position = varint(message, position)
        else:
            length = 8 if wire == 1 else 4
        chunk = message[position : position + length]
        if len(chunk) < length:
            raise ValueError("damaged (a message is cut off)")
        position += length
        yield number, 0 if wire == 2 else int.from_bytes(chunk, "little"), chunk
