"""The way from a map's frame to axes east, north, up that most fixes agree on.

Receivers are wrong in bursts (reflections between houses) and optimistic about it: a fit by least medians of squares
finds what most fixes say, then all are weighed by their own accuracy, robustly, with the spread that they really have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array, Pose, Similarity

__all__ = ["Level", "Sightings", "Surveyed", "fit_earth"]

_MIN_FIXES = 5
_MOST_FIXES = 4000  # looked at, spread over the recording: more cost time and say nothing new
_TRIALS = 400
_APART = 0.3  # of the drive's extent between two fixes that a trial goes by
_BASELINE_SIGMAS = 5.0  # of a drive, to tell a direction: 0.2 rad by its two ends alone
_MOST_SPREAD = 0.25  # of residuals by the drive's extent: beyond, images and fixes tell of different drives
_AGREEING = 3.0  # standard deviations within which a fix agrees
_LEAST_AGREEING = 0.5  # of the fixes
_SAME_ERROR_S = 10.0  # errors of a receiver last; fixes within this time count as one for what is still uncertain
_CAUCHY = 2.385  # standard deviations: of normal errors, 95 % of what they tell is kept
_AXES = [0, 0, 1]  # which of the two standard deviations belongs to east, north, up
_TO_SIGMA = 1.4826  # from the median of absolute deviations, for a normal law


@dataclass(frozen=True, eq=False)
class Sightings:
    """Where a camera was in the map, and its antenna on Earth, at the same times.

    centres: [N, 3] camera, map frame. arms: [N, 3] from there to the antenna, metres, axes of the map. enu: [N, 3]
    antenna, east, north, up of some datum; up NaN where unknown. sigmas_m: [N, 2] horizontal, vertical. stamps_s: [N].
    """

    centres: Array
    arms: Array
    enu: Array
    sigmas_m: Array
    stamps_s: Array

    def __len__(self) -> int:
        return len(self.centres)

    def of(self, rows: NDArray[np.intp]) -> Sightings:
        """Some of them."""
        return Sightings(self.centres[rows], self.arms[rows], self.enu[rows], self.sigmas_m[rows], self.stamps_s[rows])


@dataclass(frozen=True)
class Level:
    """What is believed of the map's vertical beside the fixes. up: [3] in the map. sigma_deg: how far it may be off."""

    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    sigma_deg: float = 1.0


@dataclass(frozen=True, eq=False)
class Surveyed:
    """enu_from_map, and how well fixes agree with it.

    used, agreeing: fixes. residual_m: horizontal root mean square of those that agree. scale_sigma: relative, one
    sigma, 0 where the scale was given. heading_sigma_rad: of the map's x axis.
    """

    enu_from_map: Similarity
    used: int
    agreeing: int
    residual_m: float
    scale_sigma: float
    heading_sigma_rad: float


