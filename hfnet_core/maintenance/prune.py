"""A smaller map: keyframes that others make superfluous go first, then the landmarks that serve least."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapCareConfig
from hfnet_core.errors import ConfigError, MapError
from hfnet_core.geometry import Array
from hfnet_core.maps.landmark_map import OF_LANDMARKS, LandmarkMap
from hfnet_core.maps.statistics import counts
from hfnet_core.maps.subset import keep_keyframes, kept_landmarks

__all__ = ["Budget", "map_bytes", "prune_map", "redundant_keyframes"]

_REDUNDANT = 0.9  # of a keyframe's landmarks seen by _WITNESSES others: the rule of ORB-SLAM (IEEE T-RO 31(5), 2015)
_WITNESSES = 3
_GRID = (8, 6)  # cells of an image in which landmarks are spread
_EDGE_BYTES = 8  # a neighbour in the covisibility graph
_ALIKE_BYTES = 100  # a look-alike place of a keyframe
_HEADER_BYTES = 16384  # header, description, padding


@dataclass(frozen=True)
class Budget:
    """What the pruned map may have; None for no limit. min_per_keyframe: landmarks that each keyframe keeps."""

    max_bytes: int | None = None
    max_landmarks: int | None = None
    min_per_keyframe: int = MapCareConfig.min_per_keyframe

    def __post_init__(self) -> None:
        if self.max_bytes is None and self.max_landmarks is None:
            raise ConfigError("nothing to prune to: give --max-size-mib, --max-landmarks or both")


@dataclass(frozen=True)
class _Sizes:
    """Bytes in the file that come with each keyframe, landmark and observation."""

    keyframe: int
    landmark: int
    observation: int

    @classmethod
    def of(cls, landmark_map: LandmarkMap) -> _Sizes:
        descriptor = landmark_map.observation_descriptors.itemsize * landmark_map.observation_descriptors.shape[1]
        name = max((len(name) for name in landmark_map.keyframe_names), default=0) + 4
        neighbours = len(landmark_map.covisible_keyframes) / max(landmark_map.keyframes, 1)
        alike = len(landmark_map.alike_keyframes) / max(landmark_map.keyframes, 1)
        told = sum(len(getattr(landmark_map, name)) > 0 for name in OF_LANDMARKS)
        return cls(
            keyframe=4
            + 8
            + 96
            + 16
            + name
            + 2 * 4 * landmark_map.global_descriptors.shape[1]
            + round(_EDGE_BYTES * neighbours + _ALIKE_BYTES * alike),
            landmark=12 + 8 + 4 * told + descriptor * (1 + len(landmark_map.scale_factors)),
            observation=4 + 8 + 8 + 4 + descriptor,
        )

    def total(self, keyframes: int, landmarks: int, observations: int) -> int:
        sum_ = keyframes * self.keyframe + landmarks * self.landmark + observations * self.observation
        return sum_ + _HEADER_BYTES


def map_bytes(landmark_map: LandmarkMap) -> int:
    """About the size of the map's file."""
    sizes = _Sizes.of(landmark_map)
    return sizes.total(landmark_map.keyframes, landmark_map.landmarks, landmark_map.observations)


def prune_map(landmark_map: LandmarkMap, hits: NDArray[np.int64], budget: Budget) -> LandmarkMap:
    """The map within a budget, or the very same map where it is within already.

    hits: [L] how many held-back keyframes found each landmark, of `check_map`. Landmarks are kept by how often they
    were found, then by how many keyframes see them; before that, every keyframe gets its share, spread over its image.
    Raises MapError when these shares alone exceed the budget.
    """
    if _fits(landmark_map, budget):
        return landmark_map
    alive = ~redundant_keyframes(landmark_map)
    found = kept_landmarks(landmark_map, alive)
    smaller = keep_keyframes(landmark_map, alive)
    if not _fits(smaller, budget):
        wanted = _choose(smaller, hits[found], budget)
        smaller = keep_keyframes(smaller, np.ones(smaller.keyframes, dtype=bool), wanted)
    step = {
        "step": "prune",
        "keyframes_before": landmark_map.keyframes,
        "landmarks_before": landmark_map.landmarks,
        "observations_before": landmark_map.observations,
    }
    statistics = {
        **landmark_map.provenance.get("statistics", {}),
        **counts(smaller.keyframes, smaller.landmarks, smaller.observations),
    }
    history = [*landmark_map.provenance.get("history", []), step]
    return replace(smaller, provenance={**landmark_map.provenance, "statistics": statistics, "history": history})


