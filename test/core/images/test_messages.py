from __future__ import annotations

import itertools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bags import image_message

from hfnet_core.errors import DatasetError
from hfnet_core.images.encodings import KNOWN
from hfnet_core.images.messages import decode_compressed_image, decode_raw_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (6, 8, 3), dtype=np.uint16)


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
        ("rgb16", DEEP, DEEP),
        ("bgr16", DEEP[:, :, ::-1], DEEP),
        ("16UC3", DEEP[:, :, ::-1], DEEP),
        ("rgba16", np.dstack([DEEP, DEEP[:, :, 0]]), DEEP),
        ("bgra16", np.dstack([DEEP[:, :, ::-1], DEEP[:, :, 0]]), DEEP),
        ("16UC4", np.dstack([DEEP[:, :, ::-1], DEEP[:, :, 0]]), DEEP),
        ("mono10", RGB[:, :, 0].astype("<u2") * 4, RGB[:, :, 0].astype(np.uint16) * 256),
        ("mono12", RGB[:, :, 0].astype("<u2") * 16, RGB[:, :, 0].astype(np.uint16) * 256),
        ("MONO8", RGB[:, :, 0], RGB[:, :, 0]),
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


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_bayer_keeps_its_colours(bits: int) -> None:
    mosaic = np.zeros((16, 16), dtype="<u2")
    mosaic[0::2, 0::2] = (1 << bits) - 1
    message = image_message(height=16, width=16, encoding=f"bayer_rggb{bits}", data=mosaic.tobytes(), step=32)
    found = decode_raw_image(message)
    assert found.dtype == np.uint16
    assert (found[4:12, 4:12, 0] >= 65535 - (1 << (16 - bits))).all()
    assert (found[4:12, 4:12, 1:] == 0).all()


def yuv(encoding: str) -> bytes:
    """A smooth picture, as its planes."""
    rows = cv2.cvtColor(SMOOTH, cv2.COLOR_RGB2YUV_I420)
    luminance, u, v = rows[:32], rows[32:40].reshape(16, 24), rows[40:].reshape(16, 24)
    if encoding in ("i420", "yuv420p"):
        return rows.tobytes()
    if encoding == "yv12":
        return luminance.tobytes() + v.tobytes() + u.tobytes()
    pair = np.dstack([v, u] if encoding == "nv21" else [u, v])
    if encoding == "nv24":
        pair = pair.repeat(2, axis=0).repeat(2, axis=1)
    return luminance.tobytes() + pair.tobytes()


SMOOTH = cv2.resize(np.array([[[200, 40, 90], [60, 180, 30]], [[30, 60, 220], [120, 120, 120]]], np.uint8), (48, 32))


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24", "i420", "yuv420p", "yv12"])
def test_planar_yuv_has_the_right_colours(encoding: str) -> None:
    found = decode_raw_image(image_message(height=32, width=48, encoding=encoding, data=yuv(encoding), step=48))
    assert found.shape == (32, 48, 3)
    assert np.abs(found.astype(int) - SMOOTH).mean() < 4
    no_step = image_message(height=32, width=48, encoding=encoding, data=yuv(encoding), step=0)
    assert np.array_equal(decode_raw_image(no_step), found)


def test_planar_yuv_with_padding_or_all_planes_counted_in_its_step() -> None:
    rows = np.frombuffer(yuv("nv12"), np.uint8).reshape(48, 48)
    padded = np.pad(rows, ((0, 0), (0, 16)))
    expected = decode_raw_image(image_message(height=32, width=48, encoding="nv12", data=rows.tobytes(), step=48))
    message = image_message(height=32, width=48, encoding="nv12", data=padded.tobytes(), step=64)
    assert np.array_equal(decode_raw_image(message), expected)
    message = image_message(height=32, width=48, encoding="nv12", data=rows.tobytes(), step=72)
    assert np.array_equal(decode_raw_image(message), expected)


