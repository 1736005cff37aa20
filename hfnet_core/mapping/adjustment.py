"""Bundle adjustment with priors on whole poses, by Levenberg-Marquardt on the Schur complement.

pycolmap's adjuster knows priors on positions only. That leaves a drive along a wall free to bend: positions stay
where they were given while orientations wander by degrees at a fraction of a pixel. Here positions and orientations
are both held by the given poses, as strongly as they are trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Array, Pose
from hfnet_core.mapping.cameras import intrinsics, project, with_intrinsics
from hfnet_core.mapping.schur import Blocks, solve
from hfnet_core.types import Camera

__all__ = ["Problem", "Trust", "adjust"]

_ROBUST_PX = 1.0  # residuals beyond grow in influence as their root only
_INTRINSIC_SIGMAS = np.array([0.05, 0.1, 0.1])  # of log focal length, k1, k2: a calibration is seldom off by more
_INTRINSIC_STEP = 1e-6
_STEP = 1e-6  # of the depth, for derivatives of the projection


@dataclass(frozen=True)
class Trust:
    """Standard deviations of the given positions (metres) and orientations (radians), and of a pixel at scale 1."""

    position_m: float
    orientation_rad: float
    pixel_px: float
    refine_intrinsics: bool


@dataclass(frozen=True, eq=False)
class Problem:
    """Views, points and observations.

    rotations: [M, 3, 3] and translations: [M, 3] of camera_from_map. view_cameras: [M]. cameras: C. points: [L, 3].
    views, tracks: [O] view and point of each observation, sorted by point. pixels: [O, 2].
    """

    rotations: Array
    translations: Array
    view_cameras: NDArray[np.int64]
    cameras: tuple[Camera, ...]
    points: Array
    views: NDArray[np.int64]
    tracks: NDArray[np.int64]
    pixels: Array

    def map_from_camera(self) -> list[Pose]:
        return [Pose(r, t).inverse() for r, t in zip(self.rotations, self.translations, strict=True)]

    def residuals_px(self) -> Array:
        """[O, 2] projection minus observation; NaN where a point cannot be seen."""
        return self._project(self._in_camera()) - self.pixels

    def depths(self) -> Array:
        """[O] distance of each observed point along the optical axis, metres."""
        return self._in_camera()[:, 2]

    def widest_angles(self) -> Array:
        """[L] angle between the first ray of a point and the ray furthest from it, radians."""
        centres = -np.einsum("mji,mj->mi", self.rotations, self.translations)
        rays = self.points[self.tracks] - centres[self.views]
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        first = np.full(len(self.points), len(rays))
        np.minimum.at(first, self.tracks, np.arange(len(rays)))
        angles = np.arccos(np.clip(np.einsum("oi,oi->o", rays, rays[first[self.tracks]]), -1.0, 1.0))
        out = np.zeros(len(self.points))
        np.maximum.at(out, self.tracks, angles)
        return out

    def _in_camera(self) -> Array:
        moved: Array = np.einsum("oij,oj->oi", self.rotations[self.views], self.points[self.tracks])
        return moved + self.translations[self.views]

    def _project(self, points: Array) -> Array:
        out = np.empty((len(points), 2))
        owner = self.view_cameras[self.views]
        for index, camera in enumerate(self.cameras):
            rows = owner == index
            out[rows] = project(camera, points[rows])
        return out


def adjust(problem: Problem, priors: Sequence[Pose], trust: Trust, *, iterations: int) -> Problem:
    """The problem at the minimum of reprojection errors and deviations from the priors (map_from_camera per view)."""
    if not len(problem.points):
        return problem
    given = [pose.inverse() for pose in priors]
    goal = (np.array([pose.rotation for pose in given]), np.array([pose.translation for pose in priors]))
    start_cameras = problem.cameras
    cost, damping = _cost(problem, goal, trust, start_cameras), 1e-4
    for _ in range(iterations):
        system = _linearise(problem, goal, trust, start_cameras)
        accepted = None
        while accepted is None and damping < 1e8:
            candidate = _apply(problem, *solve(system, damping))
            new_cost = _cost(candidate, goal, trust, start_cameras)
            if new_cost < cost:
                accepted, damping = candidate, max(damping / 5, 1e-9)
            else:
                damping *= 5
        if accepted is None:
            return problem
        gain, cost, problem = cost - new_cost, new_cost, accepted
        if gain < 1e-5 * cost:
            return problem
    return problem


def _prior_errors(problem: Problem, goal: tuple[Array, Array], trust: Trust) -> Array:
    """[M, 6] orientation and position errors in standard deviations."""
    turned = problem.rotations @ goal[0].transpose(0, 2, 1)
    centres = -np.einsum("mji,mj->mi", problem.rotations, problem.translations)
    orientation = Rotation.from_matrix(turned).as_rotvec() / trust.orientation_rad
    return np.concatenate([orientation, (centres - goal[1]) / trust.position_m], axis=1)


def _intrinsic_errors(problem: Problem, start: Sequence[Camera]) -> Array:
    """[C, 3] changes of the intrinsics in standard deviations."""
    pairs = zip(problem.cameras, start, strict=True)
    changes = np.array([intrinsics(now) - intrinsics(then) for now, then in pairs]).reshape(-1, 3)
    return np.asarray(changes / _INTRINSIC_SIGMAS)


def _cost(problem: Problem, goal: tuple[Array, Array], trust: Trust, start: Sequence[Camera]) -> float:
    squared = (problem.residuals_px() ** 2).sum(axis=1) / trust.pixel_px**2
    squared = np.where(np.isfinite(squared), squared, 1e6)
    robust = 2 * _ROBUST_PX**2 * (np.sqrt(1 + squared / _ROBUST_PX**2) - 1)
    priors = (_prior_errors(problem, goal, trust) ** 2).sum() + (_intrinsic_errors(problem, start) ** 2).sum()
    return float(robust.sum() + priors)


def _linearise(problem: Problem, goal: tuple[Array, Array], trust: Trust, start: Sequence[Camera]) -> Blocks:
    """Derivatives at the current state; those of the projection numerically, so that every camera model fits."""
    seen = problem._in_camera()
    projected = problem._project(seen)
    residuals = (projected - problem.pixels) / trust.pixel_px
    valid = np.isfinite(residuals).all(axis=1)
    residuals[~valid] = 0.0
    weight = valid / (1 + (residuals**2).sum(axis=1) / _ROBUST_PX**2) ** 0.25
    slope = _projection_slope(problem, seen, projected) / trust.pixel_px
    slope[~np.isfinite(slope)] = 0.0
    slope *= weight[:, None, None]
    residuals *= weight[:, None]
    # A small turn w and move v of a camera: x' = x + w x x + v.
    turn = np.cross(np.eye(3)[None], seen[:, None, :]).transpose(0, 2, 1)  # columns e_i x x
    pose_part = np.concatenate([slope @ turn, slope], axis=2)
    point_part = slope @ problem.rotations[problem.views]
    camera_part = _intrinsic_slope(problem, seen, projected) * (weight / trust.pixel_px)[:, None, None]
    camera_part = np.where(np.isfinite(camera_part), camera_part, 0.0) * float(trust.refine_intrinsics)
    pose_priors, pose_gradients = _pose_priors(problem, goal, trust)
    lens = np.eye(3) / _INTRINSIC_SIGMAS**2
    return Blocks(
        problem.views, problem.tracks, problem.view_cameras, np.concatenate([pose_part, camera_part], axis=2),
        point_part, residuals, pose_priors, pose_gradients, np.tile(lens, (len(problem.cameras), 1, 1)),
        _intrinsic_errors(problem, start) / _INTRINSIC_SIGMAS, len(problem.points),
    )  # fmt: skip


def _projection_slope(problem: Problem, seen: Array, projected: Array) -> Array:
    """[O, 2, 3] derivative of the pixel by the point in the camera frame; works for every camera model."""
    step = _STEP * np.maximum(np.abs(seen[:, 2]), 1e-3)
    slopes = []
    for axis in range(3):
        moved = seen.copy()
        moved[:, axis] += step
        slopes.append((problem._project(moved) - projected) / step[:, None])
    return np.stack(slopes, axis=2)


def _intrinsic_slope(problem: Problem, seen: Array, projected: Array) -> Array:
    """[O, 2, 3] derivative of the pixel by the intrinsics of its camera."""
    slopes = []
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = _INTRINSIC_STEP
        moved = tuple(with_intrinsics(camera, intrinsics(camera) + step) for camera in problem.cameras)
        slopes.append((replace(problem, cameras=moved)._project(seen) - projected) / _INTRINSIC_STEP)
    return np.stack(slopes, axis=2)


def _pose_priors(problem: Problem, goal: tuple[Array, Array], trust: Trust) -> tuple[Array, Array]:
    """Normal matrices [M, 6, 6] and gradients [M, 6] of the priors on poses."""
    errors = _prior_errors(problem, goal, trust)
    jacobians = np.zeros((len(problem.rotations), 6, 6))
    jacobians[:, :3, :3] = np.eye(3) / trust.orientation_rad
    jacobians[:, 3:, 3:] = -problem.rotations.transpose(0, 2, 1) / trust.position_m
    return jacobians.transpose(0, 2, 1) @ jacobians, np.einsum("mij,mi->mj", jacobians, errors)


def _apply(problem: Problem, step_a: Array, step_b: Array) -> Problem:
    m = len(problem.rotations)
    poses = step_a[: 6 * m].reshape(m, 6)
    turns = Rotation.from_rotvec(poses[:, :3]).as_matrix()
    lenses = step_a[6 * m :].reshape(-1, 3)
    cameras = (with_intrinsics(camera, intrinsics(camera) + step) for camera, step in
               zip(problem.cameras, lenses, strict=True))  # fmt: skip
    return replace(
        problem, rotations=turns @ problem.rotations,
        translations=np.einsum("mij,mj->mi", turns, problem.translations) + poses[:, 3:],
        cameras=tuple(cameras), points=problem.points + step_b,
    )  # fmt: skip
