"""Settings of visual SLAM programs: ORB-SLAM 1 to 3 (`Camera1.fx`), stella_vslam and OpenVSLAM (`Camera:`).

Sources: github.com/UZ-SLAMLab/ORB_SLAM3, Examples; stella-cv.readthedocs.io, "Parameters".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.calibration.files.fields import Fields
from hfnet_core.recordings.calibration.files.flat import read_fields
from hfnet_core.recordings.calibration.files.found import FileCamera
from hfnet_core.recordings.calibration.files.kalibr import pose_of

__all__ = ["is_slam", "read_slam"]

_DOTTED = re.compile(r"(Camera\d?)\.(.+)")
_OTHER_PARTS = (
    "file",
    "orbextractor",
    "viewer",
    "system",
    "imu",
    "stereo",
    "tracking",
    "mapping",
    "loopclosing",
    "depthmapfactor",
    "thdepth",
    "rgbd",
    "tbc",
    "tlr",
    "left",
    "right",
    "initializer",
)
# What ORB-SLAM does with the images, and the stereo baseline.
_BESIDE = (
    "bf",
    "rgb",
    "bfishe_eye",
    "bfisheye",
    "new_width",
    "new_height",
    "overlapping_begin",
    "overlapping_end",
    "baseline",
    "depth_threshold",
    "focal_x_baseline",
    "img_depth",
    "dp",
    "undistort",
)


def is_slam(content: Mapping[Any, Any]) -> bool:
    """Whether this is one."""
    return isinstance(content.get("Camera"), Mapping) or any(_DOTTED.fullmatch(str(key)) for key in content)


def read_slam(content: Mapping[Any, Any]) -> list[FileCamera]:
    """Its cameras. Raises DatasetError naming camera and key."""
    if isinstance(content.get("Camera"), Mapping):  # the other parts of stella's file are not about the camera
        return [read_fields(Fields(content["Camera"], "Camera"), "Camera", beside=_BESIDE)]
    cameras: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        found = _DOTTED.fullmatch(str(key))
        if found:
            cameras.setdefault(found[1], {})[found[2]] = value
        elif not str(key).lower().startswith(_OTHER_PARTS):
            raise DatasetError(f"{key!r} is not understood: remove it if it does not change what the camera sees")
    common = cameras.pop("Camera", {})
    second = content.get("Stereo.T_c1_c2")
    mounts = {0: Pose(), 1: pose_of(second, "Stereo.T_c1_c2") if second is not None else None}
    out = []
    for index, (name, own) in enumerate(sorted(cameras.items()) or [("Camera", {})]):
        twice = [key for key in own if key in common]
        if twice:
            raise DatasetError(f"{name}.{twice[0]} and Camera.{twice[0]} are both there: leave one")
        read = read_fields(Fields({**common, **own}, name), name, beside=_BESIDE)
        out.append(FileCamera(name, read.camera, read.sensor, first_from_camera=mounts.get(index)))
    return out
