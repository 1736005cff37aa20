"""Quick versions of a map: the newest keyframes are added to the last version, without adjusting the whole.

What a version takes that adjusts everything grows with the map, and the robot is always ahead of it. Here a few of the
newest keyframes are adjusted together with the last ones of the map, which stay. It takes the same time whatever the
map's size, but for reading and writing it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hfnet_core.config import MapBuildConfig
from hfnet_core.geometry import Similarity
from hfnet_core.mapping.depth.landmarks import Points
from hfnet_core.mapping.keyframe_bundle import KeyframeBundle, typical_depth
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.mapping.live.drive_folder import DriveFolder, place_of
from hfnet_core.mapping.live.side_by_side import beside
from hfnet_core.mapping.pairing.pairs import sequence_pairs
from hfnet_core.mapping.pose_modes import IMAGES
from hfnet_core.mapping.solving.reconstruction import observations
from hfnet_core.maps.assembly import assemble_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.moving import transformed
from hfnet_core.maps.subset import keep_keyframes
from hfnet_core.progress import silent
from hfnet_core.types import Camera, Features

__all__ = ["FEWEST", "MOST", "grown", "with_tail_of"]

FEWEST = 3  # keyframes that are worth a version
MOST = 6  # that are added at a time, evenly chosen; the next whole version has them all
_WINDOW = 5  # of the last keyframes of the map, with which they are adjusted
_KEYPOINTS = 800  # of a keyframe, the best: matching takes a quarter of the time that it does with twice as many
_PAIRS = 8  # of a keyframe, with what it may be matched
_COARSE = 2.0  # tolerance: steps of odometry are off by more than keypoints
_ANGLE = 2.0  # times the builder's least triangulation angle: no later keyframe takes the place of what is far ahead
_HELD = 0.2  # of the builder's trust in given poses: those of the map are adjusted already


@dataclass(frozen=True, eq=False)
class _Added:
    """What is adjusted together, in the frame of the map: its last keyframes, held where they are, and new ones where
    odometry puts them."""

    held: Sequence[Keyframe]
    new: Sequence[Keyframe]


@dataclass(frozen=True, eq=False)
class _About:
    """What a map says of itself. given: by camera, what it refines."""

    model_hash: str
    frame_id: str
    provenance: Mapping[str, Any]
    pose_sigma: tuple[float, float]
    given: Mapping[Camera, Camera]

    @classmethod
    def of(cls, known: LandmarkMap) -> _About:
        given = dict(zip(known.cameras, known.given_cameras or known.cameras, strict=True))
        return cls(
            known.model_hash, known.frame_id, known.provenance, (known.pose_sigma_m, known.pose_sigma_rad), given
        )


def grown(before: LandmarkMap | None, folder: DriveFolder, config: MapBuildConfig) -> LandmarkMap | None:
    """A version of the map with the newest keyframes of the stretch that its newest keyframe is of.

    before: None makes a first version, of the first stretch, in the frame of its odometry. None where too few keyframes
    are new, or nothing of them can be triangulated; where images alone give poses there is none either, for nothing
    tells where to begin.
    """
    added = _first(folder) if before is None else _added(before, folder)
    if added is None:
        return None
    keyframes = sorted([*added.held, *added.new], key=lambda item: (item.recording, item.stamp_ns))
    new = {item.name for item in added.new}
    is_new = np.array([item.name in new for item in keyframes])
    trusting = _trusting(config)
    state = KeyframeBundle(keyframes, trusting, Workspace(), {})

    def match(pairs: Sequence[tuple[int, int]]) -> None:
        state.match([pair for pair in pairs if is_new[list(pair)].any()], silent)

    match(sequence_pairs([item.recording for item in keyframes]))
    match(state.pairs(typical_depth(state.triangulate(_COARSE))))
    state.adjust(_COARSE)
    points, rows, _ = observations(state.finish(1.0), trusting, state.scaled(config.max_reprojection_error_px))
    found = state.with_depth(points, rows)
    if not len(found.xyz):
        return None
    if before is None:
        return _assembled(state, found, _told(folder, config, state), config)
    return beside(before, keep_keyframes(_assembled(state, found, _About.of(before), config), is_new))


def _trusting(config: MapBuildConfig) -> MapBuildConfig:
    """Settings of a small adjustment among keyframes that are adjusted already."""
    return replace(
        config,
        refine_intrinsics=False,
        pairs_per_keyframe=_PAIRS,
        pose_prior_sigma_m=_HELD * config.pose_prior_sigma_m,
        pose_prior_sigma_deg=_HELD * config.pose_prior_sigma_deg,
        min_triangulation_angle_deg=_ANGLE * config.min_triangulation_angle_deg,
    )


def _told(folder: DriveFolder, config: MapBuildConfig, state: KeyframeBundle) -> _About:
    """What a first version says of itself."""
    source = folder.sources()[state.keyframes[0].recording]
    info = folder.info
    provenance = {
        "recordings": [],
        "settings": dataclasses.asdict(config),
        "pose_mode": source.mode,
        "model": {"name": info.name, "version": info.version},
    }
    cameras = {camera: camera for camera in state.cameras}
    return _About(info.model_hash, source.frame, provenance, state.pose_sigmas(), cameras)


def _assembled(state: KeyframeBundle, found: Points, about: _About, config: MapBuildConfig) -> LandmarkMap:
    return assemble_map(
        names=[item.name for item in state.keyframes],
        stamps_ns=[item.stamp_ns for item in state.keyframes],
        view_cameras=[view.camera for view in state.views],
        poses=state.poses,
        cameras=state.cameras,
        given_cameras=[about.given[camera] for camera in state.cameras],
        features=[item.features for item in state.keyframes],
        points=found.xyz,
        rows=found.rows,
        landmark_sigmas_m=found.sigma_m,
        pose_sigma=about.pose_sigma,
        model_hash=about.model_hash,
        frame_id=about.frame_id,
        provenance=about.provenance,
        descriptor_dtype=config.descriptor_dtype,
    )


# ---- which keyframes


def _first(folder: DriveFolder) -> _Added | None:
    """Of the first stretch; its first keyframe stays where odometry has it."""
    sources = folder.sources()
    drive = min((source.drive for source in sources.values()), default=0)
    own = [source for source in sources.values() if source.drive == drive]
    if any(source.mode == IMAGES for source in own):
        return None
    chosen = _chosen(folder, folder.names({source.recording for source in own}), after_ns=-1)
    if len(chosen) <= FEWEST:
        return None
    first, *others = chosen
    return _Added([_placed(first, {}, drifting=False)], [_placed(item, {}) for item in others])


def _added(before: LandmarkMap, folder: DriveFolder) -> _Added | None:
    if not before.keyframes:
        return None
    newest = int(np.argmax(before.keyframe_stamps_ns))
    sources = folder.sources()
    source = sources.get(place_of(before.keyframe_names[newest])[0])
    if source is None or source.mode == IMAGES:
        return None
    recordings = {item.recording for item in sources.values() if item.drive == source.drive}
    known = {name: index for index, name in enumerate(before.keyframe_names)}
    members = [index for name, index in known.items() if place_of(name)[0] in recordings]
    last = sorted(members, key=lambda index: int(before.keyframe_stamps_ns[index]))[-_WINDOW:]
    held = folder.some([before.keyframe_names[index] for index in last])
    names = _later(folder.names(recordings), before.keyframe_names)
    chosen = _chosen(folder, names, after_ns=int(before.keyframe_stamps_ns[newest]))
    refined = dict(zip(before.given_cameras or before.cameras, before.cameras, strict=True))
    new = [item for item in chosen if item.camera in refined]
    if len(new) < FEWEST or not held:
        return None
    latest = max(held, key=lambda item: item.stamp_ns)
    map_from_odom = before.map_from_camera(known[latest.name]) @ latest.map_from_camera.inverse()
    placed = [replace(item, map_from_camera=before.map_from_camera(known[item.name])) for item in held]
    moved = [replace(item, map_from_camera=map_from_odom @ item.map_from_camera) for item in new]
    return _Added(
        [_placed(item, refined, drifting=False) for item in placed], [_placed(item, refined) for item in moved]
    )


def _later(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those that come after the last known one of their recording: what was passed over is not looked at again."""
    last: dict[int, int] = {}
    for recording, number in map(place_of, known):
        last[recording] = max(last.get(recording, -1), number)
    places = ((name, *place_of(name)) for name in names)
    return [name for name, recording, number in places if number > last.get(recording, -1)]


