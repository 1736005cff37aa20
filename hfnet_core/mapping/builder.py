"""From recordings to a map: keyframes, features, pairs, matches, triangulation, bundle adjustment, map."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.mapping.bundle import SETTLED, TIGHTER, Bundle, typical_depth
from hfnet_core.mapping.keyframes.reading import Describer, Keyframe, read_keyframes
from hfnet_core.mapping.keyframes.workspace import Workplace
from hfnet_core.mapping.pairing.pairs import sequence_pairs
from hfnet_core.mapping.pose_modes import DRIFTING, GIVEN, IMAGES, choose_mode, drifts, place_keyframes, said, tolerant
from hfnet_core.mapping.solving.reconstruction import observations
from hfnet_core.maps.assembly import assemble_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.bags import open_cameras
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera

__all__ = ["Describer", "Keyframe", "Progress", "build_from_keyframes", "build_map", "read_keyframes"]

_ROUNDS = 5  # at most, of matching against the current poses, triangulating and adjusting
_OWN_FRAME = "map"  # of maps whose frame is made here


def build_map(
    bags: Sequence[Path], extractor: Describer, config: MapBuildConfig | None = None,
    options: BagOptions | Sequence[BagOptions] | None = None, progress: Progress = silent,
    workplace: Workplace | None = None,
) -> LandmarkMap:  # fmt: skip
    """A map of one or several recordings whose poses are relative to the same frame.

    options: several for several cameras, each of which counts as a recording of its own.

    The same recording in another container gives the same map, byte by byte: provenance identifies a recording by the
    content of its keyframes, never by its file name. workplace: keeps features and matches in case the build is killed.
    Raises DatasetError when a recording is unusable, has no poses,
    or too little can be triangulated.
    """
    config = config or MapBuildConfig()
    keyframes: list[Keyframe] = []
    recordings = []
    frames = []
    mode = rig_frame = ""
    beside: list[int] = []
    cameras = len(options) if isinstance(options, Sequence) else 1
    for number, bag in enumerate(open_cameras(bags, tolerant(options, config))):
        if not mode:
            mode = choose_mode(bag, config, cameras)
            progress(f"poses: {said(mode, bag, config)}", 1, 1)
        if mode != IMAGES:
            bag.require_poses()
        if number % cameras == 0:
            rig_frame, beside = bag.camera_frame if cameras > 1 else "", []
        found, summary = read_keyframes(
            bag, number, extractor, config, progress, workplace, from_images=mode == IMAGES, rig_frame=rig_frame,
            beside=beside,
        )  # fmt: skip
        beside = beside or [keyframe.stamp_ns for keyframe in found]
        drifting = mode != IMAGES and drifts(bag, config)
        drive = number // cameras
        keyframes += [dataclasses.replace(keyframe, drifting=drifting, drive=drive) for keyframe in found]
        recordings.append(summary)
        # Freed of its drift it is no longer the frame of the odometry, which a robot keeps apart from its map's.
        freed = bag.poses_drift and (drifting or mode == IMAGES)
        frames.append(bag.options.poses.map_frame or _OWN_FRAME if freed else bag.map_frame)
    if mode == IMAGES:
        return _build_from_images(keyframes, extractor, config, frames, recordings, progress, workplace)
    drifting_ones = {keyframe.recording for keyframe in keyframes if keyframe.drifting}
    staying = [frame for number, frame in enumerate(frames) if number not in drifting_ones]
    if len(set(staying)) > 1:
        raise DatasetError(f"the bags' poses are in different frames ({', '.join(staying)}): pass --map-frame")
    mode = DRIFTING if drifting_ones else GIVEN
    provenance = {"recordings": recordings, "settings": dataclasses.asdict(config), "pose_mode": mode}
    frame = (staying or frames)[0]
    return build_from_keyframes(keyframes, extractor.info, config, frame, provenance, progress, workplace)


def _build_from_images(
    keyframes: Sequence[Keyframe], extractor: Describer, config: MapBuildConfig, frames: Sequence[str],
    recordings: Sequence[Mapping[str, Any]], progress: Progress, workplace: Workplace | None,
) -> LandmarkMap:  # fmt: skip
    placed = place_keyframes(keyframes, config, progress, workplace)
    frame = frames[placed.frame_of] if placed.frame_of is not None else _OWN_FRAME
    provenance = {
        "recordings": recordings, "settings": dataclasses.asdict(config), "pose_mode": IMAGES, **placed.provenance
    }  # fmt: skip
    return build_from_keyframes(
        placed.keyframes, extractor.info, config, frame, provenance, progress, workplace, start=placed.start,
        sigma=placed.sigma,
    )  # fmt: skip


def build_from_keyframes(
    keyframes: Sequence[Keyframe], info: Any, config: MapBuildConfig, frame_id: str, provenance: Mapping[str, Any],
    progress: Progress = silent, workplace: Workplace | None = None, *, start: Mapping[Camera, Camera] | None = None,
    sigma: tuple[float, float] = (0.0, 0.0),
) -> LandmarkMap:  # fmt: skip
    """A map of keyframes with known poses. `info` is the ModelInfo of their features.

    start: calibrations that are better than the given ones already. sigma: what is uncertain about the frame that the
    poses are in, beside how well they agree with each other: metres, radians.
    """
    state = Bundle.of(keyframes, config, workplace or Workplace(), start or {})
    state.match(sequence_pairs([keyframe.recording for keyframe in keyframes]), progress)
    state.check_convention()
    first = state.triangulate(state.coarse[0])
    loops = state.close_loops(first, progress)
    state.match(state.pairs(typical_depth(first)), progress)
    if config.refine_poses:
        for number in range(_ROUNDS):
            progress("adjusting poses", number, _ROUNDS)
            moved = state.adjust(state.coarse[number] if number < len(state.coarse) else TIGHTER)
            if number >= len(state.coarse) - 1 and moved < SETTLED * config.pose_prior_sigma_m:
                break
        progress("adjusting poses", _ROUNDS, _ROUNDS)
        scene = state.finish(TIGHTER)
    else:
        scene = state.triangulate(1.0)
    points, rows, errors = observations(scene, config, state.scaled(config.max_reprojection_error_px))
    state.check_landmarks(len(points))
    statistics = {"gravity": state.gravity(), **state.statistics(points, rows, errors), **loops}
    metres, radians = state.pose_sigmas()
    sigmas = (float(np.hypot(metres, sigma[0])), float(np.hypot(radians, sigma[1])))
    return assemble_map(
        names=[keyframe.name for keyframe in keyframes], stamps_ns=[keyframe.stamp_ns for keyframe in keyframes],
        view_cameras=state.view_cameras, poses=state.poses, cameras=state.cameras, given_cameras=state.given,
        features=[keyframe.features for keyframe in keyframes], points=points, rows=rows, pose_sigma=sigmas,
        model_hash=info.model_hash, frame_id=frame_id,
        provenance={**statistics, **provenance, "model": {"name": info.name, "version": info.version}},
        descriptor_dtype=config.descriptor_dtype,
    )  # fmt: skip
