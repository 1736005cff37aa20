"""Kalibr's camchain: cameras of a rig, with their topics and where they sit.

Source: github.com/ethz-asl/kalibr, wiki pages "yaml formats" and "supported models".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.calibration.distortion import distorted_camera, family_of
from hfnet_core.recordings.calibration.files.fields import Fields, numbers
from hfnet_core.recordings.calibration.files.flat import size_of
from hfnet_core.recordings.calibration.files.found import FileCamera
from hfnet_core.recordings.calibration.fitting import fitted_double_sphere, fitted_omni
from hfnet_core.types import Camera

__all__ = ["is_camchain", "pose_of", "read_camchain"]

_NAME = re.compile(r"cam\d+")
_BESIDE = ("cam_overlaps", "timeshift_cam_imu", "t_imu_cam", "overlaps", "rosbag", "line_delay")
_ORTHOGONAL = 1e-3


def is_camchain(content: Mapping[Any, Any]) -> bool:
    """Whether this is one."""
    return any(_NAME.fullmatch(str(key)) and isinstance(value, Mapping) for key, value in content.items())


def read_camchain(content: Mapping[Any, Any]) -> list[FileCamera]:
    """Its cameras in order. Raises DatasetError naming camera and key."""
    names = sorted((str(key) for key in content if _NAME.fullmatch(str(key))), key=lambda name: int(name[3:]))
    strange = [str(key) for key in content if str(key) not in names]
    if strange:
        raise DatasetError(f"a camchain has {strange[0]!r}, which is not understood: remove it")
    out: list[FileCamera] = []
    first_from_imu: Pose | None = None
    for name in names:
        if not isinstance(content[name], Mapping):
            raise DatasetError(f"{name} is no camera")
        fields = Fields(content[name], name)
        step, from_imu = fields.take("t_cn_cnm1"), fields.take("t_cam_imu")
        camera, topic = _camera(fields, name), str(fields.take("rostopic", default=""))
        fields.finish(_BESIDE)
        camera_from_imu = pose_of(from_imu, f"{name}: T_cam_imu") if from_imu is not None else None
        first_from_camera: Pose | None = None
        if not out:
            first_from_camera, first_from_imu = Pose(), camera_from_imu
        elif step is not None:
            before = out[-1].first_from_camera
            back = pose_of(step, f"{name}: T_cn_cnm1").inverse()
            first_from_camera = before @ back if before is not None else None
        elif camera_from_imu is not None and first_from_imu is not None:
            first_from_camera = first_from_imu @ camera_from_imu.inverse()
        out.append(FileCamera(name, camera, camera, topic, first_from_camera))
    return out


def _camera(fields: Fields, name: str) -> Camera:
    model = str(fields.require("camera_model")).strip().lower()
    distortion = str(fields.take("distortion_model", default="none")).strip().lower()
    intrinsics = numbers(fields.require("intrinsics"), f"{name}: intrinsics")
    coefficients = numbers(fields.take("distortion_coeffs", default=[]), f"{name}: distortion_coeffs")
    size = size_of(fields)
    expected = {"pinhole": 0, "omni": 1, "eucm": 2, "ds": 2}
    if model not in expected:
        raise DatasetError(f"{name}: camera_model {model!r} is not supported; use pinhole, omni, eucm or ds")
    own = expected[model]
    if len(intrinsics) != own + 4:
        raise DatasetError(f"{name}: intrinsics of {model} are {own + 4} values, got {len(intrinsics)}")
    extra, pinhole = intrinsics[:own], _four(intrinsics[own:])
    if model == "pinhole":
        return distorted_camera(size, pinhole, family_of(distortion), coefficients)
    if model == "omni":
        if distortion not in ("radtan", "none"):
            raise DatasetError(f"{name}: omni with {distortion} is not supported")
        return fitted_omni(size, pinhole, extra[0], coefficients)
    if any(coefficients):
        raise DatasetError(f"{name}: {model} with distortion is not supported")
    if model == "eucm":
        return Camera("EUCM", *size, (*pinhole, *extra))
    return fitted_double_sphere(size, pinhole, extra[0], extra[1])


def _four(values: Sequence[float]) -> tuple[float, float, float, float]:
    fx, fy, cx, cy = values
    return fx, fy, cx, cy


def pose_of(value: Any, name: str) -> Pose:
    """A rigid transform of a 4x4 or 3x4 matrix, row by row. Raises DatasetError naming it."""
    entries = numbers(value, name)
    if len(entries) not in (12, 16):
        raise DatasetError(f"{name} has {len(entries)} values, expected 4x4")
    matrix = np.array([*entries[:12], 0.0, 0.0, 0.0, 1.0]).reshape(4, 4)
    rotation = matrix[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _ORTHOGONAL or np.linalg.det(rotation) < 0:
        raise DatasetError(f"{name} is no rotation and translation")
    return Pose.from_matrix(matrix)
