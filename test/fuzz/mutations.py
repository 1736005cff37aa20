"""Seeded damage: what disks, cables, text editors and strangers do to files."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

__all__ = ["NUMBERS", "mutated", "mutated_files"]

_WORDS = (
    "nan", "inf", "-inf", "-1", "0", "1e300", "-1e300", "1e-300", "99999999999999999999", "18446744073709551616",
    "4294967295", "", "\0", "é", "\ud7ff", "\u202e", "\x1b[2J", "[", "]", "{", "}", '"', ":", ",", "#", "&a", "*a",
    "!!python/x", "null", "true", "../../x", "/", "\\ud800", "9" * 5000, "[" * 2000, "0x10", "1_0", "\u0663",
)  # fmt: skip
_BITS = (7, 8, 15, 16, 24, 31, 32, 40, 56, 63, 64)
NUMBERS = (0, 1, *(2**bits for bits in _BITS), *(2**bits - 1 for bits in _BITS))


def _position(rng: random.Random, data: bytearray) -> int:
    """Anywhere, headers and trailers more often than their share."""
    end = len(data)
    where = rng.random()
    if where < 0.3:
        return rng.randrange(min(end, 256))
    if where < 0.4:
        return max(0, end - 1 - rng.randrange(min(end, 256)))
    return rng.randrange(end)


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[_position(rng, data)] ^= 1 << rng.randrange(8)


def _replace(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 4))):
        data[_position(rng, data)] = rng.randrange(256)


def _number(rng: random.Random, data: bytearray) -> None:
    size = rng.choice((1, 2, 4, 8))
    value = (rng.choice(NUMBERS) + rng.choice((-1, 0, 0, 1))) % (1 << 8 * size)
    at = _position(rng, data)
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _delete(rng: random.Random, data: bytearray) -> None:
    at = _position(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 8, 100, 5000))]


def _insert(rng: random.Random, data: bytearray) -> None:
    at = _position(rng, data)
    data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 8, 200))))


def _repeat(rng: random.Random, data: bytearray) -> None:
    at = _position(rng, data)
    length = rng.choice((1, 8, 64, 1000))
    data[at:at] = data[at : at + length] * rng.choice((1, 1, 3, 50))


def _move(rng: random.Random, data: bytearray) -> None:
    source, target, length = _position(rng, data), _position(rng, data), rng.choice((4, 8, 64, 500))
    data[target : target + length] = data[source : source + length]


def _zero(rng: random.Random, data: bytearray) -> None:
    at = _position(rng, data)
    length = min(rng.choice((4, 64, 512, 4096)), len(data) - at)
    data[at : at + length] = bytes([rng.choice((0, 255))]) * length


def _word(rng: random.Random, data: bytearray) -> None:
    """Of a text: another word in the place of one."""
    words = data.split(b" ")
    words[rng.randrange(len(words))] = rng.choice(_WORDS).encode("utf-8", "surrogatepass")
    data[:] = b" ".join(words)


def _line(rng: random.Random, data: bytearray) -> None:
    """Of a text: a line lost, doubled or moved."""
    lines = data.split(b"\n")
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    line = lines[at]
    if rng.random() < 0.5:
        del lines[at]
    if rng.random() < 0.5:
        lines[to:to] = [line] * rng.choice((1, 1, 2, 20))
    data[:] = b"\n".join(lines)


_BINARY: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _flip, _replace, _number, _number, _number, _cut, _delete, _insert, _repeat, _move, _zero,
)  # fmt: skip
_TEXT = (*_BINARY, *([_word] * 10), *([_line] * 4))


def mutated(content: bytes, rng: random.Random, *, text: bool = False) -> bytes:
    """The content after one to three kinds of damage."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            rng.choice(_TEXT if text else _BINARY)(rng, data)
    return bytes(data)


def mutated_files(files: Mapping[str, bytes], rng: random.Random, texts: tuple[str, ...]) -> dict[str, bytes]:
    """A folder of which one file, rarely two, is damaged. texts: endings of names of text files."""
    out = dict(files)
    for name in rng.sample(sorted(files), k=min(len(files), rng.choice((1, 1, 1, 2)))):
        out[name] = mutated(files[name], rng, text=name.endswith(texts))
    return out
