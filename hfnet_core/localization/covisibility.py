"""Stage 2: group retrieved map images by the landmarks they share, one group per place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose
from hfnet_core.maps.landmark_map import LandmarkMap

__all__ = ["cluster", "grow", "landmarks_seen_by", "nearby_keyframes", "seen_most", "seen_most_of_each_distance"]

_ASKED = 8  # times the keyframes wanted: how many of the nearest are looked at first
# Keyframes of another room are near only where a map has too few of this one: beyond so many times the cost of the
# close ones and so many metres they see something else.
_CLOSE, _FAR, _REACH = 4, 4.0, 2.0
_DISTANCES = 8  # groups of landmarks about as far away, of each of which as many are taken
_DAMAGED = "the map points to landmarks that it does not have: it is damaged, `hfnet map check` tells where"


def cluster(landmark_map: LandmarkMap, keyframes: Sequence[int], similarity: Sequence[float]) -> list[tuple[int, ...]]:
    """Connected components of `keyframes` in the covisibility graph (HF-Net paper, section 3).

    keyframes: retrieved map images, best first; similarity: theirs. Components come in the order of their summed
    similarity, largest first, keyframes inside one in retrieval order.
    """
    labels = {keyframe: number for number, keyframe in enumerate(keyframes)}
    for keyframe in keyframes:  # a graph of ten nodes: sets are faster than any library's matrices
        others = labels.keys() & set(landmark_map.covisible_with(keyframe)[0].tolist())
        shared = {labels[keyframe]} | {labels[other] for other in others}
        lowest = min(shared)
        labels = {k: lowest if label in shared else label for k, label in labels.items()}
    evidence: dict[int, float] = {}
    for keyframe, value in zip(keyframes, similarity, strict=True):
        evidence[labels[keyframe]] = evidence.get(labels[keyframe], 0.0) + value
    order = sorted(evidence, key=lambda label: -evidence[label])
    return [tuple(keyframe for keyframe in keyframes if labels[keyframe] == label) for label in order]


def grow(landmark_map: LandmarkMap, keyframes: Sequence[int], size: int) -> tuple[int, ...]:
    """Add the most covisible neighbours to a cluster until it has `size` keyframes (or none are left)."""
    members = list(dict.fromkeys(keyframes))[:size]
    if len(members) < size:
        weights: dict[int, int] = {}
        for keyframe in members:
            for other, shared in zip(*landmark_map.covisible_with(keyframe), strict=True):
                weights[int(other)] = weights.get(int(other), 0) + int(shared)
        ranked = sorted((k for k in weights if k not in set(members)), key=lambda k: (-weights[k], k))
        members += ranked[: size - len(members)]
    return tuple(members)


def nearby_keyframes(landmark_map: LandmarkMap, map_from_camera: Pose, count: int) -> tuple[int, ...]:
    """Keyframes that look from about where `map_from_camera` is in about its direction, nearest first."""
    asked = min(_ASKED * count, landmark_map.keyframes)
    while asked:  # the cost is at least the distance: beyond the last of the nearest, nobody can be better
        reached_m, found = landmark_map.keyframe_tree.query(map_from_camera.translation, k=range(1, asked + 1))
        found = np.sort(found[np.isfinite(reached_m)])  # damage can put a keyframe infinitely far away
        poses = landmark_map.keyframe_poses[found]
        distance_m = np.linalg.norm(poses[:, :, 3] - map_from_camera.translation, axis=1)
        cosine = poses[:, :, 2] @ map_from_camera.rotation[:, 2]
        # A turn by 60 degrees weighs like one metre: both leave about half of a room-sized view in common.
        cost = distance_m + 2.0 * (1.0 - cosine)
        best = np.argsort(cost, kind="stable")[:count]
        if asked == landmark_map.keyframes or (len(best) and cost[best[-1]] < np.max(reached_m)):
            within = _FAR * cost[best[min(_CLOSE, len(best)) - 1]] + _REACH if len(best) else 0.0
            return tuple(int(found[k]) for k in best if cosine[k] > 0.0 and cost[k] <= within)
        asked = min(2 * asked, landmark_map.keyframes)
    return ()


def landmarks_seen_by(landmark_map: LandmarkMap, keyframes: Sequence[int]) -> NDArray[np.int32]:
    """Sorted unique landmarks of several keyframes."""
    if not keyframes:
        return np.zeros(0, np.int32)
    found: NDArray[np.int32] = np.sort(np.concatenate([landmark_map.landmarks_of(keyframe) for keyframe in keyframes]))
    found = found[np.append(True, found[1:] != found[:-1])[: len(found)]]  # numpy's unique takes five times as long
    if len(found) and not 0 <= found[0] <= found[-1] < landmark_map.landmarks:
        raise MapError(_DAMAGED)
    return found


def seen_most(landmark_map: LandmarkMap, landmarks: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Rows of the `count` landmarks that are seen most often, in order: these are found most easily."""
    if len(landmarks) <= count:
        return np.arange(len(landmarks))
    seen = landmark_map.landmark_offsets[landmarks + 1] - landmark_map.landmark_offsets[landmarks]
    return np.sort(np.argsort(-seen, kind="stable")[:count])


def seen_most_of_each_distance(
    landmark_map: LandmarkMap, landmarks: NDArray[np.int32], position: NDArray[np.floating], count: int
) -> NDArray[np.int64]:
    """Rows of about `count` landmarks, in order: as many of those far from a position [3] as of those near by.

    What is far away is seen most often, and tells the direction; only what is near tells the position.
    """
    if len(landmarks) <= count:
        return np.arange(len(landmarks))
    away = landmark_map.landmarks_xyz[landmarks] - position
    nearest = np.argsort(np.einsum("ni,ni->n", away, away), kind="stable")
    ends = np.arange(1, _DISTANCES + 1)
    groups = np.split(nearest, -(-ends[:-1] * len(nearest) // _DISTANCES))
    taken = np.diff(ends * count // _DISTANCES, prepend=0)
    chosen = []
    for group, most in zip(groups, taken, strict=True):
        own = np.sort(group)
        chosen.append(own[seen_most(landmark_map, landmarks[own], most)])
    return np.sort(np.concatenate(chosen))
