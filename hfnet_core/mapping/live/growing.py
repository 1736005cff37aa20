"""Quick versions of a map: the newest keyframes are added to the last version, without adjusting the whole.

What a version takes that adjusts everything grows with the map, and the robot is always ahead of it. Here a few of the
newest keyframes are adjusted together with the last ones of the map, which stay. It takes the same time whatever the
map's size, but for reading and writing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hfnet_core.config import MapBuildConfig
from hfnet_core.geometry import Pose
from hfnet_core.mapping.keyframe_bundle import KeyframeBundle, typical_depth
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.mapping.live.side_by_side import beside, moved_rigidly
from hfnet_core.mapping.pairing.pairs import sequence_pairs
from hfnet_core.mapping.pose_modes import IMAGES
from hfnet_core.mapping.solving.reconstruction import observations
from hfnet_core.maps.assembly import assemble_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.subset import keep_keyframes
from hfnet_core.types import Camera

__all__ = ["FEWEST", "grown", "with_tail_of"]

FEWEST = 3  # keyframes that are worth a version
_MOST = 12  # that are added at a time, evenly chosen; the next full version has them all
_WINDOW = 8  # of the last keyframes of the map, with which they are adjusted
_PAIRS = 10  # of a keyframe, with what it may be matched
_ROUNDS = (2.0, 1.0)  # tolerances: steps of odometry are off by more than keypoints
_HELD = 0.2  # of the builder's trust in given poses: those of the map are adjusted already


@dataclass(frozen=True, eq=False)
class _Added:
    """Keyframes in the frame of the map: the last ones of it, held, then new ones where odometry puts them."""

    held: list[Keyframe]
    new: list[Keyframe]


def grown(before: LandmarkMap, folder: DriveFolder, config: MapBuildConfig) -> LandmarkMap | None:
    """A version of the map with the newest keyframes of the stretch that its newest keyframe is of.

    None where too few are new, or nothing of them can be triangulated; where images alone give poses there is none
    either, for nothing tells where to begin.
    """
    added = _added(before, folder, config)
    if added is None:
        return None
    keyframes = sorted([*added.held, *added.new], key=lambda item: (item.recording, item.stamp_ns))
    trusted = replace(
        config,
        refine_intrinsics=False,
        pairs_per_keyframe=_PAIRS,
        pose_prior_sigma_m=_HELD * config.pose_prior_sigma_m,
        pose_prior_sigma_deg=_HELD * config.pose_prior_sigma_deg,
    )
    state = KeyframeBundle(keyframes, trusted, folder.workspace, {})
    new = {id(item) for item in added.new}
    is_new = np.array([id(item) in new for item in keyframes])

    def match(pairs: Sequence[tuple[int, int]]) -> None:
        state.match([pair for pair in pairs if is_new[list(pair)].any()], lambda *_: None)

    match(sequence_pairs([item.recording for item in keyframes]))
    match(state.pairs(typical_depth(state.triangulate(_ROUNDS[0]))))
    for tolerance in _ROUNDS:
        state.adjust(tolerance)
    points, rows, _ = observations(state.finish(1.0), config, state.scaled(config.max_reprojection_error_px))
    found = state.with_depth(points, rows)
    if not len(found.xyz):
        return None
    given = dict(zip(before.cameras, before.given_cameras or before.cameras, strict=True))
    addition = assemble_map(
        names=[item.name for item in keyframes],
        stamps_ns=[item.stamp_ns for item in keyframes],
        view_cameras=[view.camera for view in state.views],
        poses=state.poses,
        cameras=state.cameras,
        given_cameras=[given[camera] for camera in state.cameras],
        features=[item.features for item in keyframes],
        points=found.xyz,
        rows=found.rows,
        landmark_sigmas_m=found.sigma_m,
        pose_sigma=(before.pose_sigma_m, before.pose_sigma_rad),
        model_hash=before.model_hash,
        frame_id=before.frame_id,
        provenance=before.provenance,
        descriptor_dtype=config.descriptor_dtype,
    )
    return beside(before, keep_keyframes(addition, is_new))


def _added(before: LandmarkMap, folder: DriveFolder, config: MapBuildConfig) -> _Added | None:
    if not before.keyframes:
        return None
    newest = int(np.argmax(before.keyframe_stamps_ns))
    sources = folder.sources()
    source = sources.get(int(before.keyframe_names[newest].partition("/")[0]))
    if source is None or source.mode == IMAGES:
        return None
    recordings = {item.recording for item in sources.values() if item.drive == source.drive}
    known = {name: index for index, name in enumerate(before.keyframe_names)}
    names = [name for name in folder.names(recordings) if name not in known]
    newer = sorted(
        (item for item in folder.some(names, features=False) if item.stamp_ns > before.keyframe_stamps_ns[newest]),
        key=lambda item: item.stamp_ns,
    )
    chosen = [newer[int(place)] for place in np.unique(np.linspace(0, len(newer) - 1, _MOST).round())] if newer else []
    members = [index for name, index in known.items() if int(name.partition("/")[0]) in recordings]
    last = sorted(members, key=lambda index: int(before.keyframe_stamps_ns[index]))[-_WINDOW:]
    held = folder.some([before.keyframe_names[index] for index in last])
    if len(chosen) < FEWEST or not held:
        return None
    refined = dict(zip(before.given_cameras or before.cameras, before.cameras, strict=True))
    latest = max(held, key=lambda item: item.stamp_ns)
    map_from_odom = before.map_from_camera(known[latest.name]) @ latest.map_from_camera.inverse()
    placed = [_placed(item, before.map_from_camera(known[item.name]), refined, drifting=False) for item in held]
    new = [
        _placed(item, map_from_odom @ item.map_from_camera, refined, drifting=item.drifting)
        for item in folder.some([item.name for item in chosen])
        if item.camera in refined
    ]
    return _Added(placed, new) if len(new) >= FEWEST else None


def _placed(keyframe: Keyframe, pose: Pose, refined: dict[Camera, Camera], *, drifting: bool) -> Keyframe:
    """A keyframe in the frame of the map, with the calibration that it knows better."""
    camera = refined.get(keyframe.camera, keyframe.camera)
    return replace(keyframe, map_from_camera=pose, camera=camera, drifting=drifting)


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
    return beside(built, moved_rigidly(keep_keyframes(live, tail), there))
