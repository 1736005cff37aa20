"""Fewer keyframes: those whose landmarks others see as well, or nobody finds any more, go first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.subset import keep_keyframes

__all__ = ["limit_keyframes", "without_landmarks"]

_FEWEST = 20  # landmarks of a keyframe that has lost others; fewer recognise nothing


def limit_keyframes(landmark_map: LandmarkMap, most: int, weights: Array) -> LandmarkMap:
    """The map with at most so many keyframes. weights: [L] what each landmark is worth.

    One after the other goes the keyframe that would be missed least: each of its landmarks counts by its weight,
    divided among the keyframes that see it.
    """
    if landmark_map.keyframes <= most:
        return landmark_map
    owners, keyframes = landmark_map.observation_landmarks, landmark_map.observation_keyframes
    kept = np.ones(landmark_map.keyframes, dtype=bool)
    seen = np.diff(landmark_map.landmark_offsets).astype(np.float64)
    for _ in range(landmark_map.keyframes - most):
        share = weights[owners] / np.maximum(seen[owners], 1.0)
        worth = np.bincount(keyframes, weights=share, minlength=landmark_map.keyframes)
        worth[~kept] = np.inf
        gone = int(np.argmin(worth))
        kept[gone] = False
        np.subtract.at(seen, landmark_map.landmarks_of(gone), 1.0)
    return keep_keyframes(landmark_map, kept)


def without_landmarks(landmark_map: LandmarkMap, forgotten: NDArray[np.bool_]) -> LandmarkMap:
    """The map without some landmarks [L], and without keyframes that have next to none left by that."""
    if not forgotten.any():
        return landmark_map
    before = np.diff(landmark_map.keyframe_offsets)
    lost = np.zeros(landmark_map.keyframes, dtype=np.int64)
    np.add.at(lost, landmark_map.observation_keyframes, forgotten[landmark_map.observation_landmarks])
    kept = (lost == 0) | (before - lost >= _FEWEST)
    return keep_keyframes(landmark_map, kept, ~forgotten)
