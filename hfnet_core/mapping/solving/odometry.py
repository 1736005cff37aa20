"""Odometry as what it is: good about the way from one keyframe to the next, worse the longer the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from hfnet_core.config import MapBuildConfig
from hfnet_core.geometry import Array, Pose, pose_error

__all__ = ["Link", "Odometry", "drift"]

_FLOOR_M, _FLOOR_DEG = 0.005, 0.3  # of one step: stamps, interpolation and mounting are never better
_SHARE_OF_TURN = 0.03  # of the angle turned: the usual scale error of gyroscopes and wheel bases


@dataclass(frozen=True, eq=False)
class Link:
    """What is known of two views relative to each other: first_from_second, and its standard deviations."""

    first: int
    second: int
    first_from_second: Pose
    sigma_m: float
    sigma_rad: float


def drift(metres: float, degrees: float, config: MapBuildConfig) -> tuple[float, float]:
    """Standard deviations of odometry, metres and radians, after a way on which it has turned by some degrees."""
    sigma_m = np.hypot(_FLOOR_M, config.odometry_sigma_ratio * metres)
    turned = np.hypot(config.odometry_sigma_deg_per_m * metres, _SHARE_OF_TURN * degrees)
    return float(sigma_m), float(np.radians(np.hypot(_FLOOR_DEG, turned)))


@dataclass(frozen=True, eq=False)
class Odometry:
    """The drives as odometry tells them.

    poses: odom_from_camera of each keyframe. stamps_ns, recordings: [M] when it was taken and by which camera of which
    bag. drives: [M] whose odometry its pose is from: cameras of one bag share it. drifting: [M] whether its pose is
    odometry at all; those of a frame that stays where it is are known better.
    """

    poses: Sequence[Pose]
    stamps_ns: Sequence[int]
    recordings: Sequence[int]
    drives: Sequence[int]
    drifting: Sequence[bool]
    config: MapBuildConfig

    @cached_property
    def _path(self) -> Array:
        """[M, 2] metres and degrees from the beginning of its drive to each keyframe, as one of the cameras went."""
        drives, recordings, stamps_ns = (np.asarray(v) for v in (self.drives, self.recordings, self.stamps_ns))
        out = np.zeros((len(drives), 2))
        for drive in np.unique(drives):
            members = np.flatnonzero(drives == drive)
            way = members[recordings[members] == recordings[members[0]]]
            way = way[np.argsort(stamps_ns[way], kind="stable")]
            steps = [pose_error(self.poses[a], self.poses[b]) for a, b in pairwise(way)]
            path = np.concatenate([np.zeros((1, 2)), np.cumsum(np.array(steps).reshape(-1, 2), axis=0)])
            since_ns = (stamps_ns - stamps_ns[way[0]]).astype(np.float64)
            for column in range(2):
                out[members, column] = np.interp(since_ns[members], since_ns[way], path[:, column])
        return out

    def links(self, views: Sequence[int]) -> list[Link]:
        """Each of some views with the one before it in time on the same drive, whichever camera took it."""
        ordered = sorted(views, key=lambda view: (self.drives[view], self.stamps_ns[view], view))
        return [
            self.between(a, b) for a, b in pairwise(ordered) if self.drifting[b] and self.drives[a] == self.drives[b]
        ]

    def between(self, first: int, second: int) -> Link:
        """The motion between two keyframes of a drive; errors grow along the way that was driven between them."""
        relative = self.poses[first].inverse() @ self.poses[second]
        metres, degrees = np.abs(self._path[second] - self._path[first])
        return Link(first, second, relative, *drift(metres, degrees, self.config))

    def metres_between(self, first: int, second: int) -> float:
        """The way driven between two keyframes of a drive."""
        return float(abs(self._path[second, 0] - self._path[first, 0]))
