"""Metric poses and calibrations of keyframes from their images alone."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose, Similarity, pose_error
from hfnet_core.georeference.track import GpsTrack
from hfnet_core.mapping.depth.scale import compare
from hfnet_core.mapping.georeferencing import believed_level, survey, timed
from hfnet_core.mapping.images_alone.mapper import Structure, reconstruct
from hfnet_core.mapping.images_alone.scale import (
    Scale,
    align,
    require_scale_source,
    scale_from_baselines,
    scale_from_distance,
    scale_from_odometry,
    spread_of,
    turned_deg,
)
from hfnet_core.mapping.keyframes.known_distance import known_distance
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.keyframes.selection import AT_ONCE_NS
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.mapping.pairing.image_pairs import image_pairs, verified_matches
from hfnet_core.progress import Progress, silent
from hfnet_core.types import Camera

__all__ = ["ARBITRARY", "Found", "poses_from_images"]

ARBITRARY = "arbitrary"  # the source of a scale that nothing tells

_log = logging.getLogger(__name__)
_LEAST_BASELINE_M = 0.005  # nearer, and the cameras are one that /tf names twice
_ARBITRARY_DEPTH = 3.0  # "metres" to what is typically seen, where nothing tells the scale
_WRONG_WAY_DEG = 45.0  # a wrong mounting is a quarter turn or more; a tilt that nobody measured, a few degrees
_NAMED = 20  # images that are left out, in the provenance


@dataclass(frozen=True, eq=False)
class Found:
    """What images alone tell, in metres. poses: map_from_camera of each keyframe, None where it did not register.

    cameras: the refined calibration of each keyframe. provenance: how it came about. sigma_m: uncertainty
    of the map's own frame that comes with the scale. frame_of: the recording whose odometry's frame the poses are in.
    on_earth: x points east, y north, z up.
    """

    poses: list[Pose | None]
    cameras: list[Camera]
    provenance: dict[str, Any]
    sigma_m: float
    frame_of: int | None
    on_earth: bool = False


def poses_from_images(
    keyframes: Sequence[Keyframe],
    config: MapBuildConfig,
    progress: Progress = silent,
    workspace: Workspace | None = None,
    tracks: Mapping[int, GpsTrack] | None = None,
) -> Found:
    """Metric poses of keyframes that have none, in order of recording and time; `map_from_camera` is not looked at.

    Scale comes from the known distance, else from odometry, else from depth images, else from cameras a known distance
    apart, else from fixes. tracks: fixes by recording. Raises ConfigError without any of them (unless scale_free),
    DatasetError where too little can be reconstructed.
    """
    told = any(item.odometry_from_camera is not None or item.ranges is not None for item in keyframes)
    told = told or bool(_baselines(keyframes))
    require_scale_source(config, f"{len(keyframes)} images", told=told or bool(tracks))
    pairs = verified_matches(keyframes, image_pairs(keyframes, config), config, progress, workspace or Workspace())
    structure = reconstruct(keyframes, pairs, config, progress)
    scale, source = _scale(keyframes, structure, config, tracks or {})
    similarity, frame_of = _aligned(keyframes, structure, scale)
    on_earth = None if frame_of is not None else _on_earth(keyframes, structure, scale, tracks or {})
    similarity = on_earth or similarity
    poses = [None if pose is None else similarity.move(pose) for pose in structure.poses]
    left_out = [keyframe.name for keyframe, pose in zip(keyframes, poses, strict=True) if pose is None]
    provenance: dict[str, Any] = {
        "structure": {
            "images": len(keyframes),
            "registered": len(keyframes) - len(left_out),
            "parts": structure.parts,
            "pairs_verified": len(pairs),
            "reprojection_px": round(structure.reprojection_px, 3),
            "left_out": left_out[:_NAMED],
            "left_out_count": len(left_out),
        },
        "scale": {"source": source, "spread": round(scale.spread, 4), "distances": scale.pairs},
    }
    # Distances overlap, so they count as few; what remains is an error of the scale, felt far from the middle.
    error = scale.spread / np.sqrt(max(scale.pairs, 1) / 3)
    sigma_m = float(error * spread_of(np.array([pose.translation for pose in poses if pose is not None])))
    return Found(poses, structure.cameras, provenance, sigma_m, frame_of, on_earth is not None)


def _scale(
    keyframes: Sequence[Keyframe], structure: Structure, config: MapBuildConfig, tracks: Mapping[int, GpsTrack]
) -> tuple[Scale, str]:
    """Metres per unit of the structure, and what tells."""
    known = known_distance(config.known_distance)
    if known is not None:
        names = {keyframe.name: pose for keyframe, pose in zip(keyframes, structure.poses, strict=True)}
        ends = [names.get(f"{owner}/{number:06d}") for owner, number in (known.first, known.second)]
        return scale_from_distance(ends[0], ends[1], known), "known distance"
    odometry = [keyframe.odometry_from_camera for keyframe in keyframes]
    if any(pose is not None for pose in odometry):
        return scale_from_odometry(structure.poses, odometry, [k.recording for k in keyframes]), "odometry"
    ranges = [keyframe.ranges for keyframe in keyframes]
    by_depth = compare(structure.seen, ranges)
    if by_depth is not None:
        return Scale(by_depth.ratio, by_depth.spread, by_depth.images), "depth"
    poses = structure.poses
    beside = [
        (one, other, metres)
        for first, second, metres in _baselines(keyframes)
        if (one := poses[first]) is not None and (other := poses[second]) is not None
    ]
    if tracks and not beside:
        try:
            return _scale_from_gps(keyframes, structure, tracks), "GPS"
        except DatasetError:
            if not config.scale_free:
                raise
    if beside or not config.scale_free:
        try:
            return scale_from_baselines(beside), "baseline"
        except DatasetError:  # few, where cameras take an image at the same time by chance
            if not config.scale_free:
                raise
    return Scale(_ARBITRARY_DEPTH / structure.depth, 0.0, 0), ARBITRARY


def _scale_from_gps(keyframes: Sequence[Keyframe], structure: Structure, tracks: Mapping[int, GpsTrack]) -> Scale:
    """Raises DatasetError where fixes do not tell it."""
    drives = timed([item.recording for item in keyframes], [item.stamp_ns for item in keyframes], structure.poses)
    _, found = survey(drives, tracks, believed_level(keyframes, structure.poses), scaled=True)
    # Of a single distance, as for the other sources, whose distances count as a third of their number.
    spread = found.scale_sigma * float(np.sqrt(max(found.agreeing, 1) / 3))
    return Scale(found.enu_from_map.scale, spread, found.agreeing)


def _on_earth(
    keyframes: Sequence[Keyframe], structure: Structure, scale: Scale, tracks: Mapping[int, GpsTrack]
) -> Similarity | None:
    """The way into axes east, north, up amid the fixes, None where they do not tell it."""
    if not tracks:
        return None
    metric = Similarity(scale.factor, Pose())
    poses = [None if pose is None else metric.move(pose) for pose in structure.poses]
    drives = timed([item.recording for item in keyframes], [item.stamp_ns for item in keyframes], poses)
    try:
        _, found = survey(drives, tracks, believed_level(keyframes, poses), scaled=False)
    except DatasetError as error:
        _log.warning("the frame of the map is not east, north, up: %s", error)
        return None
    return Similarity(scale.factor, found.enu_from_map.pose)


def _baselines(keyframes: Sequence[Keyframe]) -> list[tuple[int, int, float]]:
    """Keyframes taken at the same time by two cameras of a drive, and how far these are apart, metres."""
    out = []
    placed = [(index, keyframe) for index, keyframe in enumerate(keyframes) if keyframe.rig_from_camera is not None]
    for (first, one), (second, other) in itertools.combinations(placed, 2):
        if one.drive == other.drive and abs(one.stamp_ns - other.stamp_ns) <= AT_ONCE_NS:
            metres, _ = pose_error(one.rig_from_camera or Pose(), other.rig_from_camera or Pose())
            if metres > _LEAST_BASELINE_M:
                out.append((first, second, metres))
    return out


def _aligned(keyframes: Sequence[Keyframe], structure: Structure, scale: Scale) -> tuple[Similarity, int | None]:
    """The way into the map's frame, and the recording that named it: each one's odometry has a frame of its own.

    None of odometry that contradicts the images: its axes are wrong, though its distances fit.
    """
    both = [
        keyframe.recording
        for keyframe, pose in zip(keyframes, structure.poses, strict=True)
        if pose is not None and keyframe.odometry_from_camera is not None
    ]
    if not both:
        return Similarity(scale.factor, Pose()), None
    odometry = [keyframe.odometry_from_camera if keyframe.recording == both[0] else None for keyframe in keyframes]
    turned = turned_deg(structure.poses, odometry)
    if turned > _WRONG_WAY_DEG:
        _log.warning(
            "the odometry of recording %d moves the camera another way than the images show, by %.0f deg: only its "
            "distances are used, and the frame of the map is the images' own; is the camera mounted as "
            "--base-from-camera, /tf or --pose-frame say?",
            both[0],
            turned,
        )
        return Similarity(scale.factor, Pose()), None
    return align(structure.poses, odometry, scale), both[0]
