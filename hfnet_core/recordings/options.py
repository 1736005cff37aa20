"""What a user can tell about a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose
from hfnet_core.images.preparation import AUTO, ROTATIONS

__all__ = ["BagOptions", "PoseOptions", "options_per_camera"]


@dataclass(frozen=True, eq=False)
class PoseOptions:
    """What the user says about poses; None leaves the choice to the bag.

    pose_topic: a topic, or "/tf". poses: a TUM file, which replaces topics. pose_frame: the frame whose pose it is.
    map_frame: for /tf, the fixed frame. base_from_camera: replaces the lookup of that transform. tf_topics: topics of
    transforms that alone are read, as one tree.
    """

    pose_topic: str | None = None
    poses: Path | None = None
    pose_frame: str | None = None
    map_frame: str | None = None
    base_from_camera: Pose | None = None
    tf_topics: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class BagOptions:
    """What the user says about a bag; None leaves the choice to what is in it.

    calibration: a file that replaces camera_info. camera_frame: replaces the frame that images name. poses: see
    PoseOptions. poses_wanted: without, no poses are looked for. max_pose_gap_s: poses further apart are not
    interpolated between. camera_optional: a recording without calibration is read with guessed cameras. image_rotation:
    by which images are turned clockwise to be upright, 0, 90, 180, 270, or auto. mask: see `read_mask`.
    trust_calibration: one whose numbers cannot be true is taken all the same. gps_topic: of fixes, if there are
    several. depth_topic: of depth images, `none` for none; else as usual beside the images. depth_camera_info_topic: of
    their camera where they are not registered to the images. camera_from_depth: replaces the lookup of that transform.
    stereo_topic: of the right images of a rectified pair, likewise, where there is no depth.
    """

    image_topic: str | None = None
    camera_info_topic: str | None = None
    calibration: Path | None = None
    camera_frame: str | None = None
    poses: PoseOptions = field(default_factory=PoseOptions)
    poses_wanted: bool = True
    max_pose_gap_s: float = MapBuildConfig.max_pose_gap_s
    camera_optional: bool = False
    trust_calibration: bool = False
    image_rotation: str = "0"
    mask: Path | None = None
    gps_topic: str | None = None
    depth_topic: str | None = None
    depth_camera_info_topic: str | None = None
    camera_from_depth: Pose | None = None
    stereo_topic: str | None = None

    def __post_init__(self) -> None:
        if self.image_rotation not in (*map(str, ROTATIONS), AUTO):
            raise ConfigError(f"image_rotation: {self.image_rotation!r} is not one of 0, 90, 180, 270 and auto")


def options_per_camera(common: BagOptions, **given: Sequence[Any]) -> tuple[BagOptions, ...]:
    """The same options for each of several cameras, with what is its own; without image topics, for the only one.

    given: by name of an option, one value for each camera or none. Raises ConfigError where something is given for some
    of the cameras only.
    """
    cameras = max(len(given.get("image_topic", ())), 1)
    for name, values in given.items():
        if values and len(values) != cameras:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag}: {len(values)} given for {cameras} cameras; give one for each, or none")

    def of(camera: int) -> BagOptions:
        own = {name: values[camera] for name, values in given.items() if values}
        poses = replace(common.poses, base_from_camera=own.pop("base_from_camera", common.poses.base_from_camera))
        return replace(common, poses=poses, **own)

    return tuple(of(camera) for camera in range(cameras))
