"""Where a robot is in the map that it is making: by the newest version of it, and by odometry since.

A version of the map holds keyframes with adjusted poses, and the drive folder what odometry said of them. Of the newest
of them follows where the odometry's frame is in the map, map_from_odom. It holds until the next version, but for what
odometry has drifted since that keyframe.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from hfnet_core.config import LocalizerConfig, MapBuildConfig
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.mapping.pose_modes import GIVEN, IMAGES
from hfnet_core.mapping.solving.odometry import drift
from hfnet_core.maps.landmark_map import LandmarkMap

__all__ = ["LivePosition", "MapFromOdom", "Positioned", "map_from_odom"]

_LOOKED_AT = 3  # newest keyframes of a version that are asked
_AGREE = 4.0  # standard deviations of odometry within which they agree
_KEPT = 36_000  # places of the way that are remembered: 20 minutes at 30 images a second


@dataclass(frozen=True, eq=False)
class MapFromOdom:
    """Where a version of the map puts the odometry's frame.

    pose: map_from_odom. keyframe_ns: when its newest keyframe was taken. odom_from_camera: what odometry said there.
    sigma_m, sigma_rad: of that keyframe's pose, standard deviations of each axis.
    """

    pose: Pose
    keyframe_ns: int
    odom_from_camera: Pose
    sigma_m: float
    sigma_rad: float


@dataclass(frozen=True, eq=False)
class Positioned:
    """covariance: [6, 6] as in Localized."""

    map_from_rig: Pose
    covariance: Array


def map_from_odom(
    landmark_map: LandmarkMap, folder: DriveFolder, drive: int, config: MapBuildConfig
) -> MapFromOdom | None:
    """What a version of the map says of the odometry of a stretch of the drive.

    As a pose from images alone is believed once several agree, so is this: the newest keyframe, and one of those before
    it. None where the version has too few keyframes of the stretch, or they do not agree.
    """
    own = {source.recording for source in folder.sources().values() if source.drive == drive}
    recording = np.array([int(name.partition("/")[0]) for name in landmark_map.keyframe_names])
    members = np.flatnonzero(np.isin(recording, list(own)))
    newest = members[np.argsort(landmark_map.keyframe_stamps_ns[members], kind="stable")][-_LOOKED_AT:]
    told = []
    for index in newest.tolist():
        odom_from_camera = folder.odometry_at(landmark_map.keyframe_names[index])
        if odom_from_camera is not None:
            map_from_camera = landmark_map.map_from_camera(index)
            told.append((int(landmark_map.keyframe_stamps_ns[index]), map_from_camera, odom_from_camera))
    if len(told) < min(LocalizerConfig.gate_images, _LOOKED_AT):
        return None
    *others, (stamp_ns, map_from_camera, odom_from_camera) = told
    agreeing = 0
    for _, other_map, other_odom in others:
        metres, degrees = pose_error(other_odom, odom_from_camera)
        sigma_m, sigma_rad = drift(metres, degrees, config)
        off_m, off_deg = pose_error(other_map.inverse() @ map_from_camera, other_odom.inverse() @ odom_from_camera)
        bound_m = np.hypot(sigma_m, landmark_map.pose_sigma_m) + sigma_rad * metres
        bound_rad = np.hypot(sigma_rad, landmark_map.pose_sigma_rad)
        agreeing += bool(off_m < _AGREE * bound_m and np.radians(off_deg) < _AGREE * bound_rad)
    if agreeing + 1 < LocalizerConfig.gate_images:
        return None
    pose = map_from_camera @ odom_from_camera.inverse()
    sigmas = landmark_map.pose_sigma_m, landmark_map.pose_sigma_rad
    return MapFromOdom(pose, stamp_ns, odom_from_camera, *sigmas)


class LivePosition:
    """The way of one stretch of the drive by odometry, and what the newest version of the map makes of it.

    The map begins in the frame of the first stretch's odometry; where another stretch is nobody knows before a version
    holds it. Not thread-safe.
    """

    def __init__(self, mode: str, config: MapBuildConfig) -> None:
        """mode: where poses come from, one of `pose_modes`."""
        self._mode, self._config = mode, config
        self.clear()

    def clear(self) -> None:
        """Odometry begins anew, or ends."""
        self.known: MapFromOdom | None = None
        """What is known now, None for nothing."""
        self._way: list[tuple[int, float, float]] = []  # time, metres and degrees from the beginning
        self._last: Pose | None = None

    def add(self, stamp_ns: int, odom_from_rig: Pose, *, is_first: bool) -> None:
        """Of an image, in order of time. is_first: of a stretch in whose frame the map begins."""
        metres, degrees = pose_error(self._last, odom_from_rig) if self._last is not None else (0.0, 0.0)
        before = self._way[-1] if self._way else (0, 0.0, 0.0)
        self._way.append((stamp_ns, before[1] + metres, before[2] + degrees))
        if len(self._way) > 2 * _KEPT:
            del self._way[:-_KEPT]
        self._last = odom_from_rig
        if self.known is not None:
            return
        radians = float(np.radians(self._config.pose_prior_sigma_deg))
        if self._mode == GIVEN:
            self.known = MapFromOdom(Pose(), stamp_ns, odom_from_rig, self._config.pose_prior_sigma_m, radians)
        elif self._mode != IMAGES and is_first:
            self.known = MapFromOdom(Pose(), stamp_ns, odom_from_rig, *drift(0.0, 0.0, self._config))

    def take(self, version: MapFromOdom) -> tuple[float, float] | None:
        """Go on by a version of the map; returns how far the robot is moved by it, metres and degrees, where that is
        more than odometry drifts: a loop closure has moved the map. None elsewhere."""
        before, self.known = self.at(self._last) if self._last is not None else None, version
        after = self.at(self._last) if self._last is not None else None
        if before is None or after is None:
            return None
        metres, degrees = pose_error(before.map_from_rig, after.map_from_rig)
        variances = before.covariance.diagonal() + after.covariance.diagonal()
        bound_m, bound_rad = _AGREE * float(variances[:3].max() ** 0.5), _AGREE * float(variances[3:].max() ** 0.5)
        return (metres, degrees) if metres > bound_m or np.radians(degrees) > bound_rad else None

    def at(self, odom_from_rig: Pose) -> Positioned | None:
        """The robot's pose, with a covariance that grows with the way since the newest keyframe; None where nothing is
        known."""
        known = self.known
        if known is None:
            return None
        map_from_rig = known.pose @ odom_from_rig
        sigma_m, sigma_rad = known.sigma_m, known.sigma_rad
        if self._mode != GIVEN:
            metres, degrees = self._since(known)
            moved_m, turned_rad = drift(metres, degrees, self._config)
            sideways_m = turned_rad * pose_error(known.odom_from_camera, odom_from_rig)[0]
            sigma_m = float(np.sqrt(sigma_m**2 + moved_m**2 + sideways_m**2))
            sigma_rad = float(np.hypot(sigma_rad, turned_rad))
        return Positioned(map_from_rig, np.diag([sigma_m**2] * 3 + [sigma_rad**2] * 3))

    def _since(self, known: MapFromOdom) -> tuple[float, float]:
        """Metres and degrees driven since a keyframe; the straight way for what was before the first image here."""
        place = bisect_right(self._way, known.keyframe_ns, key=lambda one: one[0]) - 1
        first = self._way[max(place, 0)]
        metres, degrees = self._way[-1][1] - first[1], self._way[-1][2] - first[2]
        if place < 0 and self._last is not None:
            straight = pose_error(known.odom_from_camera, self._last)
            return max(metres, straight[0]), max(degrees, straight[1])
        return metres, degrees
