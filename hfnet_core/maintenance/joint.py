"""Keyframes old and new in one adjustment: what extending, merging and importing maps have in common.

A map keeps of a keyframe the features that became landmarks, not all its keypoints. So the tracks of a map are taken as
they are, only pairs with a part that is new to each other are matched, and the matches lengthen, join and add tracks.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.config import MapBuildConfig
from hfnet_core.geometry import Array, Pose
from hfnet_core.mapping.bundle import SETTLED, TIGHTER, Bundle, BundleView
from hfnet_core.mapping.depth.landmarks import MeasuredView, Points, fill_up
from hfnet_core.mapping.look_alikes import features_of, with_look_alikes
from hfnet_core.mapping.pairing.pair_matching import match_descriptors
from hfnet_core.mapping.pairing.pairs import select_pairs
from hfnet_core.mapping.solving.reconstruction import KnownPoints, Matches, observations
from hfnet_core.maps import statistics
from hfnet_core.maps.assembly import assemble_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.progress import Progress, silent
from hfnet_core.types import Camera, Features, Ranges

__all__ = [
    "OLD",
    "Cameras",
    "Joined",
    "Member",
    "cross_pairs",
    "join",
    "known_points",
    "measured_matches",
    "members_of",
    "to_map",
    "typical_depth",
]

OLD = 0.2  # of the builder's trust in given poses: what a map says of its own keyframes is adjusted already
_ROUNDS = 3  # at most, of triangulating and adjusting
_NAME = re.compile(r"(\d+)/")

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Member:
    """A keyframe of the joint map. camera: index. looseness: factor on the trust in its pose, 1 for a given one.

    group: members of one group know each other's matches already; a member that is new has a group of its own. ranges:
    of the keypoints that depth images measured.
    """

    name: str
    stamp_ns: int
    camera: int
    map_from_camera: Pose
    features: Features
    looseness: float
    group: int
    ranges: Ranges | None = None


@dataclass(frozen=True, eq=False)
class Joined:
    """What became of the members: poses and cameras, points [L, 3], rows [O, 3] of point, member and keypoint, errors
    in pixels of the triangulated ones' rows. sigma_m: [L], see LandmarkMap.landmark_sigmas_m."""

    poses: list[Pose]
    cameras: list[Camera]
    points: Array
    rows: NDArray[np.int64]
    errors: Array
    sigma_m: Array = field(default_factory=lambda: np.zeros(0))


class Cameras:
    """The cameras of a map and of what is added to it: as given, and as refined so far."""

    def __init__(self, landmark_map: LandmarkMap | None = None) -> None:
        self.current: list[Camera] = []
        self.given: list[Camera] = []
        if landmark_map is not None:
            self.add(landmark_map)

    def add(self, landmark_map: LandmarkMap) -> list[int]:
        """The places of a map's cameras.

        Cameras given alike but refined differently stay two: each fits the landmarks of its map. Adjusting all together
        brings them close to each other.
        """
        given = landmark_map.given_cameras or landmark_map.cameras
        known = list(zip(self.given, self.current, strict=True))
        for pair in zip(given, landmark_map.cameras, strict=True):
            if pair not in known:
                known.append(pair)
                self.given.append(pair[0])
                self.current.append(pair[1])
        return [known.index(pair) for pair in zip(given, landmark_map.cameras, strict=True)]

    def index(self, given: Camera, refined: Camera) -> int:
        """The place of a camera given like this; a new one is added, as `refined`."""
        if given not in self.given:
            self.given.append(given)
            self.current.append(refined)
        return self.given.index(given)


def members_of(landmark_map: LandmarkMap, cameras: Cameras, group: int = 0, looseness: float = OLD) -> list[Member]:
    """The keyframes of a map; their cameras are added to `cameras`."""
    places = cameras.add(landmark_map)
    return [
        Member(
            name,
            int(landmark_map.keyframe_stamps_ns[index]),
            places[landmark_map.keyframe_cameras[index]],
            landmark_map.map_from_camera(index),
            features_of(landmark_map, index),
            looseness,
            group,
            _ranges_of(landmark_map, index),
        )
        for index, name in enumerate(landmark_map.keyframe_names)
    ]


