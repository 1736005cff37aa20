"""Light that a photo was not taken in: night with lamps, headlights, too little or too much exposure, hard shadows.

Everything happens in linear light, pixel by pixel: what is where in the image stays exactly there. Gray images [H, W]
uint8 in and out, reproducible from a numpy generator.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["exposed", "headlights", "lamps", "other_light", "overexposed", "shadows"]

Gray = NDArray[np.uint8]
Light = NDArray[np.float32]
Generator = np.random.Generator

_GAMMA = 2.2
_WELL = 8000.0  # electrons that make a pixel white in good light
_READ_NOISE = 3.0  # electrons
_AMBIENT = (0.01, 0.12)  # of daylight that is left at night
_REDUCED = 8  # fields of light are smooth: computed on every eighth pixel
_BLOOM = 0.15  # of the light beyond white that glows around it


def other_light(rng: Generator, image: Gray, strength: float = 1.0) -> Gray:
    """The image in one kind of other light, drawn at random. strength: 0 changes nothing, 1 is the full range."""
    kinds: tuple[Callable[[Generator, Gray, float], Gray], ...] = (lamps, headlights, overexposed, shadows, exposed)
    return kinds[int(rng.integers(len(kinds)))](rng, image, strength)


def lamps(rng: Generator, image: Gray, strength: float = 1.0) -> Gray:
    """Night: little is left of the daylight, one to four lamps light what is around them; the sensor turns it up."""
    linear = _linear(image)
    height, width = image.shape
    field = np.full(image.shape, rng.uniform(*_AMBIENT), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        centre = rng.uniform([0, 0], [width, height])
        reach = rng.uniform(0.15, 0.6) * max(width, height)
        field += rng.uniform(0.15, 0.8) * _falloff(image.shape, centre, reach)
    return _sensed(rng, linear * field ** np.float32(strength), _dark(rng, strength))


def headlights(rng: Generator, image: Gray, strength: float = 1.0) -> Gray:
    """Night: two cones from below light the lower middle of the image, and may shine back from the edges."""
    height, width = image.shape
    field = np.full(image.shape, rng.uniform(*_AMBIENT), np.float32)
    middle, apart = rng.uniform(0.3, 0.7) * width, rng.uniform(0.1, 0.25) * width
    for side in (-1, 1):
        centre = np.array([middle + side * apart, rng.uniform(0.7, 1.1) * height])
        field += rng.uniform(0.4, 0.9) * _falloff(image.shape, centre, rng.uniform(0.25, 0.5) * width)
    return _sensed(rng, _linear(image) * field ** np.float32(strength), _dark(rng, strength))


def exposed(rng: Generator, image: Gray, strength: float = 1.0) -> Gray:
    """Too little light everywhere: shot and read noise of a sensor that turns it up."""
    return _sensed(rng, _linear(image), _dark(rng, strength))


def overexposed(rng: Generator, image: Gray, strength: float = 1.0) -> Gray:
    """Two to five times too much light: what was bright is white and glows."""
    light = _linear(image) * np.float32(rng.uniform(2.0, 5.0) ** strength)
    beyond = np.maximum(light - 1.0, 0.0)
    glow = cv2.GaussianBlur(beyond, (0, 0), float(rng.uniform(2.0, 6.0)))
    return _display(light + np.float32(_BLOOM * strength) * glow)


def shadows(rng: Generator, image: Gray, strength: float = 1.0) -> Gray:
    """One to three shadows with hard or soft edges, each a half plane or a convex patch."""
    height, width = image.shape
    light = _linear(image)
    for _ in range(int(rng.integers(1, 4))):
        corners = rng.uniform(-0.3, 1.3, (int(rng.integers(3, 6)), 2)) * [width, height]
        mask = np.zeros(image.shape, np.float32)
        cv2.fillConvexPoly(mask, cv2.convexHull(corners.astype(np.float32)).astype(np.int32), (1.0,))
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.6, 4.0))), np.float32)
        light *= 1.0 - np.float32(rng.uniform(0.4, 0.9) * strength) * mask
    return _display(light)


def _falloff(shape: tuple[int, ...], centre: NDArray[np.float64], reach: float) -> Light:
    """Light of a lamp in front of a wall, 1 at its centre (x, y), a third at `reach` pixels from it."""
    height, width = shape
    rows, columns = -(-height // _REDUCED), -(-width // _REDUCED)
    y, x = np.mgrid[:rows, :columns] * np.float32(_REDUCED)
    distance2 = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / reach**2
    field = (1.0 / (1.0 + distance2) ** 1.5).astype(np.float32)
    return np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _dark(rng: Generator, strength: float) -> float:
    """How much of the light that makes a good exposure there is, 0.005 to 0.3."""
    return float(np.exp(rng.uniform(np.log(0.005), np.log(0.3)) * strength))


def _sensed(rng: Generator, light: Light, exposure: float) -> Gray:
    """What a sensor makes of light [H, W] when it gets only this share of it: noise, then gain to a usual brightness.

    Shot noise as the square root of the electrons, read noise of each pixel and of each row.
    """
    electrons = light * np.float32(_WELL * exposure)
    noisy = electrons + np.sqrt(electrons) * rng.standard_normal(light.shape, np.float32)
    noisy += np.float32(_READ_NOISE) * rng.standard_normal(light.shape, np.float32)
    noisy += np.float32(0.3 * _READ_NOISE) * rng.standard_normal((len(light), 1), np.float32)
    bright = max(float(np.quantile(electrons[::4, ::4], 0.97)), 1.0)
    return _display(noisy * np.float32(rng.uniform(0.5, 1.0) / bright))


def _linear(image: Gray) -> Light:
    table = (np.arange(256, dtype=np.float32) / 255) ** np.float32(_GAMMA)
    return np.asarray(cv2.LUT(image, table), np.float32)


def _display(light: Light) -> Gray:
    shown: Gray = np.rint(255 * np.clip(light, 0.0, 1.0) ** np.float32(1 / _GAMMA)).astype(np.uint8)
    return shown
