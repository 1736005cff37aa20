"""How light bends on its way to the image: gains, polynomials, their derivatives and inverses (see models.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array

__all__ = ["Bend", "Lens", "Near", "Opening"]

Gain = Callable[[Array], tuple[Array, Array]]
"""Squared radii [N] to the factor [N] on the point, and its derivative [N] by the squared radius."""
Slopes = tuple[Array, Array, Array, Array]
"""Derivatives [N] of (x, y): x by u, x by v, y by u, y by v."""

_NEWTON_STEPS = 50  # most pixels take four
_ROUGH_STEPS = 2
_NEWTON_REACH = 0.1  # longest step, absolute and relative to the radius
_CONVERGED = 1e-9  # a step this short was the last that matters: the next is its square
_SOLVED = 1e-9  # of the focal length: what may be left between a pixel and the projection of its ray


@dataclass(frozen=True)
class Opening:
    """gain: of a direction. closed: takes squared radii [N] of the plane to the factor [N] back, NaN where none is."""

    gain: Gain
    closed: Callable[[Array], Array]


@dataclass(frozen=True)
class Bend:
    """(x, y) times (1 + k1 r^2 + k2 r^4 + ...) / (1 + d1 r^2 + ...), shifted by decentring and a tilted prism.

    tangential: (a, b), adds a r^2 + 2 x (a x + b y) to x and b r^2 + 2 y (a x + b y) to y: OpenCV's (p2, p1). prism:
    (s1, s2, s3, s4), adds s1 r^2 + s2 r^4 to x and s3 r^2 + s4 r^4 to y.
    """

    radial: tuple[float, ...] = ()
    divisor: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)
    prism: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def gain(self, squared: Array) -> tuple[Array, Array]:
        above, above_slope = _polynomial(self.radial, squared)
        if not any(self.divisor):
            return above, above_slope
        below, below_slope = _polynomial(self.divisor, squared)
        quotient = above / below
        return quotient, (above_slope - quotient * below_slope) / below

    def apply(self, x: Array, y: Array) -> tuple[Array, Array]:
        squared = x * x + y * y
        gain = _value(self.radial, squared)
        if any(self.divisor):
            gain = gain / _value(self.divisor, squared)
        return self._shifted(x, y, squared, gain * x, gain * y)

    def linearised(self, x: Array, y: Array) -> tuple[Array, Array, Slopes]:
        squared = x * x + y * y
        gain, slope = self.gain(squared)
        bent_x, bent_y = self._shifted(x, y, squared, gain * x, gain * y)
        xx, xy, _, yy = _radial_slopes(x, y, gain, slope)
        yx = xy
        a, b = self.tangential
        if a or b:
            cross = (2 * a) * y + (2 * b) * x
            xx, yy = xx + ((6 * a) * x + (2 * b) * y), yy + ((2 * a) * x + (6 * b) * y)
            xy = yx = xy + cross
        if any(self.prism):
            s1, s2, s3, s4 = self.prism
            to_x, to_y = 2 * s1 + 4 * s2 * squared, 2 * s3 + 4 * s4 * squared
            xx, xy, yx, yy = xx + to_x * x, xy + to_x * y, yx + to_y * x, yy + to_y * y
        return bent_x, bent_y, (xx, xy, yx, yy)

    def _shifted(self, x: Array, y: Array, squared: Array, bent_x: Array, bent_y: Array) -> tuple[Array, Array]:
        a, b = self.tangential
        if a or b:
            both = (2 * a) * x + (2 * b) * y
            bent_x, bent_y = bent_x + (a * squared + both * x), bent_y + (b * squared + both * y)
        if any(self.prism):
            s1, s2, s3, s4 = self.prism
            bent_x, bent_y = bent_x + (s1 + s2 * squared) * squared, bent_y + (s3 + s4 * squared) * squared
        return bent_x, bent_y

    @cached_property
    def fold(self) -> float:
        """The radius at which growing radii stop to grow in the image, infinite where they never do."""
        above = np.array((1.0, *self.radial))  # in powers of the squared radius
        below = np.array((1.0, *self.divisor))
        # of r n(r^2) / m(r^2), with s = r^2: ((n + 2 s n') m - 2 s n m') / m^2
        powers, under = np.arange(len(above)), np.arange(len(below))
        rising = np.convolve(above * (1 + 2 * powers), below)
        rising -= np.convolve(above, 2 * under * below)
        roots = np.concatenate([np.roots(rising[::-1]), np.roots(below[::-1])])
        turns = roots.real[(np.abs(roots.imag) < 1e-12 * np.maximum(np.abs(roots.real), 1)) & (roots.real > 0)]
        return float(np.sqrt(turns.min())) if len(turns) else np.inf


def _polynomial(coefficients: tuple[float, ...], squared: Array) -> tuple[Array, Array]:
    """1 + k1 s + k2 s^2 + ... and its derivative, both [N]."""
    if not coefficients:
        return np.ones_like(squared), np.zeros_like(squared)
    value, slope = coefficients[-1] * squared, np.full_like(squared, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value += coefficient
        slope *= squared
        slope += value
        value *= squared
    value += 1.0
    return value, slope


def _value(coefficients: tuple[float, ...], squared: Array) -> Array:
    value: Array = np.zeros_like(squared)
    for coefficient in reversed(coefficients):
        value = (value + coefficient) * squared
    return value + 1.0


def _radial_slopes(x: Array, y: Array, gain: Array, slope: Array) -> Slopes:
    twice_x = 2 * slope * x
    mixed = twice_x * y
    return gain + twice_x * x, mixed, mixed, gain + 2 * slope * y * y


@dataclass(frozen=True)
class Lens:
    """A camera's model taken apart. focal: (fx, fy) and centre: (cx, cy), pixels."""

    focal: tuple[float, float]
    centre: tuple[float, float]
    opening: Opening | None = None
    bends: tuple[Bend, ...] = ()

    def apply(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Directions [N] to pixel columns [N] and rows [N]; NaN where the model has no answer."""
        if self.opening is not None:
            gain = self.opening.gain(u * u + v * v)[0]
            u, v = gain * u, gain * v
        for bend in self.bends:
            u, v = bend.apply(u, v)
        return self.focal[0] * u + self.centre[0], self.focal[1] * v + self.centre[1]

    def is_folded(self, u: Array, v: Array) -> NDArray[np.bool_]:
        """Which directions [N] lie past a fold of the model, where growing angles come back into the image."""
        fold = self.bends[0].fold if self.bends else np.inf
        if not np.isfinite(fold):
            return np.zeros(len(u), bool)
        gain = 1.0 if self.opening is None else self.opening.gain(u * u + v * v)[0]
        return np.asarray(gain * np.hypot(u, v) >= fold)

    def linearised(self, u: Array, v: Array) -> tuple[Array, Array, Slopes]:
        """The same with the derivatives of pixels by directions."""
        slopes: Slopes | None = None
        if self.opening is not None:
            gain, slope = self.opening.gain(u * u + v * v)
            slopes = _radial_slopes(u, v, gain, slope)
            u, v = gain * u, gain * v
        u, v, slopes = _through(self.bends, u, v, slopes)
        (fx, fy), (xu, xv, yu, yv) = self.focal, slopes
        return fx * u + self.centre[0], fy * v + self.centre[1], (fx * xu, fx * xv, fy * yu, fy * yv)

    def inverse(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        """Pixels to directions; NaN where none is seen there, beyond 90 degrees and past a fold of the model."""
        x, y = (columns - self.centre[0]) / self.focal[0], (rows - self.centre[1]) / self.focal[1]
        if self.bends:
            x, y = _unbent(self.bends, x, y)
        if self.opening is not None:
            gain = self.opening.closed(x * x + y * y)
            x, y = gain * x, gain * y
        return x, y

    def nearly_inverse(self, columns: Array, rows: Array, near_px: float) -> Near:
        """Directions of pixels, or of others so near, after as few of Newton's steps as that takes, at most two."""
        (fx, fy), (cx, cy) = self.focal, self.centre
        x, y = (columns - cx) / fx, (rows - cy) / fy
        with np.errstate(all="ignore"):
            u, v, bent_x, bent_y, slopes = _nearly_unbent(self.bends, x, y, near_px / max(fx, fy))
            if self.opening is not None:
                closed = self.opening.closed(u * u + v * v)
                u, v = closed * u, closed * v
                slopes = _chained(slopes, _radial_slopes(u, v, *self.opening.gain(u * u + v * v)))
        xu, xv, yu, yv = slopes
        return Near((u, v), (fx * (bent_x - x), fy * (bent_y - y)), (fx * xu, fx * xv, fy * yu, fy * yv))


class Near(NamedTuple):
    """directions (u, v); off: pixels from those asked for to theirs; slopes: of pixels by directions. All [N]."""

    directions: tuple[Array, Array]
    off: tuple[Array, Array]
    slopes: Slopes


def _through(bends: tuple[Bend, ...], x: Array, y: Array, slopes: Slopes | None = None) -> tuple[Array, Array, Slopes]:
    """Through all bends, with the derivatives by what `slopes` are derivatives by, or else by (x, y)."""
    for bend in bends:
        x, y, after = bend.linearised(x, y)
        slopes = after if slopes is None else _chained(after, slopes)
    if slopes is None:
        one, zero = np.ones_like(x), np.zeros_like(x)
        slopes = (one, zero, zero, one)
    return x, y, slopes


def _chained(after: Slopes, before: Slopes) -> Slopes:
    a, b, c, d = after
    e, f, g, h = before
    return a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h


def _newton_step(slopes: Slopes, off_x: Array, off_y: Array) -> tuple[Array, Array]:
    """What to take from (u, v) so that what it is bent to moves back by (off_x, off_y), to first order."""
    xu, xv, yu, yv = slopes
    determinant = xu * yv - xv * yu
    return (yv * off_x - xv * off_y) / determinant, (xu * off_y - yu * off_x) / determinant


def _nearly_unbent(
    bends: tuple[Bend, ...], x: Array, y: Array, near: float
) -> tuple[Array, Array, Array, Array, Slopes]:
    """(u, v), where these are bent to, and the slopes there, once that is near (x, y) or after two Newton steps."""
    u, v = x, y
    bent_x, bent_y, slopes = _through(bends, u, v)
    for _ in range(_ROUGH_STEPS if bends else 0):
        off_x, off_y = bent_x - x, bent_y - y
        if (off_x * off_x + off_y * off_y).max(initial=0.0) < near * near:
            break
        step_u, step_v = _newton_step(slopes, off_x, off_y)
        u, v = u - step_u, v - step_v
        bent_x, bent_y, slopes = _through(bends, u, v)
    return u, v, bent_x, bent_y, slopes


def _unbent(bends: tuple[Bend, ...], x: Array, y: Array) -> tuple[Array, Array]:
    """Newton's method on all points at once, each until it stands; steps are bounded, so that none leaps a fold."""
    u, v = x.copy(), y.copy()
    open_ = np.arange(len(x))
    with np.errstate(all="ignore"):
        for _ in range(_NEWTON_STEPS):
            at_u, at_v = u[open_], v[open_]
            bent_x, bent_y, slopes = _through(bends, at_u, at_v)
            step_u, step_v = _newton_step(slopes, bent_x - x[open_], bent_y - y[open_])
            length = np.hypot(step_u, step_v)
            shorten = np.minimum(1.0, _NEWTON_REACH * np.maximum(np.hypot(at_u, at_v), 1.0) / length)
            shorten = np.where(length > 0, shorten, 0.0)
            u[open_], v[open_] = at_u - shorten * step_u, at_v - shorten * step_v
            open_ = open_[length > _CONVERGED * np.maximum(np.hypot(at_u, at_v), 1.0)]
            if len(open_) == 0:
                break
        bent_x, bent_y, (xu, xv, yu, yv) = _through(bends, u, v)
        solved = np.hypot(bent_x - x, bent_y - y) <= _SOLVED * np.maximum(np.hypot(x, y), 1.0)
        solved &= (xu * yv - xv * yu > 0) & (np.hypot(u, v) < bends[0].fold)
    return np.where(solved, u, np.nan), np.where(solved, v, np.nan)
