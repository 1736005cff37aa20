"""The linear system of bundle adjustment, solved without ever forming it.

Unknowns: a step of six numbers per view (turn, move), three per camera (intrinsics) and three per point. Points are
eliminated (Schur complement); what remains is solved by conjugate gradients that only multiply with the blocks of
single observations, so cost and memory grow with the number of observations, however long tracks or drives are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from hfnet_core.geometry import Array

__all__ = ["Blocks", "solve"]

_TOLERANCE = 1e-4  # of the residual, relative; the steps of Levenberg-Marquardt need no more
_MAX_ITERATIONS = 400


@dataclass(frozen=True, eq=False)
class Blocks:
    """Derivatives and residuals of O observations, weighted, sorted by track; priors on views and cameras.

    views, tracks: [O]. view_cameras: [M]. view_part: [O, 2, 9] by the pose of the view (6) and its camera (3).
    point_part: [O, 2, 3]. residuals: [O, 2]. pose_priors: [M, 6, 6] and pose_gradients: [M, 6]; camera_priors:
    [C, 3, 3] and camera_gradients: [C, 3]. points: number of them.
    """

    views: NDArray[np.int64]
    tracks: NDArray[np.int64]
    view_cameras: NDArray[np.int64]
    view_part: Array
    point_part: Array
    residuals: Array
    pose_priors: Array
    pose_gradients: Array
    camera_priors: Array
    camera_gradients: Array
    points: int

    @cached_property
    def mixed(self) -> Array:
        """[O, 9, 3] products of view and point derivatives."""
        return np.asarray(np.einsum("oki,okj->oij", self.view_part, self.point_part))

    @cached_property
    def by_track(self) -> scipy.sparse.bsr_matrix:
        """[3 L, 9 M] of the transposed `mixed` blocks."""
        offsets = _offsets(self.tracks, self.points)
        shape = (3 * self.points, 9 * len(self.view_cameras))
        return scipy.sparse.bsr_matrix((self.mixed.transpose(0, 2, 1).copy(), self.views, offsets), shape=shape)

    @cached_property
    def by_view(self) -> scipy.sparse.bsr_matrix:
        """[9 M, 3 L] of the `mixed` blocks."""
        offsets = _offsets(self.views, len(self.view_cameras))
        shape = (9 * len(self.view_cameras), 3 * self.points)
        return scipy.sparse.bsr_matrix((self.mixed[self._order], self.tracks[self._order], offsets), shape=shape)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.argsort(self.views, kind="stable")

    @cached_property
    def view_blocks(self) -> Array:
        """[M, 9, 9] of the normal matrix, without priors."""
        return self._sum_by_view(np.einsum("oki,okj->oij", self.view_part, self.view_part))

    @cached_property
    def point_blocks(self) -> Array:
        """[L, 3, 3] of the normal matrix."""
        return _sums(np.einsum("oki,okj->oij", self.point_part, self.point_part), _offsets(self.tracks, self.points))

    @cached_property
    def view_gradient(self) -> Array:
        """[M, 9] without priors."""
        return self._sum_by_view(np.einsum("oki,ok->oi", self.view_part, self.residuals))

    @cached_property
    def point_gradient(self) -> Array:
        """[L, 3]"""
        return _sums(np.einsum("oki,ok->oi", self.point_part, self.residuals), _offsets(self.tracks, self.points))

    def _sum_by_view(self, values: Array) -> Array:
        return _sums(values[self._order], _offsets(self.views, len(self.view_cameras)))

    def spread(self, unknowns: Array) -> Array:
        """[9 M] what each view sees of the unknowns [6 M + 3 C]: its pose and its camera."""
        m = len(self.view_cameras)
        cameras = unknowns[6 * m :].reshape(-1, 3)
        return np.concatenate([unknowns[: 6 * m].reshape(m, 6), cameras[self.view_cameras]], axis=1).reshape(-1)

    def gather(self, values: Array) -> Array:
        """The transpose of `spread`."""
        m = len(self.view_cameras)
        rows = values.reshape(m, 9)
        cameras = np.zeros((len(self.camera_priors), 3))
        np.add.at(cameras, self.view_cameras, rows[:, 6:])
        return np.concatenate([rows[:, :6].reshape(-1), cameras.reshape(-1)])


def _offsets(owners: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))])


def _sums(values: Array, offsets: NDArray[np.int64]) -> Array:
    """Sums of consecutive rows; an empty group gives zeros."""
    out = np.zeros((len(offsets) - 1, *values.shape[1:]))
    filled = np.diff(offsets) > 0
    if filled.any():
        out[filled] = np.add.reduceat(values, offsets[:-1][filled], axis=0)
    return out


def solve(blocks: Blocks, damping: float) -> tuple[Array, Array]:
    """Steps of views and cameras [6 M + 3 C], and of points [L, 3]."""
    eye = np.eye(3)
    inverse = np.asarray(np.linalg.inv(blocks.point_blocks * (1 + damping * eye) + 1e-12 * eye), dtype=np.float64)
    views, cameras = _damped(blocks, damping)
    m = len(views)

    def reduce(spread: Array) -> Array:
        """What eliminating the points takes away."""
        points = np.einsum("lij,lj->li", inverse, (blocks.by_track @ spread).reshape(-1, 3))
        return np.asarray(blocks.by_view @ points.reshape(-1))

    def multiply(unknowns: Array) -> Array:
        spread = blocks.spread(unknowns)
        rows = np.einsum("mij,mj->mi", blocks.view_blocks, spread.reshape(m, 9)).reshape(-1) - reduce(spread)
        own = np.einsum("mij,mj->mi", views, unknowns[: 6 * m].reshape(m, 6)).reshape(-1)
        lens = np.einsum("cij,cj->ci", cameras, unknowns[6 * m :].reshape(-1, 3)).reshape(-1)
        return np.asarray(blocks.gather(rows) + np.concatenate([own, lens]))

    priors = np.concatenate([blocks.pose_gradients.reshape(-1), blocks.camera_gradients.reshape(-1)])
    eliminated = np.einsum("lij,lj->li", inverse, blocks.point_gradient).reshape(-1)
    gradient = blocks.gather(blocks.view_gradient.reshape(-1) - blocks.by_view @ eliminated) + priors
    step = _conjugate_gradients(multiply, -gradient, _preconditioner(blocks, inverse, views, cameras))
    towards = blocks.point_gradient + (blocks.by_track @ blocks.spread(step)).reshape(-1, 3)
    return step, -np.einsum("lij,lj->li", inverse, towards)


def _damped(blocks: Blocks, damping: float) -> tuple[Array, Array]:
    """Priors plus damping of views [M, 6, 6] and cameras [C, 3, 3]."""
    poses = np.einsum("mii->mi", blocks.view_blocks[:, :6, :6]) + np.einsum("mii->mi", blocks.pose_priors)
    lenses = np.einsum("cii->ci", blocks.camera_priors).copy()
    np.add.at(lenses, blocks.view_cameras, np.einsum("mii->mi", blocks.view_blocks[:, 6:, 6:]))
    return (
        blocks.pose_priors + damping * poses[:, :, None] * np.eye(6),
        blocks.camera_priors + damping * lenses[:, :, None] * np.eye(3),
    )


def _preconditioner(blocks: Blocks, inverse: Array, views: Array, cameras: Array) -> Callable[[Array], Array]:
    """The inverse of the diagonal blocks, those of the cameras without what the points take away."""
    m = len(views)
    own = blocks.mixed[:, :6]
    taken = blocks._sum_by_view(np.einsum("oij,ojk,olk->oil", own, inverse[blocks.tracks], own, optimize=True))
    poses = np.linalg.inv(blocks.view_blocks[:, :6, :6] + views - taken)
    lenses = cameras.copy()
    np.add.at(lenses, blocks.view_cameras, blocks.view_blocks[:, 6:, 6:])
    lenses = np.linalg.inv(lenses)

    def apply(values: Array) -> Array:
        first = np.einsum("mij,mj->mi", poses, values[: 6 * m].reshape(m, 6))
        second = np.einsum("cij,cj->ci", lenses, values[6 * m :].reshape(-1, 3))
        return np.concatenate([first.reshape(-1), second.reshape(-1)])

    return apply


def _conjugate_gradients(
    multiply: Callable[[Array], Array], right: Array, precondition: Callable[[Array], Array]
) -> Array:
    solution = np.zeros_like(right)
    residual = right.copy()
    direction = scaled = precondition(residual)
    product = float(residual @ scaled)
    goal = _TOLERANCE**2 * product
    for _ in range(_MAX_ITERATIONS):
        if product <= goal:
            break
        image = multiply(direction)
        curvature = float(direction @ image)
        if curvature <= 0:  # rounding, close to singular: what has been found is still a descent
            break
        solution = solution + product / curvature * direction
        residual = residual - product / curvature * image
        scaled = precondition(residual)
        following = float(residual @ scaled)
        direction = scaled + following / product * direction
        product = following
    return solution
