"""Matching two keyframes, and checking matches against known poses. No images, only features."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Pose, skew
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.keyframes.workers import Done, Pending, in_order
from hfnet_core.mapping.keyframes.workspace import Workspace, key_of
from hfnet_core.projection import rays_of
from hfnet_core.types import Camera, Float32

__all__ = ["agreeing_matches", "angular_epipolar_error", "match_descriptors"]

_MIN_MATCHES = 12  # of a pair of keyframes: fewer are seldom all right

_ROWS = 256  # of the similarity matrix at a time: stays in the cache of a core


def match_descriptors(first: NDArray[np.float32], second: NDArray[np.float32], ratio: float) -> NDArray[np.int32]:
    """Mutual nearest neighbours that pass the ratio test in both directions, [N, 2] indices.

    first: [K1, D], second: [K2, D], unit length. ratio: of the distances to the best and the second best.
    """
    if len(first) == 0 or len(second) == 0:
        return np.zeros((0, 2), dtype=np.int32)
    forward = np.empty(len(first), dtype=np.int64)
    best_1, next_1 = np.empty(len(first), dtype=np.float32), np.empty(len(first), dtype=np.float32)
    backward = np.zeros(len(second), dtype=np.int64)
    best_2 = np.full(len(second), -2.0, dtype=np.float32)
    next_2 = np.full(len(second), -2.0, dtype=np.float32)
    transposed = np.ascontiguousarray(second.T)
    for start in range(0, len(first), _ROWS):
        block = first[start : start + _ROWS] @ transposed
        rows, columns = np.arange(len(block)), np.arange(block.shape[1])
        top = block.argmax(axis=0)
        value = block[top, columns]
        better = value > best_2
        backward[better] = top[better] + start
        block_next = _second_best(block, top, columns)
        next_2 = np.maximum(np.minimum(best_2, value), np.maximum(next_2, block_next))
        best_2 = np.maximum(best_2, value)
        top = block.argmax(axis=1)
        forward[start : start + _ROWS] = top
        best_1[start : start + _ROWS] = block[rows, top]
        block[rows, top] = -2.0
        next_1[start : start + _ROWS] = block.max(axis=1)
    index = np.arange(len(first))
    keep = backward[forward] == index
    keep &= _distinct(best_1, next_1, ratio) & _distinct(best_2, next_2, ratio)[forward]
    return np.stack([index[keep], forward[keep]], axis=1).astype(np.int32)


def _second_best(block: NDArray[np.float32], top: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Largest value of each column without the one at `top`; the block is left as it was."""
    value = block[top, columns]
    block[top, columns] = -2.0
    out: NDArray[np.float32] = block.max(axis=0)
    block[top, columns] = value
    return out


def _distinct(best: NDArray[np.float32], following: NDArray[np.float32], ratio: float) -> NDArray[np.bool_]:
    """The ratio test on squared distances of unit vectors: |a - b|^2 = 2 - 2 a.b."""
    return np.asarray((1.0 - best) <= ratio * ratio * (1.0 - following) + 1e-7)


def agreeing_matches(
    matches: Mapping[tuple[int, int], NDArray[np.int32]],
    cameras: Sequence[Camera],
    keypoints_px: Sequence[Float32],
    poses: Sequence[Pose],
    limit_px: float,
) -> dict[tuple[int, int], NDArray[np.int32]]:
    """The matches of each pair of views that lie within `limit_px` of their epipolar planes; pairs with too few are
    left out.

    cameras, keypoints_px [K, 2], poses (map_from_camera): of every view.
    """
    involved = sorted({view for pair in matches for view in pair})
    rays = {view: rays_of(cameras[view], keypoints_px[view]) for view in involved}
    out = {}
    for (first, second), found in matches.items():
        focal = min(*cameras[first].focal_length, *cameras[second].focal_length)
        relative = poses[second].inverse() @ poses[first]
        error = angular_epipolar_error(rays[first][found[:, 0]], rays[second][found[:, 1]], relative)
        agreeing = found[error < limit_px / focal]
        if len(agreeing) >= _MIN_MATCHES:
            out[first, second] = agreeing
    return out


