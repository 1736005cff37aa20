"""A map and new recordings of the same place, another day or in other light, become one map in the same frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.georeference.datum import KEY
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
from hfnet_core.maintenance.placing import Placing, looseness, place
from hfnet_core.mapping.georeferencing import georeferenced, with_gps
from hfnet_core.mapping.keyframes.reading import BuildTools, Reading, ReadingPlan, read_keyframes
from hfnet_core.mapping.pairing.pairs import sequence_pairs
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.visits.counts import remembering
from hfnet_core.progress import Progress, silent
from hfnet_core.projection import refinable
from hfnet_core.recordings.bags import open_cameras
from hfnet_core.recordings.options import BagOptions

__all__ = ["Extended", "add_placed", "extend_map", "extend_with_keyframes", "read_visits"]


@dataclass(frozen=True, eq=False)
class Extended:
    """The new map, and how the keyframes of each recording found their places."""

    landmark_map: LandmarkMap
    placings: tuple[Placing, ...]


def extend_map(
    landmark_map: LandmarkMap,
    bags: Sequence[Path],
    tools: BuildTools,
    options: BagOptions | Sequence[BagOptions] | None = None,
) -> Extended:
    """Add recordings to a map; its frame stays.

    Each keyframe is localized in the map. Poses of the recording are relative information only, in whatever frame they
    are; without any, keyframes that cannot be localized are left out. Raises MapError when the map was made by another
    model, DatasetError when no keyframe of a recording can be localized.
    """
    readings = read_visits(landmark_map, bags, tools, options)
    extended = extend_with_keyframes(landmark_map, readings, tools.config, tools.progress)
    return extended if KEY in landmark_map.provenance else _georeferenced(extended, readings)


def read_visits(
    landmark_map: LandmarkMap,
    bags: Sequence[Path],
    tools: BuildTools,
    options: BagOptions | Sequence[BagOptions] | None = None,
) -> list[Reading]:
    """Keyframes of recordings of a map's place, numbered on; their poses are odometry. Raises as `extend_map` does."""
    model_hash = tools.extractor.info.model_hash
    if model_hash != landmark_map.model_hash:
        raise MapError(
            f"the map was built with model {landmark_map.made_with}, the bags would be described by {model_hash}: "
            "describe the map anew with `hfnet map upgrade MAP BAG... -o NEW`, or give the map's model (--model)"
        )
    several = len(landmark_map.scale_factors) > 0  # what is added is described as the map is
    tools = replace(tools, config=replace(tools.config, multi_scale=several))
    readings: list[Reading] = []
    first, cameras = landmark_map.next_recording, len(options) if isinstance(options, Sequence) else 1
    for number, bag in enumerate(open_cameras(bags, options), start=first):
        bag.compare_cameras(landmark_map.known_cameras(bag.camera_frame))
        reading = read_keyframes(
            bag, ReadingPlan(number, not bag.has_poses, drive=first + (number - first) // cameras), tools
        )
        if bag.has_poses:
            told = [replace(item, odometry_from_camera=item.map_from_camera) for item in reading.keyframes]
            reading = replace(reading, keyframes=told)
        readings.append(reading if len(readings) % cameras else with_gps(reading, bag))
    return readings


def _georeferenced(extended: Extended, readings: Sequence[Reading]) -> Extended:
    """With its place on Earth by what was added, where that has fixes."""
    tracks = {reading.keyframes[0].recording: reading.gps for reading in readings if reading.gps is not None}
    owners = {item.name: item.recording for reading in readings for item in reading.keyframes}
    names = extended.landmark_map.keyframe_names
    return replace(
        extended, landmark_map=georeferenced(extended.landmark_map, [owners.get(name, -1) for name in names], tracks)
    )


def extend_with_keyframes(
    landmark_map: LandmarkMap, readings: Sequence[Reading], config: MapBuildConfig, progress: Progress = silent
) -> Extended:
    """`extend_map` of keyframes, of which odometry_from_camera counts, not map_from_camera."""
    placings = []
    for reading in readings:
        placing = place(landmark_map, reading.keyframes, progress)
        if not placing.placed:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in placing.reasons)
            raise DatasetError(
                f"{reading.name}: none of {len(reading.keyframes)} keyframes could be localized in the map "
                f"({reasons}); is it the same place, and the calibration right?"
            )
        placings.append(placing)
    return add_placed(landmark_map, readings, placings, config, progress)


def add_placed(
    landmark_map: LandmarkMap,
    readings: Sequence[Reading],
    placings: Sequence[Placing],
    config: MapBuildConfig,
    progress: Progress = silent,
) -> Extended:
    """The map with keyframes that have their places already. placings: of each reading."""
    cameras = Cameras(landmark_map)
    members = members_of(landmark_map, cameras)
    pairs: list[tuple[int, int]] = []
    for placing in placings:
        pairs += [
            (len(members) + first, len(members) + second) for first, second in sequence_pairs([0] * len(placing.placed))
        ]
        for item in placing.placed:
            pairs += [(other, len(members)) for other in item.seen_by]
            keyframe = item.keyframe
            index = cameras.index(
                keyframe.camera, refinable(keyframe.camera) if config.refine_intrinsics else keyframe.camera
            )
            members.append(
                Member(
                    keyframe.name,
                    keyframe.stamp_ns,
                    index,
                    item.map_from_camera,
                    keyframe.features,
                    looseness(item, config),
                    1 + len(members),
                    keyframe.ranges,
                )
            )
    pairs += cross_pairs(members, cameras.current, typical_depth(landmark_map), config)
    same = measured_matches(landmark_map)
    joined = join(members, cameras.current, pairs, config, known_points(landmark_map), progress, same=same)
    provenance = {
        **landmark_map.provenance,
        "recordings": [*landmark_map.recordings, *(reading.summary for reading in readings)],
        "history": [*landmark_map.provenance.get("history", []), *(_step(placing) for placing in placings)],
    }
    extended = to_map(
        members,
        joined,
        cameras.given,
        pose_sigma=(landmark_map.pose_sigma_m, landmark_map.pose_sigma_rad),
        model_hash=landmark_map.model_hash,
        frame_id=landmark_map.frame_id,
        provenance=provenance,
        descriptor_dtype=landmark_map.observation_descriptors.dtype.name,
    )
    return Extended(remembering([landmark_map], extended), tuple(placings))


def _step(placing: Placing) -> dict[str, Any]:
    return {
        "step": "extend",
        "keyframes": len(placing.placed),
        "localized": placing.localized,
        "contradicted": placing.contradicted,
        "left_out": placing.left_out,
    }
