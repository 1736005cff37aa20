"""Where the poses of a map come from: chosen by what the recordings have, or by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose
from hfnet_core.georeference.track import GpsTrack
from hfnet_core.mapping.images_alone.scale import Scale, align, require_scale_source, scale_from_odometry
from hfnet_core.mapping.images_alone.structure import ARBITRARY, Found, poses_from_images
from hfnet_core.mapping.keyframes.reading import OWN_FRAME, Keyframe
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.depth.pair import recorded_pair
from hfnet_core.recordings.depth.recorded import recorded_depth
from hfnet_core.recordings.gravity import level, mean_up
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera

__all__ = [
    "DRIFTING",
    "GIVEN",
    "IMAGES",
    "MODES",
    "Placed",
    "choose_mode",
    "drifts",
    "in_frame_of",
    "in_words",
    "place_keyframes",
    "tolerant",
]

GIVEN, DRIFTING, IMAGES = MODES = ("given", "drifting", "images")
_FEWEST_HELD = 6  # keyframes in common with a map before
_BY_DEPTH = 10.0  # images bend what they see, and how long a metre is along the way; where depth tells, it decides


@dataclass(frozen=True, eq=False)
class Placed:
    """Keyframes that have a pose, and what else a build needs to know of them.

    frame_id: what their poses are relative to. start: calibrations that are better than the given ones already. sigma:
    what is uncertain about that frame, beside how well the poses agree with each other: metres, radians.
    refuse_calibrations: that the images refute; with poses from elsewhere they can. looseness: factor on the standard
    deviations of the poses, beside the configured ones.
    """

    keyframes: Sequence[Keyframe]
    frame_id: str = OWN_FRAME
    provenance: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[Camera, Camera] = field(default_factory=dict)
    sigma: tuple[float, float] = (0.0, 0.0)
    refuse_calibrations: bool = False
    looseness: float = 1.0


def tolerant(
    options: BagOptions | Sequence[BagOptions] | None, config: MapBuildConfig
) -> BagOptions | Sequence[BagOptions] | None:
    """Options that let a recording without calibration pass where images alone may do."""
    if config.pose_mode not in ("auto", IMAGES):
        return options
    if options is None or isinstance(options, BagOptions):
        return replace(options or BagOptions(), camera_optional=True)
    return [replace(own, camera_optional=True) for own in options]


def choose_mode(bag: Bag, config: MapBuildConfig, cameras: int = 1) -> str:
    """The mode for a build that begins with this bag. Raises where that cannot work, before anything is computed.

    Poses count where the camera is calibrated as well; an unknown camera has to be found from the images together
    with its poses, and given poses then serve for scale and frame.
    """
    mode = config.pose_mode
    if mode == "auto":
        given = DRIFTING if bag.poses_drift else GIVEN
        mode = given if bag.has_poses and not bag.camera_unknown else IMAGES
    if mode != IMAGES and config.known_distance:
        raise ConfigError(
            f"{bag.path}: known_distance is for images alone, and it has poses ({bag.pose_source}): add --pose-mode "
            "images to do without them"
        )
    if mode == IMAGES and cameras == 1:  # the distance between several may tell the scale
        why = "; ".join(filter(None, (bag.no_poses, "" if _has_gps(bag) else str(bag.gps))))
        told = bag.has_poses or _has_gps(bag) or _has_depth(bag)
        require_scale_source(config, str(bag.path), told=told, why=why)
    return mode


def _has_gps(bag: Bag) -> bool:
    return isinstance(bag.gps, GpsTrack)


def _has_depth(bag: Bag) -> bool:
    with recorded_depth(bag) as depth, recorded_pair(bag) as pair:
        return depth.topic is not None or pair is not None


def in_words(mode: str, bag: Bag, config: MapBuildConfig) -> str:
    """The choice in words, for people."""
    if mode != IMAGES:
        return f"{mode}, {bag.pose_source}"
    if config.known_distance:
        return "images alone, scale from a known distance"
    if bag.has_poses:
        return f"images alone, scale from {bag.pose_source}"
    if _has_depth(bag):
        return "images alone, scale from depth"
    if isinstance(bag.gps, GpsTrack):
        return f"images alone, scale from {bag.gps.topic}"
    return "images alone, scale " + ("arbitrary" if config.scale_free else "from the distance of the cameras")


def drifts(bag: Bag, config: MapBuildConfig) -> bool:
    """Whether a bag's poses are odometry; bags that know where they are may be built together with such that do not."""
    return config.pose_mode == DRIFTING or (config.pose_mode == "auto" and bag.poses_drift)


def place_keyframes(
    keyframes: Sequence[Keyframe],
    frames: Sequence[str],
    config: MapBuildConfig,
    progress: Progress = silent,
    workspace: Workspace | None = None,
    tracks: Mapping[int, GpsTrack] | None = None,
) -> Placed:
    """The keyframes that register, with the poses that images alone give. Raises as `poses_from_images` does.

    frames: what the poses of each recording's odometry are relative to. tracks: fixes by recording.
    """
    found = poses_from_images(keyframes, config, progress, workspace, tracks)
    poses, gravity = _levelled(keyframes, found)
    placed: list[Keyframe] = []
    start: dict[Camera, Camera] = {}
    for keyframe, pose, camera in zip(keyframes, poses, found.cameras, strict=True):
        if pose is not None:
            own = camera if keyframe.camera_guessed else keyframe.camera
            start[own] = camera
            placed.append(replace(keyframe, map_from_camera=pose, camera=own))
    frame = frames[found.frame_of] if found.frame_of is not None else OWN_FRAME
    measured = config.adjust_depth and any(keyframe.ranges is not None for keyframe in placed)
    told, sigma = {**found.provenance, "gravity": gravity}, (found.sigma_m, 0.0)
    return Placed(placed, frame, told, start, sigma, looseness=_BY_DEPTH if measured else 1.0)


def in_frame_of(placed: Placed, before: Mapping[str, Pose]) -> Placed:
    """Keyframes that images alone have placed, moved into the frame in which some of them had poses before.

    before: map_from_camera by keyframe. Metres stay what they are, unless they are arbitrary. Too few common
    keyframes change nothing.
    """
    held = [before.get(keyframe.name) for keyframe in placed.keyframes]
    if sum(pose is not None for pose in held) < _FEWEST_HELD:
        return placed
    found: list[Pose | None] = [keyframe.map_from_camera for keyframe in placed.keyframes]
    metres = Scale(1.0, 0.0, 0)
    if placed.provenance["scale"]["source"] == ARBITRARY:
        metres = scale_from_odometry(found, held, [keyframe.recording for keyframe in placed.keyframes])
    similarity = align(found, held, metres)
    moved = [replace(item, map_from_camera=similarity.move(item.map_from_camera)) for item in placed.keyframes]
    return replace(placed, keyframes=moved)


def _levelled(keyframes: Sequence[Keyframe], found: Found) -> tuple[list[Pose | None], str]:
    """Poses in a frame whose z axis points up, where anything tells, and what told."""
    if found.frame_of is not None:
        return found.poses, "as in the frame of the odometry: z up by convention (REP-103)"
    if found.on_earth:
        return found.poses, "z up by GPS"
    up = mean_up(found.poses, [keyframe.up_in_camera for keyframe in keyframes])
    if up is None:
        return found.poses, "unknown: neither odometry nor accelerations tell which way is up"
    turn = level(up[0])
    poses = [None if pose is None else turn @ pose for pose in found.poses]
    return poses, f"z up by accelerations, which differ by {up[1]:.1f} deg between keyframes"
