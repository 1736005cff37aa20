"""What a camera sees: projection with its derivatives, rays, focal lengths. The models are COLMAP's (see lenses/).

A point on or behind the plane through the camera's centre is not seen, by fisheyes neither.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array, Pose
from hfnet_core.lenses.bending import Lens
from hfnet_core.lenses.models import lens_of
from hfnet_core.types import Camera

__all__ = [
    "REFERENCE_WIDTH",
    "linearised_projection",
    "pixel_scale",
    "project",
    "project_in_camera",
    "rays_near",
    "rays_of",
    "reference_focal_px",
    "refinable",
]

REFERENCE_WIDTH = 640.0  # settings in pixels hold for this image width and scale with it
NEAREST_M = 1e-3  # points closer to the camera's plane are not seen
_SMALLEST = float(np.finfo(np.float64).eps)  # depths below it are on the plane
_NEAR_PX = 0.1
_UNDISTORTED = {
    "PINHOLE": "OPENCV",
    "SIMPLE_PINHOLE": "OPENCV",
    "FISHEYE": "OPENCV_FISHEYE",
    "SIMPLE_FISHEYE": "OPENCV_FISHEYE",
}


def pixel_scale(camera: Camera) -> float:
    """Factor from settings in reference pixels to this camera's pixels."""
    return camera.width / REFERENCE_WIDTH


def reference_focal_px(camera: Camera) -> float:
    """The longer focal length at the reference width."""
    return max(camera.focal_length) / pixel_scale(camera)


def rays_of(camera: Camera, keypoints_px: NDArray[Any]) -> Array:
    """Unit vectors [K, 3] in the camera frame through pixels [K, 2]; NaN where the model has no answer."""
    pixels = np.asarray(keypoints_px, dtype=np.float64).reshape(-1, 2)
    rays = np.ones((len(pixels), 3))
    rays[:, 0], rays[:, 1] = lens_of(camera).inverse(pixels[:, 0], pixels[:, 1])
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def rays_near(camera: Camera, pixels: Array) -> tuple[Array, Array, Array]:
    """Rays [K, 3] through pixels [K, 2] or up to a tenth of a pixel beside them, by how much, and derivatives there.

    A third of the time of `rays_of` and `linearised_projection`. How much is [K, 2], from the pixel to where the ray
    meets the image; derivatives are [K, 2, 3], of that by the ray. NaN where the model has no answer.
    """
    (u, v), off_, (xu, xv, yu, yv) = lens_of(camera).nearly_inverse(pixels[:, 0], pixels[:, 1], _NEAR_PX)
    rays, off, by_ray = np.empty((3, len(u))), np.stack(off_), np.empty((2, 3, len(u)))
    length = np.sqrt(u * u + v * v + 1.0)
    np.divide(1.0, length, out=rays[2])
    np.multiply(u, rays[2], out=rays[0])
    np.multiply(v, rays[2], out=rays[1])
    for row, (by_u, by_v) in enumerate(((xu * length, xv * length), (yu * length, yv * length))):
        by_ray[row, 0], by_ray[row, 1] = by_u, by_v
        by_ray[row, 2] = -(by_u * u + by_v * v)
    with np.errstate(invalid="ignore", over="ignore"):
        far = ~((off * off).sum(axis=0) < _NEAR_PX**2)
    if far.any():
        exact = rays_of(camera, pixels[far])
        rays[:, far] = exact.T
        met, slopes = linearised_projection(camera, exact)
        off[:, far], by_ray[..., far] = (met - pixels[far]).T, slopes.transpose(1, 2, 0)
    return rays.T, off.T, by_ray.transpose(2, 0, 1)


def project_in_camera(camera: Camera, points: NDArray[Any]) -> Array:
    """Pixels [K, 2] of points [K, 3] in the camera frame; NaN behind the camera and where the model has no answer."""
    u, v, _ = _directions(points, _SMALLEST)
    return _bent(lens_of(camera), u, v)


def seen_in_camera(camera: Camera, points: NDArray[Any]) -> Array:
    """The same, NaN also past a fold of the model: what lies there is not seen, though the model puts it into the
    image."""
    u, v, _ = _directions(points, _SMALLEST)
    lens = lens_of(camera)
    pixels = _bent(lens, u, v)
    with np.errstate(over="ignore", invalid="ignore"):
        pixels[lens.is_folded(u, v)] = np.nan
    return pixels


def _bent(lens: Lens, u: Array, v: Array) -> Array:
    """Pixels [K, 2] of directions."""
    pixels = np.empty((len(u), 2))
    with np.errstate(over="ignore", invalid="ignore"):
        pixels[:, 0], pixels[:, 1] = lens.apply(u, v)
    return pixels


def linearised_projection(camera: Camera, points: NDArray[Any]) -> tuple[Array, Array]:
    """Pixels [K, 2] of points [K, 3] in the camera frame, and their derivatives [K, 2, 3] by the points.

    Both NaN where `project_in_camera` is.
    """
    u, v, inverse_depth = _directions(points, _SMALLEST)
    pixels, by_point = np.empty((len(u), 2)), np.empty((len(u), 2, 3))
    with np.errstate(over="ignore", invalid="ignore"):
        pixels[:, 0], pixels[:, 1], (xu, xv, yu, yv) = lens_of(camera).linearised(u, v)
        for row, (by_u, by_v) in enumerate(((xu, xv), (yu, yv))):
            by_point[:, row, 0], by_point[:, row, 1] = by_u * inverse_depth, by_v * inverse_depth
            by_point[:, row, 2] = -(by_u * u + by_v * v) * inverse_depth
    return pixels, by_point


def _directions(points: NDArray[Any], nearest: float) -> tuple[Array, Array, Array]:
    """X / Z, Y / Z and 1 / Z [K] of points [K, 3], NaN where Z is below `nearest`."""
    x, y, z = np.asarray(points, dtype=np.float64).reshape(-1, 3).T
    near = z < nearest
    inverse_depth = 1.0 / (np.where(near, np.nan, z) if near.any() else z)
    return x * inverse_depth, y * inverse_depth, inverse_depth


def project(points_map: NDArray[Any], map_from_camera: Pose, camera: Camera) -> tuple[Array, NDArray[np.bool_]]:
    """Pixels [N, 2] of points [N, 3], and which of them [N] lie in front of the camera and inside its image; NaN where
    `seen_in_camera` is."""
    points_camera = map_from_camera.inverse().apply(points_map)
    pixels = seen_in_camera(camera, points_camera)
    return pixels, (points_camera[:, 2] > NEAREST_M) & inside(pixels, camera)


def inside(pixels: Array, camera: Camera) -> NDArray[np.bool_]:
    """Which of pixels [N, 2] lie in the image."""
    x, y = pixels[:, 0], pixels[:, 1]
    with np.errstate(invalid="ignore"):
        held = (x >= -0.5) & (x < camera.width - 0.5) & (y >= -0.5) & (y < camera.height - 0.5)
    return np.asarray(held, dtype=bool)


def refinable(camera: Camera) -> Camera:
    """The camera in a model that has radial distortion, where it has none yet; its projection stays the same."""
    model = _UNDISTORTED.get(camera.model)
    if model is None:
        return camera
    centre = camera.params[len(camera.focal_parameters) :]
    return Camera(model, camera.width, camera.height, (*camera.focal_length, *centre, 0.0, 0.0, 0.0, 0.0))
