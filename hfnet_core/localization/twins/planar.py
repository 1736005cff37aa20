"""The second pose of a plane: seen from afar it looks the same when it is tilted the other way.

Landmarks on one plane, such as a poster's, fit an image in two poses that mirror each other about the line of sight;
noise decides which one fits better (Schweighofer & Pinz, Robust Pose Estimation from a Planar Target, 2006).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose
from hfnet_core.localization import pose
from hfnet_core.localization.correspondences import Query
from hfnet_core.localization.hypothesis import Hypothesis

__all__ = ["second_pose"]

_LEAST, _MOSTLY = 6, 0.6  # landmarks on the plane, and share of all that agree
_FLAT = 0.02  # of the distance, that a landmark may lie off the plane
_TRIPLES = 32
_AS_GOOD = 0.5  # of the landmarks that agree with the first pose must agree with the second


def second_pose(query: Query, hypothesis: Hypothesis, config: LocalizerConfig) -> Hypothesis | None:
    """The same correspondences explained from the mirrored pose; None where they exclude it or are not flat."""
    support = hypothesis.found.where(hypothesis.agreeing)
    flat = _on_a_plane(support.points, hypothesis.map_from_rig.translation)
    if flat is None:
        return None
    mirrored = _mirrored(support.points[flat], hypothesis.map_from_rig)
    solution = pose.polish(hypothesis.found, query, mirrored, config)
    if solution is None or solution.count < _AS_GOOD * np.count_nonzero(hypothesis.agreeing):
        return None
    found = hypothesis.found
    evidence = found.where(solution.inliers & found.unguided)
    other = replace(hypothesis.solved(solution, found), evidence=evidence)
    return other if other.elsewhere(hypothesis) else None


def _on_a_plane(points: Array, viewpoint: Array) -> NDArray[np.bool_] | None:
    """[N] which points lie on the plane that most of them lie on; None where they do not."""
    count = len(points)
    if count < _LEAST:
        return None
    corners = points[np.random.default_rng(0).integers(count, size=(_TRIPLES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        normals /= lengths[:, None]
    off = np.abs(points @ normals.T - np.einsum("ni,ni->n", corners[:, 0], normals))
    near = off <= _FLAT * np.linalg.norm(points - viewpoint, axis=1)[:, None]
    best = near[:, int(near.sum(axis=0).argmax())]
    return best if best.sum() >= max(_LEAST, _MOSTLY * count) else None


def _mirrored(points: Array, map_from_camera: Pose) -> Pose:
    """The pose from which the points of a plane, mirrored about the line of sight to their middle, are seen."""
    middle = points.mean(axis=0)
    normal = np.linalg.svd(points - middle, full_matrices=False)[2][2]
    offsets = points - middle
    flattened = offsets - (offsets @ normal)[:, None] * normal
    sight = middle - map_from_camera.translation
    sight = sight / np.linalg.norm(sight)
    # Depths change sign: for points of a plane a mirror does what a rotation does, map_mirrored_from_map.
    mirrored = flattened - 2.0 * (flattened @ sight)[:, None] * sight
    left, _, right = np.linalg.svd(mirrored.T @ flattened)
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = left @ proper @ right
    # The scene turned by `turn` about its middle looks as a fixed scene does from the camera turned back.
    return Pose(turn.T @ map_from_camera.rotation, middle + turn.T @ (map_from_camera.translation - middle))