def _ranges_of(landmark_map: LandmarkMap, keyframe: int) -> Ranges | None:
    """Of what depth images told of a keyframe's landmarks; None without. Of a landmark that several keyframes have
    measured each has as large a share in what is known."""
    landmarks = landmark_map.landmarks_of(keyframe)
    measured = landmark_map.measured[landmarks]
    if not measured.any():
        return None
    far = landmark_map.map_from_camera(keyframe).inverse().apply(landmark_map.landmarks_xyz[landmarks])[:, 2]
    known = np.where(measured, 1.0, np.nan)
    views = np.diff(landmark_map.landmark_offsets)[landmarks]
    sigma_m = known * np.sqrt(views) * landmark_map.landmark_sigmas_m[landmarks]
    return Ranges((known * far).astype(np.float32), sigma_m.astype(np.float32))


def known_points(landmark_map: LandmarkMap, first_member: int = 0) -> KnownPoints:
    """A map's triangulated landmarks, seen by members that start at a position."""
    members = landmark_map.observation_keyframes + np.int64(first_member)
    rows = np.stack([landmark_map.observation_landmarks, members, _places(landmark_map)], axis=1)
    triangulated = ~landmark_map.measured
    rows = rows[triangulated[rows[:, 0]]]
    rows[:, 0] = (np.cumsum(triangulated) - 1)[rows[:, 0]]
    return KnownPoints(landmark_map.landmarks_xyz[triangulated].astype(np.float64), rows.astype(np.int64))


def measured_matches(landmark_map: LandmarkMap, first_member: int = 0) -> Matches:
    """Which keypoints of members, that start at a position, show the same landmark by depth."""
    members, keypoints = landmark_map.observation_keyframes, _places(landmark_map)
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for landmark in np.flatnonzero(landmark_map.measured & (np.diff(landmark_map.landmark_offsets) > 1)):
        first, last = landmark_map.landmark_offsets[landmark : landmark + 2]
        for one, other in itertools.pairwise(sorted(range(first, last), key=lambda row: int(members[row]))):
            pair = (first_member + int(members[one]), first_member + int(members[other]))
            found.setdefault(pair, []).append((int(keypoints[one]), int(keypoints[other])))
    return {pair: np.array(rows, dtype=np.int32) for pair, rows in found.items() if pair[0] != pair[1]}


def _places(landmark_map: LandmarkMap) -> NDArray[np.int64]:
    """[O] which of its keyframe's features each observation is."""
    place = np.zeros(landmark_map.observations, dtype=np.int64)
    starts = landmark_map.keyframe_offsets
    owners = np.repeat(np.arange(landmark_map.keyframes), np.diff(starts))
    place[landmark_map.keyframe_observations] = np.arange(landmark_map.observations) - starts[owners]
    return place


def typical_depth(landmark_map: LandmarkMap) -> float:
    """Median distance of the landmarks from the keyframes that see them, metres."""
    centres = landmark_map.keyframe_poses[:, :, 3][landmark_map.observation_keyframes]
    distances = np.linalg.norm(landmark_map.landmarks_xyz[landmark_map.observation_landmarks] - centres, axis=1)
    return float(np.median(distances)) if len(distances) else 1.0


def cross_pairs(
    members: Sequence[Member], cameras: Sequence[Camera], depth_m: float, config: MapBuildConfig
) -> list[tuple[int, int]]:
    """Pairs of members of different groups that may see the same things.

    Of a group that is large, only members in reach of another group are looked at, so that the cost of adding a little
    to a large map stays small.
    """
    centres = np.array([member.map_from_camera.translation for member in members]).reshape(-1, 3)
    groups = np.array([member.group for member in members])
    near = cKDTree(centres).query_ball_point(centres, 2 * depth_m, return_sorted=True)
    used = [index for index, others in enumerate(near) if (groups[others] != groups[index]).any()]
    found = (
        select_pairs(
            [members[index].map_from_camera for index in used],
            [cameras[members[index].camera] for index in used],
            np.array([members[index].features.global_descriptor for index in used]).reshape(len(used), -1),
            per_keyframe=config.pairs_per_keyframe,
            depth_m=depth_m,
        )
        if used
        else []
    )
    pairs = ((used[first], used[second]) for first, second in found)
    return [(first, second) for first, second in pairs if groups[first] != groups[second]]


