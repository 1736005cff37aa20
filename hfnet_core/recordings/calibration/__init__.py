"""Calibrations: from messages and files to cameras, and whether they can be true."""

from hfnet_core.recordings.calibration.files.reading import camera_from_file
from hfnet_core.recordings.calibration.guessing import guess_camera
from hfnet_core.recordings.calibration.ros import (
    camera_from_calibration,
    camera_from_info,
    camera_info_fields,
    doubts_about_info,
    is_uncalibrated,
)

__all__ = [
    "camera_from_calibration",
    "camera_from_file",
    "camera_from_info",
    "camera_info_fields",
    "doubts_about_info",
    "guess_camera",
    "is_uncalibrated",
]
