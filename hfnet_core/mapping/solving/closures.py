"""Loop closures: keyframes that look alike, whose relative pose their landmarks confirm in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.localization import pose as camera_pose
from hfnet_core.localization.correspondences import between
from hfnet_core.localization.uncertainty.covariance import covariance_of, linearised
from hfnet_core.mapping.solving.odometry import Link, Odometry
from hfnet_core.mapping.solving.pose_graph import optimise
from hfnet_core.types import Camera

__all__ = ["LocalPoints", "UnjoinedError", "close_loops", "closure_candidates", "verify_closure"]

_CANDIDATES = 4  # of each keyframe
_APART = 5  # keyframes of a recording closer than this are linked by odometry and by what they see anyway
_MIN_INLIERS = 20
_MIN_SHARE = 0.3  # of the matches with a landmark
_AGREE_SHARE, _AGREE_DEG = 0.1, 5.0  # of the depth: how well both directions agree
_FLOOR_M, _FLOOR_DEG = 0.01, 0.3
_GATE = 4.0  # standard deviations of the odometry between two keyframes
_BLOCK = 1024
_LOCALIZER = LocalizerConfig()


class UnjoinedError(DatasetError):
    """Drives that nothing joins to the others."""

    def __init__(self, drives: frozenset[int], message: str) -> None:
        super().__init__(message)
        self.drives = drives


@dataclass(frozen=True, eq=False)
class LocalPoints:
    """Landmarks of a keyframe from its neighbours in time. keypoints: [N] sorted. xyz: [N, 3] in its camera frame."""

    keypoints: NDArray[np.int64]
    xyz: Array

    def of(self, keypoints: NDArray[np.int32]) -> tuple[NDArray[np.bool_], Array]:
        """Which of some keypoints have a landmark, and those landmarks."""
        if not len(self.keypoints):
            return np.zeros(len(keypoints), dtype=np.bool_), np.zeros((0, 3))
        place = np.minimum(np.searchsorted(self.keypoints, keypoints), len(self.keypoints) - 1)
        known = np.asarray(self.keypoints[place] == keypoints)
        return known, self.xyz[place[known]]


def closure_candidates(descriptors: NDArray[np.float32], recordings: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, sorted: each keyframe with those that look most like it, apart from its neighbours in time.

    Of several that follow each other only the best counts, so that a keyframe looks at several places.
    """
    number = np.asarray(recordings)
    pairs = set()
    for start in range(0, len(descriptors), _BLOCK):
        alike = descriptors[start : start + _BLOCK] @ descriptors.T
        for index, row in enumerate(alike, start=start):
            row[max(index - _APART, 0) : index + _APART + 1][_same(number, index)] = -np.inf
            for _ in range(_CANDIDATES):
                best = int(row.argmax())
                if not np.isfinite(row[best]):
                    break
                pairs.add((min(index, best), max(index, best)))
                row[max(best - _APART // 2, 0) : best + _APART // 2 + 1] = -np.inf
    return sorted(pairs)


def _same(number: NDArray[np.int64], index: int) -> NDArray[np.bool_]:
    return np.asarray(number[max(index - _APART, 0) : index + _APART + 1] == number[index])


def verify_closure(
    matches: NDArray[np.int32],
    points: tuple[LocalPoints, LocalPoints],
    keypoints_px: tuple[NDArray[np.float32], NDArray[np.float32]],
    cameras: tuple[Camera, Camera],
) -> tuple[Pose, float, float] | None:
    """(first_from_second, sigma_m, sigma_rad) of two keyframes, or None where nothing confirms that they see the same.

    Each camera is localized in the landmarks of the other by P3P and RANSAC; both answers must agree.
    """
    found = []
    for own, other in ((0, 1), (1, 0)):
        known, xyz = points[own].of(matches[:, own])
        pixels = keypoints_px[other][matches[known, other]]
        pairs, query = between(pixels, xyz, cameras[other])
        solution = camera_pose.solve(pairs, query, 0, _LOCALIZER)
        if solution is not None and solution.count >= _MIN_INLIERS:
            solution = camera_pose.polish(pairs, query, solution.map_from_rig, _LOCALIZER)
        if solution is None or solution.count < max(_MIN_INLIERS, _MIN_SHARE * len(xyz)):
            return None
        support = pairs.where(solution.inliers)
        covariance, _ = covariance_of(linearised(support, query, solution.map_from_rig))
        found.append((solution, covariance, float(np.median(support.points[:, 2]))))
    (one, covariance, depth_m), (two, other_covariance, _) = found
    metres, degrees = pose_error(one.map_from_rig, two.map_from_rig.inverse())
    if metres > _AGREE_SHARE * depth_m or degrees > _AGREE_DEG or not np.isfinite(covariance).all():
        return None
    if two.count > one.count and np.isfinite(other_covariance).all():
        relative, covariance = two.map_from_rig.inverse(), other_covariance
    else:
        relative = one.map_from_rig
    variances = covariance.diagonal()
    # Both directions see the same keypoints, and their landmarks bend alike: what they differ by is part of the error.
    sigma_m = float(np.sqrt(variances[:3].max() + _FLOOR_M**2 + (metres / 2) ** 2))
    sigma_rad = float(np.sqrt(variances[3:].max() + np.radians(_FLOOR_DEG) ** 2 + np.radians(degrees / 2) ** 2))
    return relative, sigma_m, sigma_rad


def close_loops(
    poses: Sequence[Pose], odometry: Odometry, closures: Sequence[Link]
) -> tuple[list[Pose], NDArray[np.bool_]]:
    """Poses in one frame, from odometry and those closures that fit the rest, and which closures these are.

    Recordings that drift and do not know the frame of the others are first placed by closures with them. Raises
    DatasetError naming a recording for which there are too few.
    """
    count = len(poses)
    plausible = np.array([_plausible(link, odometry) for link in closures], dtype=np.bool_)
    started = _placed(list(poses), odometry, [link for link, ok in zip(closures, plausible, strict=True) if ok])
    kept = np.flatnonzero(plausible).tolist()
    fixed = [view for view in range(count) if not odometry.drifting[view]] or [0]
    found, holds = optimise(started, odometry.links(range(count)), [closures[index] for index in kept], fixed)
    plausible[kept] = holds
    return found, plausible


def _plausible(link: Link, odometry: Odometry) -> bool:
    """Whether odometry, with all its drift, could be as wrong as a closure says it is."""
    first, second = link.first, link.second
    if odometry.drives[first] != odometry.drives[second] or not odometry.drifting[first]:
        return True
    said = odometry.between(first, second)
    metres, degrees = pose_error(said.first_from_second, link.first_from_second)
    bound_rad = _GATE * float(np.hypot(said.sigma_rad, link.sigma_rad))
    swept_m = min(bound_rad, 2.0) * odometry.metres_between(first, second)
    bound_m = _GATE * float(np.hypot(said.sigma_m, link.sigma_m)) + swept_m
    return metres < bound_m and np.radians(degrees) < bound_rad


def _placed(poses: list[Pose], odometry: Odometry, closures: Sequence[Link]) -> list[Pose]:
    """Poses with each drifting drive moved to where most closures with those placed already want it."""
    number = np.asarray(odometry.drives)
    given = {int(number[view]) for view in range(len(poses)) if not odometry.drifting[view]}
    placed = given or {int(number[0])}
    waiting = set(number.tolist()) - placed
    while waiting:
        offers: dict[int, list[Pose]] = {}
        for link in closures:
            for known, new, relative in (
                (link.first, link.second, link.first_from_second),
                (link.second, link.first, link.first_from_second.inverse()),
            ):
                if number[known] in placed and number[new] in waiting:
                    offers.setdefault(int(number[new]), []).append(poses[known] @ relative @ poses[new].inverse())
        votes = {drive: _consensus(moves) for drive, moves in offers.items()}
        best = max(votes, key=lambda drive: (votes[drive][0], -drive), default=None)
        if best is None or votes[best][0] < _MIN_VOTES:
            missing = ", ".join(str(drive) for drive in sorted(waiting))
            raise UnjoinedError(
                frozenset(waiting),
                f"drive {missing} (counted from 0) cannot be joined to the others: its odometry has an origin of "
                f"its own, and fewer than {_MIN_VOTES} keyframes of it see what others see; record with an overlap",
            )
        for view in np.flatnonzero(number == best):
            poses[view] = votes[best][1] @ poses[view]
        placed.add(best)
        waiting.remove(best)
    return poses


_MIN_VOTES = 3
_SAME_M, _SAME_DEG = 1.0, 10.0


def _consensus(moves: Sequence[Pose]) -> tuple[int, Pose]:
    """How many moves agree with the one that most agree with, and that one."""
    counts = []
    for one in moves:
        errors = np.array([pose_error(one, other) for other in moves])
        counts.append(int(((errors[:, 0] < _SAME_M) & (errors[:, 1] < _SAME_DEG)).sum()))
    best = int(np.argmax(counts))
    return counts[best], moves[best]
