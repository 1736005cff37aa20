"""Images as the network wants them, and the way of its pixels back to the original image.

Pixels are (x, y) with (0, 0) at the centre of the top-left pixel, before and after every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.types import Float32

__all__ = ["PixelMap", "as_uint8", "reduce_to", "to_gray"]

_RGB_WEIGHTS = (0.2989, 0.5870, 0.1140)  # of tf.image.rgb_to_grayscale, with which the released model was trained
_UINT16_PER_GRAY = 65535 / 255  # 16-bit images use their full range: 65535 is white


@dataclass(frozen=True)
class PixelMap:
    """Between pixels of a resized image and those of the original: x_original = (x + offset) * scale - offset.

    scale: (x, y) original size / resized size. offset: 0.5 where pixel areas correspond, 0 where corners do.
    """

    scale: tuple[float, float]
    offset: float

    def to_original(self, pixels: Float32) -> Float32:
        """Map pixels [K, 2]; computed in float64."""
        if self.scale == (1.0, 1.0):
            return pixels.astype(np.float32, copy=False)
        scale = np.asarray(self.scale, dtype=np.float64)
        return ((pixels + self.offset) * scale - self.offset).astype(np.float32)

    def from_original(self, pixels: Float32) -> Float32:
        """The way back; computed in float64."""
        if self.scale == (1.0, 1.0):
            return pixels.astype(np.float32, copy=False)
        scale = np.asarray(self.scale, dtype=np.float64)
        return ((pixels + self.offset) / scale - self.offset).astype(np.float32)


def to_gray(image: NDArray[Any]) -> Float32:
    """Gray [H, W] float32, 0..255, contiguous.

    image: [H, W], [H, W, 1], [H, W, 3] RGB or [H, W, 4] RGBA (alpha is ignored); uint8, uint16 over its full range
    (divided by 257), or floating point 0..255. Colour uint8 gives whole numbers, exactly as TensorFlow converts it;
    other colour types keep fractions. Raises DatasetError, naming what is wrong, for anything else.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise DatasetError(f"image has shape {list(image.shape)}; expected [H, W] or [H, W, 1|3|4]")
    if image.size == 0:
        raise DatasetError(f"image is empty, shape {list(image.shape)}")
    channels = image.reshape(*image.shape[:2], -1)
    if image.dtype == np.uint8:
        gray = _mix(channels.astype(np.float32))
        # TensorFlow goes through 0..1 and truncates after scaling by 255.5, so that equal channels keep their value.
        return np.floor(np.minimum(gray * (255.5 / 255.0), 255.0)) if channels.shape[2] > 1 else gray
    if image.dtype == np.uint16:
        return _mix(channels.astype(np.float32) / np.float32(_UINT16_PER_GRAY))
    if not np.issubdtype(image.dtype, np.floating):
        raise DatasetError(f"image has type {image.dtype}; expected uint8, uint16 or floating point 0..255")
    return _mix(_checked_floats(channels))


def reduce_to(gray: Float32, max_side_px: int, like_tensorflow: bool = False) -> tuple[Float32, PixelMap]:
    """Shrink an image [H, W] whose longer side exceeds `max_side_px` (0: never); smaller ones stay as they are.

    Averages pixel areas. `like_tensorflow` resizes as the released model's code does instead: bilinear at
    x * original / resized, without antialiasing, sizes rounded down.
    """
    height, width = gray.shape
    if not max_side_px or max(height, width) <= max_side_px:
        return gray, PixelMap((1.0, 1.0), 0.5)
    scale = np.float32(max_side_px) / np.float32(max(height, width))
    rounding = np.trunc if like_tensorflow else np.round
    new_height, new_width = (max(int(rounding(np.float32(side) * scale)), 1) for side in (height, width))
    if like_tensorflow:
        resized = _resize_corner_aligned(gray, new_height, new_width)
    else:
        resized = cv2.resize(gray, (new_width, new_height), interpolation=cv2.INTER_AREA)
    return resized, PixelMap((width / new_width, height / new_height), 0.0 if like_tensorflow else 0.5)


def _mix(channels: Float32) -> Float32:
    """[H, W, 1|3|4] to [H, W]."""
    if channels.shape[2] == 1:
        return np.ascontiguousarray(channels[:, :, 0])
    weights = np.zeros((1, channels.shape[2]), dtype=np.float32)
    weights[0, :3] = _RGB_WEIGHTS
    gray: Float32 = cv2.transform(np.ascontiguousarray(channels), weights)
    return gray


def _checked_floats(channels: NDArray[Any]) -> Float32:
    values: Float32 = channels.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN passes through min and max
        raise DatasetError("image holds NaN or infinite values; fix its source")
    if low < -0.5 or high > 255.5:  # resizing by others may overshoot a little
        raise DatasetError(f"image values {low:g}..{high:g} are outside 0..255; scale it")
    if 0.0 < high <= 1.0:
        raise DatasetError(f"image values {low:g}..{high:g} look like 0..1; floating-point images are 0..255, scale it")
    return values


def _resize_corner_aligned(gray: Float32, height: int, width: int) -> Float32:
    def axis(size: int, new_size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32]:
        position = np.arange(new_size, dtype=np.float32) * np.float32(size / new_size)
        first = np.minimum(position.astype(np.intp), size - 1)
        return first, np.minimum(first + 1, size - 1), position - first.astype(np.float32)

    top, bottom, fy = axis(gray.shape[0], height)
    left, right, fx = axis(gray.shape[1], width)
    rows = gray[top] + (gray[bottom] - gray[top]) * fy[:, None]
    resized: Float32 = rows[:, left] + (rows[:, right] - rows[:, left]) * fx
    return resized


def as_uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """8-bit pixels of an 8 or 16 bit image."""
    return np.asarray(image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8))
