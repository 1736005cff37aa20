from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bags import image_message

from hfnet_core.errors import DatasetError
from hfnet_core.images.messages import decode_compressed_image, decode_raw_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("encoding", "stored", "expected"),
    [
        ("rgb8", RGB, RGB),
        ("bgr8", RGB[:, :, ::-1], RGB),
        ("8UC3", RGB[:, :, ::-1], RGB),
        ("rgba8", np.dstack([RGB, RGB[:, :, 0]]), RGB),
        ("bgra8", np.dstack([RGB[:, :, ::-1], RGB[:, :, 0]]), RGB),
        ("mono8", RGB[:, :, 0], RGB[:, :, 0]),
        ("8UC1", RGB[:, :, 0], RGB[:, :, 0]),
        ("mono16", RGB[:, :, 0].astype("<u2") * 257, RGB[:, :, 0].astype(np.uint16) * 257),
        ("16UC1", RGB[:, :, 0].astype("<u2") * 3, RGB[:, :, 0].astype(np.uint16) * 3),
    ],
)
def test_encodings(encoding: str, stored: np.ndarray, expected: np.ndarray) -> None:
    found = decode_raw_image(image_message(height=6, width=8, encoding=encoding, data=stored.tobytes()))
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_row_padding_and_byte_order() -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
    rows = [row.astype(">u2").tobytes() + b"\xee" * 6 for row in values]
    message = image_message(height=3, width=4, encoding="mono16", step=14, is_bigendian=1, data=b"".join(rows))
    assert np.array_equal(decode_raw_image(message), values)
    message = image_message(height=3, width=4, encoding="mono16", step=14, is_bigendian=1, data=b"".join(rows)[:-6])
    assert np.array_equal(decode_raw_image(message), values)


@pytest.mark.parametrize(("pattern", "red"), [("rggb", (0, 0)), ("bggr", (1, 1)), ("grbg", (0, 1)), ("gbrg", (1, 0))])
def test_bayer_red_is_red(pattern: str, red: tuple[int, int]) -> None:
    mosaic = np.zeros((16, 16), dtype=np.uint8)
    mosaic[red[0] :: 2, red[1] :: 2] = 200
    found = decode_raw_image(image_message(height=16, width=16, encoding=f"bayer_{pattern}8", data=mosaic.tobytes()))
    inner = found[4:12, 4:12].reshape(-1, 3)
    assert (inner[:, 0] == 200).all()
    assert (inner[:, 1:] == 0).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 2, "width": 2, "encoding": "32FC1", "data": bytes(16)}, "'32FC1' is not supported"),
        ({"height": 2, "width": 2, "encoding": "rgb8", "data": bytes(11)}, "needs 12 bytes, has 11"),
        ({"height": 2, "width": 2, "encoding": "rgb8", "step": 5, "data": bytes(100)}, "with step 5"),
        ({"height": 0, "width": 2, "encoding": "rgb8", "data": b""}, "is empty"),
    ],
)
def test_refusals(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        decode_raw_image(image_message(**fields))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_images_come_in_rgb(suffix: str) -> None:
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    picture[:, :, 0] = 250  # red in RGB
    data = cv2.imencode(suffix, picture[:, :, ::-1])[1]
    found = decode_compressed_image(SimpleNamespace(format="whatever", data=data))
    assert np.abs(found.astype(int) - picture).max() < 6


def test_compressed_gray_and_16_bit_keep_their_kind() -> None:
    deep = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    found = decode_compressed_image(SimpleNamespace(format="png", data=cv2.imencode(".png", deep)[1]))
    assert found.dtype == np.uint16
    assert np.array_equal(found, deep)


def test_damaged_and_depth_images_are_refused() -> None:
    for data in (b"", b"\xff\xd8\xff nothing"):
        with pytest.raises(DatasetError, match="cannot be decoded"):
            decode_compressed_image(SimpleNamespace(format="jpeg", data=np.frombuffer(data, np.uint8)))
    with pytest.raises(DatasetError, match="is depth"):
        decode_compressed_image(SimpleNamespace(format="16UC1; compressedDepth png", data=np.zeros(9, np.uint8)))
