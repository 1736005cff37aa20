"""A map without some of its keyframes or landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hfnet_core.maps.assembly import covisibility, group_by
from hfnet_core.maps.landmark_map import OF_LANDMARKS, LandmarkMap

__all__ = ["keep_keyframes", "kept_landmarks"]

_MIN_VIEWS = 2  # a landmark seen once has no place of its own, unless depth told it


def kept_landmarks(
    landmark_map: LandmarkMap, kept: NDArray[np.bool_], wanted: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """[L] which landmarks `keep_keyframes` keeps, in their order."""
    rows = kept[landmark_map.observation_keyframes]
    seen = np.bincount(landmark_map.observation_landmarks[rows], minlength=landmark_map.landmarks)
    alive = (seen >= _MIN_VIEWS) | ((seen > 0) & landmark_map.measured)
    return alive if wanted is None else alive & wanted


def keep_keyframes(
    landmark_map: LandmarkMap, kept: NDArray[np.bool_], wanted: NDArray[np.bool_] | None = None
) -> LandmarkMap:
    """The map of the keyframes where `kept` [M] is true, and of the landmarks that two of them still see, or one
    where depth told their place.

    wanted: [L] leaves out others. Landmarks stay where they are. Cameras are kept, used or not.
    """
    renumbered = np.cumsum(kept) - 1
    owners = landmark_map.observation_landmarks
    alive = kept_landmarks(landmark_map, kept, wanted)
    rows = kept[landmark_map.observation_keyframes] & alive[owners]
    landmarks = (np.cumsum(alive) - 1)[owners[rows]].astype(np.int64)
    keyframes = renumbered[landmark_map.observation_keyframes[rows]].astype(np.int64)
    count, total = int(kept.sum()), int(alive.sum())
    order, offsets = group_by(keyframes, count)
    graph = covisibility(landmarks, keyframes, total, count)
    alike = kept[landmark_map.alike_keyframes]
    return replace(
        landmark_map,
        keyframe_names=tuple(name for name, keep in zip(landmark_map.keyframe_names, kept, strict=True) if keep),
        keyframe_cameras=landmark_map.keyframe_cameras[kept],
        keyframe_stamps_ns=landmark_map.keyframe_stamps_ns[kept],
        keyframe_poses=landmark_map.keyframe_poses[kept],
        global_descriptors=landmark_map.global_descriptors[kept],
        landmarks_xyz=landmark_map.landmarks_xyz[alive],
        landmark_offsets=group_by(landmarks, total)[1],
        observation_keyframes=keyframes.astype(np.int32),
        observation_px=landmark_map.observation_px[rows],
        observation_descriptors=landmark_map.observation_descriptors[rows],
        keyframe_offsets=offsets,
        keyframe_observations=order,
        covisible_offsets=graph[0],
        covisible_keyframes=graph[1],
        covisible_weights=graph[2],
        alike_keyframes=renumbered[landmark_map.alike_keyframes[alike]].astype(np.int32),
        alike_poses=landmark_map.alike_poses[alike],
        scaled_descriptors=landmark_map.scaled_descriptors[:, alive]
        if len(landmark_map.scale_factors)
        else landmark_map.scaled_descriptors,
        **{name: told[alive] for name in OF_LANDMARKS if len(told := getattr(landmark_map, name))},
    )
