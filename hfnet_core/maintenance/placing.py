"""Where the keyframes of a new recording are in a map: localized where possible, carried on by odometry between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from hfnet_core.config import UNHURRIED_MS, LocalizerConfig, MapBuildConfig
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.progress import Progress, silent
from hfnet_core.types import Localized

__all__ = ["Placed", "Placing", "looseness", "place", "strongest_keyframes"]

_DRIFT = 0.02  # metres of error per metre of odometry, and the same share of a radian
_TOLERANCE_M, _TOLERANCE_DEG = 0.15, 3.0  # between two localizations, beside the drift
_WITNESSES = 4  # localized neighbours in time that a localization is compared with
_STRONGEST = 5  # map keyframes that share most landmarks with a localized one are matched with it


@dataclass(frozen=True, eq=False)
class Placed:
    """A keyframe with its pose in the map. carried_m: way of odometry from where it was last localized, 0 if it was
    itself. seen_by: keyframes of the map that see the same landmarks, most first."""

    keyframe: Keyframe
    map_from_camera: Pose
    carried_m: float
    seen_by: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Placing:
    """placed: in order of recording. contradicted: localized, but against the odometry. left_out: neither localized nor
    connected, with reasons and how often each was given. results: what localizing said of each keyframe asked about, by
    its place among them; without those that were contradicted."""

    placed: tuple[Placed, ...]
    localized: int
    contradicted: int
    left_out: int
    reasons: tuple[tuple[str, int], ...]
    results: Mapping[int, Localized] = field(default_factory=dict)


def place(landmark_map: LandmarkMap, keyframes: Sequence[Keyframe], progress: Progress = silent) -> Placing:
    """Localize the keyframes of one recording in a map.

    Their odometry_from_camera, in whatever frame, is relative information: it exposes a localization that does not fit
    its neighbours, and carries the pose to keyframes that cannot be localized.
    """
    # Less certain ones, too: what contradicts its neighbours goes.
    lenient = LocalizerConfig(tracking=False, min_confidence=0.9, search_budget_ms=UNHURRIED_MS)
    localizer = Localizer(landmark_map, lenient)
    found: dict[int, Localized] = {}
    reasons: Counter[str] = Counter()
    for index, keyframe in enumerate(keyframes):
        result = localizer.localize([View(keyframe.features, keyframe.camera, ranges=keyframe.ranges)])
        if isinstance(result, Localized):
            found[index] = result
        else:
            reasons[result.reason.value] += 1
        progress("localizing keyframes", index + 1, len(keyframes))
    way = _way(keyframes)
    wrong = _contradicted(keyframes, {index: item.map_from_camera for index, item in found.items()}, way)
    for index in wrong:
        del found[index]
    certain = {index: item.map_from_camera for index, item in found.items()}
    placed = []
    for index, keyframe in enumerate(keyframes):
        if index in found:
            seen_by = strongest_keyframes(landmark_map, found[index])
            placed.append(Placed(keyframe, found[index].map_from_camera, 0.0, seen_by))
        elif (guess := _carry(keyframes, certain, way, index)) is not None:
            placed.append(Placed(keyframe, guess[0], guess[1], ()))
    left_out = len(keyframes) - len(placed)
    return Placing(tuple(placed), len(found), len(wrong), left_out, tuple(reasons.most_common()), found)


def looseness(placed: Placed, config: MapBuildConfig) -> float:
    """Factor on the builder's trust in given poses."""
    return 1.0 + _DRIFT * placed.carried_m / config.pose_prior_sigma_m


def _way(keyframes: Sequence[Keyframe]) -> Array:
    """[M] metres driven up to each keyframe by odometry; a turn by a radian counts as a metre. NaN without."""
    out = np.full(len(keyframes), np.nan)
    total, last = 0.0, None
    for index, keyframe in enumerate(keyframes):
        pose = keyframe.odometry_from_camera
        if pose is None:
            continue
        if last is not None:
            metres, degrees = pose_error(last, pose)
            total += metres + float(np.radians(degrees))
        out[index], last = total, pose
    return out


def _between(keyframes: Sequence[Keyframe], first: int, second: int) -> Pose:
    """first_from_second by odometry."""
    a, b = (keyframes[index].odometry_from_camera for index in (first, second))
    if a is None or b is None:
        raise ValueError(f"keyframes {keyframes[first].name} and {keyframes[second].name} are not both on odometry")
    return a.inverse() @ b


def _contradicted(keyframes: Sequence[Keyframe], found: dict[int, Pose], way: Array) -> list[int]:
    """Localized keyframes that fit fewer than half of their localized neighbours in time by the odometry between."""
    known = [index for index in found if np.isfinite(way[index])]
    out = []
    for position, index in enumerate(known):
        others = known[max(0, position - _WITNESSES // 2) : position + _WITNESSES // 2 + 1]
        votes = []
        for other in others:
            if other != index:
                relative = _between(keyframes, other, index)
                metres, degrees = pose_error(found[other] @ relative, found[index])
                drift = _DRIFT * abs(way[index] - way[other])
                votes.append(metres <= _TOLERANCE_M + drift and degrees <= _TOLERANCE_DEG + np.degrees(drift))
        if votes and 2 * sum(votes) < len(votes):
            out.append(index)
    return out


def _carry(keyframes: Sequence[Keyframe], found: dict[int, Pose], way: Array, index: int) -> tuple[Pose, float] | None:
    """The pose by odometry from the localized keyframes before and after, and the way from the nearer one."""
    known = np.array([other for other in found if np.isfinite(way[other])], dtype=np.int64)
    if not np.isfinite(way[index]) or not len(known):
        return None
    guesses = []
    for other in (*known[known < index][-1:], *known[known > index][:1]):
        relative = _between(keyframes, other, index)
        guesses.append((found[other] @ relative, abs(float(way[index] - way[other]))))
    if len(guesses) == 1:
        return guesses[0]
    (before, first), (after, second) = guesses
    share = first / max(first + second, 1e-9)
    turns = Slerp([0.0, 1.0], Rotation.from_matrix(np.stack([before.rotation, after.rotation])))
    middle = (1 - share) * before.translation + share * after.translation
    return Pose(turns(share).as_matrix(), middle), min(first, second)


def strongest_keyframes(landmark_map: LandmarkMap, found: Localized) -> tuple[int, ...]:
    """The few keyframes that see most of the landmarks of a localization, most first."""
    starts, stops = landmark_map.landmark_offsets[found.landmarks], landmark_map.landmark_offsets[found.landmarks + 1]
    rows = np.concatenate([np.arange(a, b) for a, b in zip(starts, stops, strict=True)])
    counts = np.bincount(landmark_map.observation_keyframes[rows], minlength=1)
    best = np.argsort(-counts, kind="stable")[:_STRONGEST]
    return tuple(int(index) for index in best if counts[index] > 0)
