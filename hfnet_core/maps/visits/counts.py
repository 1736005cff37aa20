"""Counts of visits for each landmark, and how they follow when a map changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array
from hfnet_core.maps.landmark_map import LandmarkMap

__all__ = ["Counts", "carried", "counted", "counts_of", "remembering", "weights"]


@dataclass(frozen=True, eq=False)
class Counts:
    """Of each landmark [L]: visits that found it again, and visits that did not although they should have."""

    hits: NDArray[np.int32]
    misses: NDArray[np.int32]


def counts_of(landmark_map: LandmarkMap) -> Counts:
    """What a map remembers; nothing yet where nobody counted."""
    nothing = np.zeros(landmark_map.landmarks, np.int32)
    if not len(landmark_map.landmark_hits):
        return Counts(nothing, nothing)
    return Counts(landmark_map.landmark_hits, landmark_map.landmark_misses)


def counted(landmark_map: LandmarkMap, counts: Counts) -> LandmarkMap:
    """The map with other counts."""
    return replace(
        landmark_map,
        landmark_hits=counts.hits.astype(np.int32),
        landmark_misses=counts.misses.astype(np.int32),
    )


def weights(counts: Counts) -> Array:
    """[L] share of the visits that found a landmark again, its own map's included: 1 for a new one, 0.25 for one that
    three visits looked for in vain."""
    return np.asarray((1.0 + counts.hits) / (1.0 + counts.hits + counts.misses))


def carried(before: LandmarkMap, counts: Counts, after: LandmarkMap) -> Counts:
    """Counts of the landmarks of an older map for those of the one that it became; new ones begin with none.

    They are told by their observations: a keyframe and a pixel. Of several that became one, the best remembered counts.
    """
    place = {name: index for index, name in enumerate(after.keyframe_names)}
    owner: dict[tuple[int, bytes], int] = {}
    for row, (keyframe, pixel) in enumerate(zip(after.observation_keyframes, after.observation_px, strict=True)):
        owner[int(keyframe), pixel.tobytes()] = int(after.observation_landmarks[row])
    hits, misses = np.zeros(after.landmarks, np.int32), np.zeros(after.landmarks, np.int32)
    known = np.zeros(after.landmarks, dtype=bool)
    names = [place.get(name, -1) for name in before.keyframe_names]
    for row in range(before.observations):
        old = int(before.observation_landmarks[row])
        new = owner.get((names[before.observation_keyframes[row]], before.observation_px[row].tobytes()))
        if new is None:
            continue
        if not known[new] or counts.hits[old] > hits[new]:
            hits[new], misses[new], known[new] = counts.hits[old], counts.misses[old], True
    return Counts(hits, misses)


def remembering(before: Sequence[LandmarkMap], after: LandmarkMap) -> LandmarkMap:
    """What one or several maps have become, with the counts of their landmarks, where anybody has counted; of two that
    became one, those of the better remembered."""
    found = [carried(one, counts_of(one), after) for one in before if len(one.landmark_hits)]
    if not found:
        return after
    hits, misses = (np.stack([getattr(counts, name) for counts in found]) for name in ("hits", "misses"))
    best, landmarks = hits.argmax(axis=0), np.arange(after.landmarks)
    forgotten = (hits == 0).all(axis=0)
    misses = np.where(forgotten, misses.max(axis=0), misses[best, landmarks])
    return counted(after, Counts(hits[best, landmarks], misses))