@pytest.mark.parametrize("encoding", ["i420", "yuv420p", "yuv420", "yv12"])
def test_colours_in_planes_of_their_own_have_half_the_padding(encoding: str) -> None:
    tight = yuv("yv12" if encoding == "yv12" else "i420")
    expected = decode_raw_image(image_message(height=32, width=48, encoding=encoding, data=tight, step=48))
    luminance, colours = tight[: 32 * 48], tight[32 * 48 :]
    padded = [np.pad(np.frombuffer(luminance, np.uint8).reshape(32, 48), ((0, 0), (0, 16)))]
    padded.append(np.pad(np.frombuffer(colours, np.uint8).reshape(32, 24), ((0, 0), (0, 8))))
    data = b"".join(rows.tobytes() for rows in padded)
    found = decode_raw_image(image_message(height=32, width=48, encoding=encoding, data=data, step=64))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 2, "width": 2, "encoding": "32FC1", "data": bytes(16)}, "'32FC1' is not supported"),
        ({"height": 2, "width": 2, "encoding": "rgb8", "data": bytes(11)}, "needs 12 bytes, has 11"),
        ({"height": 2, "width": 2, "encoding": "rgb8", "step": 5, "data": bytes(100)}, "with step 5"),
        ({"height": 0, "width": 2, "encoding": "rgb8", "data": b""}, "is empty"),
        (
            {"height": 20_000, "width": 20_000, "encoding": "mono8", "data": bytes(9)},
            "400 megapixels, more than the limit",
        ),
        ({"height": 2, "width": 3, "encoding": "nv12", "data": bytes(9)}, "is not even, as nv12"),
        ({"height": 2, "width": 2, "encoding": "nv12", "data": bytes(5)}, "needs 6 bytes, has 5"),
        ({"height": 2, "width": 4, "encoding": "bayer_rggb12", "data": bytes(12)}, "needs 16 bytes, has 12"),
        ({"height": 2, "width": 4, "encoding": "bayer_rggb9", "data": bytes(16)}, "'bayer_rggb9' is not supported"),
    ],
)
def test_refusals(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        decode_raw_image(image_message(**fields))


NAMES = [name for name in KNOWN if "|" not in name] + ["bayer_rggb8", "bayer_gbrg10", "bayer_bggr12", "bayer_grbg16"]


@pytest.mark.parametrize("encoding", NAMES)
def test_images_of_every_size_and_encoding_are_decoded_or_refused(encoding: str) -> None:
    """Colours at half the resolution need even sizes, and a mosaic more than a pixel: OpenCV raises, we say so."""
    done = 0
    for height, width in itertools.product((1, 2, 3, 4, 7, 8), repeat=2):
        message = image_message(height=height, width=width, encoding=encoding, data=bytes(8 * height * width))
        try:
            assert decode_raw_image(message).shape[:2] == (height, width)
            done += 1
        except DatasetError:
            assert height < 3 or width < 3 or height % 2 or width % 2
    assert done >= 9


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


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    "declared", ["bayer_rggb{}; png compressed ", "bayer_rggb{}; png compressed bayer_rggb{}", "bayer_rggb{}"]
)
def test_bayer_inside_png_becomes_colours(declared: str, depth: int) -> None:
    mosaic = np.zeros((16, 16), dtype=np.uint8 if depth == 8 else np.uint16)
    mosaic[0::2, 0::2] = 200
    data = cv2.imencode(".png", mosaic)[1]
    found = decode_compressed_image(SimpleNamespace(format=declared.replace("{}", str(depth)), data=data))
    assert found.dtype == mosaic.dtype
    assert (found[4:12, 4:12] == (200, 0, 0)).all()


def test_what_was_made_gray_or_colour_before_stays_so() -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = cv2.imencode(".png", gray)[1]
    found = decode_compressed_image(SimpleNamespace(format="bayer_rggb8; jpeg compressed mono8", data=data))
    assert np.array_equal(found, gray)
    colour = cv2.imencode(".png", RGB[:, :, ::-1])[1]
    found = decode_compressed_image(SimpleNamespace(format="bayer_rggb8; png compressed bgr8", data=colour))
    assert np.array_equal(found, RGB)


def test_damaged_and_depth_images_are_refused() -> None:
    for data in (b"", b"\xff\xd8\xff nothing"):
        with pytest.raises(DatasetError, match="cannot be decoded"):
            decode_compressed_image(SimpleNamespace(format="jpeg", data=np.frombuffer(data, np.uint8)))
    with pytest.raises(DatasetError, match="is depth"):
        decode_compressed_image(SimpleNamespace(format="16UC1; compressedDepth png", data=np.zeros(9, np.uint8)))
