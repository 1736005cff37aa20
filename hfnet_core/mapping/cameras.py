"""Cameras as pycolmap computes them: projection, rays, focal lengths."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from hfnet_core.geometry import Array
from hfnet_core.types import Camera

__all__ = ["principal_point", "project", "rays_of", "scale_focal_length", "to_pycolmap"]


def to_pycolmap(camera: Camera, camera_id: int = 1) -> pycolmap.Camera:
    """The same camera for pycolmap, in our pixels."""
    return pycolmap.Camera(
        camera_id=camera_id, model=camera.model, width=camera.width, height=camera.height, params=list(camera.params)
    )


def rays_of(camera: Camera, keypoints_px: NDArray[np.float32]) -> Array:
    """Unit vectors [K, 3] in the camera frame through pixels [K, 2]; NaN where the model has no answer."""
    if len(keypoints_px) == 0:
        return np.zeros((0, 3))
    points = to_pycolmap(camera).cam_from_img(np.asarray(keypoints_px, dtype=np.float64))
    rays = np.column_stack([points, np.ones(len(points))])
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def project(camera: Camera, points: Array) -> Array:
    """Pixels [K, 2] of points [K, 3] in the camera frame; NaN behind the camera."""
    if len(points) == 0:
        return np.zeros((0, 2))
    pixels = np.asarray(to_pycolmap(camera).img_from_cam(np.asarray(points, dtype=np.float64)), dtype=np.float64)
    pixels = pixels.reshape(-1, 2)
    return np.where(points[:, 2:] > 0, pixels, np.nan)


def _focals(camera: Camera) -> int:
    return 1 if camera.model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL") else 2


def principal_point(camera: Camera) -> tuple[float, float]:
    """(cx, cy) in pixels."""
    n = _focals(camera)
    return camera.params[n], camera.params[n + 1]


def scale_focal_length(camera: Camera, factor: float) -> Camera:
    """The camera with its focal length, or both of them, multiplied."""
    n = _focals(camera)
    params = tuple(value * factor for value in camera.params[:n]) + camera.params[n:]
    return Camera(camera.model, camera.width, camera.height, params)
