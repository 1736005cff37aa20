"""The pose of a camera, or of several on one body, from correspondences most of which may be wrong.

LO-RANSAC with MSAC's score (Lebeda et al., BMVC 2012; Torr and Zisserman, CVIU 2000) over three points of one camera
at a time. Hypotheses are made and scored by the hundred: what an array operation costs does not depend on their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.absolute_pose.p3p import SAMPLE, solve_p3p
from hfnet_core.localization.absolute_pose.problem import Linear, Problem, Seen

__all__ = ["Ransac", "Seen", "solve_absolute_pose"]

_FIRST_BATCH, _LARGEST_BATCH = 32, 512
_POLISH_STEPS = 6
_LITTLE = 0.1  # inliers' worth of cost that is not worth another step
_DRAWN = 1024  # random numbers at a time
_FEWER = np.arange(SAMPLE)[:, None]


@dataclass(frozen=True)
class Ransac:
    """How long to search.

    max_error_px: largest error of an inlier, at the reference width. confidence: that no better pose is missed, if
    samples without an outlier find it. enough: a pose with fewer inliers is of no use, so that none is searched longer
    than one with as many would take.
    """

    max_error_px: float
    min_iterations: int = 30
    max_iterations: int = 5000
    confidence: float = 0.9999
    enough: int = 6
    seed: int = 0


def solve_absolute_pose(seen: Sequence[Seen], ransac: Ransac) -> tuple[Pose, NDArray[np.bool_]] | None:
    """map_from_rig (map_from_camera of a single camera), and which correspondences [N] of all cameras, one after
    another, are inliers; None when no three agree with a fourth. Deterministic: the seed is fixed.
    """
    problem = Problem.of(seen, ransac.max_error_px)
    if problem.count <= SAMPLE:
        return None
    best = _search(problem, ransac)
    if best is None or best.count <= SAMPLE:
        return None
    rotation = best.pose[:9].reshape(3, 3)
    map_from_rig = Pose(rotation, best.pose[9:] - rotation @ problem.origin).inverse()
    if not map_from_rig.is_finite():
        return None
    inliers = np.zeros(len(problem.usable), bool)
    inliers[problem.usable] = best.inliers
    return map_from_rig, inliers


@dataclass(frozen=True, eq=False)
class _Found:
    """pose: [12]; cost: sum of its squared errors, 1 for each outlier; inliers: [N], of which there are `count`."""

    pose: Array
    cost: float
    inliers: NDArray[np.bool_]
    count: int


def _search(problem: Problem, ransac: Ransac) -> _Found | None:
    """The best pose found by as many samples as it takes."""
    best: _Found | None = None
    done, needed = 0, min(max(_FIRST_BATCH, ransac.min_iterations), ransac.max_iterations)
    while done < needed:
        samples = _samples(problem, done, min(needed, done + _LARGEST_BATCH), ransac.seed)
        done = min(needed, done + _LARGEST_BATCH)
        poses = _hypotheses(problem, samples)
        if len(poses):
            costs = problem.costs(poses).sum(axis=1)
            first = int(costs.argmin())
            if best is None or costs[first] < best.cost:
                best = _optimised(problem, poses[first])
        needed = max(_needed(problem, best, ransac), ransac.min_iterations)
    return best


def _samples(problem: Problem, begin: int, end: int, seed: int) -> NDArray[np.int64]:
    """[3, B] of three correspondences of one camera, all different; each camera as often as it has correspondences."""
    drawn = _random(seed, math.ceil(end / _DRAWN))[:, begin:end]
    start, size = problem.starts[0], problem.sizes[0]
    if len(problem.sizes) > 1:
        sizes = np.where(problem.sizes >= SAMPLE, problem.sizes, 0)
        total = sizes.sum()
        if total == 0:
            return np.zeros((SAMPLE, 0), np.int64)
        camera = np.searchsorted(np.cumsum(sizes), drawn[SAMPLE] * total, side="right")
        start, size = problem.starts[camera], sizes[camera]
    out: NDArray[np.int64] = (drawn[:SAMPLE] * (size - _FEWER)).astype(np.int64)
    first, second, third = out
    second += second >= first
    third += third >= np.minimum(first, second)
    third += third >= np.maximum(first, second)
    out += start
    return out


@lru_cache(maxsize=8)
def _random(seed: int, blocks: int) -> Array:
    """[4, N], uniform in 0..1, of so many blocks: drawn once, and the same for the same seed."""
    return np.asarray(np.random.default_rng(seed).random((blocks * _DRAWN, SAMPLE + 1)).T)


def _hypotheses(problem: Problem, samples: NDArray[np.int64]) -> Array:
    """Poses [H, 12] of the rig from samples [3, B]."""
    rays, points = (array.take(samples, axis=1).swapaxes(0, 1) for array in (problem.rays, problem.points))
    rotations, translations, sample = solve_p3p(rays, points)
    poses = np.empty((len(sample), 12))
    if problem.is_single:
        poses[:, :9], poses[:, 9:] = rotations.reshape(9, -1).T, translations.T
        return poses
    camera = np.searchsorted(problem.starts, samples[0][sample], side="right") - 1
    turns = np.stack([mount.rotation for mount in problem.mounts])[camera]
    shifts = np.stack([mount.translation for mount in problem.mounts])[camera]
    poses[:, :9] = np.einsum("hij,jkh->hik", turns, rotations).reshape(-1, 9)
    poses[:, 9:] = np.einsum("hij,jh->hi", turns, translations) + shifts
    return poses


def _optimised(problem: Problem, start: Array) -> _Found:
    """The pose after Gauss-Newton steps on its inliers, as long as these lower its cost."""
    at = problem.linearised(start)
    best = _found(at)
    for _ in range(_POLISH_STEPS):
        if best.count <= SAMPLE:
            break
        rows = (problem.derivatives(at) * at.inliers).reshape(6, -1)
        try:
            step = np.linalg.solve(rows @ rows.T, rows @ at.errors.reshape(-1))
        except np.linalg.LinAlgError:
            break
        at = problem.linearised(_moved(best.pose, step))
        moved = _found(at)
        gained = best.cost - moved.cost
        if not gained > 0:
            break
        best = moved
        if gained < _LITTLE:
            break
    return best


def _found(at: Linear) -> _Found:
    count = int(np.count_nonzero(at.inliers))
    right = at.errors * at.inliers
    return _Found(at.pose, float((right * right).sum()) + len(at.inliers) - count, at.inliers, count)


def _moved(pose: Array, step: Array) -> Array:
    """Less a step: a shift, metres, and a rotation vector on the left."""
    x, y, z = (0.5 * step[3:]).tolist()
    scale = 2.0 / (1.0 + x * x + y * y + z * z)  # Cayley's map: a rotation, and by this vector to second order
    turn = np.array(
        [
            [1 - scale * (y * y + z * z), scale * (x * y + z), scale * (x * z - y)],
            [scale * (x * y - z), 1 - scale * (x * x + z * z), scale * (y * z + x)],
            [scale * (x * z + y), scale * (y * z - x), 1 - scale * (x * x + y * y)],
        ]
    )
    return np.concatenate([(turn @ pose[:9].reshape(3, 3)).reshape(-1), pose[9:] - step[:3]])


def _needed(problem: Problem, best: _Found | None, ransac: Ransac) -> int:
    """Samples until one without an outlier is as good as sure, if there are as many inliers as of this pose."""
    shares = [min(ransac.enough / problem.count, 1.0)] * len(problem.sizes)
    if best is not None and best.count > ransac.enough:
        shares = [best.count / problem.count] * len(problem.sizes)
        if len(problem.sizes) > 1:
            within = [np.count_nonzero(best.inliers[a:b]) for a, b in pairwise(problem.starts)]
            shares = [inliers / max(size, 1) for inliers, size in zip(within, problem.sizes, strict=True)]
    chance = sum(size * share**SAMPLE for size, share in zip(problem.sizes, shares, strict=True)) / problem.count
    if chance >= 1.0:
        return 0
    return int(min(math.ceil(math.log1p(-ransac.confidence) / math.log1p(-chance)), ransac.max_iterations))
