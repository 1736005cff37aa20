"""Trajectories: stamps that belong together, TUM files, and evo's statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hfnet_core.evaluation.metrics import Sample
from hfnet_core.extras import needed

__all__ = [
    "evo_statistics",
    "nearest",
]


def nearest(stamps_ns: Sequence[int], wanted_ns: int, max_gap_s: float) -> int | None:
    """Index of the stamp in an ascending sequence that is closest to the wanted one, if close enough."""
    after = int(np.searchsorted(np.asarray(stamps_ns, dtype=np.int64), wanted_ns))
    near = [index for index in (after - 1, after) if 0 <= index < len(stamps_ns)]
    best = min(near, key=lambda index: abs(stamps_ns[index] - wanted_ns), default=None)
    return best if best is not None and abs(stamps_ns[best] - wanted_ns) <= max_gap_s * 1e9 else None


def evo_statistics(samples: Sequence[Sample]) -> Mapping[str, Mapping[str, float]]:
    """APE and RPE (from one published pose to the next) without any alignment, by evo: metric -> statistic -> value.

    Empty with fewer than two published poses. Raises MissingExtraError where evo is not installed.
    """
    evo, paths = needed("evo.core.metrics"), needed("evo.core.trajectory")
    relation, frames = evo.PoseRelation, evo.Unit.frames
    pairs = [(item.truth, item.estimate) for item in samples if item.truth is not None and item.estimate is not None]
    if len(pairs) < 2:
        return {}
    truth = paths.PosePath3D(poses_se3=[first.matrix() for first, _ in pairs])
    estimate = paths.PosePath3D(poses_se3=[second.matrix() for _, second in pairs])
    metrics: dict[str, Any] = {
        "ape_translation_m": evo.APE(relation.translation_part),
        "ape_rotation_deg": evo.APE(relation.rotation_angle_deg),
        "rpe_translation_m": evo.RPE(relation.translation_part, delta=1, delta_unit=frames),
        "rpe_rotation_deg": evo.RPE(relation.rotation_angle_deg, delta=1, delta_unit=frames),
    }
    out: dict[str, dict[str, float]] = {}
    for name, metric in metrics.items():
        metric.process_data((truth, estimate))
        out[name] = {key: float(value) for key, value in metric.get_all_statistics().items()}
    return out
