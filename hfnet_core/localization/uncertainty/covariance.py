"""How well a pose is known: its covariance, and how much of the image speaks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import Correspondences, Query
from hfnet_core.localization.pose import derivatives, determined
from hfnet_core.types import Camera

__all__ = ["GRID", "Linearised", "cell_share", "cells", "covariance_of", "coverage", "linearised"]

GRID = (6, 8)  # rows, columns of the coverage grid
_CELLS = GRID[0] * GRID[1]
_REGION = 2  # rows and columns of cells that make a region, all of which may err together
_DISTANCES = 8  # groups of landmarks about as far away, all of which may err together
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Linearised:
    """Visible correspondences around a pose.

    rows: [N] which correspondences these are. views: [N] as in Correspondences. jacobian: [N, 2, 6] of the projections
    by the pose. residuals: [N, 2] pixels at the reference width. cells: [N] image cell of each keypoint, different for
    each view. projected_px: [N, 2]. distance_m: [N] of the landmarks from the rig.
    """

    rows: NDArray[np.int64]
    views: NDArray[np.int32]
    jacobian: Array
    residuals: Array
    cells: NDArray[np.int64]
    projected_px: Array
    distance_m: Array


def linearised(found: Correspondences, query: Query, map_from_rig: Pose) -> Linearised:
    """Correspondences around a pose; landmarks that are not visible are left out."""
    around = derivatives(found, query, map_from_rig)
    visible, where = around.visible, np.zeros(len(found), np.int64)
    for number, camera in enumerate(query.cameras):
        own = found.views == number
        where[own] = cells(found.pixels[own], camera) + _CELLS * number
    residuals = around.residuals[visible]
    projected = found.pixels[visible] - residuals
    rows = np.flatnonzero(visible)
    distance_m = np.linalg.norm(found.points[rows] - map_from_rig.translation, axis=1)
    return Linearised(rows, found.views[rows], around.jacobian[rows], residuals, where[rows], projected, distance_m)


def covariance_of(around: Linearised, landmarks: Array | None = None) -> tuple[Array, float]:
    """Covariance [6, 6] of a pose from its inliers, and their root mean square error in reference pixels.

    landmarks: [N, 3, 3] covariances of the landmarks, square metres; None where they are exact.

    Order and axes: position (metres) then rotation (radians) about the map's axes, as geometry_msgs defines it. The
    covariance is infinite where the inliers do not determine the pose.

    First-order propagation (J^T J)^-1 sigma^2 with sigma from the residuals, times their design effect: landmarks
    close by share errors, so that N of them say less than N independent ones. The effect (Kish, Survey Sampling,
    1965; here for a regression, after Liang and Zeger, 1986) compares how the scores J^T r add up within the cells
    with what they would if all residuals were independent, and is at least 1. What landmarks leave open is added:
    residuals show it only where the landmarks do not err together. So is how far the pose moves without each region of
    the image, or without the landmarks at each distance (the mean of the two): where far ones tell the direction, a few
    near ones tell the position.
    """
    jacobian = around.jacobian
    rows, errors = jacobian.reshape(-1, 6), around.residuals.reshape(-1)
    degrees_of_freedom = len(errors) - 6
    if degrees_of_freedom <= 0:
        return np.full((6, 6), np.inf), float("inf")
    rms_px = float(np.sqrt(2.0 * (errors**2).mean()))
    information = rows.T @ rows
    if not determined(information):
        return np.full((6, 6), np.inf), rms_px
    inverse = np.linalg.inv(information)
    errors = errors - rows @ (inverse @ (rows.T @ errors))
    variance = float(errors @ errors) / degrees_of_freedom
    count, groups = np.unique(around.cells, return_inverse=True)
    belongs = (groups == np.arange(len(count))[:, None]).astype(np.float64)
    scores = belongs @ np.einsum("nki,nk->ni", jacobian, errors.reshape(-1, 2))
    shares = inverse @ (belongs @ np.einsum("nki,nkj->nij", jacobian, jacobian).reshape(-1, 36)).reshape(-1, 6, 6)
    expected = 6.0 - float(np.einsum("gij,gji->", shares, shares))
    if expected < 1e-6:  # all in one cell: nothing tells how they go together
        return np.full((6, 6), np.inf), rms_px
    found = float(np.einsum("gi,ij,gj->", scores, inverse, scores))
    effect = max(found / max(variance * expected, _TINY), 1.0)
    spread = inverse * (variance * effect)
    if landmarks is not None:
        by_landmarks = jacobian[:, :, :3]  # moving the landmark is moving the camera the other way
        of_pixels = by_landmarks @ landmarks @ by_landmarks.transpose(0, 2, 1)
        moved = np.einsum("nki,nkl,nlj->ij", jacobian, of_pixels, jacobian)
        spread = spread + inverse @ moved @ inverse
    both = [
        _without(groups, around, errors, information) for groups in (_regions(around.cells), _far(around.distance_m))
    ]
    return spread + sum(both) / len(both), rms_px


def _regions(of_cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] region of the image, of each view its own."""
    rows, columns = GRID[0] // _REGION, GRID[1] // _REGION
    row, column = np.divmod(of_cells % _CELLS, GRID[1])
    return np.asarray((of_cells // _CELLS * rows + row // _REGION) * columns + column // _REGION)


def _far(distance_m: Array) -> NDArray[np.int64]:
    """[N] group of landmarks about as far away, all of one size."""
    return np.asarray(np.argsort(np.argsort(distance_m, kind="stable")) * _DISTANCES // max(len(distance_m), 1))


def _without(groups: NDArray[np.int64], around: Linearised, errors: Array, information: Array) -> Array:
    """[6, 6] by the pose without each group [N] (delete-a-group jackknife; Shao and Tu, The Jackknife, 1995).

    errors: [2N] that the pose leaves; information: [6, 6]. Infinite where one group alone determines it.
    """
    count, groups = np.unique(groups, return_inverse=True)
    belongs = (groups == np.arange(len(count))[:, None]).astype(np.float64)
    scores = belongs @ np.einsum("nki,nk->ni", around.jacobian, errors.reshape(-1, 2))
    own = belongs @ np.einsum("nki,nkj->nij", around.jacobian, around.jacobian).reshape(-1, 36)
    others = information - own.reshape(-1, 6, 6)
    if not determined(others):
        return np.full((6, 6), np.inf)
    moved = np.linalg.solve(others, scores[:, :, None])[:, :, 0]
    return np.asarray(moved.T @ moved * (len(count) - 1) / len(count))


def cells(keypoints_px: NDArray[Any], camera: Camera) -> NDArray[np.int64]:
    """[N] cell of an 8x6 grid over the image that holds each keypoint [N, 2], 0..47."""
    rows, columns = GRID
    column = np.clip((keypoints_px[:, 0] + 0.5) / camera.width * columns, 0, columns - 1).astype(np.int64)
    row = np.clip((keypoints_px[:, 1] + 0.5) / camera.height * rows, 0, rows - 1).astype(np.int64)
    return np.asarray(row * columns + column)


def coverage(found: Correspondences, query: Query) -> float:
    """Cells with a keypoint, of all images together, as a share of the cells of one image, at most 1.

    Not the mean of the images: a camera that sees nothing must not take away from what another one sees.
    """
    shares = (cell_share(found.pixels[found.views == number], camera) for number, camera in enumerate(query.cameras))
    return min(sum(shares), 1.0)


def cell_share(keypoints_px: NDArray[Any], camera: Camera) -> float:
    """Share of the cells of an 8x6 grid over the image that hold a keypoint [N, 2], 0..1."""
    return len(np.unique(cells(keypoints_px, camera))) / _CELLS
