"""Which keyframes to match with which: neighbours in time, overlapping views, and similar-looking ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.geometry import Pose
from hfnet_core.types import Camera

__all__ = ["retrieved_pairs", "select_pairs", "sequence_pairs", "view_overlap"]

_NEIGHBOURS = 3  # matched with each of this many successors in time
_RETRIEVED_SHARE = 0.25  # of the pairs of a keyframe, those found by appearance
_MIN_OVERLAP = 0.2
_GRID = (5, 4)
_DEPTHS = (0.5, 1.0, 2.0)  # times the typical depth
_CROWD = 200  # keyframes looked at for overlap, however often a place was driven past
_BLOCK = 512  # keyframes compared with all others at a time


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
    poses: Sequence[Pose],
    cameras: Sequence[Camera],
    global_descriptors: NDArray[np.float32],
    *,
    per_keyframe: int,
    depth_m: float,
) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, sorted, beside those of `sequence_pairs`.

    Each keyframe asks for the most overlapping views (thinned, so that they differ in where they look from), and for
    the most similar global descriptors among the rest. Cost grows with the number of keyframes, except for one
    product of global descriptors, which is 1 % of the build at 1,000 keyframes.
    """
    count = len(poses)
    pairs: set[tuple[int, int]] = set()
    retrieved = max(1, round(per_keyframe * _RETRIEVED_SHARE))
    overlapping = max(0, per_keyframe - retrieved - 2 * _NEIGHBOURS)
    centres = np.array([pose.translation for pose in poses]).reshape(-1, 3)
    near = _near(centres, 2 * depth_m) if count else []
    for index, (others, scores) in enumerate(zip(near, view_overlap(poses, cameras, depth_m, near), strict=True)):
        known = scores >= _MIN_OVERLAP
        for other in _thinned(others[known], scores[known], overlapping, index):
            pairs.add((min(index, other), max(index, other)))
    for index, alike in enumerate(_similar(global_descriptors, retrieved, pairs)):
        pairs.update((min(index, other), max(index, other)) for other in alike)
    return sorted(pairs)


def retrieved_pairs(global_descriptors: NDArray[np.float32], per_image: int) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, sorted: each image with those of the most similar global descriptors."""
    count = len(global_descriptors)
    pairs: set[tuple[int, int]] = set()
    for start in range(0, count, _BLOCK):
        alike = global_descriptors[start : start + _BLOCK] @ global_descriptors.T
        for index, row in enumerate(alike, start=start):
            row[index] = -np.inf
            best = np.argsort(-row, kind="stable")[: min(per_image, count - 1)]
            pairs.update((min(index, int(other)), max(index, int(other))) for other in best)
    return sorted(pairs)


def _near(centres: NDArray[np.float64], reach_m: float) -> list[NDArray[np.int64]]:
    """For each keyframe the others within reach, ascending; the nearest of them where a place was seen very often."""
    count = len(centres)
    _, found = cKDTree(centres).query(centres, k=min(_CROWD + 1, count), distance_upper_bound=reach_m)
    rows = np.sort(np.asarray(found).reshape(count, -1), axis=1)
    return [row[(row < count) & (row != index)].astype(np.int64) for index, row in enumerate(rows)]


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
    """For each keyframe the most similar ones that are not yet paired with it, the first of equals first."""
    count = len(descriptors)
    partners: list[list[int]] = [[] for _ in range(count)]
    for first, second in known:
        partners[first].append(second)
        partners[second].append(first)
    out = []
    for start in range(0, count, _BLOCK):
        alike = descriptors[start : start + _BLOCK] @ descriptors.T
        for index, row in enumerate(alike, start=start):
            row[max(index - _NEIGHBOURS, 0) : index + _NEIGHBOURS + 1] = -np.inf
            row[partners[index]] = -np.inf
            best = np.argpartition(-row, min(wanted, count - 1))[:wanted]
            best = best[np.lexsort((best, -row[best]))]
            out.append([int(other) for other in best if np.isfinite(row[other])])
    return out
