"""Lists and poses in the text files of the datasets. Every number is checked where it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.files import read_text
from hfnet_core.geometry import Pose

__all__ = [
    "read_cambridge_poses",
    "read_centres",
    "read_matrix",
    "read_matrix_lines",
    "read_names",
    "read_results",
    "rows",
]

_LARGEST = 1e9  # coordinates; see maps.colmap_model
_TURNED = 1e-2  # how far a rotation of a file may be from one; some are written with few digits


def rows(path: Path, what: str) -> Iterator[tuple[str, list[str]]]:
    """(where, fields) of each line; empty lines and what follows a # are skipped. Raises DatasetError."""
    for number, line in enumerate(read_text(path, what).splitlines(), start=1):
        fields = line.split("#", 1)[0].split()
        if fields:
            yield f"{path}, line {number}", fields


def read_names(path: Path, what: str = "a list of images") -> list[str]:
    """The first word of each line, a path below a folder. Raises DatasetError."""
    return [_name(where, fields[0]) for where, fields in rows(path, what)]


def _name(where: str, text: str) -> str:
    name = text.removeprefix("./")
    if not name or name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
        raise DatasetError(f"{where}: {text[:60]!r} is no name of an image below a folder")
    return name


def _numbers(where: str, fields: Sequence[str], count: int) -> list[float]:
    try:
        values = [float(field) for field in fields]
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error
    if len(values) != count:
        raise DatasetError(f"{where}: {len(values)} numbers, not {count}")
    if not all(abs(value) <= _LARGEST for value in values):
        raise DatasetError(f"{where}: numbers that are not finite or too large")
    return values


def _quaternion(where: str, wxyz: Sequence[float]) -> Pose:
    if abs(float(np.linalg.norm(wxyz)) - 1.0) > _TURNED:
        raise DatasetError(f"{where}: a quaternion that is not of length 1")
    return Pose.from_quat_xyzw([*wxyz[1:], wxyz[0]], [0.0, 0.0, 0.0])


def _at(where: str, wxyz: Sequence[float], centre: Sequence[float]) -> Pose:
    """map_from_camera of the rotation camera_from_map and the camera's position in the map."""
    return Pose(_quaternion(where, wxyz).rotation.T, np.array(centre, dtype=np.float64))


def _table(path: Path, what: str, pose: Callable[[str, list[str]], Pose]) -> dict[str, Pose]:
    return {_name(where, fields[0]): pose(where, fields[1:]) for where, fields in rows(path, what)}


def read_results(path: Path) -> dict[str, Pose]:
    """map_from_camera by name, of `NAME qw qx qy qz tx ty tz` lines of camera_from_map. Raises DatasetError."""

    def pose(where: str, fields: list[str]) -> Pose:
        values = _numbers(where, fields, 7)
        return Pose(_quaternion(where, values[:4]).rotation, np.array(values[4:])).inverse()

    return _table(path, "a file of poses", pose)


def read_centres(path: Path) -> dict[str, Pose]:
    """map_from_camera by name, of `NAME qw qx qy qz cx cy cz` lines: rotation camera_from_map, position in the map
    (Extended CMU Seasons). Raises DatasetError."""

    def pose(where: str, fields: list[str]) -> Pose:
        values = _numbers(where, fields, 7)
        return _at(where, values[:4], values[4:])

    return _table(path, "a list of poses", pose)


def read_cambridge_poses(path: Path) -> dict[str, Pose]:
    """map_from_camera by name, of `NAME x y z qw qx qy qz` lines after two of heading. Raises DatasetError."""
    found = {}
    for where, fields in rows(path, "a list of poses"):
        if fields[0] in ("Visual", "ImageFile,"):
            continue
        values = _numbers(where, fields[1:], 7)
        found[_name(where, fields[0])] = _at(where, values[3:], values[:3])
    return found


def read_matrix_lines(path: Path) -> dict[str, Pose]:
    """map_from_camera by name, of a name and 16 numbers row by row (RobotCar Seasons v2). Raises DatasetError."""
    return _table(path, "a list of poses", lambda where, fields: _matrix(where, _numbers(where, fields, 16)))


def read_matrix(path: Path) -> Pose | None:
    """map_from_camera of a file of 4x4 numbers; None where they are not finite, as of a frame that was lost.

    Raises DatasetError.
    """
    fields = [field for _, line in rows(path, "a pose") for field in line]
    try:
        lost = not np.isfinite([float(field) for field in fields]).all()
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    return None if lost and len(fields) == 16 else _matrix(str(path), _numbers(str(path), fields, 16))


def _matrix(where: str, values: Sequence[float]) -> Pose:
    matrix = np.array(values).reshape(4, 4)
    rotation = matrix[:3, :3]
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if off > _TURNED or np.linalg.det(rotation) < 0 or np.abs(matrix[3] - (0, 0, 0, 1)).max() > _TURNED:
        raise DatasetError(f"{where}: is no pose (4x4, its rotation a rotation)")
    left, _, right = np.linalg.svd(rotation)
    return Pose(left @ right, matrix[:3, 3])