def join(
    members: Sequence[Member],
    cameras: Sequence[Camera],
    pairs: Pairs,
    config: MapBuildConfig,
    known: KnownPoints | None = None,
    progress: Progress = silent,
    *,
    refine_poses: bool = True,
    first: float = 1.0,
    same: Matches | None = None,
    match: Callable[[int, int], NDArray[np.int32]] | None = None,
) -> Joined:
    """Match the pairs, then triangulate and adjust all members together with the points already known.

    Poses are priors, each as loose as its member says. first: factor on all thresholds in the first round, where the
    members' poses are that much worse than given ones. same: see `measured_matches`. match: pairs of keypoints [N, 2]
    of two members, by their numbers; without it, by their descriptors.
    """
    views = [_view(item, config) for item in members]
    state = Bundle(views, list(cameras), config, known)
    chosen = sorted({(min(pair), max(pair)) for pair in pairs})
    for done, (one, other) in enumerate(chosen, start=1):
        if match is not None:
            state.matches[one, other] = match(one, other)
        else:
            a, b = (members[index].features.descriptors for index in (one, other))
            state.matches[one, other] = match_descriptors(a, b, config.match_ratio)
        progress("matching keyframes", done, len(chosen))
    rounds = _ROUNDS if refine_poses else 0
    for number in range(rounds):
        progress("adjusting poses", number, rounds)
        tolerance = first if number == 0 else TIGHTER
        if state.adjust(tolerance, limit=max(tolerance, 1.0)) < SETTLED * config.pose_prior_sigma_m:
            break
    progress("adjusting poses", max(rounds, 1), max(rounds, 1))
    scene = state.triangulate(TIGHTER if refine_poses else 1.0)
    points, rows, errors = observations(scene, config, state.scaled(config.max_reprojection_error_px))
    measured = [
        MeasuredView(camera, pose, item.features.keypoints_px, item.ranges)
        for camera, pose, item in zip(state.view_cameras, state.poses, members, strict=True)
    ]
    triangulated = Points(points, rows, np.zeros(len(points)))
    known_same = same or {}
    found = fill_up(triangulated, measured, lambda: {**state.verified(1.0), **known_same}, config.depth_landmarks)
    return Joined(state.poses, state.cameras, found.xyz, found.rows, errors, found.sigma_m)


def _view(member: Member, config: MapBuildConfig) -> BundleView:
    """A member as the adjustment sees it."""
    ranges = member.ranges if config.adjust_depth else None
    return BundleView(member.name, member.camera, member.features, member.map_from_camera, member.looseness, ranges)


def to_map(
    members: Sequence[Member],
    joined: Joined,
    given: Sequence[Camera],
    *,
    pose_sigma: tuple[float, float],
    model_hash: str,
    frame_id: str,
    provenance: Mapping[str, Any],
    descriptor_dtype: str,
) -> LandmarkMap:
    """The joint map, with its statistics in the provenance and its look-alike places."""
    found = {
        **statistics.counts(len(members), len(joined.points), len(joined.rows)),
        **statistics.reprojection(joined.errors),
    }
    joint = assemble_map(
        names=[member.name for member in members],
        stamps_ns=[member.stamp_ns for member in members],
        view_cameras=[member.camera for member in members],
        poses=joined.poses,
        cameras=joined.cameras,
        given_cameras=given,
        features=[member.features for member in members],
        points=joined.points,
        rows=joined.rows,
        landmark_sigmas_m=joined.sigma_m if len(joined.sigma_m) else None,
        pose_sigma=pose_sigma,
        model_hash=model_hash,
        frame_id=frame_id,
        provenance={**provenance, "statistics": found},
        descriptor_dtype=descriptor_dtype,
    )
    return with_look_alikes(joint)
