"""Whether a pose agrees with what earlier ones and the motion since predict: a gate on the Mahalanobis distance.

Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.4
(validation gates); the noise of odometry grows with the way, the angle and the time, as in Thrun, Burgard and Fox,
Probabilistic Robotics, 2005, section 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.spatial.transform import Rotation

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose, moved_covariance, pose_difference, rotation_of

__all__ = ["UNKNOWN_PRIOR", "Belief", "Consistency", "Odometer", "Sighting", "Velocity", "distance2"]

UNKNOWN_PRIOR = np.diag([0.5**2] * 3 + [np.radians(15.0) ** 2] * 3)  # of a pose somebody gives without a covariance
# Standard deviations. Image and odometry are never quite of the same moment; a camera without odometry may do anything.
_TIMING_M, _TIMING_DEG = 0.03, 1.0
_FREE_M, _FREE_DEG = 0.1, 4.0
_FASTEST = 3.0  # standard deviations of an unknown velocity that the fastest one is


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
class Velocity:
    """Of a camera in its own frame: [3] m/s, [3] rad/s (a rotation vector), and their standard deviations per axis."""

    metres_s: Array
    radians_s: Array
    sigma_m_s: float
    sigma_rad_s: float

    @classmethod
    def between(cls, before: Sighting, then: Sighting) -> Velocity | None:
        """The mean from one sighting to a later one; None where time did not pass."""
        gap_s = then.stamp_s - before.stamp_s
        if gap_s <= 0.0:
            return None
        step = before.map_from_camera.inverse() @ then.map_from_camera
        spread = np.diag(before.covariance + then.covariance)
        sigma_m, sigma_rad = np.sqrt([spread[:3].mean(), spread[3:].mean()]) / gap_s
        turn = rotation_of(step.rotation).as_rotvec()
        return cls(step.translation / gap_s, turn / gap_s, float(sigma_m), float(sigma_rad))

    def after(self, gap_s: float) -> Pose:
        """then_from_later."""
        return Pose(Rotation.from_rotvec(self.radians_s * gap_s).as_matrix(), self.metres_s * gap_s)


@dataclass(frozen=True, eq=False)
class Sighting:
    """A pose found in an image. covariance: [6, 6] as in Localized.

    odom_from_rig: at the same stamp, if known. way_m, turned_rad: the odometer's readings. velocity: None while it is
    not known.
    """

    stamp_s: float
    map_from_camera: Pose
    covariance: Array
    odom_from_rig: Pose | None = None
    way_m: float = 0.0
    turned_rad: float = 0.0
    velocity: Velocity | None = None

    def moved_to(self, odom_from_rig: Pose | None) -> Pose | None:
        """map_from_camera where the odometry now puts the camera, None without odometry."""
        if self.odom_from_rig is None or odom_from_rig is None:
            return None
        return self.map_from_camera @ self.odom_from_rig.inverse() @ odom_from_rig

    def expected(self, stamp_s: float, odom_from_rig: Pose | None) -> Pose:
        """map_from_camera at another time: by odometry, else at the same velocity, else where it was."""
        moved = self.moved_to(odom_from_rig)
        if moved is not None:
            return moved
        return (
            self.map_from_camera
            if self.velocity is None
            else self.map_from_camera @ self.velocity.after(stamp_s - self.stamp_s)
        )


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
    error = pose_difference(now.map_from_camera, predicted)
    return float(error @ np.linalg.solve(spread, error))


def _motion_variance(then: Sighting, now: Sighting, config: LocalizerConfig) -> Array:
    """[6]: of position (m^2) and rotation (rad^2) after the motion from one image to another."""
    gap_s = max(now.stamp_s - then.stamp_s, 0.0)
    if then.odom_from_rig is None or now.odom_from_rig is None:
        return _free_variance(then.velocity, gap_s, config)
    way_m, turned_rad = now.way_m - then.way_m, now.turned_rad - then.turned_rad
    metres2 = _TIMING_M**2 + (config.odom_sigma * way_m) ** 2 + (config.odom_sigma_m_per_s * gap_s) ** 2
    degrees2 = _TIMING_DEG**2 + (config.odom_sigma_deg_per_m * way_m) ** 2 + (config.odom_sigma_deg_per_s * gap_s) ** 2
    radians2 = np.radians(np.sqrt(degrees2)) ** 2 + (config.odom_sigma * turned_rad) ** 2
    return np.repeat([metres2, radians2], 3)


def _free_variance(velocity: Velocity | None, gap_s: float, config: LocalizerConfig) -> Array:
    """[6]: of a motion at a known velocity, which accelerations disturb, or at an unknown one."""
    if velocity is None:
        metres = config.max_speed_m_per_s / _FASTEST * gap_s
        radians = np.radians(config.max_turn_deg_per_s) / _FASTEST * gap_s
    else:
        metres = np.hypot(velocity.sigma_m_s * gap_s, config.acceleration_m_per_s2 * gap_s**2)
        radians = np.hypot(velocity.sigma_rad_s * gap_s, config.acceleration_rad_per_s2 * gap_s**2)
    return np.repeat([np.hypot(_FREE_M, metres), np.hypot(np.radians(_FREE_DEG), radians)], 3) ** 2


def _angle(rotation: Array) -> float:
    return float(np.linalg.norm(rotation_of(rotation).as_rotvec()))
