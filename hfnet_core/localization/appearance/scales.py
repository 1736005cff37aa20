"""What landmarks look like from nearer or further away than the map saw them, where the map knows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array, Pose
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import pixel_scale
from hfnet_core.types import Camera, Float32

__all__ = ["at_other_scales", "suiting"]


def at_other_scales(landmark_map: LandmarkMap, landmarks: NDArray[np.int32]) -> Iterator[Float32]:
    """Unit descriptors [N, D] of landmarks, for each scale that the map knows besides its images' own."""
    for rows in landmark_map.scaled_descriptors[: len(landmark_map.scale_factors)]:
        yield unit(rows[landmarks])


def suiting(landmark_map: LandmarkMap, landmarks: NDArray[np.int32], map_from_camera: Pose, camera: Camera) -> Float32:
    """Unit descriptors [N, D] of landmarks at the scale that suits a camera at a pose best.

    camera: at the reference width. That costs a query about 1 ms, and nothing with a map of one scale.
    """
    found = unit(landmark_map.landmark_descriptors[landmarks])
    if not len(landmark_map.scale_factors) or not len(landmarks):
        return found
    factors = np.log(np.append(np.float32(1.0), landmark_map.scale_factors))
    best = np.abs(_log_zoom(landmark_map, landmarks, map_from_camera, camera)[:, None] - factors).argmin(axis=1)
    for number, rows in enumerate(landmark_map.scaled_descriptors, start=1):
        wanted = np.flatnonzero(best == number)
        described = unit(rows[landmarks[wanted]])
        known = described.any(axis=1)
        found[wanted[known]] = described[known]
    return found


def _log_zoom(landmark_map: LandmarkMap, landmarks: NDArray[np.int32], map_from_camera: Pose, camera: Camera) -> Array:
    """[N] logarithm of how much larger the camera sees each landmark than a keyframe does from which it was mapped.

    The one in the middle of the landmark's track: most are seen from about one distance, and this costs least.
    """
    starts, ends = landmark_map.landmark_offsets[landmarks], landmark_map.landmark_offsets[landmarks + 1]
    keyframes = landmark_map.observation_keyframes[(starts + ends) // 2]
    points = landmark_map.landmarks_xyz[landmarks].astype(np.float64)
    focal_px = np.array([max(known.focal_length) / pixel_scale(known) for known in landmark_map.cameras])
    seen = _log_size(
        focal_px[landmark_map.keyframe_cameras[keyframes]], points - landmark_map.keyframe_poses[keyframes, :, 3]
    )
    now = _log_size(max(camera.focal_length), points - map_from_camera.translation)
    return np.asarray(now - seen)


def _log_size(focal_px: Array | float, rays: Array) -> Array:
    """[N] logarithm of the pixels that a metre has at the end of rays [N, 3]."""
    return np.asarray(np.log(focal_px) - 0.5 * np.log(np.maximum(np.einsum("ni,ni->n", rays, rays), 1e-12)))
