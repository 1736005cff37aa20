"""The pose from correspondences: RANSAC over one view's, then the minimum over all views'."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose, skew
from hfnet_core.localization.absolute_pose.problem import Seen
from hfnet_core.localization.absolute_pose.ransac import Ransac, solve_absolute_pose
from hfnet_core.localization.correspondences import Correspondences, Query
from hfnet_core.projection import NEAREST_M, inside, linearised_projection, project
from hfnet_core.types import Camera

__all__ = [
    "CAUCHY_PX",
    "Derivatives",
    "Solution",
    "agreeing",
    "derivatives",
    "derivatives_by_rig",
    "determined",
    "errors_px",
    "moved",
    "polish",
    "solve",
]

CAUCHY_PX = 1.0  # residuals beyond it, at the reference width, lose influence
_MIN_POINTS = 4  # three determine a pose, one more contradicts it
_MAX_STEPS = 10
_TINY = 1e-300
_NEXT, _AFTER = [1, 2, 0], [2, 0, 1]  # axes, for cross products (numpy's own takes five times as long)
_SMALL_STEP = 0.2  # standard deviations of the pose
_SINGULAR = 1e14  # condition beyond which a matrix is not inverted


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Of the projections around a pose.

    jacobian: [N, 2, 6] by the pose (position, then rotation, about the map's axes). residuals: [N, 2] keypoint minus
    projection, pixels. visible: [N]; what is not has zeros.
    """

    jacobian: Array
    residuals: Array
    visible: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Solution:
    """A solved pose. inliers: [N] bool over the correspondences given."""

    map_from_rig: Pose
    inliers: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return int(self.inliers.sum())


def solve(found: Correspondences, query: Query, view: int, config: LocalizerConfig) -> Solution | None:
    """LO-RANSAC over P3P, to be polished; None when nothing agrees.

    found: of one view. Deterministic: RANSAC's seed is fixed.
    """
    seen = Seen(found.pixels, found.points, query.cameras[view], query.views[view].rig_from_camera)
    # what has fewer inliers is neither accepted nor a rival of what is, unless other views bring the rest
    enough = math.ceil(config.min_inliers * config.ambiguity_ratio / len(query.views))
    ransac = Ransac(config.reprojection_error_px, max_iterations=config.ransac_iterations, enough=enough)
    answer = solve_absolute_pose([seen], ransac)
    return None if answer is None else Solution(*answer)


def polish(
    found: Correspondences, query: Query, map_from_rig: Pose, config: LocalizerConfig, limits_px: Array | None = None
) -> Solution | None:
    """Refine a pose on all correspondences that agree with it; None where they do not determine one.

    limits_px: [N] errors up to which each agrees, where the pose is not known well enough for one limit to hold for
    all.
    """
    limit_px = config.reprojection_error_px
    relative = None if limits_px is None else (limits_px / limit_px)[:, None]

    def derivatives_at(at: Pose) -> Derivatives:
        around = derivatives(found, query, at)
        if relative is None:
            return around
        jacobian, residuals = around.jacobian / relative[:, :, None], around.residuals / relative
        return Derivatives(jacobian, residuals, around.visible)

    refined = _polished(map_from_rig, derivatives_at, limit_px)
    return None if refined is None else Solution(refined, agreeing(found, query, refined, config))


def agreeing(found: Correspondences, query: Query, map_from_rig: Pose, config: LocalizerConfig) -> NDArray[np.bool_]:
    """[N] which correspondences a pose explains."""
    near: NDArray[np.bool_] = errors_px(found, query, map_from_rig) <= config.reprojection_error_px
    return near


def errors_px(found: Correspondences, query: Query, map_from_rig: Pose) -> Array:
    """[N] reprojection errors in reference pixels, infinite where a camera would not see the landmark."""
    out = np.full(len(found), np.inf)
    for number, camera in enumerate(query.cameras):
        own = found.views == number
        map_from_camera = map_from_rig @ query.views[number].rig_from_camera
        pixels, visible = project(found.points[own], map_from_camera, camera)
        with np.errstate(invalid="ignore"):
            out[own] = np.where(visible, np.linalg.norm(pixels - found.pixels[own], axis=1), np.inf)
    return out


def derivatives(found: Correspondences, query: Query, map_from_rig: Pose) -> Derivatives:
    """Around a rig's pose, over the correspondences of all views."""
    jacobian, residuals = np.zeros((len(found), 2, 6)), np.zeros((len(found), 2))
    visible = np.zeros(len(found), bool)
    for number in range(len(query.views)):
        own = found.views == number
        jacobian[own], residuals[own], visible[own] = _of_view(
            found.pixels[own], found.points[own], query, number, map_from_rig
        )
    return Derivatives(jacobian, residuals, visible)


