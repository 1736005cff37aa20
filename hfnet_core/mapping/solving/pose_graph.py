"""Poses from relative poses: Gauss-Newton on a sparse graph, with links that may be wrong judged on the way.

Graduated non-convexity with the Geman-McClure loss (Yang et al., "Graduated Non-Convexity for Robust Spatial
Perception", RA-L 2020): doubtful links first count in full, then less and less the worse they fit, so that the answer
does not depend on where the poses started.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Array, Pose
from hfnet_core.mapping.solving.odometry import Link

__all__ = ["optimise"]

_LIMIT = 16.8  # chi-square of six degrees of freedom at 99 %: what still counts as agreeing
_COOLING = 1.6
_ITERATIONS = 100  # at most; graphs settle in about twenty
_SETTLED = 1e-6  # metres and radians


def optimise(
    poses: Sequence[Pose], certain: Sequence[Link], doubtful: Sequence[Link], fixed: Sequence[int]
) -> tuple[list[Pose], NDArray[np.bool_]]:
    """(map_from_camera of each view, which of the doubtful links hold).

    poses: where to start. fixed: views that stay where they are; every other one needs a chain of certain links to one
    of them, or of doubtful ones that hold.
    """
    links = [*certain, *doubtful]
    if not links:
        return list(poses), np.zeros(0, dtype=np.bool_)
    graph = _Graph(links, len(poses), np.asarray(fixed, dtype=np.int64))
    turns, places = np.array([pose.rotation for pose in poses]), np.array([pose.translation for pose in poses])
    first = len(certain)
    errors = graph.errors(turns, places)
    control = max(2 * float((errors[first:] ** 2).sum(axis=1).max(initial=0.0)) / _LIMIT, 1.0)
    for _ in range(_ITERATIONS):
        squared = (errors**2).sum(axis=1)
        weights = np.ones(len(links))
        weights[first:] = (control * _LIMIT / (squared[first:] + control * _LIMIT)) ** 2
        step = graph.step(turns, places, errors, weights)
        turns = Rotation.from_rotvec(step[:, :3]).as_matrix() @ turns
        places = places + step[:, 3:]
        errors = graph.errors(turns, places)
        if control == 1.0 and np.abs(step).max() < _SETTLED:
            break
        control = max(control / _COOLING, 1.0)
    holds = (errors[first:] ** 2).sum(axis=1) < _LIMIT
    return [Pose(turn, place) for turn, place in zip(turns, places, strict=True)], holds


class _Graph:
    """The links as arrays. Unknowns of a view: a turn and a move, both about the axes of the map."""

    def __init__(self, links: Sequence[Link], count: int, fixed: NDArray[np.int64]) -> None:
        self.first = np.array([link.first for link in links])
        self.second = np.array([link.second for link in links])
        self.turns = np.array([link.first_from_second.rotation for link in links])
        self.moves = np.array([link.first_from_second.translation for link in links])
        self.scale = 1 / np.array([[link.sigma_rad] * 3 + [link.sigma_m] * 3 for link in links])
        self.count = count
        self.free = np.setdiff1d(np.arange(count), fixed)

    def errors(self, turns: Array, places: Array) -> Array:
        """[E, 6] errors in standard deviations, rotation first."""
        back = turns[self.first].transpose(0, 2, 1)
        turned = self.turns.transpose(0, 2, 1) @ back @ turns[self.second]
        moved = np.einsum("eij,ej->ei", back, places[self.second] - places[self.first]) - self.moves
        return np.asarray(np.concatenate([Rotation.from_matrix(turned).as_rotvec(), moved], axis=1) * self.scale)

    def step(self, turns: Array, places: Array, errors: Array, weights: Array) -> Array:
        """[M, 6] the step that makes the linearised weighted errors smallest; zero for fixed views."""
        edges = len(self.first)
        back = turns[self.first].transpose(0, 2, 1)
        inner = turns[self.second].transpose(0, 2, 1)
        way = places[self.second] - places[self.first]
        cross = np.cross(way[:, None, :], np.eye(3)[None]).transpose(0, 2, 1)  # way x w, as a matrix on w
        jacobian_1, jacobian_2 = np.zeros((edges, 6, 6)), np.zeros((edges, 6, 6))
        jacobian_1[:, :3, :3], jacobian_2[:, :3, :3] = -inner, inner
        jacobian_1[:, 3:, :3] = back @ cross
        jacobian_1[:, 3:, 3:], jacobian_2[:, 3:, 3:] = -back, back
        root = np.sqrt(weights)[:, None] * self.scale
        blocks = np.stack([jacobian_1, jacobian_2], axis=1) * root[:, None, :, None]
        columns = np.stack([self.first, self.second], axis=1).reshape(-1)
        matrix = scipy.sparse.bsr_matrix(
            (blocks.reshape(-1, 6, 6), columns, 2 * np.arange(edges + 1)), shape=(6 * edges, 6 * self.count)
        ).tocsc()
        free = (6 * self.free[:, None] + np.arange(6)).reshape(-1)
        own = matrix[:, free]
        normal = (own.T @ own + 1e-9 * scipy.sparse.identity(len(free))).tocsc()
        right = -own.T @ (errors * np.sqrt(weights)[:, None]).reshape(-1)
        out = np.zeros(6 * self.count)
        if len(free):
            out[free] = scipy.sparse.linalg.spsolve(normal, right, permc_spec="MMD_AT_PLUS_A")
        return out.reshape(-1, 6)
