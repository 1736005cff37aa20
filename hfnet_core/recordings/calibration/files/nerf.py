"""transforms.json of nerfstudio and instant-ngp.

Their pixels are COLMAP's (the first one's centre is at 0.5, 0.5), whose principal point they copy.
Sources: docs.nerf.studio, "Data conventions"; github.com/NVlabs/instant-ngp, "NeRF dataset tips".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.calibration.files.colmap import moved_half_pixel
from hfnet_core.recordings.calibration.files.fields import Fields, number
from hfnet_core.recordings.calibration.files.flat import read_fields
from hfnet_core.recordings.calibration.files.found import FileCamera

__all__ = ["is_transforms", "read_transforms"]

_OPTICS = frozenset(
    ("camera_model", "fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "k3", "k4", "p1", "p2", "camera_angle_x")
)
_BESIDE = (
    "frames",
    "aabb",
    "aabb_scale",
    "scale",
    "offset",
    "up",
    "from_na",
    "n_extra_learnable_dims",
    "applied_transform",
    "applied_scale",
    "orientation_override",
    "auto_scale_poses_override",
    "ply_file_path",
    "camera_angle_y",
    "camera_angle_x",
    "depth_unit_scale_factor",
    "integer_depth_scale",
    "sharpness",
    "white_transparent",
    "black_transparent",
    "train_filenames",
    "val_filenames",
    "test_filenames",
    "enable_depth_loading",
    "enable_ray_loading",
    "normal_mts_args",
    "global_move_scale",
)


def is_transforms(content: Mapping[Any, Any]) -> bool:
    """Whether this is one."""
    return isinstance(content.get("frames"), list) or "fl_x" in content or "camera_angle_x" in content


def read_transforms(content: Mapping[Any, Any]) -> list[FileCamera]:
    """The camera, of the whole file or the same in all its frames. Raises DatasetError."""
    values = {**dict(content), **_of_frames(content)}
    if "fl_x" not in values and "camera_angle_x" in values and "w" in values:
        angle, width = (number(values[name], name) for name in ("camera_angle_x", "w"))
        if not 0 < angle < math.pi:
            raise DatasetError(f"camera_angle_x = {angle:g} is no angle in radians")
        values["fl_x"] = width / 2 / math.tan(angle / 2)
    if "fl_x" in values:
        values.setdefault("fl_y", values["fl_x"])
    read = read_fields(Fields(values, "transforms"), "transforms", beside=_BESIDE)
    camera = moved_half_pixel(read.camera)
    return [FileCamera("transforms", camera, camera)]


def _of_frames(content: Mapping[Any, Any]) -> Mapping[str, Any]:
    """What frames say of their camera. Raises DatasetError where they differ."""
    frames = [frame for frame in content.get("frames") or () if isinstance(frame, Mapping)]
    own = [{name: frame[name] for name in sorted(_OPTICS & frame.keys())} for frame in frames]
    if any(each != own[0] for each in own):
        raise DatasetError("its frames have cameras of their own: write the one that is meant into a file of its own")
    return own[0] if own else {}
