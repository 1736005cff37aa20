"""Depth images of another camera, brought into the pixels of the colour camera beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array, Pose
from hfnet_core.images.depth import DepthImage
from hfnet_core.projection import project_in_camera, rays_of
from hfnet_core.types import Camera, Float32

__all__ = ["DepthMount", "register"]

_COARSER = 0.75  # of the pixels per angle that the depth has: every pixel of a surface gets one
_NEAREST_M = 0.05


@dataclass(frozen=True, eq=False)
class DepthMount:
    """The camera that took depth images, and where it sits beside the colour camera."""

    camera: Camera
    colour_from_depth: Pose


def register(depth: DepthImage, mount: DepthMount, colour: Camera) -> DepthImage:
    """The depth as the colour camera sees it, in the shape of its images and perhaps smaller.

    Every depth pixel is a point; of several in one place the nearest counts. Raises DatasetError for depth of another
    size than its camera's.
    """
    rows, columns = depth.metres.shape
    if (columns, rows) != (mount.camera.width, mount.camera.height):
        raise DatasetError(
            f"depth of {columns}x{rows} is not of the camera of its camera_info, {mount.camera.width}x"
            f"{mount.camera.height}"
        )
    known = np.flatnonzero(depth.metres.ravel())
    metres = depth.metres.ravel()[known].astype(np.float64)
    points = mount.colour_from_depth.apply(_rays(mount.camera)[known] * metres[:, None])
    finer = np.mean(colour.focal_length) / (_COARSER * np.mean(mount.camera.focal_length))
    factor = 1.0 / max(float(finer), 1.0)
    width, height = (max(round(side * factor), 1) for side in (colour.width, colour.height))
    pixels = (project_in_camera(colour, points) + 0.5) * [width / colour.width, height / colour.height]
    with np.errstate(invalid="ignore"):
        seen = (points[:, 2] > _NEAREST_M) & ((pixels >= 0) & (pixels < [width, height])).all(axis=1)  # False for NaN
    column, row = pixels[seen].astype(np.int64).T
    return DepthImage(_nearest(row * width + column, points[seen, 2], width * height).reshape(height, width))


def _nearest(places: np.ndarray, metres: Array, count: int) -> Float32:
    """[count] the smallest of the metres at each place, 0 where there is none."""
    far = np.full(count, np.inf, np.float32)
    order = np.argsort(-metres, kind="stable")
    far[places[order]] = metres[order]  # of several at one place the last one stays
    return np.where(np.isfinite(far), far, np.float32(0))


@lru_cache(maxsize=4)
def _rays(camera: Camera) -> Array:
    """[H * W, 3] what a metre along the axis is for each pixel; NaN where the model has no answer."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    rays = rays_of(camera, np.stack([columns.ravel(), rows.ravel()], axis=1))
    return np.asarray(rays / rays[:, 2:])
