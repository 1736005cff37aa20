"""Lists of query images with their cameras, and files of results, as localization benchmarks exchange them.

Sources: visuallocalization.net (Sattler et al., "Benchmarking 6DOF Outdoor Visual Localization in Changing Conditions",
CVPR 2018) for both formats; COLMAP's documentation for the camera models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from hfnet_core.errors import ConfigError, DatasetError, MapError
from hfnet_core.files import read_text, written_whole
from hfnet_core.geometry import Pose
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.colmap_reading import model_camera
from hfnet_core.types import Camera

__all__ = ["read_query_list", "result_names", "write_query_list", "write_results"]


_LEAST_FIELDS = 4  # of a camera
_LONGEST_SIDE = 10**6


def read_query_list(path: Path) -> list[tuple[str, Camera]]:
    """(name, camera) of each line `NAME MODEL WIDTH HEIGHT PARAMS...`, model and parameters being COLMAP's.

    Empty lines and what follows a # are skipped. Raises DatasetError naming file and line.
    """
    lines = read_text(path, "a list of queries").splitlines()
    found = [
        (fields[0], _camera(f"{path}, line {number}", fields[1:]))
        for number, line in enumerate(lines, start=1)
        if (fields := line.split("#", 1)[0].split())
    ]
    if not found:
        raise DatasetError(f"{path}: names no images")
    return found


def write_query_list(path: Path, queries: Iterable[tuple[str, Camera]]) -> None:
    """What `read_query_list` reads. Raises DatasetError when the file cannot be written."""
    lines = []
    for name, camera in queries:
        params, first = list(camera.params), len(camera.focal_parameters)
        params[first : first + 2] = [value + 0.5 for value in params[first : first + 2]]  # COLMAP's pixels
        numbers = " ".join(f"{value:.12g}" for value in params)
        lines.append(f"{name} {camera.model} {camera.width} {camera.height} {numbers}\n")
    written_whole(path, "".join(lines))


def _camera(where: str, fields: list[str]) -> Camera:
    if len(fields) < _LEAST_FIELDS:
        raise DatasetError(f"{where}: is not NAME MODEL WIDTH HEIGHT PARAMS...")
    model, width, height, *params = fields
    try:
        return camera_of(model_camera(0, model, (_side(width), _side(height)), [float(value) for value in params]))
    except (ValueError, MapError) as error:
        raise DatasetError(f"{where}: is not NAME MODEL WIDTH HEIGHT PARAMS... ({error})") from error


def _side(text: str) -> int:
    """A side of an image in pixels; some lists write it as a decimal number. Raises ValueError."""
    value = float(text)
    if not 1 <= value <= _LONGEST_SIDE or value != int(value):
        raise ValueError(f"{text[:40]} is no side of an image in pixels")
    return int(value)


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
