"""Damage to what protocol buffers hold: lengths still fit, so that it gets beyond the reader of the wire format."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mutations import NUMBERS, mutated

from hfnet_core.features.network.protobuf import varint

__all__ = ["mutated_protobuf", "number"]

_DEEPEST = 8


@dataclass
class _Field:
    """wire: 0 a number, 2 bytes or (children given) a message, 1 and 5 bytes of fixed length."""

    number: int
    wire: int
    value: int = 0
    content: bytes = b""
    children: list[_Field] | None = None


def mutated_protobuf(content: bytes, rng: random.Random) -> bytes:
    """One to three fields changed, lost, doubled, or put in the place of others."""
    root = _read(content, 0)
    assert root is not None
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _damage(root, rng)
    return _write(root)


def _read(content: bytes, depth: int) -> list[_Field] | None:
    """The fields of a message, None where it is none."""
    out, position = [], 0
    try:
        while position < len(content):
            tag, position = varint(content, position)
            field = _Field(tag >> 3, tag & 7)
            if not 0 < field.number < 64 or field.wire not in (0, 1, 2, 5):
                return None
            if field.wire == 0:
                field.value, position = varint(content, position)
            else:
                size, position = varint(content, position) if field.wire == 2 else ({1: 8, 5: 4}[field.wire], position)
                field.content = content[position : position + size]
                position += size
                if len(field.content) < size:
                    return None
                if field.wire == 2 and depth < _DEEPEST and field.content:
                    field.children = _read(field.content, depth + 1)
            out.append(field)
    except ValueError:
        return None
    return out


def number(value: int) -> bytes:
    """As base 128."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def _write(fields: list[_Field]) -> bytes:
    out = b""
    for field in fields:
        out += number(field.number << 3 | field.wire)
        if field.wire == 0:
            out += number(field.value)
            continue
        content = field.content if field.children is None else _write(field.children)
        out += (number(len(content)) if field.wire == 2 else b"") + content
    return out


def _damage(root: list[_Field], rng: random.Random) -> None:
    """A way down, each level as likely to be the last as any, then one change there."""
    fields, deeper = root, rng.randrange(_DEEPEST)
    while deeper and (inner := [field.children for field in fields if field.children]):
        fields, deeper = rng.choice(inner), deeper - 1
    if not fields:
        return
    at, how = rng.randrange(len(fields)), rng.random()
    field = fields[at]
    if how < 0.1:
        del fields[at]
    elif how < 0.2:
        fields[at:at] = [field] * rng.choice((1, 1, 2, 100))
    elif how < 0.3:
        other = rng.randrange(len(fields))
        fields[at], fields[other] = fields[other], fields[at]
    elif how < 0.4:
        field.number = rng.randrange(1, 32)
    elif field.wire == 0:
        field.value = rng.choice((*NUMBERS, field.value + 1, max(field.value - 1, 0))) % (1 << 64)
    else:
        _change(field, fields, rng)


def _change(field: _Field, fields: list[_Field], rng: random.Random) -> None:
    """Other bytes, or those of a neighbour of the same kind."""
    alike = [other for other in fields if other.number == field.number and other is not field]
    content = field.content if field.children is None else _write(field.children)
    if alike and rng.random() < 0.5:
        other = rng.choice(alike)
        content = other.content if other.children is None else _write(other.children)
    elif field.wire == 2:
        content = mutated(content, rng, text=True) if content else b"x"
    else:
        content = bytes(rng.randrange(256) for _ in content)
    field.content, field.children = content, None
