"""Two maps of places that overlap become one, in the frame of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import UNHURRIED_MS, LocalizerConfig, MapBuildConfig
from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose, Similarity, pose_error
from hfnet_core.georeference.datum import KEY
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.maintenance.align import moved_map, rigid_from_poses
from hfnet_core.maintenance.joint import (
    Cameras,
    Member,
    cross_pairs,
    join,
    known_points,
    measured_matches,
    members_of,
    to_map,
    typical_depth,
)
from hfnet_core.maintenance.placing import strongest_keyframes
from hfnet_core.mapping.look_alikes import features_of
from hfnet_core.mapping.solving.reconstruction import KnownPoints
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.visits.counts import remembering
from hfnet_core.progress import Progress, silent
from hfnet_core.types import Localized

__all__ = ["Merged", "Overlap", "find_overlap", "merge_maps"]

_MIN_AGREEING = 3  # keyframes: a place that merely resembles another fools one or two
_MIN_SHARE = 0.5  # of the localized keyframes
_AGREE_M, _AGREE_DEG = 0.3, 5.0
_LOOSENESS = 4.0  # of the second map's poses: its own landmarks hold its shape
_FIRST = 4.0  # factor on thresholds before the maps are adjusted together: they lie centimetres apart
_MAX_SCALE_ERROR = 0.1  # two metric maps differ by less


@dataclass(frozen=True, eq=False)
class Overlap:
    """How the second map lies in the first. localized: its keyframes found there. agreeing: those that say the same.

    scale: metres of the first map in one of the second's, whether applied or not. pairs: keyframes of the first and the
    second map that see the same landmarks.
    """

    first_from_second: Similarity
    keyframes: int
    localized: int
    agreeing: int
    scale: float
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Merged:
    """The joint map. fused: landmarks of the second map that became one with some of the first."""

    landmark_map: LandmarkMap
    overlap: Overlap
    fused: int


def find_overlap(
    first: LandmarkMap, second: LandmarkMap, *, scaled: bool = False, progress: Progress = silent
) -> Overlap:
    """Localize the keyframes of the second map in the first, and take the transform that most of them agree on.

    scaled: the maps may differ in scale; without it they must both be metric. Raises MapError when the models differ,
    too few keyframes agree, or the scales contradict each other.
    """
    if first.model_hash != second.model_hash:
        raise MapError(
            f"the maps were built with different models, {first.made_with} and {second.made_with}: describe one of "
            "them anew with `hfnet map upgrade MAP BAG... -o NEW`"
        )
    # Less certain ones, too: they must agree on one transform.
    lenient = LocalizerConfig(tracking=False, min_confidence=0.9, search_budget_ms=UNHURRIED_MS)
    localizer = Localizer(first, lenient)
    found: dict[int, Localized] = {}
    for index in range(second.keyframes):
        camera = second.cameras[second.keyframe_cameras[index]]
        result = localizer.localize([View(features_of(second, index), camera)])
        if isinstance(result, Localized):
            found[index] = result
        progress("localizing keyframes", index + 1, second.keyframes)
    scale = _relative_scale(first, second, found) if found else 1.0
    if not scaled and abs(np.log(scale)) > _MAX_SCALE_ERROR and len(found) >= _MIN_AGREEING:
        raise MapError(
            f"a metre of the second map is {scale:.3f} m in the first: if the second is not metric, pass --scale"
        )
    transform = _transform(second, found, scale if scaled else 1.0)
    agreeing = (
        []
        if transform is None
        else [
            index
            for index, item in found.items()
            if _agrees(transform, second.map_from_camera(index), item.map_from_camera)
        ]
    )
    if transform is None or len(agreeing) < max(_MIN_AGREEING, _MIN_SHARE * len(found)):
        raise MapError(
            f"the maps do not overlap enough: {len(found)} of {second.keyframes} keyframes of the second were found in "
            f"the first and {len(agreeing)} agree on one transform, need {_MIN_AGREEING} and half of them; a recording "
            "that sees both places can be added with `hfnet map extend`"
        )
    pairs = [(other, index) for index in agreeing for other in strongest_keyframes(first, found[index])]
    return Overlap(transform, second.keyframes, len(found), len(agreeing), scale, tuple(pairs))


def merge_maps(
    first: LandmarkMap,
    second: LandmarkMap,
    config: MapBuildConfig | None = None,
    *,
    scaled: bool = False,
    progress: Progress = silent,
) -> Merged:
    """Join two maps made by the same model; the frame, and the calibration of a camera in both, are the first's.

    Landmarks that both see are matched and fused, then everything is adjusted together, the first map's poses held
    tightly. Raises MapError, see `find_overlap`.
    """
    config = config or MapBuildConfig()
    overlap = find_overlap(first, second, scaled=scaled, progress=progress)
    moved = moved_map(second, overlap.first_from_second)
    cameras = Cameras(first)
    members = members_of(first, cameras)
    start = len(members)
    members += _renamed(members_of(moved, cameras, group=1, looseness=_LOOSENESS), first.next_recording)
    known, added = known_points(first), known_points(moved, start)
    shifted = added.rows + np.array([len(known.xyz), 0, 0])
    known = KnownPoints(np.concatenate([known.xyz, added.xyz]), np.concatenate([known.rows, shifted]))
    pairs = cross_pairs(members, cameras.current, typical_depth(first), config)
    pairs += [(one, start + other) for one, other in overlap.pairs]
    same = {**measured_matches(first), **measured_matches(moved, start)}
    joined = join(members, cameras.current, pairs, config, known, progress, first=_FIRST, same=same)
    fused = _fused(joined.rows, start)
    history = [
        *first.provenance.get("history", []),
        {
            "step": "merge",
            "keyframes": second.keyframes,
            "localized": overlap.localized,
            "agreeing": overlap.agreeing,
            "scale": overlap.first_from_second.scale,
            "fused_landmarks": fused,
            "history": second.provenance.get("history", []),
        },
    ]
    known_place = {KEY: moved.provenance[KEY]} if KEY in moved.provenance else {}
    provenance: dict[str, Any] = {
        **known_place,
        **first.provenance,
        "history": history,
        "recordings": [*first.recordings, *_numbered_on(second.recordings, first.next_recording)],
    }
    sigma = max(first.pose_sigma_m, second.pose_sigma_m), max(first.pose_sigma_rad, second.pose_sigma_rad)
    merged = to_map(
        members,
        joined,
        cameras.given,
        pose_sigma=sigma,
        model_hash=first.model_hash,
        frame_id=first.frame_id,
        provenance=provenance,
        descriptor_dtype=first.observation_descriptors.dtype.name,
    )
    renamed = replace(moved, keyframe_names=tuple(member.name for member in members[start:]))
    return Merged(remembering([first, renamed], merged), overlap, fused)


def _relative_scale(first: LandmarkMap, second: LandmarkMap, found: Mapping[int, Localized]) -> float:
    """Metres of the first map in one of the second: the median ratio of distances from cameras to the same points."""
    logs = []
    for keyframe, item in found.items():
        rows = second.observations_of(keyframe)
        owner = {
            tuple(pixel): second.observation_landmarks[row]
            for pixel, row in zip(second.observation_px[rows].tolist(), rows, strict=True)
        }
        own = second.landmarks_xyz[[owner[tuple(pixel)] for pixel in item.keypoints_px.tolist()]]
        far = np.linalg.norm(first.landmarks_xyz[item.landmarks] - item.map_from_camera.translation, axis=1)
        near = np.linalg.norm(own - second.map_from_camera(keyframe).translation, axis=1)
        logs.append(float(np.median(np.log(far / near))))
    return float(np.exp(np.median(logs)))


def _transform(second: LandmarkMap, found: Mapping[int, Localized], scale: float) -> Similarity | None:
    """What most localized keyframes agree on."""
    poses = [second.map_from_camera(index) for index in found]
    old = [Pose(pose.rotation, scale * pose.translation) for pose in poses]
    rigid = rigid_from_poses(old, [item.map_from_camera for item in found.values()], _AGREE_M)
    return None if rigid is None else Similarity(scale, rigid)


def _agrees(transform: Similarity, second_from_camera: Pose, first_from_camera: Pose) -> bool:
    metres, degrees = pose_error(transform.move(second_from_camera), first_from_camera)
    return metres <= _AGREE_M and degrees <= _AGREE_DEG


def _renamed(members: Sequence[Member], start: int) -> list[Member]:
    """Recordings numbered on from `start`, so that names stay unique."""
    out = []
    for member in members:
        number, slash, rest = member.name.partition("/")
        name = f"{int(number) + start}/{rest}" if slash and number.isdigit() else f"{start}/{member.name}"
        out.append(replace(member, name=name))
    return out


def _numbered_on(recordings: Sequence[Mapping[str, Any]], start: int) -> list[dict[str, Any]]:
    """What is told of recordings whose keyframes were renamed so."""
    numbers = [told["number"] for told in recordings]
    return [
        {**told, "number": number + start if number >= 0 else -1}
        for told, number in zip(recordings, numbers, strict=True)
    ]


def _fused(rows: NDArray[np.int64], start: int) -> int:
    """Points that members before and from `start` on both see."""
    from_second = rows[:, 1] >= start
    return len(np.intersect1d(rows[from_second, 0], rows[~from_second, 0]))
