"""Where on the plan something has happened, for people."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.maps.coverage import plan_of
from hfnet_core.maps.landmark_map import LandmarkMap

__all__ = ["places_of"]

_CELL_M, _TOLD = 2.0, 4


def places_of(landmark_map: LandmarkMap, points: NDArray[Any]) -> tuple[str, ...]:
    """The cells of two metres that most of the points [N, 3] lie in: coordinates of their middle, and how many."""
    if not len(points):
        return ()
    cells = np.floor(plan_of(landmark_map).flat(points) / _CELL_M).astype(np.int64)
    found, counts = np.unique(cells, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_TOLD]
    middles = (found[order] + 0.5) * _CELL_M
    return tuple(f"({x:g}, {y:g}): {n}" for (x, y), n in zip(middles, counts[order], strict=True))
