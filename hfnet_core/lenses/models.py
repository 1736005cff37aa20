"""How lenses bend rays: COLMAP's camera models as numpy evaluates them, with derivatives and inverses.

A point (X, Y, Z) in front of the camera is seen in direction u = X / Z, v = Y / Z. Every model takes (u, v) to a point
(x, y) of the plane at focal length one, and that to pixels: fx x + cx, fy y + cy. It does so in up to two steps:

- the opening, a gain on (u, v) that depends on its radius only and has an inverse in closed form: that of a fisheye
  (Kannala and Brandt, PAMI 2006), of the FOV model (Devernay and Faugeras, MVA 2001), the division model (Fitzgibbon,
  CVPR 2001) or the enhanced unified model (Khomutenko et al., RA-L 2016);
- bends, polynomials or their quotients after Brown (1966), inverted by Newton's method.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hfnet_core.geometry import Array
from hfnet_core.lenses.bending import Bend, Lens, Opening
from hfnet_core.types import Camera

__all__ = ["lens_of"]

_SERIES_BELOW = 1e-3  # squared: (atan r) / r from its series, as the quotient's derivative loses digits there


def _fan(steepness: float, angle: float) -> Opening:
    """atan(t r) / (w r): a fisheye's with t = w = 1, the FOV model's with its angle w and t = 2 tan(w / 2)."""

    def gain(squared: Array) -> tuple[Array, Array]:
        s = steepness**2 * squared
        small = s < _SERIES_BELOW
        ratio = np.sqrt(np.where(small, 1.0, s))
        ratio = np.arctan(ratio) / ratio
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (1.0 / (1.0 + s) - ratio) / (2 * s)
        if small.any():
            t = s[small]
            ratio[small] = 1 - t * (1 / 3 - t * (1 / 5 - t * (1 / 7 - t / 9)))
            slope[small] = -1 / 3 + t * (2 / 5 - t * (3 / 7 - t * (4 / 9 - t * 5 / 11)))
        scale = steepness / angle
        return scale * ratio, scale * steepness**2 * slope

    def closed(squared: Array) -> Array:
        turn = angle * np.sqrt(squared)
        safe = np.where(turn > 0, turn, 1.0)
        with np.errstate(invalid="ignore"):
            back = np.where(turn > 0, np.tan(safe) / safe, 1.0) * (angle / steepness)
            return np.where(turn < np.pi / 2, back, np.nan)

    return Opening(gain, closed)


def _division(k: float) -> Opening:
    """The division model: a point of the plane is seen in the direction of itself over 1 + k r^2."""

    def gain(squared: Array) -> tuple[Array, Array]:
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(1.0 - 4.0 * k * squared)
            factor = 2.0 / (1.0 + root)
            return factor, k * factor * factor / root

    def closed(squared: Array) -> Array:
        with np.errstate(divide="ignore"):
            # of the two radii that give one direction, the model's projection takes the smaller
            return np.where((np.abs(k) * squared < 1.0), 1.0 / (1.0 + k * squared), np.nan)

    return Opening(gain, closed)


def _unified(alpha: float, beta: float) -> Opening:
    """The enhanced unified model: the direction over alpha sqrt(1 + beta r^2) + 1 - alpha."""

    def gain(squared: Array) -> tuple[Array, Array]:
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(1.0 + beta * squared)
            below = alpha * root + (1.0 - alpha)
            factor = np.where(below > 0, 1.0 / below, np.nan)
            return factor, -0.5 * alpha * beta * factor * factor / root

    def closed(squared: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            below = alpha * np.sqrt(1.0 - (2 * alpha - 1.0) * beta * squared) + (1.0 - alpha)
            depth = (1.0 - alpha**2 * beta * squared) / below
            return np.where((below > 0) & (depth > 0), 1.0 / depth, np.nan)

    return Opening(gain, closed)


def _rad_tan_thin_prism(extra: tuple[float, ...]) -> tuple[Bend, ...]:
    s0, s1, s2, s3 = extra[8:]
    return Bend(extra[:6]), Bend(tangential=(extra[6], extra[7]), prism=(s0, s1, s2, s3))


def _thin_prism(k: tuple[float, ...]) -> tuple[Bend, ...]:
    return (Bend((k[0], k[1], k[4], k[5]), tangential=(k[3], k[2]), prism=(k[6], 0.0, k[7], 0.0)),)


_FISHEYE = _fan(1.0, 1.0)
_BENDS: dict[str, Callable[[tuple[float, ...]], tuple[Bend, ...]]] = {
    "SIMPLE_RADIAL": lambda k: (Bend(k),),
    "RADIAL": lambda k: (Bend(k),),
    "OPENCV": lambda k: (Bend(k[:2], tangential=(k[3], k[2])),),
    "FULL_OPENCV": lambda k: (Bend((k[0], k[1], k[4]), k[5:8], tangential=(k[3], k[2])),),
    "SIMPLE_RADIAL_FISHEYE": lambda k: (Bend(k),),
    "RADIAL_FISHEYE": lambda k: (Bend(k),),
    "OPENCV_FISHEYE": lambda k: (Bend(k),),
    "THIN_PRISM_FISHEYE": _thin_prism,
    "RAD_TAN_THIN_PRISM_FISHEYE": _rad_tan_thin_prism,
}
_OPENINGS: dict[str, Callable[[tuple[float, ...]], Opening | None]] = {
    "FOV": lambda k: _fan(2 * np.tan(abs(k[0]) / 2), abs(k[0])) if k[0] else None,
    "SIMPLE_DIVISION": lambda k: _division(k[0]),
    "DIVISION": lambda k: _division(k[0]),
    "EUCM": lambda k: _unified(k[0], k[1]),
}


@lru_cache(maxsize=64)
def lens_of(camera: Camera) -> Lens:
    n = len(camera.focal_parameters)
    extra = camera.params[n + 2 :]
    opening = _FISHEYE if camera.model.endswith("FISHEYE") else None
    if camera.model in _OPENINGS:
        opening = _OPENINGS[camera.model](extra)
    bends = _BENDS[camera.model](extra) if any(extra) and camera.model in _BENDS else ()
    return Lens(camera.focal_length, (camera.params[n], camera.params[n + 1]), opening, bends)
