"""Cameras as pycolmap computes them: projection, rays, focal lengths."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from hfnet_core.geometry import Array
from hfnet_core.types import Camera

__all__ = ["intrinsics", "project", "rays_of", "refinable", "to_pycolmap", "with_intrinsics"]


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


def refinable(camera: Camera) -> Camera:
    """The camera in a model that has radial distortion, where it has none yet; its projection stays the same."""
    if camera.model == "PINHOLE":
        return Camera("OPENCV", camera.width, camera.height, (*camera.params, 0.0, 0.0, 0.0, 0.0))
    if camera.model == "SIMPLE_PINHOLE":
        f, cx, cy = camera.params
        return Camera("OPENCV", camera.width, camera.height, (f, f, cx, cy, 0.0, 0.0, 0.0, 0.0))
    return camera


def intrinsics(camera: Camera) -> Array:
    """[3] logarithm of the focal length and the first two radial coefficients, 0 where the model has none."""
    focals = _focals(camera)
    radial = (*camera.params[focals + 2 :], 0.0, 0.0)[:2]
    return np.array([np.log(camera.params[0]), *radial])


def with_intrinsics(camera: Camera, values: Array) -> Camera:
    """The camera with `intrinsics` replaced; the ratio of the focal lengths stays, as does what the model lacks."""
    focals = _focals(camera)
    params = list(camera.params)
    factor = float(np.exp(values[0])) / params[0]
    params[:focals] = [value * factor for value in params[:focals]]
    for offset in range(min(2, len(params) - focals - 2)):
        params[focals + 2 + offset] = float(values[1 + offset])
    return Camera(camera.model, camera.width, camera.height, tuple(params))


def _focals(camera: Camera) -> int:
    return 1 if camera.model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL") else 2
