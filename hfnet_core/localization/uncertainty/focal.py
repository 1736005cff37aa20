"""Does the focal length given fit the map? A wrong one gives poses that look right and are not.

Landmarks at several depths tell focal length and pose apart, so that every image says by how much its focal length
should change. One image may err; what many say together is told by calibration/.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import Correspondences, Query
from hfnet_core.localization.pose import CAUCHY_PX
from hfnet_core.localization.uncertainty.covariance import Linearised, covariance_of, linearised
from hfnet_core.localization.uncertainty.landmarks import landmark_covariance
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera, FocalFit

__all__ = ["Uncertainty", "focal_fit", "off_by", "uncertainty_of"]

_ROUNDS = 3  # of weights against outliers
_USUAL = 0.01  # relative error of a calibration before an image is seen


def focal_fit(linear: Linearised, camera: Camera, view: int = 0) -> tuple[FocalFit, Array] | None:
    """The change of focal length that fits best, and the derivative [6] of the pose by it; None where it is not told.

    linear: of a pose's inliers. camera: of a view, at the reference width; those of the others are taken as right.
    Least squares over pose and logarithm of the focal length with Cauchy weights; the standard deviation allows for
    errors in common within the cells of the image (Liang & Zeger, 1986).
    """
    # In every camera model the pixels grow around the principal point as the focal length does.
    principal = camera.params[len(camera.focal_parameters) :][:2]
    own = (linear.views == view)[:, None]
    by_focal = np.where(own, linear.projected_px - principal, 0.0).reshape(-1)
    rows, errors = linear.jacobian.reshape(-1, 6), linear.residuals.reshape(-1)
    weights = _cauchy(errors)
    for _ in range(_ROUNDS):
        weighted = rows * weights[:, None]
        try:
            pose_by_focal, pose_step = np.linalg.solve(
                weighted.T @ rows, weighted.T @ np.column_stack([by_focal, errors])
            ).T
        except np.linalg.LinAlgError:
            return None
        across, left = by_focal - rows @ pose_by_focal, errors - rows @ pose_step  # what no pose explains
        information = float(weights @ across**2)
        if not information > 1e-9 * float(weights @ by_focal**2):
            return None
        change = float((weights * across) @ left) / information
        rest = left - change * across
        weights = _cauchy(rest)
    scores = np.bincount(np.repeat(linear.cells, 2), weights=weights * across * rest)
    sigma = float(np.sqrt((scores**2).sum())) / information
    return FocalFit(change, sigma), -pose_by_focal


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Of a pose, from what made it.

    covariance: [6, 6] with what focal lengths leave open, infinite where the pose is not determined. rms_px: of the
    reprojection errors, at the reference width. fits: what each view says of its focal length.
    """

    covariance: Array
    rms_px: float
    fits: tuple[FocalFit | None, ...]

    def or_off_by(self, apart: Array) -> Uncertainty:
        """The same where a pose so far away [6] is as likely: the mean square about this one, of the two."""
        return replace(self, covariance=self.covariance + 0.5 * np.outer(apart, apart))

    def within(self, metres: float, degrees: float) -> float:
        """Probability that the error is smaller along the direction, and about the axis, known worst."""
        if not np.isfinite(self.covariance).all():
            return 0.0
        parts = (self.covariance[:3, :3], metres), (self.covariance[3:, 3:], math.radians(degrees))
        return math.prod(_probability_within(limit, part) for part, limit in parts)


def _probability_within(limit: float, covariance: Array) -> float:
    variance = max(float(np.linalg.eigvalsh(covariance)[-1]), 1e-24)
    return math.erf(limit / math.sqrt(2.0 * variance))


def uncertainty_of(
    support: Correspondences, query: Query, map_from_rig: Pose, landmark_map: LandmarkMap
) -> Uncertainty:
    """support: the correspondences that made the pose. A wrong focal length moves it without a trace in the
    residuals."""
    linear = linearised(support, query, map_from_rig)
    covariance, rms_px = covariance_of(linear, landmark_covariance(landmark_map, support.landmarks[linear.rows]))
    fits: list[FocalFit | None] = []
    for view, camera in enumerate(query.cameras):
        found = focal_fit(linear, camera, view) if np.isfinite(covariance).all() else None
        fits.append(None if found is None else found[0])
        if found is not None:
            moved = off_by(found[0]) * found[1]
            covariance = covariance + np.outer(moved, moved)
    return Uncertainty(covariance, rms_px, tuple(fits))


def off_by(fit: FocalFit) -> float:
    """The change an image makes believable, given how good calibrations usually are (mean of the posterior)."""
    return fit.change * _USUAL**2 / (_USUAL**2 + fit.sigma**2)


def _cauchy(errors: Array) -> Array:
    """[2N] weights of residuals [2N], the same for both coordinates of a point."""
    return np.repeat(1.0 / (1.0 + (errors.reshape(-1, 2) ** 2).sum(axis=1) / CAUCHY_PX**2), 2)
