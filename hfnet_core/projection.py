"""Cameras as pycolmap computes them: projection, rays, focal lengths."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from hfnet_core.geometry import Array, Pose
from hfnet_core.types import Camera

__all__ = ["project_in_camera", "rays_of", "refinable", "to_pycolmap"]


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


def project_in_camera(camera: Camera, points: Array) -> Array:
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


REFERENCE_WIDTH = 640.0  # settings in pixels hold for this image width and scale with it


_NEAREST_M = 1e-3  # points closer to the camera's plane are not seen


@lru_cache(maxsize=64)
def colmap_camera(camera: Camera) -> Any:
    return pycolmap.Camera(model=camera.model, width=camera.width, height=camera.height, params=list(camera.params))


def pixel_scale(camera: Camera) -> float:
    """Factor from settings in reference pixels to this camera's pixels."""
    return camera.width / REFERENCE_WIDTH


def project(points_map: NDArray[Any], map_from_camera: Pose, camera: Camera) -> tuple[Array, NDArray[np.bool_]]:
    """Pixels [N, 2] of points [N, 3], and which of them [N] lie in front of the camera and inside its image."""
    points_camera = map_from_camera.inverse().apply(points_map)
    in_front = points_camera[:, 2] > _NEAREST_M
    pixels = np.full((len(points_camera), 2), np.nan)
    if in_front.any():
        pixels[in_front] = colmap_camera(camera).img_from_cam(points_camera[in_front])
    return pixels, in_front & _inside(pixels, camera)


def _inside(pixels: Array, camera: Camera) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        inside = (pixels >= -0.5).all(axis=1) & (pixels < np.array([camera.width, camera.height]) - 0.5).all(axis=1)
    return np.asarray(inside, dtype=bool)
