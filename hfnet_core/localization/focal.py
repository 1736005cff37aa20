"""Does the focal length given fit the map? A wrong one gives poses that look right and are not.

Landmarks at several depths tell focal length and pose apart, so that every image says by how much its focal length
should change. One image may err; many from different places do not err alike.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.localization.pose import CAUCHY_PX
from hfnet_core.localization.uncertainty import Linearised
from hfnet_core.types import Camera, FocalFit, Localized

__all__ = ["FocalCheck", "focal_fit", "off_by"]

_ROUNDS = 3  # of weights against outliers
_USUAL = 0.01  # relative error of a calibration before an image is seen
_MOVED_M, _TURNED_DEG = 0.2, 10.0  # between images that count: a robot at rest errs in the same way all the time
_SHARP = 0.01  # standard deviation up to which an image counts
_LEAST, _MOST = 10, 60  # images that decide
_NOTABLE = 0.02  # median change that is worth a warning ...
_AGREEING = 0.8  # ... if so many of them have its sign


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


def off_by(fit: FocalFit) -> float:
    """The change an image makes believable, given how good calibrations usually are (mean of the posterior)."""
    return fit.change * _USUAL**2 / (_USUAL**2 + fit.sigma**2)


class FocalCheck:
    """Collects what images from different places say of one camera's focal length. Not thread-safe."""

    def __init__(self) -> None:
        self._camera: Camera | None = None
        self._start_over()

    def _start_over(self) -> None:
        self._changes: deque[float] = deque(maxlen=_MOST)
        self._last: Pose | None = None

    def add(self, found: Localized, camera: Camera | None = None, view: int = 0) -> None:
        """Take an image into account; another camera than the last one's starts over. view: which of a rig's it is."""
        if camera != self._camera:
            self._start_over()
            self._camera = camera
        fit = found.focal[view] if view < len(found.focal) else None
        if fit is None or not fit.sigma <= _SHARP:
            return
        if self._last is not None:
            metres, degrees = pose_error(self._last, found.map_from_camera)
            if metres < _MOVED_M and degrees < _TURNED_DEG:
                return
        self._last = found.map_from_camera
        self._changes.append(fit.change)

    @property
    def warning(self) -> str | None:
        """What is wrong with the focal length, and the remedy; None while nothing is known to be."""
        if len(self._changes) < _LEAST:
            return None
        changes = np.array(self._changes)
        median = float(np.median(changes))
        agreeing = float((np.sign(changes) == np.sign(median)).mean())
        if abs(median) < _NOTABLE or agreeing < _AGREEING:
            return None
        return (f"the images fit the map with a focal length about {100 * abs(math.expm1(median)):.0f} % "
                f"{'longer' if median > 0 else 'shorter'} than given, poses are off: calibrate the camera, or use the "
                "calibration that the map was built with")  # fmt: skip


def _cauchy(errors: Array) -> Array:
    """[2N] weights of residuals [2N], the same for both coordinates of a point."""
    return np.repeat(1.0 / (1.0 + (errors.reshape(-1, 2) ** 2).sum(axis=1) / CAUCHY_PX**2), 2)
