"""Whether a pose agrees with what earlier ones and the motion since predict: a gate on the Mahalanobis distance.

Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.4
(validation gates); the noise of odometry grows with the way, the angle and the time, as in Thrun, Burgard and Fox,
Probabilistic Robotics, 2005, section 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose, moved_covariance, rotation_of

__all__ = ["UNKNOWN_PRIOR", "Belief", "Consistency", "Odometer", "Sighting", "distance2"]

UNKNOWN_PRIOR = np.diag([0.5**2] * 3 + [np.radians(15.0) ** 2] * 3)  # of a pose somebody gives without a covariance
# Standard deviations. Image and odometry are never quite of the same moment; a camera without odometry may do anything.
_TIMING_M, _TIMING_DEG = 0.03, 1.0
_FREE_M, _FREE_DEG = 0.1, 4.0
_FREE_M_S, _FREE_DEG_S = 0.65, 38.0


class Belief(Enum):
    """What the tracker holds of the last image."""

    SEARCHING = "no pose is known"
    TRACKING = "the last image agrees with the poses before"
    DOUBTING = "the last image contradicts the poses before and waits for others to agree"
    LOST = "a pose was known, but the last image gave none"


@dataclass(frozen=True)
class Consistency:
    """The tracker's belief after an image.

    distance: Mahalanobis distance of its pose from the prediction, None without either. agreeing: images that agree on
    a pose beyond the gate.
    """

    belief: Belief = Belief.SEARCHING
    distance: float | None = None
    agreeing: int = 0


@dataclass(frozen=True, eq=False)
class Sighting:
    """A pose found in an image. covariance: [6, 6] as in Localized.

    odom_from_rig: at the same stamp, if known. way_m, turned_rad: the odometer's readings.
    """

    stamp_s: float
    map_from_camera: Pose
    covariance: Array
    odom_from_rig: Pose | None = None
    way_m: float = 0.0
    turned_rad: float = 0.0

    def moved_to(self, odom_from_rig: Pose | None) -> Pose | None:
        """map_from_camera where the odometry now puts the camera, None without odometry."""
        if self.odom_from_rig is None or odom_from_rig is None:
            return None
        return self.map_from_camera @ self.odom_from_rig.inverse() @ odom_from_rig


class Odometer:
    """Way and angle since the beginning, summed over images: what drift grows with is the path, not its chord."""

    def __init__(self) -> None:
        self.way_m = self.turned_rad = 0.0
        self._last: Pose | None = None

    def add(self, odom_from_rig: Pose | None) -> None:
        if odom_from_rig is None:
            return
        if self._last is not None:
            moved = self._last.inverse() @ odom_from_rig
            self.way_m += float(np.linalg.norm(moved.translation))
            self.turned_rad += _angle(moved.rotation)
        self._last = odom_from_rig


def distance2(then: Sighting, predicted: Pose, now: Sighting, config: LocalizerConfig) -> float:
    """Squared Mahalanobis distance of a pose from what an earlier one predicts; chi-square with 6 degrees of freedom.

    predicted: map_from_camera at `now`, derived from `then`. The errors of both poses and of the motion in between are
    taken as independent.
    """
    arm = predicted.translation - then.map_from_camera.translation
    spread = moved_covariance(then.covariance, arm) + now.covariance + np.diag(_motion_variance(then, now, config))
    found = now.map_from_camera
    turn = rotation_of(found.rotation @ predicted.rotation.T).as_rotvec()
    error = np.concatenate([found.translation - predicted.translation, turn])
    return float(error @ np.linalg.solve(spread, error))


def _motion_variance(then: Sighting, now: Sighting, config: LocalizerConfig) -> Array:
    """[6]: of position (m^2) and rotation (rad^2) after the motion from one image to another."""
    gap_s = max(now.stamp_s - then.stamp_s, 0.0)
    if then.odom_from_rig is None or now.odom_from_rig is None:
        metres = np.hypot(_FREE_M, _FREE_M_S * gap_s)
        degrees = np.hypot(_FREE_DEG, _FREE_DEG_S * gap_s)
        return np.repeat([metres, np.radians(degrees)], 3) ** 2
    way_m, turned_rad = now.way_m - then.way_m, now.turned_rad - then.turned_rad
    metres2 = _TIMING_M**2 + (config.odom_sigma * way_m) ** 2 + (config.odom_sigma_m_per_s * gap_s) ** 2
    degrees2 = _TIMING_DEG**2 + (config.odom_sigma_deg_per_m * way_m) ** 2 + (config.odom_sigma_deg_per_s * gap_s) ** 2
    radians2 = np.radians(np.sqrt(degrees2)) ** 2 + (config.odom_sigma * turned_rad) ** 2
    return np.repeat([metres2, radians2], 3)


def _angle(rotation: Array) -> float:
    return float(np.linalg.norm(rotation_of(rotation).as_rotvec()))