def _chosen(folder: DriveFolder, names: Sequence[str], after_ns: int) -> list[Keyframe]:
    """Those taken after a time: the first one, the last one, and others evenly between them."""
    found = (item for item in folder.some(names, features=False) if item.stamp_ns > after_ns)
    newer = sorted(found, key=lambda item: item.stamp_ns)
    if not newer:
        return []
    places = np.unique(np.linspace(0, len(newer) - 1, MOST).round().astype(np.int64))
    return folder.some([newer[place].name for place in places])


def _placed(keyframe: Keyframe, refined: Mapping[Camera, Camera], *, drifting: bool | None = None) -> Keyframe:
    """A keyframe with its best keypoints, and the calibration that the map knows better. Its matches are forgotten:
    those of a full version are of all keypoints."""
    best = np.sort(np.argsort(-keyframe.features.scores, kind="stable")[:_KEYPOINTS])
    features: Features = keyframe.features.where(best)
    return replace(
        keyframe,
        features=features,
        ranges=None if keyframe.ranges is None else keyframe.ranges.where(best),
        camera=refined.get(keyframe.camera, keyframe.camera),
        drifting=keyframe.drifting if drifting is None else drifting,
        key="",
    )


def with_tail_of(built: LandmarkMap, live: LandmarkMap) -> LandmarkMap:
    """A version that was adjusted as a whole, and behind it what has been added to the live one meanwhile, moved as its
    newest common keyframe is."""
    if live.model_hash != built.model_hash or len(live.scale_factors) != len(built.scale_factors):
        return built
    ours = {name: index for index, name in enumerate(built.keyframe_names)}
    stamps_ns = dict(zip(built.keyframe_names, built.keyframe_stamps_ns.tolist(), strict=True))
    told = zip(live.keyframe_names, live.keyframe_stamps_ns.tolist(), strict=True)
    common = [index for index, (name, stamp_ns) in enumerate(told) if stamps_ns.get(name) == stamp_ns]
    if not common:
        return built
    newest = max(common, key=lambda index: int(live.keyframe_stamps_ns[index]))
    later = live.keyframe_stamps_ns > built.keyframe_stamps_ns.max()
    tail = np.array([name not in ours for name in live.keyframe_names]) & later
    if not tail.any():
        return built
    there = built.map_from_camera(ours[live.keyframe_names[newest]]) @ live.map_from_camera(newest).inverse()
    return beside(built, transformed(keep_keyframes(live, tail), Similarity(1.0, there)))
