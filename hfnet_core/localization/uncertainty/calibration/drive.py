"""Do images and odometry fit together? Where the camera sits on the robot, and when its images were taken.

Where base_from_camera is wrong, the map shows a rig that is displaced by a fixed transform G from the true one; where
images are stamped wrong by a time t, the odometry tells its pose of another moment. A motion `moved` by the odometry,
with its velocities w at both ends, is then seen as G^-1 Exp(-t w_i) moved Exp(t w_j) G: hand-eye calibration with a
time offset. What a drive does not show (the height of the camera on a plane, everything while it goes straight on)
stays open.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Array, Pose, rotation_of, skew
from hfnet_core.localization.uncertainty.calibration.explanation import DriveDefect, Explanation, Suspects, explained

__all__ = ["DriveCheck", "Reading", "is_near", "velocity_between"]

_POSITION_M, _ORIENTATION_RAD, _TIME_S = 0.05, np.radians(1.0), 0.02  # what matters
# Of the camera on the rig, metres and radians; seconds; relative errors of the odometry's ways and turns.
_WIDE = np.array([0.5] * 3 + [0.3] * 3 + [0.3] + [0.05] * 2)
_USUAL = np.array([0.01] * 3 + [np.radians(0.3)] * 3 + [0.005] + [0.05] * 2)
_SUSPECTS = Suspects(
    {
        DriveDefect.POSITION: np.eye(3) / _POSITION_M,
        DriveDefect.ORIENTATION: np.eye(3) / _ORIENTATION_RAD,
        DriveDefect.TIME: np.array([[1.0 / _TIME_S]]),
    },
    _WIDE,
    _USUAL,
    beside=(7, 8),
)
_LEAST, _MOST, _AGAIN = 20, 200, 10  # motions that decide, that are kept, and after which it is decided anew
_MOVED_M, _TURNED_DEG = 0.3, 10.0  # of a motion that counts
_REMOUNTED_M, _REMOUNTED_DEG = 1e-3, 0.05  # from which it is another mounting: transforms are interpolated
_MOVING_MOUNT = 5  # other mountings in a row, none of which lasted until it was judged
_LONGEST_S, _GAP_S = 5.0, 0.5  # of a motion, and between readings that tell a velocity
_DRIFT, _LEAST_M, _LEAST_RAD = 0.02, 0.005, np.radians(0.1)  # of the odometry: relative, and at least


@dataclass(frozen=True, eq=False)
class Reading:
    """Of an image: what the odometry says at its stamp and, where it was localized, what the map says.

    sigma_m, sigma_rad: standard deviations of the latter, of each axis.
    """

    stamp_s: float
    odom_from_rig: Pose
    map_from_rig: Pose | None = None
    sigma_m: float = 0.0
    sigma_rad: float = 0.0


@dataclass(frozen=True, eq=False)
class _End:
    """Of a motion. velocity: [6] of the rig, by the odometry, about its own axes."""

    reading: Reading
    map_from_rig: Pose
    velocity: Array


@dataclass(frozen=True, eq=False)
class _Motion:
    """From one end to another; mounted_at: [3] where the camera is said to be on the rig."""

    start: _End
    end: _End
    mounted_at: Array

    def equations(self, known: Array) -> tuple[Array, Array]:
        """Normal equations [9, 9] and [9] for what is wrong, around what is known [9] of it.

        Position and orientation of the camera on the rig, the time to be added to stamps, and the odometry's scales.
        """
        moved, seen = self._expected(known), self.start.map_from_rig.inverse() @ self.end.map_from_rig
        turned = rotation_of(moved.rotation).as_rotvec()
        (v_i, w_i), (v_j, w_j) = (end.velocity.reshape(2, 3) for end in (self.start, self.end))
        by = np.zeros((6, len(_WIDE)))
        by[:3, :3] = moved.rotation - np.eye(3)
        by[:3, 3:6] = skew(moved.translation) + by[:3, :3] @ skew(self.mounted_at)
        by[:3, 6] = moved.rotation @ v_j - v_i - np.cross(w_i, moved.translation)
        by[:3, 7] = moved.translation
        by[3:, 3:6] = np.eye(3) - moved.rotation.T
        by[3:, 6] = w_j - moved.rotation.T @ w_i
        by[3:, 8] = turned
        off = rotation_of(moved.rotation.T @ seen.rotation).as_rotvec()
        left = np.concatenate([seen.translation - moved.translation, off])
        weighted = by.T * self._weights(moved.translation, turned)
        information = weighted @ by
        return information, weighted @ left + information @ known

    def _expected(self, known: Array) -> Pose:
        """start_from_end as the map would show it."""
        moved = self.start.reading.odom_from_rig.inverse() @ self.end.reading.odom_from_rig
        turned = rotation_of(moved.rotation).as_rotvec() * (1.0 + known[8])
        moved = Pose(Rotation.from_rotvec(turned).as_matrix(), moved.translation * (1.0 + known[7]))
        turn = Rotation.from_rotvec(known[3:6]).as_matrix()
        mounted = Pose(turn, known[:3] + self.mounted_at - turn @ self.mounted_at)
        start, end = (_after(one.velocity, known[6]) for one in (self.start, self.end))
        return mounted.inverse() @ start.inverse() @ moved @ end @ mounted

    def _weights(self, way: Array, turned: Array) -> Array:
        """[6] inverse variances."""
        way_m, angle = float(np.linalg.norm(way)), float(np.linalg.norm(turned))
        one, other = self.start.reading, self.end.reading
        metres2 = one.sigma_m**2 + other.sigma_m**2 + (one.sigma_rad**2 + _DRIFT**2) * way_m**2 + _LEAST_M**2
        radians2 = one.sigma_rad**2 + other.sigma_rad**2 + (_DRIFT * angle) ** 2 + _LEAST_RAD**2
        return 1.0 / np.repeat([metres2, radians2], 3)


class DriveCheck:
    """Collects motions that images and odometry both tell. Not thread-safe; memory is bounded."""

    def __init__(self) -> None:
        self._remounted = -1  # times in a row without a conclusion; the first mounting is none
        self._start_over(Pose())

    def _start_over(self, rig_from_camera: Pose) -> None:
        self._mounting = rig_from_camera
        self._motions: deque[_Motion] = deque(maxlen=_MOST)
        self._equations: deque[tuple[Array, Array]] = deque(maxlen=_MOST)
        self._known = np.zeros(len(_WIDE))
        self._recent: deque[Reading] = deque(maxlen=3)
        self._last: _End | None = None
        self._new = 0
        self.explanation: Explanation[DriveDefect] | None = None
        """What the motions say together, None while they are too few."""

    def add(self, reading: Reading, rig_from_camera: Pose) -> None:
        """Of the next image; another mounting than the last one's starts over."""
        if not is_near(rig_from_camera, self._mounting, _REMOUNTED_M, _REMOUNTED_DEG):
            self._start_over(rig_from_camera)
            self._remounted += 1
        if self._recent and not 0.0 < reading.stamp_s - self._recent[-1].stamp_s < _GAP_S:
            self._recent.clear()
        self._recent.append(reading)
        if len(self._recent) < 3:
            return
        before, here, after = self._recent
        if here.map_from_rig is None or not self._has_moved(here):
            return
        velocity = velocity_between(before.odom_from_rig, after.odom_from_rig) / (after.stamp_s - before.stamp_s)
        about_own = np.concatenate([here.odom_from_rig.rotation.T @ part for part in velocity.reshape(2, 3)])
        self._reach(_End(here, here.map_from_rig, about_own))

    def _has_moved(self, here: Reading) -> bool:
        """Far enough from the last end of a motion, or too late to be another."""
        if self._last is None:
            return True
        last = self._last.reading
        together = 0.0 <= here.stamp_s - last.stamp_s <= _LONGEST_S  # else time has passed, or begun anew
        return not together or not is_near(last.odom_from_rig, here.odom_from_rig, _MOVED_M, _TURNED_DEG)

    def follow(self) -> None:
        """Go on in a later version of the map: motions stay, and none leads from one version into the other."""
        self._recent.clear()
        self._last = None

    @property
    def is_moving_mount(self) -> bool:
        """Whether the camera moves on the rig, as on a pan-tilt head, before enough is seen of one mounting."""
        return self._remounted >= _MOVING_MOUNT

    def conclude(self) -> None:
        """Think about what was seen since it was last thought about."""
        if self._new and len(self._motions) >= _LEAST:
            self._decide()

    def shift(self, map_from_rig: Pose) -> Array | None:
        """[6] by how much a pose is off for what is named, as in Localized.covariance; None where nothing is."""
        told = self.explanation
        if told is None or not told.defects:
            return None
        position, turn, (late_s, *_) = np.split(told.likely, (3, 6))
        off = np.concatenate([position + np.cross(self._mounting.translation, turn), turn])
        off += late_s * (self._last.velocity if self._last is not None else np.zeros(6))
        return np.concatenate([map_from_rig.rotation @ part for part in off.reshape(2, 3)])

    def _reach(self, end: _End) -> None:
        start = self._last
        if start is not None and 0.0 <= end.reading.stamp_s - start.reading.stamp_s <= _LONGEST_S:
            motion = _Motion(start, end, self._mounting.translation)
            self._motions.append(motion)
            self._equations.append(motion.equations(self._known))
            self._new += 1
            if len(self._motions) >= _LEAST and self._new >= _AGAIN:
                self._decide()
        self._last = end

    def _decide(self) -> None:
        self._new = self._remounted = 0
        self.explanation = self._explained()
        if self.explanation.defects and not np.allclose(self.explanation.together, self._known, atol=2e-3):
            self._known = self.explanation.together
            self._equations = deque((motion.equations(self._known) for motion in self._motions), _MOST)
            self.explanation = self._explained()

    def _explained(self) -> Explanation[DriveDefect]:
        information, scores = (np.array(part) for part in zip(*self._equations, strict=True))
        return explained(information, scores, _SUSPECTS)


def velocity_between(before: Pose, after: Pose) -> Array:
    """[6] metres and radians from one pose to another, about the axes of the frame that both are in."""
    turn = rotation_of(after.rotation @ before.rotation.T).as_rotvec()
    return np.concatenate([after.translation - before.translation, turn])


def is_near(one: Pose, other: Pose, metres: float, degrees: float) -> bool:
    """Whether two poses are less apart than both; a tenth of the time of `pose_error`."""
    away = one.translation - other.translation
    cosine = 0.5 * (float(np.vdot(one.rotation, other.rotation)) - 1.0)
    return float(away @ away) < metres**2 and cosine > math.cos(math.radians(degrees))


def _after(velocity: Array, time_s: float) -> Pose:
    return Pose(Rotation.from_rotvec(velocity[3:] * time_s).as_matrix(), velocity[:3] * time_s)
