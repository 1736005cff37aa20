"""Odometry with a known drift, made from known poses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose

__all__ = ["drifted"]


def drifted(poses: Sequence[Pose], *, ratio: float = 0.01, deg_per_m: float = 0.5, seed: int = 0) -> list[Pose]:
    """What odometry would say of a drive along `poses` (map_from_camera), starting at the first of them.

    ratio: error of the distance; deg_per_m: turn by the distance driven. Half of each is the same all the way, in a
    direction that the seed chooses, and so adds up; the rest changes from step to step as a random walk whose
    deviation after one metre is the other half.
    """
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    axis *= np.radians(deg_per_m) / np.linalg.norm(axis)
    stretch = ratio * rng.choice((-1.0, 1.0))
    out = list(poses[:1])
    for before, after in pairwise(poses):
        step = before.inverse() @ after
        metres = float(np.linalg.norm(step.translation))
        wander = 0.5 * np.sqrt(metres)
        turn = 0.5 * axis * metres + wander * np.radians(deg_per_m) * rng.normal(size=3) / np.sqrt(3)
        moved = step.translation * (1 + 0.5 * stretch) + wander * ratio * rng.normal(size=3) / np.sqrt(3)
        out.append(out[-1] @ Pose(step.rotation @ Rotation.from_rotvec(turn).as_matrix(), moved))
    return out