def fit_earth(sightings: Sightings, level: Level, *, scaled: bool) -> Surveyed:
    """Raises DatasetError, without the name of the topic, where fixes are too few, too near each other, or disagree.

    scaled: find the scale as well; otherwise the map is metric.
    """
    if len(sightings) < _MIN_FIXES:
        raise DatasetError(
            f"{len(sightings)} fixes were taken while the camera's place is known, {_MIN_FIXES} are needed"
        )
    step = -(-len(sightings) // _MOST_FIXES)
    seen = sightings.of(np.arange(0, len(sightings), step))
    _require_baseline(seen.enu, float(np.median(seen.sigmas_m[:, 0])))
    refined = [_refined(seen, start, level, scaled=scaled) for start in _starts(seen, level, scaled=scaled)]
    if not refined:
        raise DatasetError("the fixes agree on no direction: is the receiver's clock that of the camera?")
    best = min(refined, key=lambda item: item.cost)
    return _judged(seen, best, scaled=scaled)


def _require_baseline(enu: Array, sigma_m: float) -> None:
    """Raises DatasetError where the way between fixes is hidden by their errors."""
    flat = enu[:, :2] - np.median(enu[:, :2], axis=0)
    near = np.linalg.norm(flat, axis=1) <= 10 * np.median(np.linalg.norm(flat, axis=1)) + 1e-9  # without the wildest
    axis = np.linalg.svd(flat[near], full_matrices=False)[2][0]
    extent = float(np.ptp(np.quantile(flat[near] @ axis, (0.02, 0.98))))
    if extent < _BASELINE_SIGMAS * sigma_m:
        raise DatasetError(
            f"the drive covers {extent:.1f} m by its fixes, good to {sigma_m:.1f} m: too short a baseline for a "
            f"direction, at least {_BASELINE_SIGMAS * sigma_m:.0f} m are needed"
        )


def _starts(seen: Sightings, level: Level, *, scaled: bool) -> Iterator[Similarity]:
    """Places to begin from: the level one, and one that trusts fixes alone, for maps that are not level at all."""
    upright = _turn_up(np.array(level.up))
    flat = _least_medians(seen, upright, 2, scaled=scaled)
    if flat is not None:
        yield flat
    if np.isfinite(seen.enu[:, 2]).all():
        free = _least_medians(seen, np.eye(3), 3, scaled=scaled)
        if free is not None:
            yield free


def _turn_up(up: Array) -> Array:
    """The smallest rotation [3, 3] after which `up` is z."""
    turn: Array = Rotation.align_vectors([[0.0, 0.0, 1.0]], [up / np.linalg.norm(up)])[0].as_matrix()
    return turn


def _least_medians(seen: Sightings, upright: Array, axes: int, *, scaled: bool) -> Similarity | None:
    """The similarity through a few fixes from which the median fix is least far, horizontally (2 axes) or in space."""
    points = seen.centres @ upright.T + (0 if scaled else seen.arms @ upright.T)
    enu = np.where(np.isfinite(seen.enu), seen.enu, 0.0)
    extent = float(np.linalg.norm(np.ptp(np.quantile(points, (0.05, 0.95), axis=0), axis=0)))
    rng = np.random.default_rng(0)
    best, least = None, np.inf
    for _ in range(_TRIALS):
        rows = rng.choice(len(seen), axes, replace=False)
        if np.linalg.norm(points[rows[0]] - points[rows[1]]) < _APART * extent:
            continue
        found = _through(points[rows], enu[rows], axes, scaled=scaled)
        if found is None:
            continue
        median = float(np.median(np.linalg.norm((found.apply(points) - enu)[:, :axes], axis=1)))
        if median < least:
            best, least = found, median
    if best is None:
        return None
    apart = (best.apply(points) - seen.enu)[:, 2]  # two fixes told the height: better the median of all
    shift = np.array([0.0, 0.0, np.median(apart[np.isfinite(apart)]) if np.isfinite(apart).any() else 0.0])
    return Similarity(best.scale, Pose(best.pose.rotation @ upright, best.pose.translation - shift))


def _through(points: Array, enu: Array, axes: int, *, scaled: bool) -> Similarity | None:
    """The similarity that brings points [axes, 3] closest to others, None where they do not tell it."""
    middle, target = points.mean(axis=0), enu.mean(axis=0)
    left, right = points - middle, enu - target
    ratio = float(np.linalg.norm(right[:, :axes]) / max(np.linalg.norm(left[:, :axes]), 1e-12))
    scale = ratio if scaled else 1.0
    if not 1e-9 < ratio < 1e9:
        return None
    if axes == 2:
        (ax, ay), (bx, by) = points[1, :2] - points[0, :2], enu[1, :2] - enu[0, :2]
        rotation = Rotation.from_euler("z", np.arctan2(by, bx) - np.arctan2(ay, ax)).as_matrix()
    else:
        u, _, vt = np.linalg.svd(right.T @ left)
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return Similarity(scale, Pose(rotation, target - scale * rotation @ middle))


@dataclass(frozen=True, eq=False)
class _Refined:
    """cost: of all fixes. sigmas_m: [N, 2] as they turned out to be. information: [7, 7] of rotation vector,
    translation, logarithm of scale."""

    enu_from_map: Similarity
    cost: float
    sigmas_m: Array
    information: Array


def _refined(seen: Sightings, start: Similarity, level: Level, *, scaled: bool) -> _Refined:
    """Least squares with a loss that forgives, then of what agrees; by standard deviations as they turn out to be."""
    up, tolerance = np.array(level.up) / np.linalg.norm(level.up), np.radians(level.sigma_deg)
    enu = np.where(np.isfinite(seen.enu), seen.enu, 0.0)

    def similarity(values: Array) -> Similarity:
        rotation = Rotation.from_rotvec(values[:3]).as_matrix() @ start.pose.rotation
        scale = start.scale * float(np.exp(values[6])) if scaled else start.scale
        return Similarity(scale, Pose(rotation, values[3:6]))

    def residuals(values: Array, weights: Array) -> Array:
        found = similarity(values)
        leaning = _leaning(found.pose.rotation @ up) / tolerance
        return np.concatenate([((_antennas(seen, found) - enu) * weights).reshape(-1), leaning])

    values = np.concatenate([np.zeros(3), start.pose.translation, [0.0]])
    sigmas = _true_sigmas(seen, _apart(seen, start))
    cost, information = np.inf, np.eye(7)
    for trusting in (False, False, True, True):
        weights = _weights(_apart(seen, similarity(values)), sigmas, agreeing=trusting)
        fitted = scipy.optimize.least_squares(
            residuals, values, loss="cauchy", f_scale=_CAUCHY, x_scale="jac", args=(weights,)
        )
        values, information = fitted.x, fitted.jac.T @ fitted.jac
        sigmas = _true_sigmas(seen, _apart(seen, similarity(values)))
        # A wide spread would forgive everything.
        cost = cost if trusting else float(fitted.cost + np.log(sigmas / seen.sigmas_m).sum() * 2)
    return _Refined(similarity(values), cost, sigmas, information)


def _leaning(up: Array) -> Array:
    """[2] how far a unit vector [3] is from z, towards x and y, in radians: half a turn for what hangs upside down."""
    across = float(np.hypot(up[0], up[1]))
    angle = float(np.arctan2(across, up[2]))
    if across < 1e-9:
        return np.array([angle, 0.0])
    towards: Array = up[:2] / across * angle
    return towards


def _weights(apart: Array, sigmas_m: Array, *, agreeing: bool) -> Array:
    """[N, 3] reciprocals of standard deviations; 0 for what is unknown and, if wished, for what does not agree.

    A fix that is wrong on the level has no height to offer either.
    """
    use = np.isfinite(apart)
    if agreeing:
        near = np.abs(apart) <= _AGREEING * sigmas_m[:, _AXES]
        use = use & near & near[:, :2].all(axis=1, keepdims=True)
    weights: Array = np.where(use, 1 / sigmas_m[:, _AXES], 0.0)
    return weights


def _antennas(seen: Sightings, enu_from_map: Similarity) -> Array:
    """[N, 3] antennas; their distance from the camera is metric already."""
    return enu_from_map.pose.apply(enu_from_map.scale * seen.centres + seen.arms)


def _apart(seen: Sightings, enu_from_map: Similarity) -> Array:
    """[N, 3] from fixes to antennas; NaN where an altitude is unknown."""
    apart: Array = _antennas(seen, enu_from_map) - seen.enu
    return apart


def _true_sigmas(seen: Sightings, apart: Array) -> Array:
    """[N, 2] standard deviations of fixes, larger by one factor each for level and height if that is how they are."""
    out: Array = seen.sigmas_m.copy()
    for column, axes in enumerate((slice(0, 2), slice(2, 3))):
        own = np.abs(apart[:, axes] / seen.sigmas_m[:, column, None])
        own = own[np.isfinite(own)]
        out[:, column] *= max(_TO_SIGMA * float(np.median(own)), 1.0) if len(own) else 1.0
    return out


def _judged(seen: Sightings, best: _Refined, *, scaled: bool) -> Surveyed:
    """Raises DatasetError where few fixes agree with it, or only because they are so inaccurate."""
    apart = np.linalg.norm(_apart(seen, best.enu_from_map)[:, :2], axis=1)
    sigmas = best.sigmas_m[:, 0]
    agreeing = apart <= _AGREEING * sigmas
    if agreeing.mean() < _LEAST_AGREEING:
        raise DatasetError(f"only {int(agreeing.sum())} of {len(seen)} fixes agree with the drive that the images show")
    residual_m = float(np.sqrt(np.mean(apart[agreeing] ** 2)))
    extent = float(np.linalg.norm(np.ptp(seen.enu[agreeing, :2], axis=0)))
    if residual_m > _MOST_SPREAD * extent:
        raise DatasetError(
            f"fixes and images tell of different drives: {residual_m:.1f} m apart over {extent:.1f} m; do the clocks "
            "agree?"
        )
    _require_baseline(seen.enu[agreeing], float(np.median(sigmas[agreeing])))
    size = 7 if scaled else 6
    lasting = len(seen) / min(len(seen), 1 + np.ptp(seen.stamps_s) / _SAME_ERROR_S)
    variances = np.diag(np.linalg.pinv(best.information[:size, :size])) * lasting
    return Surveyed(
        best.enu_from_map,
        len(seen),
        int(agreeing.sum()),
        residual_m,
        float(np.sqrt(variances[6])) if scaled else 0.0,
        float(np.sqrt(variances[2])),
    )
