"""How a map's images were held, and how an image has to be turned to be held as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array, Pose
from hfnet_core.images.preparation import rotation_by_up
from hfnet_core.maps.landmark_map import LandmarkMap

__all__ = ["is_held_upright", "rotation_at"]

_LOOKED_AT = 256  # keyframes that tell how a map was held
_AGREED = 0.5  # length of the mean of unit vectors: below, keyframes were held in ways of their own
_UPRIGHT = 0.8  # mean cosine between the map's z axis and up in its images: cameras may look down on a floor


def rotation_at(landmark_map: LandmarkMap, keyframes: Sequence[int], map_from_camera: Pose) -> int | None:
    """By how much (clockwise, degrees: 0, 90, 180 or 270) the image of a camera with this pose is to be turned, so that
    it is described held as the images of these keyframes were; None where it looks along their up, or they disagree.
    """
    up = _ups(landmark_map, np.asarray(keyframes, np.int64)).mean(axis=0) if len(keyframes) else np.zeros(3)
    length = float(np.linalg.norm(up))
    return rotation_by_up(map_from_camera.rotation.T @ up / length) if length > _AGREED else None


def is_held_upright(landmark_map: LandmarkMap) -> bool:
    """Whether the map's z axis points up in its images as they were described, as it does where z is against gravity
    and nobody rolled the camera."""
    some = np.unique(np.linspace(0, landmark_map.keyframes - 1, _LOOKED_AT).astype(np.int64))
    return landmark_map.keyframes > 0 and float(_ups(landmark_map, some)[:, 2].mean()) > _UPRIGHT


def _ups(landmark_map: LandmarkMap, keyframes: NDArray[np.int64]) -> Array:
    """[N, 3] unit vectors in the map that point to the upper edge of keyframes' images as they were described."""
    recordings = landmark_map.provenance.get("recordings", [])
    degrees = np.zeros(len(keyframes))
    if any(isinstance(told, Mapping) and told.get("image_rotation") for told in recordings):
        known = landmark_map.keyframe_recordings
        degrees = np.array([known[keyframe].get("image_rotation", 0) for keyframe in keyframes.tolist()], float)
    turned = np.radians(degrees)
    in_camera = np.stack([-np.sin(turned), -np.cos(turned), np.zeros(len(turned))], axis=1)
    return np.asarray(np.einsum("nij,nj->ni", landmark_map.keyframe_poses[keyframes, :, :3], in_camera))
