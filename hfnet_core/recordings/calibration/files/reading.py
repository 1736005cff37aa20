"""A camera from a calibration file: which form it is, and which of its cameras is meant."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hfnet_core.errors import ConfigError, DatasetError, first_line
from hfnet_core.files import read_text
from hfnet_core.recordings.calibration.files.colmap import is_cameras_txt, read_cameras_txt
from hfnet_core.recordings.calibration.files.depthai import is_depthai, read_depthai
from hfnet_core.recordings.calibration.files.fields import Fields
from hfnet_core.recordings.calibration.files.flat import read_fields
from hfnet_core.recordings.calibration.files.found import FileCamera
from hfnet_core.recordings.calibration.files.ini import is_ini, read_ini
from hfnet_core.recordings.calibration.files.kalibr import is_camchain, read_camchain
from hfnet_core.recordings.calibration.files.loading import parse
from hfnet_core.recordings.calibration.files.nerf import is_transforms, read_transforms
from hfnet_core.recordings.calibration.files.slam import is_slam, read_slam
from hfnet_core.recordings.calibration.plausibility import check_possible, doubts_about
from hfnet_core.types import Camera

__all__ = ["camera_from_file", "camera_in_file", "cameras_in_file", "same_topic"]

_log = logging.getLogger(__name__)
_FORMS = (
    "ROS camera_info YAML, OpenCV, Kalibr, COLMAP, ORB-SLAM, nerfstudio, depthai, .ini, or JSON with fx, fy, cx, cy"
)
_NAMED = "#"


def camera_from_file(
    path: Path, *, topic: str = "", size: tuple[int, int] | None = None, rectified: bool = False, trust: bool = False
) -> Camera:
    """A camera from a calibration file; see docs/formats-cameras.md for what is read.

    FILE#NAME names one of several cameras; else that of the topic counts, or the only one of the size, (width, height).
    rectified: the images are, so that a projection matrix counts. trust: numbers that cannot be true are taken all the
    same. What is unlikely is logged. Raises DatasetError naming the file and what is wrong.
    """
    return camera_in_file(path, topic=topic, size=size, rectified=rectified, trust=trust).camera


def camera_in_file(
    path: Path, *, topic: str = "", size: tuple[int, int] | None = None, rectified: bool = False, trust: bool = False
) -> FileCamera:
    """The same with what else the file says of the camera."""
    path, name = _split(path)
    cameras = cameras_in_file(path, rectified=rectified)
    chosen = _choose(path, cameras, name, topic, size)
    if not trust:
        try:
            check_possible(chosen.sensor)
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
        for doubt in doubts_about(chosen.sensor):
            _log.warning("%s: %s", path, doubt)
    return chosen


def cameras_in_file(path: Path, *, rectified: bool = False) -> list[FileCamera]:
    """Every camera of a calibration file. Raises DatasetError naming the file and what is wrong."""
    path, _ = _split(path)
    text = read_text(path, "a calibration")
    if text.lstrip().startswith("<"):
        raise DatasetError(f"{path}: XML calibrations are not read; write it as YAML or JSON ({_FORMS})")
    documents = [] if is_ini(text) or is_cameras_txt(text) else parse(path, text)
    try:
        if is_ini(text):
            return read_ini(text, rectified=rectified)
        if is_cameras_txt(text):
            return read_cameras_txt(text)
        found = [_of_document(document, rectified) for document in documents]
    except (DatasetError, ConfigError, ArithmeticError, TypeError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: {first_line(error)}") from error
    if not found:
        raise DatasetError(f"{path}: is empty, no calibration file ({_FORMS})")
    if any([item.camera for item in other] != [item.camera for item in found[0]] for other in found[1:]):
        raise DatasetError(f"{path}: holds several calibrations that differ (`---` between them): leave one")
    return found[0]


def _of_document(content: Any, rectified: bool) -> list[FileCamera]:
    if not isinstance(content, Mapping):
        raise DatasetError(f"is no calibration file ({_FORMS})")
    if is_depthai(content):
        return read_depthai(content)
    if is_camchain(content):
        return read_camchain(content)
    if is_transforms(content):
        return read_transforms(content)
    if is_slam(content):
        return read_slam(content)
    return [read_fields(Fields(content), rectified=rectified)]


def _split(path: Path) -> tuple[Path, str]:
    """(file, name of the camera in it)."""
    if _NAMED in path.name and not path.exists():
        file, _, name = str(path).rpartition(_NAMED)
        return Path(file), name
    return path, ""


def _choose(
    path: Path, cameras: Sequence[FileCamera], name: str, topic: str, size: tuple[int, int] | None
) -> FileCamera:
    fitting = list(cameras)
    if name:
        fitting = [item for item in cameras if item.name == name]
    elif len(cameras) > 1:
        of_topic = [item for item in cameras if topic and same_topic(item.topic, topic)]
        of_size = [item for item in cameras if (item.camera.width, item.camera.height) == size]
        fitting = of_topic or of_size or fitting
    if len(fitting) != 1:
        listed = ", ".join(
            f"{item.name} {item.camera.width}x{item.camera.height} {item.topic}".strip() for item in cameras
        )
        what = f"has no camera {name!r}" if name else "holds several cameras"
        raise DatasetError(f"{path}: {what}; name one of them as {path.name}{_NAMED}{cameras[0].name}: {listed}")
    return fitting[0]


def same_topic(one: str, other: str) -> bool:
    """Whether two topics are of one image, in whatever transport."""
    one, other = one.strip("/"), other.strip("/")
    return bool(one) and (one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/"))
