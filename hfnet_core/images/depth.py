"""Depth images: from messages to metres, and distances at the keypoints of the colour image they are registered to."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.images.encoded import decode
from hfnet_core.images.messages import bytes_of, rows_of, size_of
from hfnet_core.types import Float32, Ranges

__all__ = ["DepthImage", "decode_compressed_depth", "decode_depth", "depth_sigma_m", "ranges_at", "read_depth_png"]

_MILLIMETRES, _METRES = ("16uc1", "mono16"), "32fc1"
_HEADER = struct.Struct("<iff")  # of compressedDepth: its format, and the quantization of inverse depth
_NOTHING_MM = 65535  # beside 0, what sensors write where they see nothing
_FARTHEST_M = 200.0
# Triangulating sensors err with the square of the distance: Khoshelham and Elberink (Sensors 12(2), 2012) found 1.4 mm
# at a metre for Kinect; stereo cameras of 5 cm baseline have about twice that. Registration adds what does not grow.
_NOISE_PER_M, _NOISE_M = 0.003, 0.005
_SEEN = 5  # of the nine pixels around a keypoint must have a depth,
_EDGE = 5.0  # and lie within so many standard deviations: at an edge nobody knows whose depth it is
_SAME_SHAPE = 0.02  # relative difference of the sides' ratios


@dataclass(frozen=True, eq=False)
class DepthImage:
    """metres: [H, W] float32, distance along the optical axis of the colour camera, 0 where unknown. Its pixels are
    those of the colour image, perhaps in another size."""

    metres: Float32


def depth_sigma_m(metres: NDArray[Any]) -> NDArray[np.float64]:
    """Standard deviation of measured depths."""
    return np.asarray(np.hypot(_NOISE_M, _NOISE_PER_M * np.square(metres, dtype=np.float64)))


def decode_depth(message: Any) -> DepthImage:
    """A sensor_msgs/Image of 16UC1 or mono16 (millimetres) or 32FC1 (metres). Raises DatasetError for any other."""
    encoding = str(message.encoding).lower()
    if encoding not in (*_MILLIMETRES, _METRES):
        raise DatasetError(f"depth of encoding {message.encoding!r} is not read; use 16UC1 (mm) or 32FC1 (m)")
    height, width, step = size_of(message)
    dtype = np.dtype(np.float32 if encoding == _METRES else np.uint16)
    pixels: NDArray[Any] = rows_of(message, height, width * dtype.itemsize, step).view(dtype)
    if bool(message.is_bigendian) != (sys.byteorder == "big"):
        pixels = pixels.byteswap()
    return _of_pixels(pixels.reshape(height, width))


def decode_compressed_depth(message: Any) -> DepthImage:
    """A sensor_msgs/CompressedImage of compressedDepth (PNG inside), or a plain 16-bit PNG of millimetres.

    Raises DatasetError for what is damaged, and for RVL.
    """
    declared, data = str(message.format), bytes_of(message)
    if "compressedDepth" not in declared:
        return _of_pixels(_png(data, declared))
    if "rvl" in declared.lower():
        raise DatasetError(f"depth of format {declared!r} is not read: set the publisher's format to png")
    if len(data) <= _HEADER.size:
        raise DatasetError(f"depth ({declared!r}, {len(data)} bytes) is cut off")
    pixels = _png(data[_HEADER.size :], declared)
    if not declared.lower().startswith(_METRES):
        return _of_pixels(pixels)
    _, scale, offset = _HEADER.unpack(data[: _HEADER.size])
    with np.errstate(divide="ignore", invalid="ignore"):
        metres = scale / (pixels.astype(np.float32) - np.float32(offset))
    return _of_pixels(np.where(pixels == 0, np.float32(0), metres.astype(np.float32)))


def read_depth_png(data: bytes) -> DepthImage:
    """A 16-bit PNG of millimetres. Raises DatasetError."""
    return _of_pixels(_png(data, "png"))


def _png(data: bytes, declared: str) -> NDArray[np.uint16]:
    pixels = decode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise DatasetError(f"depth ({declared!r}, {len(data)} bytes) is no image of 16 bits and one channel")
    return np.asarray(pixels, dtype=np.uint16)


def _of_pixels(pixels: NDArray[Any]) -> DepthImage:
    if pixels.dtype == np.uint16:
        return DepthImage(np.where(pixels == _NOTHING_MM, 0, pixels).astype(np.float32) * np.float32(1e-3))
    with np.errstate(invalid="ignore"):
        known = (pixels > 0) & (pixels < _FARTHEST_M)  # False for NaN
    return DepthImage(np.where(known, pixels, 0).astype(np.float32))


def ranges_at(depth: DepthImage, keypoints_px: NDArray[Any], width: int, height: int) -> Ranges:
    """Distances at keypoints [K, 2] of a colour image of this size. Raises DatasetError for depth of another shape.

    Median of the pixels around; unknown where few have a depth, or they differ as at the edge of something.
    """
    rows, columns = depth.metres.shape
    if abs(columns * height - rows * width) > _SAME_SHAPE * columns * height:
        raise DatasetError(
            f"depth of {columns}x{rows} is not registered to images of {width}x{height}: choose the aligned depth"
        )
    scale = np.array([columns / width, rows / height])
    centres = np.rint((np.asarray(keypoints_px, np.float64).reshape(-1, 2) + 0.5) * scale - 0.5).astype(np.int64)
    around = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    pixels = centres[:, None] + around
    inside = ((pixels >= 0) & (pixels < [columns, rows])).all(axis=2)
    x, y = np.moveaxis(np.clip(pixels, 0, [columns - 1, rows - 1]), 2, 0)
    values = np.where(inside, depth.metres[y, x], 0).astype(np.float64)
    return _ranges_of(np.where(values > 0, values, np.nan))


def _ranges_of(values: NDArray[np.float64]) -> Ranges:
    """values: [K, 9] metres, NaN where unknown."""
    known = np.isfinite(values).sum(axis=1)
    usable = known >= _SEEN
    metres, sigma = np.full(len(values), np.nan), np.full(len(values), np.nan)
    chosen = values[usable]
    if len(chosen):
        middle = np.nanmedian(chosen, axis=1)
        noise = depth_sigma_m(middle)
        slope = np.nanmax(chosen, axis=1) - np.nanmin(chosen, axis=1)
        flat = slope <= _EDGE * noise
        metres[usable], sigma[usable] = np.where(flat, middle, np.nan), np.where(flat, noise, np.nan)
    return Ranges(metres.astype(np.float32), sigma.astype(np.float32))
