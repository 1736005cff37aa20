"""How well landmarks are known: what their observations leave open."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import reference_focal_px

__all__ = ["landmark_covariance"]

_OBSERVED_PX = 0.7  # standard deviation of an observation, at the reference width
_VIEWS = 6  # looked at for each landmark, evenly among all
_DISTANCE = 0.5  # relative standard deviation of a distance that no second view tells


def landmark_covariance(landmark_map: LandmarkMap, landmarks: NDArray[np.int32]) -> Array:
    """[N, 3, 3] in square metres, about the map's axes, as far as the rays of the observations, and depth images, tell.

    Source: Hartley and Zisserman, Multiple View Geometry, 2004, section 12.6, with rays instead of pixels.
    """
    if not len(landmarks):
        return np.zeros((0, 3, 3))
    starts = landmark_map.landmark_offsets[landmarks]
    seen = landmark_map.landmark_offsets[landmarks + 1] - starts
    counts = np.minimum(seen, _VIEWS)
    first = np.cumsum(counts) - counts
    each = np.arange(int(counts.sum())) - np.repeat(first, counts)
    rows = np.repeat(starts, counts) + each * np.repeat(seen, counts) // np.repeat(counts, counts)
    keyframes = landmark_map.observation_keyframes[rows]
    points = landmark_map.landmarks_xyz[landmarks].astype(np.float64)
    rays = np.repeat(points, counts, axis=0) - landmark_map.keyframe_poses[keyframes, :, 3]
    distance2 = np.maximum(np.einsum("ni,ni->n", rays, rays), 1e-12)
    focal_px = np.array([reference_focal_px(camera) for camera in landmark_map.cameras])
    weight = (focal_px[landmark_map.keyframe_cameras[keyframes]] / _OBSERVED_PX) ** 2 / distance2
    across = np.eye(3) - rays[:, :, None] * (rays / distance2[:, None])[:, None, :]
    information = np.add.reduceat(weight[:, None] * across.reshape(-1, 9), first, axis=0).reshape(-1, 3, 3)
    information *= (seen / counts)[:, None, None]
    usual = np.add.reduceat(distance2, first) / counts
    information += np.eye(3) / (_DISTANCE**2 * usual)[:, None, None]
    if len(landmark_map.landmark_sigmas_m):  # across the ray, where it is much larger, rays tell more anyway
        sigma = landmark_map.landmark_sigmas_m[landmarks].astype(np.float64)
        information[sigma > 0] += np.eye(3) / sigma[sigma > 0, None, None] ** 2
    return np.asarray(np.linalg.inv(information))
