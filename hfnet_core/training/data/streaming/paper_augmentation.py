"""The light and camera noise that the paper's student has to see through; geometry stays.

Source: the numbers of HF-Net's training recipe (Sarlin et al., CVPR 2019), after SuperPoint's. Sizes in pixels are
for images whose smaller side has 480 and scale with it.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["augmented"]

_REFERENCE_SIDE_PX = 480
_BRIGHTNESS = (-30.0, 40.0)
_CONTRAST = (0.3, 1.2)
_NOISE = (0.0, 10.0)
_SHADES, _SHADE_SHARE, _SHADE_STRENGTH, _SHADE_BLUR = 20, 0.5, (-0.5, 0.5), (101, 149)
_MOTION_SHARE, _MOTION_LENGTH = 0.1, (13, 21)

Image = NDArray[np.float32]


def augmented(rng: np.random.Generator, image: Image) -> Image:
    """A gray image [H, W] float32, 0..255, changed by all steps in random order; the result stays within 0..255."""
    steps: tuple[Callable[[np.random.Generator, Image], Image], ...] = (_brightness, _contrast, _noise, _shade, _motion)
    for index in rng.permutation(len(steps)):
        image = np.clip(steps[index](rng, image), 0, 255).astype(np.float32)
    return image


def _brightness(rng: np.random.Generator, image: Image) -> Image:
    return np.asarray(image + rng.uniform(*_BRIGHTNESS), np.float32)


def _contrast(rng: np.random.Generator, image: Image) -> Image:
    mean = float(image.mean(dtype=np.float64))
    return np.asarray((image - mean) * rng.uniform(*_CONTRAST) + mean, np.float32)


def _noise(rng: np.random.Generator, image: Image) -> Image:
    return np.asarray(image + rng.standard_normal(image.shape, np.float32) * rng.uniform(*_NOISE), np.float32)


def _shade(rng: np.random.Generator, image: Image) -> Image:
    """Blurred ellipses, darker or lighter."""
    if rng.random() >= _SHADE_SHARE:
        return image
    height, width = image.shape
    mask, largest = np.zeros((height, width), np.float32), min(height, width) / 4
    for _ in range(_SHADES):
        axes = [int(max(share * largest, largest / 5)) for share in rng.random(2)]
        reach = max(axes)
        centre = (int(rng.integers(reach, width - reach)), int(rng.integers(reach, height - reach)))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 90)), 0, 360, (1.0,), -1)
    blur = _odd(rng, _SHADE_BLUR, image)
    mask = np.asarray(cv2.GaussianBlur(mask, (blur, blur), 0), np.float32)
    return np.asarray(image * (1 - rng.uniform(*_SHADE_STRENGTH) * mask), np.float32)


def _motion(rng: np.random.Generator, image: Image) -> Image:
    """Blur along a row, a column or a diagonal, strongest in its middle."""
    if rng.random() >= _MOTION_SHARE:
        return image
    length = _odd(rng, _MOTION_LENGTH, image)
    steps = np.arange(length) - length // 2
    lines = (np.eye(length), np.eye(length)[::-1], steps[:, None] == 0, steps[None, :] == 0)
    kernel = np.broadcast_to(lines[int(rng.integers(len(lines)))], (length, length)).astype(np.float64)
    kernel *= np.exp(-(steps[:, None] ** 2 + steps[None, :] ** 2) / (2 * length**2 / 16))
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)


def _odd(rng: np.random.Generator, bounds: tuple[int, int], image: Image) -> int:
    """An odd size within bounds, for an image of this size."""
    drawn = int(rng.integers(bounds[0] // 2, bounds[1] // 2 + 1))
    smaller: int = min(image.shape)
    return 2 * round(drawn * smaller / _REFERENCE_SIDE_PX) + 1
