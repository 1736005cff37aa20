"""What a calibration file says of one camera."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.geometry import Pose
from hfnet_core.types import Camera

__all__ = ["FileCamera"]


@dataclass(frozen=True, eq=False)
class FileCamera:
    """name: what the file calls it. camera: of its images as they are delivered. sensor: before a region was cut out.

    topic: of its images, "" where the file does not tell. first_from_camera: its pose in the frame of the file's first
    camera, None where that is not told.
    """

    name: str
    camera: Camera
    sensor: Camera
    topic: str = ""
    first_from_camera: Pose | None = None