def _polished(start: Pose, derivatives_at: Callable[[Pose], Derivatives], limit_px: float) -> Pose | None:
    """The pose at the minimum of the residuals within `limit_px`; None where they do not determine one.

    Gauss-Newton with Cauchy weights, as COLMAP's refinement, which takes three times as long. Which correspondences
    take part is decided anew in every step.
    """
    found = start
    for _ in range(_MAX_STEPS):
        step = _robust_step(derivatives_at(found), limit_px)
        if step is None:
            return None
        found = moved(found, step[0])
        if step[1] < _SMALL_STEP:
            break
    return found if found.is_finite() else None


def _robust_step(around: Derivatives, limit_px: float) -> tuple[Array, float] | None:
    """The step [6] to the minimum of the linearised problem with Cauchy weights, and its size in standard deviations.

    Weights are iterated on the linear model, which costs a tenth of new derivatives. None where it has no minimum.
    """
    rows, errors = around.jacobian.reshape(-1, 6), around.residuals
    step = np.zeros(6)
    for number in range(_MAX_STEPS):
        squared = (errors * errors).sum(axis=1)
        inliers = around.visible & (squared <= limit_px**2)
        count = np.count_nonzero(inliers)
        if count < _MIN_POINTS:
            return None
        weights = inliers / (1.0 + squared / CAUCHY_PX**2)
        weighted = rows * np.repeat(weights, 2)[:, None]
        information = weighted.T @ rows
        if number == 0 and not determined(information):
            return None
        change = np.linalg.solve(information, weighted.T @ errors.reshape(-1))
        step += change
        errors = around.residuals - (rows @ step).reshape(-1, 2)
        variance = (weights @ squared) / (2 * count)
        if change @ information @ change <= _SMALL_STEP**2 * variance:
            break
    return step, float(np.sqrt(step @ information @ step / max(variance, _TINY)))


def determined(information: Array) -> bool:
    """Whether a matrix of normal equations [..., 6, 6] can be inverted; of several, whether all can."""
    return bool(np.isfinite(information).all() and (np.linalg.cond(information) <= _SINGULAR).all())


def moved(map_from_camera: Pose, step: Array) -> Pose:
    """The pose after a step: position (metres), then a rotation vector about the map's axes, applied on the left."""
    rotation = Rotation.from_rotvec(step[3:]).as_matrix() @ map_from_camera.rotation
    return Pose(rotation, map_from_camera.translation + step[:3])


def derivatives_by_rig(points_map: Array, query: Query, view: int, map_from_rig: Pose) -> Array:
    """[N, 2, 6] of where a view sees points [N, 3] by its rig's pose, as in `Derivatives`."""
    return _of_view(np.zeros((len(points_map), 2)), points_map, query, view, map_from_rig)[0]


def _of_view(
    keypoints_px: Array, points_map: Array, query: Query, view: int, map_from_rig: Pose
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Jacobian by the rig's pose, residuals and visibility of one view.

    A turn of the rig by dr about its own origin moves a camera at the end of an arm by dr x arm, which carries each
    camera's derivatives over to the rig.
    """
    map_from_camera = map_from_rig @ query.views[view].rig_from_camera
    by_camera, residuals, visible = _of_camera(keypoints_px, points_map, map_from_camera, query.cameras[view])
    camera_by_rig = np.eye(6)
    camera_by_rig[:3, 3:] = -skew(map_from_camera.translation - map_from_rig.translation)
    return by_camera @ camera_by_rig, residuals, visible


def _of_camera(
    keypoints_px: Array, points_map: Array, map_from_camera: Pose, camera: Camera
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Jacobian, residuals and visibility of one camera, by its own pose.

    Points that are not visible have zeros.
    """
    arms = points_map - map_from_camera.translation
    seen = arms @ map_from_camera.rotation
    pixels, by_point = linearised_projection(camera, seen)
    visible = (seen[:, 2] > NEAREST_M) & inside(pixels, camera)
    by_point = np.where(visible[:, None, None], by_point, 0.0)
    by_position = -by_point @ map_from_camera.rotation.T
    arms = arms[:, None, :]
    by_rotation = arms[..., _NEXT] * by_position[..., _AFTER] - arms[..., _AFTER] * by_position[..., _NEXT]  # cross
    residuals = np.where(visible[:, None], keypoints_px - pixels, 0.0)
    return np.concatenate([by_position, by_rotation], axis=2), residuals, visible
