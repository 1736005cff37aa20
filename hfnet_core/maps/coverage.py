"""Where a map knows its surroundings: seen from above, in cells, and in how many directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from hfnet_core.geometry import Array
from hfnet_core.maps.landmark_map import LandmarkMap

__all__ = ["SECTORS", "Coverage", "Plan", "coverage_of", "group_places", "plan_of"]

SECTORS = 8  # viewing directions told apart
_CELL_M = 0.5
_PLACE_M = 1.0  # keyframes closer than this are one place


@dataclass(frozen=True, eq=False)
class Plan:
    """The view from above. across, along: indices of the map's axes drawn to the right and upwards. up: the third one.
    sign: 1, or -1 where that axis points down; `along` is then turned, so that the plan is no mirror image."""

    across: int
    along: int
    up: int
    sign: int

    @property
    def name(self) -> str:
        return ("+" if self.sign > 0 else "-") + "xyz"[self.up]

    def flat(self, points: NDArray[np.floating]) -> Array:
        """[N, 2] of points or directions [N, 3]."""
        out = np.asarray(points, dtype=np.float64)[:, [self.across, self.along]]
        return out * [1.0, float(self.sign)]


def plan_of(landmark_map: LandmarkMap) -> Plan:
    """The plan along the axis of the map that is nearest to up as cameras see it: z in a levelled map."""
    up = -landmark_map.keyframe_poses[:, :, 1].mean(axis=0) if landmark_map.keyframes else np.array([0.0, 0.0, 1.0])
    axis = int(np.argmax(np.abs(up)))
    across, along = ((1, 2), (2, 0), (0, 1))[axis]
    return Plan(across, along, axis, 1 if up[axis] >= 0 else -1)


@dataclass(frozen=True, eq=False)
class Coverage:
    """Cells of the plan with keyframes in them. cells: [K, 2] lower corners, metres. directions: [K] how many of the
    SECTORS the keyframes in each look into."""

    cell_m: float
    cells: Array
    directions: NDArray[np.int64]

    @property
    def area_m2(self) -> float:
        return len(self.cells) * self.cell_m**2


def coverage_of(landmark_map: LandmarkMap, plan: Plan) -> Coverage:
    """Cells of half a metre that the recordings went through."""
    poses = landmark_map.keyframe_poses
    if not len(poses):
        return Coverage(_CELL_M, np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
    places = np.floor(plan.flat(poses[:, :, 3]) / _CELL_M).astype(np.int64)
    ahead = plan.flat(poses[:, :, 2])
    sectors = np.floor(np.arctan2(ahead[:, 1], ahead[:, 0]) / (2 * np.pi) * SECTORS).astype(np.int64) % SECTORS
    seen = np.unique(np.column_stack([places, sectors]), axis=0)
    cells, counts = np.unique(seen[:, :2], axis=0, return_counts=True)
    return Coverage(_CELL_M, np.asarray(cells * _CELL_M, dtype=np.float64), counts.astype(np.int64))


def group_places(landmark_map: LandmarkMap, keyframes: Sequence[int]) -> list[list[int]]:
    """Keyframes that are near each other, group by group, in the order given."""
    if not keyframes:
        return []
    pairs = cKDTree(landmark_map.keyframe_poses[list(keyframes), :, 3]).query_pairs(_PLACE_M, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(keyframes), len(keyframes)))
    labels = connected_components(graph, directed=False)[1]
    groups: dict[int, list[int]] = {}
    for keyframe, label in zip(keyframes, labels, strict=True):
        groups.setdefault(int(label), []).append(keyframe)
    return list(groups.values())
