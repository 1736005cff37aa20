"""Depth images of another camera, brought into the pixels of the colour camera beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array, Pose
from hfnet_core.images.depth import DepthImage
from hfnet_core.projection import rays_of, seen_in_camera
from hfnet_core.types import Camera

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
    flat = depth.metres.ravel()
    known = np.flatnonzero(flat)
    pose = mount.colour_from_depth
    points = pose.rotation @ (_rays(mount.camera)[:, known] * flat[known]) + pose.translation[:, None]
    finer = np.mean(colour.focal_length) / (_COARSER * np.mean(mount.camera.focal_length))
    factor = 1.0 / max(float(finer), 1.0)
    width, height = (max(round(side * factor), 1) for side in (colour.width, colour.height))
    pixels = seen_in_camera(colour, points.T)
    x, y = (pixels[:, 0] + 0.5) * (width / colour.width), (pixels[:, 1] + 0.5) * (height / colour.height)
    with np.errstate(invalid="ignore"):
        seen = (points[2] > _NEAREST_M) & (x >= 0) & (x < width) & (y >= 0) & (y < height)  # False for NaN
    nearest = np.full(width * height, np.inf, np.float32)
    np.minimum.at(
        nearest, y[seen].astype(np.intp) * width + x[seen].astype(np.intp), points[2, seen].astype(np.float32)
    )
    return DepthImage(np.where(np.isfinite(nearest), nearest, np.float32(0)).reshape(height, width))


@lru_cache(maxsize=4)
def _rays(camera: Camera) -> Array:
    """[3, H * W] what a metre along the axis is for each pixel; NaN where the model has no answer."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    rays = rays_of(camera, np.stack([columns.ravel(), rows.ravel()], axis=1))
    return np.ascontiguousarray((rays / rays[:, 2:]).T)
