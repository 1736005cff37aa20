"""Stage 4: the camera pose from correspondences, its covariance, and how well it is supported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose
from hfnet_core.maps.colmap_cameras import colmap_camera
from hfnet_core.projection import NEAREST_M, inside, linearised_projection, pixel_scale, project
from hfnet_core.types import Camera

__all__ = ["Solution", "coverage", "polish", "pose_covariance", "solve"]

_GRID = (6, 8)  # rows, columns of the coverage grid
CELLS = _GRID[0] * _GRID[1]
_MIN_POINTS = 4  # three for P3P and one to choose among its solutions
CAUCHY_PX = 1.0  # residuals beyond it, at the reference width, lose influence
_MAX_STEPS = 10
_TINY = 1e-300
_NEXT, _AFTER = [1, 2, 0], [2, 0, 1]  # axes, for cross products (numpy's own takes five times as long)
_SMALL_STEP = 0.2  # standard deviations of the pose
_SINGULAR = 1e14  # condition beyond which a matrix is not inverted


Derivatives = tuple[Array, Array, NDArray[np.bool_]]
"""See `derivatives`."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A pose solved by RANSAC and refined. inliers: [N] bool over the correspondences given."""

    map_from_camera: Pose
    inliers: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return int(self.inliers.sum())


def solve(
    keypoints_px: NDArray[Any], points_map: NDArray[Any], camera: Camera, config: LocalizerConfig
) -> Solution | None:
    """LO-RANSAC over P3P with COLMAP's solver, to be polished; None when nothing agrees.

    keypoints_px: [N, 2]; points_map: [N, 3] metres. Deterministic: RANSAC's seed is fixed.
    """
    if len(keypoints_px) < _MIN_POINTS:
        return None
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac = ransac_options(config, pixel_scale(camera))
    answer = pycolmap.estimate_absolute_pose(
        np.asarray(keypoints_px, np.float64), np.asarray(points_map, np.float64), colmap_camera(camera), options
    )
    if answer is None:
        return None
    map_from_camera = Pose.from_matrix(answer["cam_from_world"].matrix()).inverse()
    if not map_from_camera.is_finite():
        return None
    return Solution(map_from_camera, np.asarray(answer["inlier_mask"], dtype=bool))


def ransac_options(config: LocalizerConfig, pixel_scale: float = 1.0) -> Any:
    """pycolmap's, for errors in pixels of an image `pixel_scale` times as wide as the reference."""
    options = pycolmap.RANSACOptions()
    options.max_error = config.reprojection_error_px * pixel_scale
    options.max_num_trials = config.ransac_iterations
    options.min_num_trials = min(30, config.ransac_iterations)
    options.dyn_num_trials_multiplier = 1.0
    options.confidence = 0.9999
    options.min_inlier_ratio = 0.02
    options.random_seed = 0
    return options


def polish(
    keypoints_px: NDArray[Any],
    points_map: NDArray[Any],
    camera: Camera,
    map_from_camera: Pose,
    config: LocalizerConfig,
) -> Solution | None:
    """Refine a pose on all correspondences that agree with it; None where they do not determine one."""
    keypoints, points = np.asarray(keypoints_px, np.float64), np.asarray(points_map, np.float64)
    scale = pixel_scale(camera)
    limit_px = config.reprojection_error_px * scale
    refined = polished(map_from_camera, lambda at: derivatives(keypoints, points, at, camera), limit_px, scale)
    if refined is None:
        return None
    return Solution(refined, _agreeing(keypoints, points, camera, refined, limit_px))


def polished(
    start: Pose, derivatives_at: Callable[[Pose], Derivatives], limit_px: float, pixel_scale: float = 1.0
) -> Pose | None:
    """The pose at the minimum of the residuals within `limit_px`; None where they do not determine one.

    Gauss-Newton with Cauchy weights, as COLMAP's refinement, which takes three times as long. Which correspondences
    take part is decided anew in every step.
    """
    found = start
    for _ in range(_MAX_STEPS):
        step = _robust_step(*derivatives_at(found), limit_px, CAUCHY_PX * pixel_scale)
        if step is None:
            return None
        found = _moved(found, step[0])
        if step[1] < _SMALL_STEP:
            break
    return found if found.is_finite() else None


def _robust_step(
    jacobian: Array, residuals: Array, visible: NDArray[np.bool_], limit_px: float, cauchy_px: float
) -> tuple[Array, float] | None:
    """The step [6] to the minimum of the linearised problem with Cauchy weights, and its size in standard deviations.

    Weights are iterated on the linear model, which costs a tenth of new derivatives. None where it has no minimum.
    """
    rows, errors = jacobian.reshape(-1, 6), residuals
    step = np.zeros(6)
    for number in range(_MAX_STEPS):
        squared = (errors * errors).sum(axis=1)
        inliers = visible & (squared <= limit_px**2)
        count = np.count_nonzero(inliers)
        if count < _MIN_POINTS:
            return None
        weights = inliers / (1.0 + squared / cauchy_px**2)
        weighted = rows * np.repeat(weights, 2)[:, None]
        information = weighted.T @ rows
        if number == 0 and not _determined(information):
            return None
        change = np.linalg.solve(information, weighted.T @ errors.reshape(-1))
        step += change
        errors = residuals - (rows @ step).reshape(-1, 2)
        variance = (weights @ squared) / (2 * count)
        if change @ information @ change <= _SMALL_STEP**2 * variance:
            break
    return step, float(np.sqrt(step @ information @ step / max(variance, _TINY)))


