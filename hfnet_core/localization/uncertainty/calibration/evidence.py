"""What one image says of its camera's calibration, once its pose is left open."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import Correspondences, Query, between
from hfnet_core.localization.pose import CAUCHY_PX, derivatives, determined, moved
from hfnet_core.localization.uncertainty.calibration.deviation import Deviation, deviated, with_focal
from hfnet_core.types import Camera

__all__ = ["ROWS", "STATIC", "Evidence", "Sighted", "evidence_of"]

STATIC = len(Deviation._fields)
ROWS = 6  # derivatives by the camera's motion while its rows are read, one for each of its six velocities
_STEPS = 4  # to the pose that goes with a deviation
_ROUNDS = 3  # of weights against outliers
_CLOSE_PX = 2.0  # errors of correspondences that fit well
_LEAST_PX = 0.3  # standard deviation that errors have at least


@dataclass(frozen=True, eq=False)
class Sighted:
    """What one camera saw of the map: pixels [N, 2] of its image, the landmarks [N, 3] they show, and its pose."""

    pixels: Array
    points: Array
    camera: Camera
    map_from_camera: Pose

    def thinned(self, most: int) -> Sighted:
        """At most so many of them, evenly among all."""
        if len(self.pixels) <= most:
            return self
        kept = np.linspace(0, len(self.pixels) - 1, most).astype(np.int64)
        return replace(self, pixels=self.pixels[kept], points=self.points[kept])


@dataclass(frozen=True, eq=False)
class Evidence:
    """Normal equations of one image for the deviation of its camera, its pose left open.

    information: [11, 11] and score: [11], so that information @ deviation = score at the minimum: five numbers as in
    Deviation, then the time in seconds from the first to the last row times each velocity (metres and radians per
    second, about the map's axes). pose_by: [6, 5] how the pose moves with the deviation, as in Localized.covariance.
    map_from_camera: the pose at the deviation `around`. count: correspondences, `close` of them with small errors.
    """

    information: Array
    score: Array
    pose_by: Array
    map_from_camera: Pose
    around: Deviation
    count: int
    close: int

    def pose_at(self, deviation: Deviation) -> Pose:
        """map_from_camera that goes with another deviation."""
        return moved(self.map_from_camera, self.pose_by @ (np.array(deviation) - np.array(self.around)))

    def moving(self, velocity: Array) -> tuple[Array, Array]:
        """information [6, 6] and score [6] of the deviation and the time of reading at a velocity [6]."""
        onto = np.zeros((STATIC + ROWS, STATIC + 1))
        onto[:STATIC, :STATIC] = np.eye(STATIC)
        onto[STATIC:, STATIC] = velocity
        return onto.T @ self.information @ onto, onto.T @ self.score


def evidence_of(seen: Sighted, limit_px: float, around: Deviation | None = None) -> Evidence | None:
    """around: what is known of the deviation so far, near which the equations hold.

    Least squares with Cauchy weights over what is within `limit_px`; None where it does not determine a pose.
    """
    known = around or Deviation()
    found, query = between(seen.pixels, seen.points, with_focal(seen.camera, known.focal))
    pose = seen.map_from_camera
    for _ in range(_STEPS if any(known) else 0):
        equations = _Equations.at(pose, found, query, limit_px, known)
        step = None if equations is None else equations.pose_step()
        if step is None:
            return None
        pose = moved(pose, step)
    equations = _Equations.at(pose, found, query, limit_px, known)
    return None if equations is None else equations.reduced(pose, known)


@dataclass(frozen=True, eq=False)
class _Equations:
    """errors [2M] by the pose [2M, 6] and by the deviation and the motion [2M, 11], of what is within the limit."""

    errors: Array
    by_pose: Array
    by_rest: Array

    @classmethod
    def at(
        cls, pose: Pose, found: Correspondences, query: Query, limit_px: float, deviation: Deviation
    ) -> _Equations | None:
        camera, around = query.cameras[0], derivatives(found, query, pose)
        shown, by_pixel, by_deviation = deviated(found.pixels - around.residuals, camera, deviation)
        errors = found.pixels - shown
        near = around.visible & ((errors**2).sum(axis=1) <= limit_px**2)
        count = int(near.sum())
        if 2 * count <= 6 + STATIC:
            return None
        by_pose = by_pixel[near] @ around.jacobian[near]
        share = (found.pixels[near, 1] + 0.5) / camera.height - 0.5
        by_rows = by_pose * share[:, None, None]
        rest = np.concatenate([by_deviation[near], by_rows], axis=2)
        return cls(errors[near].reshape(-1), by_pose.reshape(-1, 6), rest.reshape(2 * count, -1))

    def pose_step(self) -> Array | None:
        """To the pose that fits best, one round of weights."""
        weighted = self.by_pose * _cauchy(self.errors)[:, None]
        information = weighted.T @ self.by_pose
        return np.linalg.solve(information, weighted.T @ self.errors) if determined(information) else None

    def reduced(self, pose: Pose, around: Deviation) -> Evidence | None:
        """Without the pose (Schur complement), for the whole deviation rather than the change from what is known."""
        left, weights = self.errors, _cauchy(self.errors)
        for _ in range(_ROUNDS):
            weighted = self.by_pose * weights[:, None]
            information = weighted.T @ self.by_pose
            if not determined(information):
                return None
            both = np.linalg.solve(information, weighted.T @ np.column_stack([self.by_rest, self.errors]))
            pose_by, step = both[:, :-1], both[:, -1]
            left = self.errors - self.by_pose @ step
            weights = _cauchy(left)
        across = self.by_rest - self.by_pose @ pose_by  # what no pose explains
        weighted = across * weights[:, None]
        variance = max(float(weights @ left**2) / (float(weights.sum()) / 2.0 - 3.0) / 2.0, _LEAST_PX**2)
        information = weighted.T @ across / variance
        score = weighted.T @ left / variance
        score += information[:, :STATIC] @ np.array(around)
        errors2 = (left.reshape(-1, 2) ** 2).sum(axis=1)
        close = int((errors2 < _CLOSE_PX**2).sum())
        return Evidence(information, score, -pose_by[:, :STATIC], moved(pose, step), around, len(errors2), close)


def _cauchy(errors: Array) -> Array:
    """[2N] weights of residuals [2N], the same for both coordinates of a point."""
    return np.repeat(1.0 / (1.0 + (errors.reshape(-1, 2) ** 2).sum(axis=1) / CAUCHY_PX**2), 2)
