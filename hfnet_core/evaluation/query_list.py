"""Lists of query images with their cameras, and files of results, as localization benchmarks exchange them.

Sources: visuallocalization.net (Sattler et al., "Benchmarking 6DOF Outdoor Visual Localization in Changing Conditions",
CVPR 2018) for both formats; COLMAP's documentation for the camera models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import pycolmap

from hfnet_core.errors import ConfigError, DatasetError, MapError
from hfnet_core.files import written_whole
from hfnet_core.geometry import Pose
from hfnet_core.maps.colmap import camera_of
from hfnet_core.types import Camera

__all__ = ["read_query_list", "result_names", "write_results"]


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


def result_names(images: Sequence[str], parts: int) -> list[str]:
    """What images are called in a file of results: the last `parts` of their paths (RobotCar Seasons: 2, with the
    camera's folder). Raises ConfigError when two images would have one name."""
    names = ["/".join(PurePosixPath(image).parts[-parts:]) for image in images]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ConfigError(f"several images of the list would be called {twice}: name them by more parts (--name-parts)")
    return names


def write_results(path: Path, poses: Iterable[tuple[str, Pose]]) -> None:
    """Write `NAME qw qx qy qz tx ty tz` lines of camera_from_map, the inverse of the poses given.

    Raises DatasetError when the file cannot be written.
    """
    lines = []
    for name, map_from_camera in poses:
        camera_from_map = map_from_camera.inverse()
        x, y, z, w = camera_from_map.quat_xyzw()
        numbers = " ".join(f"{value:.9f}" for value in (w, x, y, z, *camera_from_map.translation))
        lines.append(f"{name} {numbers}\n")
    written_whole(path, "".join(lines))
