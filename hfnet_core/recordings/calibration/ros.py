"""Cameras from sensor_msgs/CameraInfo messages, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.calibration.distortion import distorted_camera, family_of
from hfnet_core.recordings.calibration.plausibility import check_possible, doubts_about
from hfnet_core.types import Camera

__all__ = [
    "camera_from_calibration",
    "camera_from_info",
    "camera_info_fields",
    "delivered",
    "doubts_about_info",
    "is_uncalibrated",
    "pinhole_of",
]


def camera_from_calibration(
    width: int, height: int, distortion_model: str, matrix: Sequence[float], distortion: Sequence[float]
) -> Camera:
    """A camera from ROS calibration numbers: matrix is K (3x3, row by row), distortion is D in ROS order.

    Raises DatasetError for K without a focal length (an uncalibrated driver publishes zeros) and for distortion that
    none of our camera models expresses.
    """
    pinhole = pinhole_of(matrix)
    return distorted_camera((int(width), int(height)), pinhole, family_of(distortion_model.strip()), distortion)


def pinhole_of(matrix: Sequence[float], name: str = "camera matrix K") -> tuple[float, float, float, float]:
    """(fx, fy, cx, cy) of K (3x3, row by row). name: of it, for people. Raises DatasetError for what is no camera
    matrix."""
    k = np.asarray(matrix, dtype=np.float64).reshape(-1)
    if k.size != 9:
        raise DatasetError(f"{name} has {k.size} values, expected 9")
    if not np.isfinite(k).all():
        raise DatasetError("camera calibration contains values that are not finite")
    if k[0] <= 0 or k[4] <= 0:
        raise DatasetError(
            f"{name} is not calibrated (fx = {k[0]:g}, fy = {k[4]:g}): calibrate it or pass --calibration"
        )
    if np.array_equal(k, np.eye(3).ravel()):
        raise DatasetError(f"{name} is not calibrated (the identity): calibrate it or pass --calibration")
    if abs(k[1]) > 1e-6 * k[0]:
        raise DatasetError(f"{name} has skew {k[1]:g}, which is not supported: rectify the images")
    if k[6] or k[7] or k[2] == k[5] == 0.0:
        column = "; it is written column by column" if k[6] and k[7] else ""
        raise DatasetError(f"{name} {k.tolist()} is not [fx 0 cx, 0 fy cy, 0 0 1]{column}; pass --calibration")
    return float(k[0]), float(k[4]), float(k[2]), float(k[5])


def camera_from_info(message: Any, *, rectified: bool = False, trust: bool = False) -> Camera:
    """The camera of a CameraInfo message of ROS 1 or 2, for its image as it is delivered (binning and ROI applied).

    rectified: the image is rectified, so the projection matrix P counts and there is no distortion. trust: numbers that
    cannot be true are taken all the same. Raises DatasetError when the message holds no usable calibration.
    """
    camera = _of_sensor(message, rectified)
    if not trust:
        check_possible(camera, binned=max(_binning(message)) > 1)
    roi = message.roi
    region = int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)
    return delivered(camera, _binning(message), region)


def doubts_about_info(message: Any, *, rectified: bool = False) -> tuple[str, ...]:
    """What is unlikely in a usable CameraInfo, one sentence each."""
    return doubts_about(_of_sensor(message, rectified))


def is_uncalibrated(message: Any) -> bool:
    """Whether a CameraInfo holds zeros for K, as drivers publish without a calibration."""
    return not np.any(np.asarray(_either(message, "k"), dtype=np.float64))


def _of_sensor(message: Any, rectified: bool) -> Camera:
    width, height = int(message.width), int(message.height)
    if rectified:
        p = np.asarray(_either(message, "p"), dtype=np.float64).reshape(3, 4)
        pinhole = pinhole_of(p[:, :3].reshape(-1).tolist(), "projection matrix P")
        return distorted_camera((width, height), pinhole, family_of(""), ())
    k, d = _either(message, "k"), _either(message, "d")
    return camera_from_calibration(width, height, str(message.distortion_model), k, d)


def _either(message: Any, name: str) -> Any:
    """ROS 2 writes k, d, p; ROS 1 wrote K, D, P."""
    return getattr(message, name) if hasattr(message, name) else getattr(message, name.upper())


def _binning(message: Any) -> tuple[int, int]:
    return int(message.binning_x), int(message.binning_y)


def delivered(camera: Camera, binning: tuple[int, int], region: tuple[int, int, int, int]) -> Camera:
    """The camera of images that are a binned region of what the camera is calibrated for.

    binning: (x, y), 0 for none. region: (x, y, width, height), sizes of 0 for all of it. Raises DatasetError where
    nothing is left.
    """
    dx, dy, width, height = region
    width, height = width or camera.width, height or camera.height
    n = len(camera.focal_parameters)
    params = list(camera.params)
    params[n] -= dx
    params[n + 1] -= dy
    out = Camera(camera.model, width, height, tuple(params))
    bin_x, bin_y = max(binning[0], 1), max(binning[1], 1)
    if bin_x == bin_y == 1:
        return out
    if not (width // bin_x and height // bin_y):
        raise DatasetError(f"binning {bin_x}x{bin_y} leaves nothing of an image of {width}x{height}")
    return out.scaled(width // bin_x, height // bin_y)


def camera_info_fields(camera: Camera) -> tuple[str, list[float], list[float]]:
    """(distortion_model, K, D) of a ROS CameraInfo for a camera; the inverse of camera_from_calibration.

    Raises DatasetError for COLMAP models that ROS cannot express.
    """
    (fx, fy), (cx, cy), extra = camera.focal_length, camera.principal_point, list(camera.distortion)
    k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    if camera.model in ("OPENCV_FISHEYE", "SIMPLE_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"):
        return "equidistant", k, [*extra, *([0.0] * (4 - len(extra)))]
    if camera.model == "FULL_OPENCV":
        return "rational_polynomial", k, extra
    if camera.model in ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"):
        return "plumb_bob", k, [*extra, *([0.0] * (5 - len(extra)))]
    raise DatasetError(
        f"camera model {camera.model} has no place in a ROS camera_info: give the calibration with --calibration where "
        "the images are used"
    )
