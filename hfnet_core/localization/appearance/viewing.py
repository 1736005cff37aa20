"""From where the map saw landmarks, beside from where a camera sees them: how likely it is to find them again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array, Pose
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import reference_focal_px
from hfnet_core.types import Camera

__all__ = ["findable", "zooms"]

# Where the share of landmarks that are found falls to 1/e, on right poses of six recordings: the angle between the two
# views, and the logarithms of the sizes seen now and then, from nearer and from further away.
_ANGLE, _NEARER, _FURTHER = np.radians(40.0), 0.5, 0.9
_OBSERVERS = (1 / 6, 3 / 6, 5 / 6)  # where in a landmark's track; they tell as much as all of it do


def findable(landmark_map: LandmarkMap, landmarks: NDArray[np.int32], map_from_camera: Pose, camera: Camera) -> Array:
    """[N] how likely landmarks are found, 1 for those that the map saw just like this and towards 0 where it saw them
    from another side, or at another size.

    camera: at the reference width.
    """
    points = landmark_map.landmarks_xyz[landmarks].astype(np.float64)
    now = map_from_camera.translation - points
    now_m = np.sqrt(np.einsum("ni,ni->n", now, now))
    now_size = _log_size(max(camera.focal_length), now_m)
    least = np.full(len(landmarks), np.inf)
    for share in _OBSERVERS:
        then, then_m, size = _seen(landmark_map, landmarks, points, share)
        cosine = np.einsum("ni,ni->n", now, then) / np.maximum(now_m * then_m, 1e-12)
        zoom = now_size - size
        off = np.arccos(np.clip(cosine, -1.0, 1.0)) / _ANGLE
        least = np.minimum(least, off**2 + (zoom / np.where(zoom > 0.0, _NEARER, _FURTHER)) ** 2)
    return np.asarray(np.exp(-least))


def zooms(landmark_map: LandmarkMap, landmarks: NDArray[np.int32], map_from_camera: Pose, camera: Camera) -> Array:
    """[N] logarithm of how much larger the camera sees each landmark than a keyframe does from which it was mapped.

    The one in the middle of the landmark's track: most are seen from about one distance, and this costs least.
    """
    points = landmark_map.landmarks_xyz[landmarks].astype(np.float64)
    now_m = np.linalg.norm(points - map_from_camera.translation, axis=1)
    return _log_size(max(camera.focal_length), now_m) - _seen(landmark_map, landmarks, points, 0.5)[2]


def _seen(
    landmark_map: LandmarkMap, landmarks: NDArray[np.int32], points: Array, share: float
) -> tuple[Array, Array, Array]:
    """From the keyframe at this share of each landmark's track: the way there [N, 3], its length [N], and the logarithm
    of how large the landmark was seen [N]."""
    starts, ends = landmark_map.landmark_offsets[landmarks], landmark_map.landmark_offsets[landmarks + 1]
    keyframes = landmark_map.observation_keyframes[starts + ((ends - starts) * share).astype(np.int64)]
    way = landmark_map.keyframe_poses[keyframes, :, 3] - points
    metres = np.sqrt(np.einsum("ni,ni->n", way, way))
    focal_px = np.array([reference_focal_px(camera) for camera in landmark_map.cameras])
    return way, metres, _log_size(focal_px[landmark_map.keyframe_cameras[keyframes]], metres)


def _log_size(focal_px: Array | float, distance_m: Array) -> Array:
    """[N] logarithm of the pixels that a metre has so far away."""
    return np.asarray(np.log(focal_px) - np.log(np.maximum(distance_m, 1e-6)))
