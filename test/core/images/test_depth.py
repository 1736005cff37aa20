"""Depth images: every way they are sent, and what a keypoint is told of its distance."""

from __future__ import annotations

import struct
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from hfnet_core.errors import DatasetError
from hfnet_core.images.depth import DepthImage, decode_compressed_depth, decode_depth, depth_sigma_m, ranges_at

MILLIMETRES = np.array([[0, 1000, 65535], [2500, 40, 1]], np.uint16)
METRES = np.array([[0, 1.0, 0], [2.5, 0.04, 0.001]], np.float32)


def raw(pixels: np.ndarray, encoding: str, *, big: bool = False, padding: int = 0) -> SimpleNamespace:
    """A sensor_msgs/Image."""
    swapped = pixels.byteswap() if big != (sys.byteorder == "big") else pixels
    rows = np.pad(swapped.view(np.uint8).reshape(len(pixels), -1), ((0, 0), (0, padding)))
    height, width = pixels.shape
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=int(big), step=rows.shape[1], data=rows.tobytes()
    )


def compressed(pixels: np.ndarray, layout: str, header: bytes) -> SimpleNamespace:
    """A sensor_msgs/CompressedImage."""
    return SimpleNamespace(format=layout, data=header + cv2.imencode(".png", pixels)[1].tobytes())


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_millimetres_become_metres_and_what_sensors_write_for_nothing_is_unknown(encoding: str, big: bool) -> None:
    assert np.allclose(decode_depth(raw(MILLIMETRES, encoding, big=big, padding=4)).metres, METRES)


def test_metres_stay_and_what_is_no_distance_is_unknown() -> None:
    pixels = np.array([[np.nan, 1.5, np.inf], [-1.0, 1e6, 0.25]], np.float32)
    assert np.array_equal(decode_depth(raw(pixels, "32FC1")).metres, np.float32([[0, 1.5, 0], [0, 0, 0.25]]))


def test_compressed_millimetres_are_read_with_and_without_the_header_of_compressed_depth() -> None:
    assert np.allclose(
        decode_compressed_depth(compressed(MILLIMETRES, "16UC1; compressedDepth png", bytes(12))).metres, METRES
    )
    assert np.allclose(decode_compressed_depth(compressed(MILLIMETRES, "16UC1; png compressed ", b"")).metres, METRES)


def test_compressed_metres_are_inverse_depth() -> None:
    scale, offset = 1000.0, -20.0  # of depth = scale / (value - offset)
    metres = np.array([[1.0, 4.0], [2.0, 3.0]], np.float32)
    pixels = np.rint(scale / metres + offset).astype(np.uint16)
    pixels[1, 1] = 0  # nothing
    message = compressed(pixels, "32FC1; compressedDepth png", struct.pack("<iff", 0, scale, offset))
    assert np.allclose(decode_compressed_depth(message).metres, [[1.0, 4.0], [2.0, 0.0]], rtol=1e-3)


def test_what_is_no_depth_is_refused_in_one_line() -> None:
    with pytest.raises(DatasetError, match="encoding 'rgb8' is not read; use 16UC1"):
        decode_depth(raw(np.zeros((2, 6), np.uint8), "rgb8"))
    with pytest.raises(DatasetError, match="set the publisher's format to png"):
        decode_compressed_depth(SimpleNamespace(format="16UC1; compressedDepth rvl", data=bytes(64)))
    with pytest.raises(DatasetError, match="cut off"):
        decode_compressed_depth(SimpleNamespace(format="16UC1; compressedDepth png", data=bytes(8)))
    with pytest.raises(DatasetError, match="no image of 16 bits"):
        decode_compressed_depth(compressed(np.zeros((4, 4), np.uint8), "16UC1; compressedDepth png", bytes(12)))


def test_a_keypoint_has_the_depth_around_it_and_none_at_an_edge_or_a_hole() -> None:
    metres = np.full((48, 64), 2.0, np.float32)
    metres[:, 32:] = 3.0  # something stands before a wall
    metres[0:10, 0:10] = 0  # and something was too dark
    found = ranges_at(
        DepthImage(metres), np.array([[20.0, 30.0], [31.8, 30.0], [4.0, 4.0], [50.0, 20.0], [90.0, 90.0]]), 64, 48
    )
    assert np.allclose(found.metres, [2.0, np.nan, np.nan, 3.0, np.nan], equal_nan=True)
    assert np.allclose(
        found.sigma_m,
        [depth_sigma_m(np.array(2.0)), np.nan, np.nan, depth_sigma_m(np.array(3.0)), np.nan],
        equal_nan=True,
    )


def test_noise_grows_with_the_square_of_the_distance() -> None:
    near, far = depth_sigma_m(np.array([4.0, 8.0]))
    assert far / near == pytest.approx(4.0, rel=0.05)


def test_depth_may_have_another_size_but_not_another_shape() -> None:
    metres = np.repeat(np.linspace(1, 1.2, 32, dtype=np.float32)[None], 24, axis=0)
    found = ranges_at(DepthImage(metres), np.array([[20.5, 24.0]]), 64, 48)  # half the size: pixel 10
    assert found.metres[0] == pytest.approx(metres[0, 10], abs=0.004)
    with pytest.raises(DatasetError, match="32x24 is not registered to images of 64x36"):
        ranges_at(DepthImage(metres), np.zeros((1, 2)), 64, 36)
