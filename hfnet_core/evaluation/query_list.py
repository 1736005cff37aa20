"""Lists of query images with their cameras, and files of results, as localization benchmarks exchange them.

Sources: visuallocalization.net (Sattler et al., "Benchmarking 6DOF Outdoor Visual Localization in Changing Conditions",
CVPR 2018) for both formats; COLMAP's documentation for the camera models.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pycolmap

from hfnet_core.errors import DatasetError, MapError
from hfnet_core.files import written_whole
from hfnet_core.geometry import Pose
from hfnet_core.mapping.colmap import camera_of
from hfnet_core.types import Camera

__all__ = ["read_query_list", "write_results"]


def read_query_list(path: Path) -> list[tuple[str, Camera]]:
    """(name, camera) of each line `NAME MODEL WIDTH HEIGHT PARAMS...`, model and parameters being COLMAP's.

    Empty lines and what follows a # are skipped. Raises DatasetError naming file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as a list of queries ({error})") from error
    found = [
        (fields[0], _camera(f"{path}, line {number}", fields[1:]))
        for number, line in enumerate(lines, start=1)
        if (fields := line.split("#", 1)[0].split())
    ]
    if not found:
        raise DatasetError(f"{path}: names no images")
    return found


def _camera(where: str, fields: list[str]) -> Camera:
    try:
        model, (width, height, *params) = fields[0], (float(field) for field in fields[1:])
        if model not in pycolmap.CameraModelId.__members__:
            raise DatasetError(f"{where}: {model!r} is no camera model of COLMAP")
        wanted = pycolmap.Camera(model=model, width=int(width), height=int(height), params=params)
        if not wanted.verify_params():
            raise DatasetError(f"{where}: {len(params)} parameters do not fit the camera model {model}")
        return camera_of(wanted)
    except (IndexError, ValueError, OverflowError) as error:
        raise DatasetError(f"{where}: is not NAME MODEL WIDTH HEIGHT PARAMS...") from error
    except MapError as error:
        raise DatasetError(f"{where}: {error}") from error


def write_results(path: Path, poses: Iterable[tuple[str, Pose]], name_parts: int = 1) -> None:
    """Write `NAME qw qx qy qz tx ty tz` lines of camera_from_map, the inverse of the poses given.

    name_parts: how many of the last parts of an image's path are its name (RobotCar Seasons: 2, with the camera's
    folder). Raises DatasetError when two images would have one name, or the file cannot be written.
    """
    lines: dict[str, str] = {}
    for image, map_from_camera in poses:
        name = "/".join(Path(image).parts[-name_parts:])
        if name in lines:
            raise DatasetError(f"{path}: two images are called {name}; use more parts of their paths (--name-parts)")
        camera_from_map = map_from_camera.inverse()
        x, y, z, w = camera_from_map.quat_xyzw()
        lines[name] = " ".join([name, *(f"{value:.9f}" for value in (w, x, y, z, *camera_from_map.translation))])
    written_whole(path, "".join(f"{line}\n" for line in lines.values()))
