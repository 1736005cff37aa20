"""COLMAP's cameras.txt.

Its pixels begin at the corner of the first one, ours at its centre: half a pixel lies between.
"""

from __future__ import annotations

import re

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.recordings.calibration.files.fields import integer, number
from hfnet_core.recordings.calibration.files.found import FileCamera
from hfnet_core.types import Camera

__all__ = ["HALF_PIXEL", "is_cameras_txt", "moved_half_pixel", "read_cameras_txt"]

HALF_PIXEL = 0.5
_LINE = re.compile(r"\d+\s+[A-Z_]+\s+\d+\s+\d+\s+\S")


def is_cameras_txt(text: str) -> bool:
    """Whether this is one: the first line that is no comment looks like a camera."""
    return _LINE.match(next(iter(_lines(text)), (0, ""))[1]) is not None


def read_cameras_txt(text: str) -> list[FileCamera]:
    """Its cameras, named by their ids. Raises DatasetError naming the line."""
    out = []
    for number_of_line, line in _lines(text):
        words = line.split()
        try:
            name, model, width, height, *params = words
            size = integer(width, "width"), integer(height, "height")
            camera = moved_half_pixel(Camera(model, *size, tuple(number(value, "parameter") for value in params)))
        except (ValueError, ConfigError, DatasetError) as error:
            raise DatasetError(f"line {number_of_line}: {error}") from error
        out.append(FileCamera(name, camera, camera))
    return out


def moved_half_pixel(camera: Camera) -> Camera:
    """From COLMAP's pixels to ours."""
    n = len(camera.focal_parameters)
    cx, cy = camera.principal_point
    moved = (*camera.focal_parameters, cx - HALF_PIXEL, cy - HALF_PIXEL, *camera.params[n + 2 :])
    return Camera(camera.model, camera.width, camera.height, moved)


def _lines(text: str) -> list[tuple[int, str]]:
    rows = ((number_of_line, row.strip()) for number_of_line, row in enumerate(text.splitlines(), start=1))
    return [(number_of_line, row) for number_of_line, row in rows if row and not row.startswith("#")]