def angular_epipolar_error(
    first_rays: NDArray[np.float64], second_rays: NDArray[np.float64], second_from_first: Pose
) -> NDArray[np.float64]:
    """Angle in radians between each ray and the epipolar plane of its partner, the larger of both directions, [N].

    Rays are unit vectors [N, 3] in their own camera, so any camera model fits. Rays that a baseline of zero length
    leaves without an epipolar plane have error 0.
    """
    essential = skew(second_from_first.translation) @ second_from_first.rotation
    normals_2 = first_rays @ essential.T
    normals_1 = second_rays @ essential
    product = np.abs(np.einsum("ni,ni->n", second_rays, normals_2))
    lengths = np.minimum(np.linalg.norm(normals_1, axis=1), np.linalg.norm(normals_2, axis=1))
    return np.asarray(np.arcsin(np.clip(product / np.maximum(lengths, 1e-12), 0.0, 1.0)))


Pair = tuple[int, int]


Found = list[NDArray[np.int32]]


def match_pairs(
    keyframes: Sequence[Keyframe], pairs: Sequence[Pair], ratio: float, workspace: Workspace
) -> Iterator[tuple[Pair, NDArray[np.int32]]]:
    """Each pair with its matches (see `match_descriptors`), sorted. All pairs of a first keyframe are one task.

    Of a keyframe whose partners have become more, only the new pairs are matched.
    """
    workers = workspace.workers
    shared: dict[int, Any] = {}

    def descriptors(index: int) -> Any:
        if index not in shared:
            shared[index] = workers.share(keyframes[index].features.descriptors)
        return shared[index]

    def started() -> Iterator[tuple[_Task, Pending[Found]]]:
        for first, group in itertools.groupby(sorted(pairs), key=lambda pair: pair[0]):
            task = _Task.of(keyframes, first, [second for _, second in group], ratio, workspace)
            missing = [descriptors(second) for second in task.missing]
            yield task, workers.submit(_match, descriptors(first), missing, ratio) if missing else Done([])

    for task, found in in_order(workers, started()):
        new = dict(zip(task.missing, found, strict=True))
        if task.key and new:
            names = {keyframes[second].key: matches for second, matches in new.items()}
            workspace.store_matches(task.key, {**task.known, **names})
        for second in task.seconds:
            yield (task.first, second), new[second] if second in new else task.known[keyframes[second].key]


@dataclass(frozen=True, eq=False)
class _Task:
    """The pairs of one first keyframe. key: names its matches in the workspace, "" for none. known: what is there
    already, by the second's key. missing: the seconds that are to be matched."""

    first: int
    seconds: list[int]
    key: str
    known: Mapping[str, NDArray[np.int32]]
    missing: list[int]

    @classmethod
    def of(
        cls, keyframes: Sequence[Keyframe], first: int, seconds: list[int], ratio: float, workspace: Workspace
    ) -> _Task:
        names = [keyframes[index].key for index in (first, *seconds)]
        key = key_of(ratio, names[0]) if all(names) else ""
        known = workspace.load_matches(key) if key else {}
        own = len(keyframes[first].features)
        missing = [second for second in seconds if not _are_between(known, keyframes[second], own)]
        return cls(first, seconds, key, known, missing)


def _are_between(known: Mapping[str, NDArray[np.int32]], second: Keyframe, own: int) -> bool:
    """Whether the matches with a keyframe are known, and of keypoints that there are."""
    matches = known.get(second.key)
    return matches is not None and bool((matches < [own, len(second.features)]).all())


def _match(own: NDArray[np.float32], others: Sequence[NDArray[np.float32]], ratio: float) -> Found:
    return [match_descriptors(own, other, ratio) for other in others]
