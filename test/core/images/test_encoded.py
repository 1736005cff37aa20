"""Encoded images of strangers: their size is known before room is made for pixels."""

from __future__ import annotations

import random
import resource
import struct
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers import textured_image

from hfnet_core.errors import DatasetError
from hfnet_core.images.encoded import decode, encoded_size
from hfnet_core.images.messages import decode_compressed_image, decode_raw_image
from hfnet_core.images.orientation import AS_STORED
from hfnet_core.images.reading import read_image

SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp", ".pgm", ".ppm")


def encoded(suffix: str, width: int = 48, height: int = 33, *options: int) -> bytes:
    image = textured_image(width, height)
    image = image if suffix == ".pgm" else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return bytes(cv2.imencode(suffix, image, list(options))[1])


def large_png(width: int = 65535, height: int = 65535) -> bytes:
    """A whole PNG of so many black pixels: 8 kB that decode to 4 GB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_size_in_the_header_is_that_of_the_pixels(suffix: str) -> None:
    assert encoded_size(encoded(suffix)) == (48, 33)


def test_sizes_in_all_kinds_of_webp_and_bmp() -> None:
    assert encoded_size(encoded(".webp", 48, 33, cv2.IMWRITE_WEBP_QUALITY, 101)) == (48, 33)  # lossless
    assert encoded_size(b"RIFF....WEBPVP8X" + bytes(8) + b"\x2f\0\0\x20\0\0") == (48, 33)
    assert encoded_size(b"BM" + bytes(12) + struct.pack("<Iii", 40, 48, -33)) == (48, 33)
    assert encoded_size(b"BM" + bytes(12) + struct.pack("<IHH", 12, 48, 33)) == (48, 33)
    assert encoded_size(b"P5\n# remark 1 2\n48 33\n255\n") == (48, 33)


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a\x30\x00\x21\x00", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"P5"]
)
def test_what_tells_no_size_is_no_image(content: bytes, tmp_path: Path) -> None:
    assert encoded_size(content) is None
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.png: not an image that can be read"):
        read_image(tmp_path / "a.png")


def test_a_picture_of_four_billion_pixels_is_refused_without_room_for_them(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(large_png())
    tracemalloc.start()
    with pytest.raises(DatasetError, match=r"large\.png: image of 65535x65535 pixels is more than the limit of 128 "):
        read_image(path)
    message = SimpleNamespace(data=np.frombuffer(large_png(), np.uint8), format="png")
    with pytest.raises(DatasetError, match="raised by HFNET_MAX_IMAGE_MPX"):
        decode_compressed_image(message)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_png_too_short_for_its_pixels_is_damaged_without_room_for_them() -> None:
    """Within the limit of pixels, OpenCV would take two gigabytes for it."""
    content = np.frombuffer(large_png(12_000, 10_000), np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decode(content, AS_STORED) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_of_one_colour_which_is_as_short_as_any_is_decoded(channels: int, kind: type) -> None:
    image = np.full((1500, 1600, channels), 7, kind)
    content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    found = decode(content, cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert np.array_equal(found.reshape(image.shape), image)


def test_the_limit_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(".png", 1200, 1000))
    assert read_image(path).shape == (1000, 1200) or read_image(path).shape == (1000, 1200, 3)
    monkeypatch.setenv("HFNET_MAX_IMAGE_MPX", "1")
    with pytest.raises(DatasetError, match="limit of 1 megapixels"):
        read_image(path)
    monkeypatch.delenv("HFNET_MAX_IMAGE_MPX")
    monkeypatch.setenv("HFNET_MAX_IMAGE_FILE_MB", "1")
    path.write_bytes(bytes(2_000_000))
    with pytest.raises(DatasetError, match="has 2 MB, more than the limit of 1 MB"):
        read_image(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_gives_an_image_or_an_error_of_ours(suffix: str) -> None:
    content, rng = encoded(suffix), random.Random(suffix)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(min(len(damaged), rng.choice((40, 10**9))))] = rng.randrange(256)
        try:
            image = decode(np.frombuffer(bytes(damaged[: rng.randint(1, len(damaged))]), np.uint8), AS_STORED)
        except DatasetError as error:
            assert "\n" not in str(error)
        else:
            assert image is None or image.size <= 4 * 128e6


def test_the_step_of_a_single_row_makes_no_room() -> None:
    message = SimpleNamespace(
        height=1, width=4, step=2**32 - 1, encoding="mono8", is_bigendian=0, data=np.arange(4, dtype=np.uint8)
    )
    assert decode_raw_image(message).tolist() == [[0, 1, 2, 3]]