def _determined(information: Array) -> bool:
    return bool(np.isfinite(information).all() and np.linalg.cond(information) <= _SINGULAR)


def _moved(map_from_camera: Pose, step: Array) -> Pose:
    """The pose after a step: position (metres), then a rotation vector about the map's axes, applied on the left."""
    rotation = Rotation.from_rotvec(step[3:]).as_matrix() @ map_from_camera.rotation
    return Pose(rotation, map_from_camera.translation + step[:3])


def derivatives(keypoints_px: Array, points_map: Array, map_from_camera: Pose, camera: Camera) -> Derivatives:
    """Derivatives [N, 2, 6] of the projections by the pose, residuals [N, 2], and which of the points are visible.

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


def _agreeing(
    keypoints_px: NDArray[Any], points_map: NDArray[Any], camera: Camera, map_from_camera: Pose, limit_px: float
) -> NDArray[np.bool_]:
    pixels, visible = project(points_map, map_from_camera, camera)
    with np.errstate(invalid="ignore"):
        near = np.linalg.norm(pixels - keypoints_px, axis=1) <= limit_px
    return np.asarray(visible & near, dtype=bool)


def pose_covariance(
    keypoints_px: NDArray[Any], points_map: NDArray[Any], map_from_camera: Pose, camera: Camera
) -> tuple[Array, float]:
    """Covariance [6, 6] of a pose from its inliers, and their root mean square reprojection error in pixels.

    Order and axes: position (metres) then rotation (radians) about the map's axes, as geometry_msgs defines it. The
    covariance is infinite where the inliers do not determine the pose. See `covariance_of`.
    """
    linear = linearised(keypoints_px, points_map, map_from_camera, camera)
    return covariance_of(linear.jacobian, linear.residuals, linear.cells)


class Linearised(NamedTuple):
    """Visible correspondences around a pose: derivatives [N, 2, 6] of the projections by it, residuals [N, 2], image
    cells [N] of the keypoints, and the projections [N, 2]."""

    jacobian: Array
    residuals: Array
    cells: NDArray[np.int64]
    projected_px: Array


def linearised(
    keypoints_px: NDArray[Any], points_map: NDArray[Any], map_from_camera: Pose, camera: Camera
) -> Linearised:
    """keypoints_px [N, 2] and points_map [N, 3] around a pose; points that are not visible are left out."""
    keypoints, points = np.asarray(keypoints_px, np.float64), np.asarray(points_map, np.float64)
    jacobian, residuals, visible = derivatives(keypoints, points, map_from_camera, camera)
    keypoints, residuals = keypoints[visible], residuals[visible]
    return Linearised(jacobian[visible], residuals, cells(keypoints, camera), keypoints - residuals)


def covariance_of(jacobian: Array, residuals: Array, cells: NDArray[np.int64]) -> tuple[Array, float]:
    """The same from derivatives [N, 2, 6], residuals [N, 2] and the group [N] of neighbours each one belongs to.

    First-order propagation (J^T J)^-1 sigma^2 with sigma from the residuals, times their design effect: landmarks
    close by share errors, so that N of them say less than N independent ones. The effect (Kish, Survey Sampling,
    1965; here for a regression, after Liang and Zeger, 1986) compares how the scores J^T r add up within the cells
    with what they would if all residuals were independent, and is at least 1.
    """
    rows, errors = jacobian.reshape(-1, 6), residuals.reshape(-1)
    degrees_of_freedom = len(errors) - 6
    if degrees_of_freedom <= 0:
        return np.full((6, 6), np.inf), float("inf")
    rms_px = float(np.sqrt(2.0 * (errors**2).mean()))
    information = rows.T @ rows
    if not _determined(information):
        return np.full((6, 6), np.inf), rms_px
    inverse = np.linalg.inv(information)
    errors = errors - rows @ (inverse @ (rows.T @ errors))
    variance = float(errors @ errors) / degrees_of_freedom
    count, groups = np.unique(cells, return_inverse=True)
    belongs = (groups == np.arange(len(count))[:, None]).astype(np.float64)
    scores = belongs @ np.einsum("nki,nk->ni", jacobian, errors.reshape(-1, 2))
    shares = inverse @ (belongs @ np.einsum("nki,nkj->nij", jacobian, jacobian).reshape(-1, 36)).reshape(-1, 6, 6)
    expected = 6.0 - float(np.einsum("gij,gji->", shares, shares))
    if expected < 1e-6:  # all in one cell: nothing tells how they go together
        return np.full((6, 6), np.inf), rms_px
    found = float(np.einsum("gi,ij,gj->", scores, inverse, scores))
    effect = max(found / max(variance * expected, _TINY), 1.0)
    return np.asarray(inverse * (variance * effect), dtype=np.float64), rms_px


def cells(keypoints_px: NDArray[Any], camera: Camera) -> NDArray[np.int64]:
    """[N] cell of an 8x6 grid over the image that holds each keypoint [N, 2], 0..47."""
    rows, columns = _GRID
    column = np.clip((keypoints_px[:, 0] + 0.5) / camera.width * columns, 0, columns - 1).astype(np.int64)
    row = np.clip((keypoints_px[:, 1] + 0.5) / camera.height * rows, 0, rows - 1).astype(np.int64)
    return np.asarray(row * columns + column)


def coverage(keypoints_px: NDArray[Any], camera: Camera) -> float:
    """Share of the cells of an 8x6 grid over the image that hold a keypoint, 0..1."""
    if len(keypoints_px) == 0:
        return 0.0
    return len(np.unique(cells(keypoints_px, camera))) / CELLS
