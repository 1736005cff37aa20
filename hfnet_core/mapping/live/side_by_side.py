"""Two maps in one frame as one map, whose keyframes and landmarks stay apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.maps.landmark_map import OF_LANDMARKS, LandmarkMap

__all__ = ["beside"]


def beside(first: LandmarkMap, second: LandmarkMap) -> LandmarkMap:
    """Both maps, of one model and one frame, the second's keyframes after the first's; nothing is matched between them.

    Takes time by what there is to copy only. Frame, provenance and pose sigmas are the first's, scales too: the second
    must have the same.
    """
    cameras, places = _cameras(first, second)
    m, o = first.keyframes, first.observations
    return replace(
        first,
        cameras=tuple(camera for camera, _ in cameras),
        given_cameras=tuple(given for _, given in cameras) if first.given_cameras else (),
        keyframe_names=first.keyframe_names + second.keyframe_names,
        keyframe_cameras=_both(first.keyframe_cameras, places[second.keyframe_cameras]),
        keyframe_stamps_ns=_both(first.keyframe_stamps_ns, second.keyframe_stamps_ns),
        keyframe_poses=_both(first.keyframe_poses, second.keyframe_poses),
        global_descriptors=_both(first.global_descriptors, second.global_descriptors),
        landmarks_xyz=_both(first.landmarks_xyz, second.landmarks_xyz),
        landmark_offsets=_both(first.landmark_offsets, second.landmark_offsets[1:] + o),
        observation_keyframes=_both(first.observation_keyframes, second.observation_keyframes + m),
        observation_px=_both(first.observation_px, second.observation_px),
        observation_descriptors=_both(first.observation_descriptors, second.observation_descriptors),
        keyframe_offsets=_both(first.keyframe_offsets, second.keyframe_offsets[1:] + o),
        keyframe_observations=_both(first.keyframe_observations, second.keyframe_observations + o),
        covisible_offsets=_both(first.covisible_offsets, second.covisible_offsets[1:] + len(first.covisible_keyframes)),
        covisible_keyframes=_both(first.covisible_keyframes, second.covisible_keyframes + m),
        covisible_weights=_both(first.covisible_weights, second.covisible_weights),
        alike_keyframes=_both(first.alike_keyframes, second.alike_keyframes + m),
        alike_poses=_both(first.alike_poses, second.alike_poses),
        scaled_descriptors=np.concatenate([first.scaled_descriptors, second.scaled_descriptors], axis=1)
        if len(first.scale_factors)
        else first.scaled_descriptors,
        **_of_landmarks(first, second),
    )


def _both(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([one, other.astype(one.dtype, copy=False)])


def _of_landmarks(first: LandmarkMap, second: LandmarkMap) -> dict[str, Any]:
    return {name: _told(first, second, name) for name in OF_LANDMARKS}


def _told(first: LandmarkMap, second: LandmarkMap, name: str) -> NDArray[Any]:
    """Of each landmark, zero where one of the maps says nothing; empty where both do."""
    pairs = [(item, getattr(item, name)) for item in (first, second)]
    if not any(len(told) for _, told in pairs):
        return np.asarray(pairs[0][1])
    return np.concatenate([told if len(told) else np.zeros(item.landmarks, told.dtype) for item, told in pairs])


def _cameras(first: LandmarkMap, second: LandmarkMap) -> tuple[list[Any], NDArray[np.int32]]:
    """Both maps' cameras with what they were given as, each once; and the places of the second's among them."""
    known = list(zip(first.cameras, first.given_cameras or first.cameras, strict=True))
    more = list(zip(second.cameras, second.given_cameras or second.cameras, strict=True))
    known += [pair for pair in dict.fromkeys(more) if pair not in known]
    return known, np.array([known.index(pair) for pair in more], np.int32)
