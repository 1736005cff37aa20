"""Stage 2: group retrieved map images by the landmarks they share, one group per place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from hfnet_core.geometry import Pose
from hfnet_core.mapping.landmark_map import LandmarkMap

__all__ = ["cluster", "grow", "landmarks_seen_by", "nearby_keyframes"]


def cluster(landmark_map: LandmarkMap, keyframes: Sequence[int], similarity: Sequence[float]) -> list[tuple[int, ...]]:
    """Connected components of `keyframes` in the covisibility graph (HF-Net paper, section 3).

    keyframes: retrieved map images, best first; similarity: theirs. Components come in the order of their summed
    similarity, largest first, keyframes inside one in retrieval order.
    """
    position = {keyframe: index for index, keyframe in enumerate(keyframes)}
    edges = [
        (index, position[int(other)])
        for keyframe, index in position.items()
        for other in landmark_map.covisible_with(keyframe)[0]
        if int(other) in position
    ]
    rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(position), len(position)))
    count, labels = connected_components(graph, directed=False)
    evidence = np.bincount(labels, weights=np.asarray(similarity), minlength=count)
    order = sorted(range(count), key=lambda label: -evidence[label])
    return [tuple(keyframe for keyframe, index in position.items() if labels[index] == label) for label in order]


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
    poses = landmark_map.keyframe_poses
    distance_m = np.linalg.norm(poses[:, :, 3] - map_from_camera.translation, axis=1)
    cosine = poses[:, :, 2] @ map_from_camera.rotation[:, 2]
    # A turn by 60 degrees weighs like one metre: both leave about half of a room-sized view in common.
    cost = distance_m + 2.0 * (1.0 - cosine)
    best = np.argsort(cost, kind="stable")[:count]
    return tuple(int(k) for k in best if cosine[k] > 0.0)


def landmarks_seen_by(landmark_map: LandmarkMap, keyframes: Sequence[int]) -> NDArray[np.int32]:
    """Sorted unique landmarks of several keyframes."""
    if not keyframes:
        return np.zeros(0, np.int32)
    return np.unique(np.concatenate([landmark_map.landmarks_of(keyframe) for keyframe in keyframes]))
