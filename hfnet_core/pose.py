"""Stage 4: the camera pose from correspondences, its covariance, and how well it is supported."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose
from hfnet_core.types import Camera

__all__ = ["REFERENCE_WIDTH", "Solution", "colmap_camera", "coverage", "polish", "pose_covariance", "project", "solve"]

REFERENCE_WIDTH = 640.0  # settings in pixels hold for this image width and scale with it
_GRID = (6, 8)  # rows, columns of the coverage grid
_MIN_POINTS = 4  # three for P3P and one to choose among its solutions


@dataclass(frozen=True, eq=False)
class Solution:
    """A pose solved by RANSAC and refined. inliers: [N] bool over the correspondences given."""

    map_from_camera: Pose
    inliers: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return int(self.inliers.sum())


@lru_cache(maxsize=64)
def colmap_camera(camera: Camera) -> Any:
    return pycolmap.Camera(model=camera.model, width=camera.width, height=camera.height, params=list(camera.params))


def pixel_scale(camera: Camera) -> float:
    """Factor from settings in reference pixels to this camera's pixels."""
    return camera.width / REFERENCE_WIDTH


def solve(
    keypoints_px: NDArray[Any], points_map: NDArray[Any], camera: Camera, config: LocalizerConfig
) -> Solution | None:
    """LO-RANSAC over P3P and non-linear refinement with COLMAP's solver; None when nothing agrees.

    keypoints_px: [N, 2]; points_map: [N, 3] metres. Deterministic: RANSAC's seed is fixed.
    """
    if len(keypoints_px) < _MIN_POINTS:
        return None
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error = config.reprojection_error_px * pixel_scale(camera)
    options.ransac.max_num_trials = config.ransac_iterations
    options.ransac.min_num_trials = min(30, config.ransac_iterations)
    options.ransac.dyn_num_trials_multiplier = 1.0
    options.ransac.confidence = 0.9999
    options.ransac.min_inlier_ratio = 0.02
    options.ransac.random_seed = 0
    answer = pycolmap.estimate_and_refine_absolute_pose(
        np.asarray(keypoints_px, np.float64), np.asarray(points_map, np.float64), colmap_camera(camera), options
    )
    if answer is None:
        return None
    map_from_camera = Pose.from_matrix(answer["cam_from_world"].matrix()).inverse()
    if not map_from_camera.is_finite():
        return None
    return Solution(map_from_camera, np.asarray(answer["inlier_mask"], dtype=bool))


def polish(
    keypoints_px: NDArray[Any],
    points_map: NDArray[Any],
    camera: Camera,
    map_from_camera: Pose,
    config: LocalizerConfig,
) -> Solution | None:
    """Refine a pose on all correspondences that agree with it; None where they do not determine one."""
    points, limit_px = np.asarray(points_map, np.float64), config.reprojection_error_px * pixel_scale(camera)
    inliers = _agreeing(keypoints_px, points, camera, map_from_camera, limit_px)
    if inliers.sum() < _MIN_POINTS:
        return None
    camera_from_map = pycolmap.Rigid3d(map_from_camera.inverse().matrix()[:3])
    answer = pycolmap.refine_absolute_pose(
        camera_from_map, np.asarray(keypoints_px, np.float64), points, inliers, colmap_camera(camera)
    )
    if answer is None:
        return None
    refined = Pose.from_matrix(answer["cam_from_world"].matrix()).inverse()
    if not refined.is_finite():
        return None
    return Solution(refined, _agreeing(keypoints_px, points, camera, refined, limit_px))


def _agreeing(
    keypoints_px: NDArray[Any], points_map: NDArray[Any], camera: Camera, map_from_camera: Pose, limit_px: float
) -> NDArray[np.bool_]:
    pixels, visible = project(points_map, map_from_camera, camera)
    with np.errstate(invalid="ignore"):
        near = np.linalg.norm(pixels - keypoints_px, axis=1) <= limit_px
    return np.asarray(visible & near, dtype=bool)


def project(points_map: NDArray[Any], map_from_camera: Pose, camera: Camera) -> tuple[Array, NDArray[np.bool_]]:
    """Pixels [N, 2] of points [N, 3], and which of them [N] lie in front of the camera and inside its image."""
    points_camera = map_from_camera.inverse().apply(points_map)
    in_front = points_camera[:, 2] > 1e-3
    pixels = np.full((len(points_camera), 2), np.nan)
    if in_front.any():
        pixels[in_front] = colmap_camera(camera).img_from_cam(points_camera[in_front])
    with np.errstate(invalid="ignore"):
        inside = (pixels >= -0.5).all(axis=1) & (pixels < np.array([camera.width, camera.height]) - 0.5).all(axis=1)
    return pixels, in_front & inside


def pose_covariance(
    keypoints_px: NDArray[Any], points_map: NDArray[Any], map_from_camera: Pose, camera: Camera
) -> tuple[Array, float]:
    """Covariance [6, 6] of a pose from its inliers, and their root mean square reprojection error in pixels.

    First-order propagation (J^T J)^-1 sigma^2 at the solution, with sigma from the residuals themselves. Order and
    axes: position (metres) then rotation (radians) about the map's axes, as geometry_msgs/PoseWithCovariance.
    The covariance is infinite where the inliers do not determine the pose.
    """
    points = np.asarray(points_map, dtype=np.float64)
    step = 1e-5
    base, visible = project(points, map_from_camera, camera)
    columns = []
    for axis in range(6):
        delta = np.zeros(6)
        delta[axis] = step
        rotation = Rotation.from_rotvec(delta[3:]).as_matrix() @ map_from_camera.rotation
        moved, _ = project(points, Pose(rotation, map_from_camera.translation + delta[:3]), camera)
        columns.append((moved - base) / step)
    jacobian = np.stack(columns, axis=-1)
    residuals = np.asarray(keypoints_px) - base
    usable = visible & np.isfinite(jacobian).all(axis=(1, 2))
    jacobian, residuals = jacobian[usable].reshape(-1, 6), residuals[usable].reshape(-1)
    degrees_of_freedom = len(residuals) - 6
    if degrees_of_freedom <= 0:
        return np.full((6, 6), np.inf), float("inf")
    variance = float(residuals @ residuals) / degrees_of_freedom
    information = jacobian.T @ jacobian
    if np.linalg.cond(information) > 1e14:
        return np.full((6, 6), np.inf), float(np.sqrt(2.0 * variance))
    covariance: Array = np.linalg.inv(information) * variance
    return covariance, float(np.sqrt(2.0 * (residuals**2).mean()))


def coverage(keypoints_px: NDArray[Any], camera: Camera) -> float:
    """Share of the cells of an 8x6 grid over the image that hold a keypoint, 0..1."""
    if len(keypoints_px) == 0:
        return 0.0
    rows, columns = _GRID
    column = np.clip((keypoints_px[:, 0] + 0.5) / camera.width * columns, 0, columns - 1).astype(int)
    row = np.clip((keypoints_px[:, 1] + 0.5) / camera.height * rows, 0, rows - 1).astype(int)
    return len(np.unique(row * columns + column)) / (rows * columns)
