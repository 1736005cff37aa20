"""The calibration that is stored on Luxonis' OAK cameras, as depthai writes it.

Source: docs.luxonis.com, "Calibration" of depthai (CalibrationHandler, EepromData).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.calibration.distortion import BROWN, EQUIDISTANT, distorted_camera
from hfnet_core.recordings.calibration.files.fields import Fields, integer, numbers
from hfnet_core.recordings.calibration.files.found import FileCamera
from hfnet_core.recordings.calibration.ros import pinhole_of

__all__ = ["is_depthai", "read_depthai"]

_BESIDE = ("extrinsics", "spec_hfov_deg", "lens_position")
_FISHEYE, _TYPES = 1, ("perspective", "fisheye", "equirectangular", "radial division")


def is_depthai(content: Mapping[Any, Any]) -> bool:
    """Whether this is one."""
    return isinstance(content.get("cameraData"), list)


def read_depthai(content: Mapping[Any, Any]) -> list[FileCamera]:
    """Its calibrated cameras, named by their sockets: CAM_A is 0. Raises DatasetError."""
    out = []
    for entry in content["cameraData"]:
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], Mapping)):
            raise DatasetError("cameraData is not [[socket, {...}], ...]")
        socket = _socket(entry[0])
        fields = Fields(entry[1], socket)
        size = integer(fields.require("width"), "width"), integer(fields.require("height"), "height")
        if not all(size):
            continue  # a socket without a calibrated camera
        kind = integer(fields.take("camera_type", default=0), "cameraType")
        if kind > _FISHEYE:
            raise DatasetError(f"{socket}: {_TYPES[kind] if kind < len(_TYPES) else kind} cameras are not supported")
        matrix = pinhole_of(numbers(fields.require("intrinsic_matrix"), f"{socket}: intrinsicMatrix"))
        d = numbers(fields.take("distortion_coeff", default=[]), f"{socket}: distortionCoeff")
        fields.finish(_BESIDE)
        camera = distorted_camera(size, matrix, EQUIDISTANT if kind == _FISHEYE else BROWN, d)
        out.append(FileCamera(socket, camera, camera))
    if not out:
        raise DatasetError("holds no calibrated camera")
    return out


def _socket(value: Any) -> str:
    return f"CAM_{chr(ord('A') + value)}" if isinstance(value, int) and 0 <= value < 26 else str(value)