def _fits(landmark_map: LandmarkMap, budget: Budget) -> bool:
    small = budget.max_bytes is None or map_bytes(landmark_map) <= budget.max_bytes
    return small and (budget.max_landmarks is None or landmark_map.landmarks <= budget.max_landmarks)


def redundant_keyframes(landmark_map: LandmarkMap) -> NDArray[np.bool_]:
    """[M] keyframes nine tenths of whose landmarks at least three other kept keyframes see, most redundant first."""
    seen = np.diff(landmark_map.landmark_offsets)
    gone = np.zeros(landmark_map.keyframes, dtype=bool)

    def redundancy(keyframe: int) -> float:
        own = landmark_map.landmarks_of(keyframe)
        return float((seen[own] > _WITNESSES).mean()) if len(own) else 1.0

    queue = [(-redundancy(keyframe), keyframe) for keyframe in range(landmark_map.keyframes)]
    heapq.heapify(queue)
    while queue:
        before, keyframe = heapq.heappop(queue)
        now = -redundancy(keyframe)
        if -now < _REDUNDANT:
            continue  # it can only become less redundant
        if now > before + 1e-12:
            heapq.heappush(queue, (now, keyframe))
            continue
        gone[keyframe] = True
        np.subtract.at(seen, landmark_map.landmarks_of(keyframe), 1)
    return gone


def _choose(landmark_map: LandmarkMap, hits: NDArray[np.int64], budget: Budget) -> NDArray[np.bool_]:
    """[L] which landmarks stay."""
    lengths = np.diff(landmark_map.landmark_offsets)
    usefulness = np.asarray(hits + np.log2(lengths), dtype=np.float64)
    chosen = np.zeros(landmark_map.landmarks, dtype=bool)
    for keyframe, ranked in _ranked(landmark_map, usefulness):
        missing = budget.min_per_keyframe - int(chosen[landmark_map.landmarks_of(keyframe)].sum())
        if missing > 0:
            chosen[ranked[~chosen[ranked]][:missing]] = True
    sizes = _Sizes.of(landmark_map)
    needed = sizes.total(landmark_map.keyframes, int(chosen.sum()), int(lengths[chosen].sum()))
    too_large = budget.max_bytes is not None and needed > budget.max_bytes
    if too_large or (budget.max_landmarks is not None and chosen.sum() > budget.max_landmarks):
        raise MapError(
            f"{budget.min_per_keyframe} landmarks for each of {landmark_map.keyframes} keyframes need {chosen.sum()} "
            f"landmarks and {np.ceil(needed / 2**20 * 10) / 10:.1f} MiB: allow that much, or fewer with "
            "--min-per-keyframe"
        )
    rest = np.flatnonzero(~chosen)
    rest = rest[np.argsort(-usefulness[rest], kind="stable")]
    room = len(rest)
    if budget.max_landmarks is not None:
        room = min(room, budget.max_landmarks - int(chosen.sum()))
    if budget.max_bytes is not None:
        cost = np.cumsum(lengths[rest] * sizes.observation + sizes.landmark)
        room = min(room, int(np.searchsorted(cost, budget.max_bytes - needed, side="right")))
    chosen[rest[:room]] = True
    return chosen


def _ranked(landmark_map: LandmarkMap, usefulness: Array) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Each keyframe with its landmarks: the best of every image cell, then the second best, and so on."""
    for keyframe in range(landmark_map.keyframes):
        rows = landmark_map.observations_of(keyframe)
        landmarks = landmark_map.landmarks_of(keyframe)
        camera = landmark_map.cameras[landmark_map.keyframe_cameras[keyframe]]
        place = np.floor(landmark_map.observation_px[rows] / [camera.width, camera.height] * _GRID).astype(np.int64)
        cells = np.clip(place, 0, np.array(_GRID) - 1) @ [1, _GRID[0]]
        order = np.lexsort((-usefulness[landmarks], cells))
        starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        ordered = order[np.lexsort((-usefulness[landmarks[order]], rank))]
        yield keyframe, np.asarray(landmarks[ordered])
