"""Maps of any size around a small real one, written straight to disk."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_core.maps.assembly import covisibility, group_by
from hfnet_core.maps.descriptors import compact, unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import describe, write_map
from hfnet_core.maps.tensor_file import Pieces

__all__ = ["thinned", "write_copies"]

PLACE_NOISE = 1.0  # length of what is added to the global descriptors of all keyframes of a copy ...
VIEW_NOISE = 0.2  # ... and of each: copies resemble a query about as much as other views of its own place do
LOCAL_NOISE = 1.5  # length of what is added to local descriptors: like those of other corners somewhere else
SPACING_M = 100.0  # between copies, on a square


def thinned(source: LandmarkMap, landmarks_per_keyframe: int, observations: int) -> LandmarkMap:
    """The map with int8 descriptors, fewer landmarks (at random, seeded), and of each its first few observations."""
    rng = np.random.default_rng(0)
    wanted = min(source.landmarks, landmarks_per_keyframe * source.keyframes)
    chosen = np.sort(rng.choice(source.landmarks, wanted, replace=False))
    begin = source.landmark_offsets[chosen]
    lengths = np.minimum(source.landmark_offsets[chosen + 1] - begin, observations)
    owners = np.repeat(np.arange(wanted), lengths)
    rows = begin[owners] + np.arange(len(owners)) - (np.cumsum(lengths) - lengths)[owners]
    keyframes = source.observation_keyframes[rows].astype(np.int64)
    order, offsets = group_by(keyframes, source.keyframes)
    graph = covisibility(owners, keyframes, wanted, source.keyframes)
    return replace(
        source, landmarks_xyz=source.landmarks_xyz[chosen], landmark_offsets=np.r_[0, np.cumsum(lengths)],
        observation_keyframes=keyframes.astype(np.int32), observation_px=source.observation_px[rows],
        observation_descriptors=compact(unit(source.observation_descriptors[rows]), np.dtype(np.int8)),
        keyframe_offsets=offsets, keyframe_observations=order, covisible_offsets=graph[0],
        covisible_keyframes=graph[1], covisible_weights=graph[2],
    )  # fmt: skip


def write_copies(base: LandmarkMap, copies: int, path: Path) -> None:
    """Write a map of `copies` places: the first is `base` itself, the others resemble it, each somewhere else.

    One copy at a time is in memory. Poses and landmarks are shifted, descriptors get noise of their own.
    """
    m, n, o, c = base.keyframes, base.landmarks, base.observations, len(base.covisible_keyframes)
    side = int(np.ceil(np.sqrt(copies)))

    def shift(copy: int) -> NDArray[np.float64]:
        return np.array([copy % side, copy // side, 0.0]) * SPACING_M

    def counted(array: NDArray, step: int, ends: bool = False) -> Pieces:
        """An array of numbers that go on counting in every copy; `ends`: offsets, one more than rows."""
        dtype, first = array.dtype, array[: len(array) - ends]
        rows = (first.astype(np.int64) + copy * step for copy in range(copies))
        last = iter([np.array([copies * step])] if ends else [])
        pieces = (piece.astype(dtype) for piece in itertools.chain(rows, last))
        return Pieces(dtype, (copies * len(first) + ends,), pieces)

    def made(array: NDArray, make: Callable[[int], NDArray]) -> Pieces:
        return Pieces(array.dtype, (copies * len(array), *array.shape[1:]), map(make, range(copies)))

    def poses(copy: int) -> NDArray:
        moved = np.array(base.keyframe_poses)
        moved[:, :, 3] += shift(copy)
        return moved

    def places(copy: int) -> LandmarkMap:
        if copy == 0:
            return base
        rng = np.random.default_rng((1, copy))
        noise = PLACE_NOISE * rng.normal(size=base.global_descriptors.shape[1])
        noise = (noise + VIEW_NOISE * rng.normal(size=base.global_descriptors.shape)) / np.sqrt(noise.size)
        moved = base.global_descriptors + noise
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        return replace(base, global_descriptors=moved.astype(np.float32))

    sample = base.landmark_descriptors[:1000].astype(np.float32)
    scale = LOCAL_NOISE * np.sqrt(np.mean(sample**2))
    pool = np.random.default_rng(2).normal(0, scale, 1 << 22).astype(np.int16)

    def looks(array: NDArray) -> Callable[[int], NDArray]:
        def make(copy: int) -> NDArray:
            if copy == 0:
                return array
            start = np.random.default_rng((4, copy)).integers(0, len(pool))
            noise = np.resize(np.roll(pool, -start), array.shape)
            return np.clip(array + noise, -127, 127).astype(np.int8)

        return make

    def repeated(array: NDArray) -> Pieces:
        return made(array, lambda copy: array)

    arrays = {
        "keyframe_cameras": repeated(base.keyframe_cameras), "keyframe_stamps_ns": repeated(base.keyframe_stamps_ns),
        "keyframe_poses": made(base.keyframe_poses, poses),
        "global_descriptors": made(base.global_descriptors, lambda copy: places(copy).global_descriptors),
        "place_descriptors": made(base.place_descriptors, lambda copy: places(copy).place_descriptors),
        "landmarks_xyz": made(base.landmarks_xyz, lambda copy: base.landmarks_xyz + shift(copy)),
        "landmark_offsets": counted(base.landmark_offsets, o, ends=True),
        "observation_keyframes": counted(base.observation_keyframes, m),
        "observation_px": repeated(base.observation_px),
        "observation_descriptors": made(base.observation_descriptors, looks(base.observation_descriptors)),
        "keyframe_offsets": counted(base.keyframe_offsets, o, ends=True),
        "keyframe_observations": counted(base.keyframe_observations, o),
        "covisible_offsets": counted(base.covisible_offsets, c, ends=True),
        "covisible_keyframes": counted(base.covisible_keyframes, m),
        "covisible_weights": repeated(base.covisible_weights),
        "keyframe_landmarks": counted(base.keyframe_landmarks, n),
        "landmark_descriptors": made(base.landmark_descriptors, looks(base.landmark_descriptors)),
    }  # fmt: skip
    names = [f"{copy}/{name}" for copy in range(copies) for name in base.keyframe_names]
    write_map(path, arrays, {**describe(base), "keyframe_names": names})
