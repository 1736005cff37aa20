"""What a user can tell about a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose

__all__ = ["BagOptions", "PoseOptions", "options_per_camera"]


@dataclass(frozen=True, eq=False)
class PoseOptions:
    """What the user says about poses; None leaves the choice to the bag.

    pose_topic: a topic, or "/tf". poses: a TUM file, which replaces topics. pose_frame: the frame whose pose it is.
    map_frame: for /tf, the fixed frame. base_from_camera: replaces the lookup of that transform.
    """

    pose_topic: str | None = None
    poses: Path | None = None
    pose_frame: str | None = None
    map_frame: str | None = None
    base_from_camera: Pose | None = None


@dataclass(frozen=True, eq=False)
class BagOptions:
    """What the user says about a bag; None leaves the choice to what is in it.

    calibration: a file that replaces camera_info. poses: see PoseOptions. max_pose_gap_s: poses further apart are not
    interpolated between. camera_optional: a recording without calibration is read with guessed cameras.
    """

    image_topic: str | None = None
    camera_info_topic: str | None = None
    calibration: Path | None = None
    poses: PoseOptions = field(default_factory=PoseOptions)
    max_pose_gap_s: float = MapBuildConfig.max_pose_gap_s
    camera_optional: bool = False


def options_per_camera(
    common: BagOptions, image_topics: Sequence[str], camera_info_topics: Sequence[str] = (),
    calibrations: Sequence[Path] = (), bases_from_cameras: Sequence[Pose] = (),
) -> tuple[BagOptions, ...]:  # fmt: skip
    """The same options for each of several cameras, with what is its own; without image topics, for the only one.

    Raises ConfigError where something is given for some of the cameras only.
    """
    cameras = max(len(image_topics), 1)
    named: dict[str, Sequence[Any]] = {
        "--image-topic": image_topics, "--camera-info-topic": camera_info_topics, "--calibration": calibrations,
        "--base-from-camera": bases_from_cameras,
    }  # fmt: skip
    for name, given in named.items():
        if given and len(given) != cameras:
            raise ConfigError(f"{name}: {len(given)} given for {cameras} cameras; give one for each, or none")

    def of(camera: int) -> BagOptions:
        topic, info, calibration, base = (values[camera] if values else None for values in named.values())
        return replace(
            common, image_topic=topic, camera_info_topic=info, calibration=calibration,
            poses=replace(common.poses, base_from_camera=base),
        )  # fmt: skip

    return tuple(of(camera) for camera in range(cameras))
