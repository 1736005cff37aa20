"""The views, points and observations of a scene as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array
from hfnet_core.projection import project_in_camera
from hfnet_core.types import Camera

__all__ = ["Tracks"]


@dataclass(frozen=True, eq=False)
class Tracks:
    """Views, points and observations.

    rotations: [M, 3, 3] and translations: [M, 3] of camera_from_map. view_cameras: [M]. cameras: C. points: [L, 3].
    views, tracks, keypoints: [O] view, point and keypoint of each observation, sorted by point. pixels: [O, 2].
    """

    rotations: Array
    translations: Array
    view_cameras: NDArray[np.int64]
    cameras: tuple[Camera, ...]
    points: Array
    views: NDArray[np.int64]
    tracks: NDArray[np.int64]
    keypoints: NDArray[np.int64]
    pixels: Array

    def lengths(self) -> NDArray[np.int64]:
        """[L] observations of each point."""
        return np.bincount(self.tracks, minlength=len(self.points))

    def residuals_px(self) -> Array:
        """[O, 2] projection minus observation; NaN where a point cannot be seen."""
        seen, out = self._in_camera(), np.empty((len(self.views), 2))
        owner = self.view_cameras[self.views]
        for index, camera in enumerate(self.cameras):
            rows = owner == index
            out[rows] = project_in_camera(camera, seen[rows])
        return out - self.pixels

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
