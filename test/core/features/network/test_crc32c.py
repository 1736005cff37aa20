from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.features.network.crc32c import crc32c, unmask


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this and the next three: RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def bitwise(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 8, 12, 13, 63, 64, 100, 1021, 4100])
def test_any_length(length: int) -> None:
    data = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    assert crc32c(data.data) == crc32c(data.tobytes()) == bitwise(data.tobytes())


def test_longer_than_a_chunk() -> None:
    """The register is carried from chunk to chunk."""
    data = np.random.default_rng(0).integers(0, 256, (1 << 20) + 9, dtype=np.uint8).tobytes()
    assert crc32c(data) == bitwise(data)


def test_unmask() -> None:
    crc = 0x12345678
    assert unmask(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF) == crc
