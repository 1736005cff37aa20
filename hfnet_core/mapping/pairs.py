"""Which keyframes to match with which: neighbours in time, overlapping views, and similar-looking ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.geometry import Pose
from hfnet_core.types import Camera

__all__ = ["select_pairs", "sequence_pairs", "view_overlap"]

_NEIGHBOURS = 3  # matched with each of this many successors in time
_RETRIEVED_SHARE = 0.25  # of the pairs of a keyframe, those found by appearance
_MIN_OVERLAP = 0.2
_GRID = (5, 4)
_DEPTHS = (0.5, 1.0, 2.0)  # times the typical depth


def view_overlap(
    poses: Sequence[Pose], cameras: Sequence[Camera], depth_m: float, candidates: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.float64]]:
    """For each keyframe, the share (0..1) of its view that each of its candidates sees.

    The view is a grid of points at half, once and twice depth_m, the typical distance of what is seen. Lens
    distortion is ignored: this only ranks pairs.
    """
    rotations = np.array([pose.rotation for pose in poses])
    centres = np.array([pose.translation for pose in poses])
    focal = np.array([camera.focal_length for camera in cameras])
    half = np.array([(camera.width / 2, camera.height / 2) for camera in cameras]) / focal  # tangent of half the view
    out = []
    for index, others in enumerate(candidates):
        x, y = np.meshgrid(np.linspace(-0.9, 0.9, _GRID[0]), np.linspace(-0.9, 0.9, _GRID[1]))
        rays = np.stack([x.ravel() * half[index, 0], y.ravel() * half[index, 1], np.ones(x.size)], axis=1)
        points = np.concatenate([rays * depth * depth_m for depth in _DEPTHS]) @ rotations[index].T + centres[index]
        seen = np.einsum("nij,nkj->nki", rotations[others].transpose(0, 2, 1), points[None] - centres[others][:, None])
        inside = (seen[:, :, 2] > 0.1 * depth_m) & (
            np.abs(seen[:, :, :2]) < half[others][:, None] * seen[:, :, 2:]
        ).all(axis=2)
        out.append(inside.mean(axis=1))
    return out


def sequence_pairs(recordings: Sequence[int]) -> list[tuple[int, int]]:
    """Each keyframe with its successors in time; recordings: [M] which recording a keyframe is from."""
    count = len(recordings)
    near = ((i, j) for i in range(count) for j in range(i + 1, min(i + 1 + _NEIGHBOURS, count)))
    return [(i, j) for i, j in near if recordings[i] == recordings[j]]


def select_pairs(
    poses: Sequence[Pose], cameras: Sequence[Camera], global_descriptors: NDArray[np.float32], *, per_keyframe: int,
    depth_m: float,
) -> list[tuple[int, int]]:  # fmt: skip
    """Pairs (i, j), i < j, sorted, beside those of `sequence_pairs`.

    Each keyframe asks for the most overlapping views (thinned, so that they differ in where they look from), and for
    the most similar global descriptors among the rest. Cost grows with the number of
    keyframes within reach, not with all pairs, except for one product of global descriptors.
    """
    count = len(poses)
    pairs: set[tuple[int, int]] = set()
    retrieved = max(1, round(per_keyframe * _RETRIEVED_SHARE))
    overlapping = max(0, per_keyframe - retrieved - 2 * _NEIGHBOURS)
    centres = np.array([pose.translation for pose in poses]).reshape(-1, 3)
    reach = cKDTree(centres).query_ball_point(centres, 2 * depth_m, return_sorted=True) if count else []
    near = [np.array(sorted(set(found) - {index}), dtype=np.int64) for index, found in enumerate(reach)]
    for index, (others, scores) in enumerate(zip(near, view_overlap(poses, cameras, depth_m, near), strict=True)):
        known = scores >= _MIN_OVERLAP
        for other in _thinned(others[known], scores[known], overlapping, index):
            pairs.add((min(index, other), max(index, other)))
    for index, alike in enumerate(_similar(global_descriptors, retrieved, pairs)):
        pairs.update((min(index, other), max(index, other)) for other in alike)
    return sorted(pairs)


def _thinned(others: NDArray[np.int64], scores: NDArray[np.float64], wanted: int, index: int) -> list[int]:
    """Half the best, half spread evenly over the remaining ranking: near views for density, far ones for accuracy."""
    ranked = others[np.lexsort((others, -scores))]
    ranked = ranked[np.abs(ranked - index) > _NEIGHBOURS]
    best = wanted // 2
    rest = ranked[best:]
    if not len(rest):
        return [int(value) for value in ranked]
    spread = np.unique(np.linspace(0, len(rest) - 1, min(wanted - best, len(rest))).astype(np.int64))
    return [int(value) for value in (*ranked[:best], *rest[spread])]


def _similar(descriptors: NDArray[np.float32], wanted: int, known: set[tuple[int, int]]) -> list[list[int]]:
    """For each keyframe the most similar ones that are not yet paired with it."""
    out = []
    for index, descriptor in enumerate(descriptors):
        order = np.argsort(-(descriptors @ descriptor), kind="stable")
        fresh = (int(other) for other in order if abs(int(other) - index) > _NEIGHBOURS)
        out.append([other for other in fresh if (min(index, other), max(index, other)) not in known][:wanted])
    return out
