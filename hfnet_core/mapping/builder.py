"""From recordings to a map: keyframes, features, pairs, matches, triangulation, bundle adjustment, map."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.mapping.bundle import SETTLED, TIGHTER
from hfnet_core.mapping.georeferencing import georeferenced, with_gps
from hfnet_core.mapping.keyframe_bundle import KeyframeBundle, typical_depth
from hfnet_core.mapping.keyframes.reading import (
    BuildTools,
    Describer,
    Keyframe,
    Reading,
    ReadingPlan,
    read_keyframes,
)
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.mapping.look_alikes import with_look_alikes
from hfnet_core.mapping.pairing.pairs import sequence_pairs
from hfnet_core.mapping.pose_modes import (
    DRIFTING,
    GIVEN,
    IMAGES,
    Placed,
    choose_mode,
    drifts,
    in_frame_of,
    in_words,
    place_keyframes,
    tolerant,
)
from hfnet_core.mapping.solving.reconstruction import observations
from hfnet_core.maps.assembly import assemble_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.bags import open_cameras
from hfnet_core.recordings.calibration.plausibility import corrected_by
from hfnet_core.recordings.options import BagOptions

__all__ = [
    "Describer",
    "Keyframe",
    "Placed",
    "Progress",
    "Recorded",
    "build_from_keyframes",
    "build_from_readings",
    "build_map",
]

_log = logging.getLogger(__name__)
_ROUNDS = 5  # at most, of matching against the current poses, triangulating and adjusting


def build_map(
    bags: Sequence[Path],
    extractor: Describer,
    config: MapBuildConfig | None = None,
    options: BagOptions | Sequence[BagOptions] | None = None,
    progress: Progress = silent,
    workspace: Workspace | None = None,
) -> LandmarkMap:
    """A map of one or several recordings whose poses are relative to the same frame.

    options: several for several cameras, each of which counts as a recording of its own.

    The same recording in another container gives the same map, byte by byte: provenance identifies a recording by the
    content of its keyframes, never by its file name. workspace: keeps features and matches in case the build is killed.
    Raises DatasetError when a recording is unusable, has no poses, too little can be triangulated, or images refute a
    calibration.
    """
    tools = BuildTools(extractor, config or MapBuildConfig(), progress, workspace or Workspace())
    mode, readings = _read(bags, options, tools)
    trusted = any(own.trust_calibration for own in (options if isinstance(options, Sequence) else [options]) if own)
    recorded = Recorded(mode, readings, extractor.info, trusted)
    return build_from_readings(recorded, tools.config, progress, tools.workspace)


@dataclass(frozen=True, eq=False)
class Recorded:
    """Everything that was read of some recordings. mode: where its poses come from, one of `pose_modes`. info: the
    ModelInfo of the features. trust_calibration: also where the images refute it. frame: poses of keyframes, by name,
    in a map of the same recordings made before, whose frame is kept where images alone would choose another."""

    mode: str
    readings: Sequence[Reading]
    info: Any
    trust_calibration: bool = False
    frame: Mapping[str, Pose] = field(default_factory=dict)


def build_from_readings(
    recorded: Recorded, config: MapBuildConfig, progress: Progress = silent, workspace: Workspace | None = None
) -> LandmarkMap:
    """A map of what was read, whether from bags or while a robot drove. Raises as `build_map`."""
    readings, mode = recorded.readings, recorded.mode
    keyframes = [keyframe for reading in readings for keyframe in reading.keyframes]
    tracks = {number: reading.gps for number, reading in enumerate(readings) if reading.gps is not None}
    provenance = {
        "recordings": [reading.summary for reading in readings],
        "settings": dataclasses.asdict(config),
        "pose_mode": mode,
    }
    if mode == IMAGES:
        frames = [reading.frame for reading in readings]
        placed = in_frame_of(place_keyframes(keyframes, frames, config, progress, workspace, tracks), recorded.frame)
        placed = dataclasses.replace(placed, provenance={**provenance, **placed.provenance})
    else:
        frame = _common_frame(readings)
        placed = Placed(keyframes, frame, provenance, refuse_calibrations=not recorded.trust_calibration)
    built = build_from_keyframes(placed, recorded.info, config, progress, workspace)
    return georeferenced(built, [keyframe.recording for keyframe in placed.keyframes], tracks)


def _read(
    bags: Sequence[Path], options: BagOptions | Sequence[BagOptions] | None, tools: BuildTools
) -> tuple[str, list[Reading]]:
    """Every bag, once for each camera, and where its poses come from."""
    config, mode, rig_frame = tools.config, "", ""
    cameras = len(options) if isinstance(options, Sequence) else 1
    readings: list[Reading] = []
    for number, bag in enumerate(open_cameras(bags, tolerant(options, config))):
        if not mode:
            mode = choose_mode(bag, config, cameras)
            tools.progress(f"poses: {in_words(mode, bag, config)}", 1, 1)
        if mode != IMAGES:
            bag.require_poses()
        camera = number % cameras
        if camera == 0:
            rig_frame = bag.camera_frame if cameras > 1 else ""
        plan = ReadingPlan(
            number,
            from_images=mode == IMAGES,
            drive=number // cameras,
            drifting=mode != IMAGES and drifts(bag, config),
            rig_frame=rig_frame,
            beside=tuple(keyframe.stamp_ns for keyframe in readings[number - camera].keyframes) if camera else (),
        )
        reading = read_keyframes(bag, plan, tools)
        readings.append(reading if camera else with_gps(reading, bag))
    drifting = any(keyframe.drifting for reading in readings for keyframe in reading.keyframes)
    return (mode if mode == IMAGES else DRIFTING if drifting else GIVEN), readings


def _common_frame(readings: Sequence[Reading]) -> str:
    """What all poses are relative to. Raises DatasetError for several such frames."""
    staying = [reading.frame for reading in readings if not reading.keyframes[0].drifting]
    if len(set(staying)) > 1:
        raise DatasetError(f"the bags' poses are in different frames ({', '.join(staying)}): pass --map-frame")
    return (staying or [reading.frame for reading in readings])[0]


def _say_corrections(placed: Placed, state: KeyframeBundle) -> None:
    """Log calibrations that the images have corrected more than calibrations are off by. Raises as `corrected_by`."""
    guessed = {keyframe.camera for keyframe in placed.keyframes if keyframe.camera_guessed}
    for given, found in zip(state.given, state.cameras, strict=True):
        said = "" if given in guessed else corrected_by(given, found, refuse=placed.refuse_calibrations)
        if said:
            _log.warning("%s", said)


def build_from_keyframes(
    placed: Placed,
    info: Any,
    config: MapBuildConfig,
    progress: Progress = silent,
    workspace: Workspace | None = None,
) -> LandmarkMap:
    """A map of keyframes with known poses. `info` is the ModelInfo of their features."""
    keyframes = placed.keyframes
    state = KeyframeBundle(keyframes, config, workspace or Workspace(), placed.start, placed.looseness)
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
    _say_corrections(placed, state)
    points, rows, errors = observations(scene, config, state.scaled(config.max_reprojection_error_px))
    found = state.with_depth(points, rows)
    state.check_landmarks(len(found.xyz))
    depth = state.compare_depth(found)
    told = {"gravity": state.gravity(), "statistics": state.statistics(found, errors), **loops, **depth}
    metres, radians = (value / placed.looseness for value in state.pose_sigmas())  # loose ones are there to be moved
    sigma = placed.sigma
    built = assemble_map(
        names=[keyframe.name for keyframe in keyframes],
        stamps_ns=[keyframe.stamp_ns for keyframe in keyframes],
        view_cameras=[view.camera for view in state.views],
        poses=state.poses,
        cameras=state.cameras,
        given_cameras=state.given,
        features=[keyframe.features for keyframe in keyframes],
        points=found.xyz,
        rows=found.rows,
        landmark_sigmas_m=found.sigma_m,
        pose_sigma=(float(np.hypot(metres, sigma[0])), float(np.hypot(radians, sigma[1]))),
        model_hash=info.model_hash,
        frame_id=placed.frame_id,
        provenance={**told, **placed.provenance, "model": {"name": info.name, "version": info.version}},
        descriptor_dtype=config.descriptor_dtype,
    )
    return with_look_alikes(built, progress)
