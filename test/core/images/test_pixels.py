"""Gray conversion and reduction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfnet_core.errors import DatasetError
from hfnet_core.images.pixels import PixelMap, reduce_to, to_gray


def test_colour_of_8_bit_becomes_whole_numbers_like_tensorflow() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    mixed = image.astype(np.float64) @ np.array([0.2989, 0.5870, 0.1140])
    gray = to_gray(image)
    assert gray.dtype == np.float32
    np.testing.assert_array_equal(gray, np.round(gray))
    np.testing.assert_array_less(np.abs(gray - mixed * 255.5 / 255 + 0.5), 0.501)  # truncated, not rounded


def test_equal_channels_keep_their_value() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_gray(np.stack([ramp] * 3, axis=2)), ramp)


def test_channel_order_and_alpha() -> None:
    red, green, blue = (np.zeros((2, 2, 4), np.float32) for _ in range(3))
    red[..., 0] = green[..., 1] = blue[..., 2] = 100
    red[..., 3] = 50
    for image, expected in ((red, 29.89), (green, 58.70), (blue, 11.40)):
        np.testing.assert_allclose(to_gray(image), expected, rtol=1e-6)
        np.testing.assert_allclose(to_gray(image[..., :3]), expected, rtol=1e-6)


def test_16_bit_uses_its_full_range() -> None:
    image = np.array([[0, 257, 65535, 128]], np.uint16)
    np.testing.assert_allclose(to_gray(image), [[0, 1, 255, 128 / 257]], rtol=1e-6)
    colour = np.repeat(image[:, :, None], 3, axis=2)
    np.testing.assert_allclose(to_gray(colour), to_gray(image) * 0.9999, rtol=1e-5)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.full((4, 4), np.inf, np.float32), "infinite"),
        (np.array([[1.0, np.nan], [3.0, 200.0]]), "NaN"),
        (np.array([[0.0, 0.4], [0.3, 1.0]]), "look like 0..1"),
        (np.array([[0.0, 4000.0]]), "outside 0..255"),
        (np.array([[-3.0, 40.0]]), "outside 0..255"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4), np.complex64), "complex64"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 5), np.uint8), "shape"),
        (np.zeros((4, 0), np.uint8), "empty"),
    ],
)
def test_refusals(image: np.ndarray, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        to_gray(image)


def test_black_is_no_mistake() -> None:
    np.testing.assert_array_equal(to_gray(np.zeros((3, 3))), 0)


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    max_side=st.integers(0, 60),
    like_tensorflow=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_reduced_sizes_and_constant_values(width: int, height: int, max_side: int, like_tensorflow: bool) -> None:
    gray = np.full((height, width), 77.0, np.float32)
    reduced, pixel_map = reduce_to(gray, max_side, like_tensorflow)
    longest = max(reduced.shape)
    if max_side and max(width, height) > max_side:
        assert max_side - 1 <= longest <= max_side or longest == 1
    else:
        assert reduced is gray
        assert pixel_map.scale == (1.0, 1.0)
    np.testing.assert_allclose(reduced, 77.0, rtol=1e-6)
    assert pixel_map.scale == (width / reduced.shape[1], height / reduced.shape[0])


@pytest.mark.parametrize("like_tensorflow", [False, True])
def test_a_ramp_reads_its_own_coordinate(like_tensorflow: bool) -> None:
    """The value of a reduced horizontal ramp is the original x of its pixel: the mapping is right to a fraction."""
    for width, height, side in ((120, 90, 40), (100, 75, 64), (97, 61, 50)):
        ramp = np.tile(np.arange(width, dtype=np.float32), (height, 1))
        for image, axis in ((ramp, 0), (np.ascontiguousarray(ramp.T), 1)):
            reduced, pixel_map = reduce_to(image, side, like_tensorflow)
            rows, columns = np.mgrid[: reduced.shape[0], : reduced.shape[1]]
            pixels = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)
            original = pixel_map.to_original(pixels)[:, axis].reshape(reduced.shape)
            np.testing.assert_allclose(reduced, original, atol=0.3 if not like_tensorflow else 1e-3)
            assert abs(float((reduced - original).mean())) < 0.02


def test_unscaled_pixels_stay() -> None:
    pixels = np.array([[1.25, 7.5]], np.float32)
    np.testing.assert_array_equal(PixelMap((1.0, 1.0), 0.5).to_original(pixels), pixels)
    np.testing.assert_allclose(PixelMap((2.0, 4.0), 0.5).to_original(pixels), [[3.0, 31.5]])


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_pixels_go_there_and_back(offset: float) -> None:
    there = PixelMap((2.5, 3.0), offset)
    points = np.array([[0.0, 0.0], [7.25, 91.5]], np.float32)
    np.testing.assert_allclose(there.from_original(there.to_original(points)), points, atol=1e-5)
    np.testing.assert_allclose(there.to_original(points)[0], [1.5 * offset, 2 * offset])
