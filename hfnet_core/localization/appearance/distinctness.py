"""How distinct landmarks are: what looks like nothing else in the map tells places apart, doors and lamps do not."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from hfnet_core.geometry import Array
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Float32

__all__ = ["Distinctness"]

_OTHERS = 4096  # landmarks that others are compared with: beyond it, larger maps say little more and cost more
_LARGE, _RUN = 500_000, 128  # of maps so large, landmarks in runs: each place of a file that nobody has read costs
_ELSEWHERE_M = 0.75  # what is nearer may be the same thing, mapped twice
_ALIKE, _UNLIKE = 0.85, 0.75  # similarity to the most similar landmark elsewhere: not distinct at all, and entirely


class Distinctness:
    """Of the landmarks of one map, each found out when it is first asked for. Safe to share between threads: two may
    find out the same."""

    def __init__(self, landmark_map: LandmarkMap) -> None:
        self._map = landmark_map
        # One more than it is, 0 where nobody has asked: of zeros only what is used takes memory.
        self._known = np.zeros(landmark_map.landmarks, np.float32)

    def __call__(self, landmarks: NDArray[np.int32]) -> Array:
        """[N] from 0, where another part of the map looks the same, to 1."""
        new = np.unique(landmarks[self._known[landmarks] == 0.0])
        if len(new):
            self._known[new] = 1.0 + self._of(new)
        return np.asarray(self._known[landmarks] - 1.0, np.float64)

    @cached_property
    def _others(self) -> tuple[Float32, Array]:
        """Descriptors [O, D] and places [O, 3] of landmarks spread evenly over the map."""
        count = self._map.landmarks
        run = _RUN if count > _LARGE else 1
        starts = np.linspace(0, count - run, min(count, _OTHERS // run)).astype(np.int64)
        chosen = (starts[:, None] + np.arange(run)).ravel()
        return unit(self._map.landmark_descriptors[chosen]), self._map.landmarks_xyz[chosen].astype(np.float64)

    def _of(self, landmarks: NDArray[np.int32]) -> Array:
        descriptors, places = self._others
        similarity = unit(self._map.landmark_descriptors[landmarks]) @ descriptors.T
        near = cdist(self._map.landmarks_xyz[landmarks], places, "sqeuclidean") < _ELSEWHERE_M**2
        similarity[near] = -1.0
        most = similarity.max(axis=1)
        return np.asarray(np.clip((_ALIKE - most) / (_ALIKE - _UNLIKE), 0.0, 1.0))
