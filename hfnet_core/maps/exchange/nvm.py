"""Models in the NVM format of VisualSFM, in which Aachen Day-Night, RobotCar Seasons and CMU Seasons come.

Format after VisualSFM's documentation (ccwu.me/vsfm/doc.html): a line `NVM_V3`, the number of images, a line for each
(name, focal length, quaternion wxyz of camera_from_world, centre in the world, radial distortion, 0), the number of
points, a line for each (position, colour, number of measurements, and these: image, feature, x, y). Of several models
in a file the first one is read. Every announced number is compared with what the file has left.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.files import read_file
from hfnet_core.geometry import Pose
from hfnet_core.limits import RECONSTRUCTION
from hfnet_core.maps.colmap_model import LARGEST, ModelCamera, rigid

__all__ = ["NvmImage", "NvmModel", "nvm_camera", "read_nvm"]

_HEADER = b"NVM_V3"
_NUMBERS = 10  # that follow the name of an image
_SHORTEST_IMAGE, _SHORTEST_POINT = 2 * _NUMBERS + 1, 13  # bytes of a line
_POINT, _MEASUREMENT = 7, 4  # columns
_LONGEST_NAME = 4096
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class NvmImage:
    """name: below a folder. focal_px: of a camera whose principal point is the middle of the image. radial: VisualSFM's
    coefficient, which undoes distortion (COLMAP's k applies it)."""

    name: str
    focal_px: float
    camera_from_world: Pose
    radial: float


@dataclass(frozen=True, eq=False)
class NvmModel:
    """points_xyz: [P, 3]. seen: [T, 2] int64, point and image of each measurement. measured_px: [T, 2] as in the file:
    pixels from the corner of the top-left one where COLMAP wrote it, from the principal point where VisualSFM did."""

    images: tuple[NvmImage, ...]
    points_xyz: NDArray[np.float64]
    seen: NDArray[np.int64]
    measured_px: NDArray[np.float64]

    @property
    def is_centred(self) -> bool:
        """Whether measurements count from the principal point: some are negative."""
        return bool((self.measured_px < 0).any())

    def keypoints_px(self, principal_points: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, 2] measurements in our pixels, from the centre of the top-left one.

        principal_points: [images, 2] in our pixels.
        """
        if self.is_centred:
            return self.measured_px + principal_points[self.seen[:, 1]]
        return self.measured_px - 0.5


def nvm_camera(image: NvmImage, size: tuple[int, int]) -> ModelCamera:
    """What the model itself says of the camera of an image of size (width, height), as COLMAP would.

    To first order, undoing a distortion r is applying k = -r.
    """
    width, height = size
    return ModelCamera(0, "SIMPLE_RADIAL", width, height, (image.focal_px, width / 2, height / 2, -image.radial))


def read_nvm(path: Path) -> NvmModel:
    """Raises DatasetError where the file is missing, damaged or no NVM model."""
    content = read_file(path, RECONSTRUCTION, what="an NVM model")
    try:
        return _parse(_Lines(content))
    except (ValueError, IndexError) as error:
        said = str(error) if isinstance(error, ValueError) else "lacks columns"
        raise DatasetError(f"{path}: is no NVM model, or damaged ({said}); download it again") from error


class _Lines:
    """Lines that are not empty, one at a time, so that a large file is not held twice."""

    def __init__(self, content: bytes) -> None:
        self._content, self._position, self.number = content, 0, 0

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return max(len(self._content) - self._position, 0)

    def take(self) -> bytes:
        """Raises ValueError at the end of the file."""
        while self.left:
            end = self._content.find(b"\n", self._position)
            end = len(self._content) if end < 0 else end
            line = self._content[self._position : end].strip()
            self._position = end + 1
            self.number += 1
            if line:
                return line
        raise ValueError("it is cut off")

    def count(self, shortest: int, what: str) -> int:
        """How many lines follow. Raises ValueError where the file is too short for them."""
        text = self.take()
        if not text.isdigit() or len(text) > 12 or int(text) * shortest > self.left + shortest:
            raise ValueError(f"line {self.number}: {text[:40]!r} is no number of {what} that follow")
        return int(text)


def _parse(lines: _Lines) -> NvmModel:
    if not lines.take().startswith(_HEADER):
        raise ValueError("it does not begin with NVM_V3")
    images = tuple(_located(lines, _image) for _ in range(lines.count(_SHORTEST_IMAGE, "images")))
    if len({image.name for image in images}) != len(images):
        raise ValueError("two images have one name")
    points, seen, measured = array("d"), array("q"), array("d")

    def add(line: bytes) -> None:
        _point(line, len(images), points, seen, measured)

    for _ in range(lines.count(_SHORTEST_POINT, "points")):
        _located(lines, add)
    xyz, pixels = np.array(points).reshape(-1, 3), np.array(measured).reshape(-1, 2)
    if not ((np.abs(xyz) <= LARGEST).all() and (np.abs(pixels) <= LARGEST).all()):
        raise ValueError("it has points or pixels that are not finite or too far away")
    return NvmModel(images, xyz, np.array(seen, dtype=np.int64).reshape(-1, 2), pixels)


def _located(lines: _Lines, record: Callable[[bytes], _T]) -> _T:
    line = lines.take()
    try:
        return record(line)
    except ValueError as error:
        raise ValueError(f"line {lines.number}: {error}") from error
    except IndexError as error:
        raise ValueError(f"line {lines.number}: lacks columns") from error


def _image(line: bytes) -> NvmImage:
    fields = line.rsplit(None, _NUMBERS)  # a name may hold spaces
    name = fields[0].decode("utf-8").removeprefix("./")
    focal, qw, qx, qy, qz, *centre, radial, _ = (float(field) for field in fields[1 : _NUMBERS + 1])
    if not name or len(name) > _LONGEST_NAME or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise ValueError(f"{name[:40]!r} is no name of an image below a folder")
    if not (0 < focal <= LARGEST and abs(radial) <= LARGEST):
        raise ValueError("a focal length or distortion that is none")
    camera_from_world = rigid((qw, qx, qy, qz, 0.0, 0.0, 0.0))
    if len(centre) != 3 or not all(abs(value) <= LARGEST for value in centre):
        raise ValueError("a position that is not finite or too far away")
    rotation = camera_from_world.rotation
    return NvmImage(name, focal, Pose(rotation, -rotation @ np.array(centre)), radial)


def _point(line: bytes, images: int, points: array[float], seen: array[int], measured: array[float]) -> None:
    fields = line.split()
    count = int(fields[_POINT - 1])
    if len(fields) != _POINT + _MEASUREMENT * count or count < 0:
        raise ValueError(f"{len(fields)} columns do not hold {count} measurements")
    index = len(points) // 3
    points.extend(map(float, fields[:3]))
    for column in range(_POINT, len(fields), _MEASUREMENT):
        image = int(fields[column])
        if not 0 <= image < images:
            raise ValueError(f"a measurement in image {image}, which is not there")
        seen.extend((index, image))
        measured.extend((float(fields[column + 2]), float(fields[column + 3])))
