"""How far from where a pose puts landmarks an image is searched for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import Correspondences, Query
from hfnet_core.localization.pose import derivatives, derivatives_by_rig, determined

__all__ = ["Windows", "everywhere", "of_matches", "where_they_may_be"]

_ERRING_PX, _LIKELY = 4.0, 3.0  # of the inliers that told a pose; standard deviations that are searched

# For a view and landmarks [N, 3]: radii [N], or one for all, in pixels at the reference width.
Windows = Callable[[int, Array], "Array | float"]


def everywhere(radius_px: float) -> Windows:
    """The same for all landmarks."""
    return lambda view, points: radius_px


def where_they_may_be(
    inliers: Correspondences, query: Query, map_from_rig: Pose, least_px: float, most_px: float
) -> Windows:
    """As wide as the inliers leave open where each landmark is: what is near moves in the image by more than what is
    far away, which may have told the pose."""
    rows = derivatives(inliers, query, map_from_rig).jacobian.reshape(-1, 6)
    information = rows.T @ rows
    if not determined(information):
        return everywhere(least_px)
    covariance = np.linalg.inv(information) * _ERRING_PX**2

    def windows(view: int, points: Array) -> Array:
        spread_px = _spread_px(derivatives_by_rig(points, query, view, map_from_rig), covariance)
        return np.clip(_LIKELY * spread_px, least_px, most_px)

    return windows


def of_matches(found: Correspondences, windows: Windows) -> Array:
    """[N] windows of correspondences of all views."""
    out = np.zeros(len(found))
    for view in np.unique(found.views):
        own = found.views == view
        out[own] = windows(int(view), found.points[own])
    return out


def _spread_px(by_pose: Array, covariance: Array) -> Array:
    """[N] standard deviation of projections along their worst direction. by_pose: [N, 2, 6]; covariance: [6, 6]."""
    along_x, along_y = by_pose[:, 0], by_pose[:, 1]
    of_x = along_x @ covariance
    xx, xy, yy = ((a * b).sum(axis=1) for a, b in ((of_x, along_x), (of_x, along_y), (along_y @ covariance, along_y)))
    largest = 0.5 * (xx + yy) + np.sqrt(0.25 * (xx - yy) ** 2 + xy**2)  # eigenvalue of two by two
    return np.asarray(np.sqrt(np.maximum(largest, 0.0)))
