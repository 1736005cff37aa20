"""The files of COLMAP models, binary and text.

Every length is compared with what the file has left before anything is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError, MapError
from hfnet_core.files import read_file
from hfnet_core.geometry import Pose
from hfnet_core.limits import RECONSTRUCTION
from hfnet_core.maps.colmap_model import (
    CAMERA_NUMBERS,
    LARGEST,
    MODEL_PARAMETERS,
    ColmapModel,
    ModelCamera,
    ModelFrame,
    ModelImage,
    ModelRig,
    ModelTables,
    checked_model,
    rigid,
)

__all__ = ["model_camera", "read_model"]

_T = TypeVar("_T")
_CAMERA = 0  # COLMAP's number of this type of sensor; others (IMU) have no images
_KEYPOINT = np.dtype([("xy", "<f8", 2), ("point", "<i8")])
_MAX_NAME = 4096


def read_model(folder: Path) -> ColmapModel:
    """A COLMAP model, binary or, where there are no binary files, text.

    Raises MapError where there is none, DatasetError where it is damaged.
    """
    if not folder.is_dir():
        raise MapError(f"{folder}: no such COLMAP model")
    for suffix, read in ((".bin", _binary), (".txt", _text)):
        paths = [folder / f"{name}{suffix}" for name in ("cameras", "images", "points3D", "rigs", "frames")]
        if all(path.exists() for path in paths[:3]):
            return checked_model(folder, ModelTables(*(read(path) for path in paths if path.exists())))
    raise MapError(f"{folder}: is no COLMAP model (no cameras, images and points3D, all .bin or all .txt)")


def model_camera(camera_id: int, model: str, size: Sequence[int], params: Sequence[float]) -> ModelCamera:
    """A camera whose numbers fit its model. Raises ValueError."""
    if model not in MODEL_PARAMETERS:
        raise ValueError(f"{model!r} is no camera model of COLMAP")
    if len(params) != MODEL_PARAMETERS[model]:
        raise ValueError(f"{len(params)} parameters do not fit the camera model {model}")
    if not all(abs(value) <= LARGEST for value in params):
        raise ValueError(f"camera {camera_id} has parameters that are not finite or too large")
    if min(size) <= 0:
        raise ValueError(f"camera {camera_id} has a size {size[0]}x{size[1]} that is not positive")
    return ModelCamera(camera_id, model, size[0], size[1], tuple(params))


class _Reader:
    """A binary file, from front to back. Every method raises ValueError where the file is too short."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def skip(self, size: int) -> int:
        """Where the next `size` bytes begin, before which the reader goes on."""
        start, self.position = self.position, self.position + size
        if self.position > len(self.content):
            raise ValueError("it is cut off, or a length in it is damaged")
        return start

    def take(self, layout: str) -> tuple[Any, ...]:
        layout = "<" + layout
        return struct.unpack_from(layout, self.content, self.skip(struct.calcsize(layout)))

    def count(self, layout: str, least: int) -> int:
        """How many records follow; refused where they, `least` bytes each, would not fit into the file."""
        number: int = self.take(layout)[0]
        if number * least > len(self.content) - self.position:
            raise ValueError(f"it announces {number} records, for which it is too short")
        return number

    def rows(self, dtype: np.dtype[Any], number: int) -> NDArray[Any]:
        return np.frombuffer(self.content, dtype, number, self.skip(number * dtype.itemsize))

    def text(self) -> str:
        end = self.content.find(b"\0", self.position, self.position + _MAX_NAME)
        if end < 0:
            raise ValueError("a name does not end")
        return self.content[self.skip(end + 1 - self.position) : end].decode("utf-8")


def _binary(path: Path) -> list[Any]:
    record, least = _BINARY[path.stem]

    def records(content: bytes) -> Iterator[Any]:
        reader = _Reader(content)
        for _ in range(reader.count("Q", least)):
            yield record(reader)
        if reader.position != len(content):
            raise ValueError(f"{len(content) - reader.position} bytes follow the last record")

    return _read(path, records)


def _read(path: Path, records: Callable[[bytes], Iterator[_T]]) -> list[_T]:
    content = read_file(path, RECONSTRUCTION)
    try:
        return list(records(content))
    except (ValueError, struct.error) as error:
        raise DatasetError(f"{path}: is damaged ({error}); export or copy the model again") from error


def _binary_camera(reader: _Reader) -> ModelCamera:
    camera_id, number, width, height = reader.take("IiQQ")
    if number not in CAMERA_NUMBERS:
        raise ValueError(f"camera {camera_id} has an unknown model {number}")
    name = CAMERA_NUMBERS[number]
    return model_camera(camera_id, name, (width, height), reader.take(f"{MODEL_PARAMETERS[name]}d"))


def _binary_image(reader: _Reader) -> ModelImage:
    image_id, *pose, camera_id = reader.take("I7dI")
    name = reader.text()
    rows = reader.rows(_KEYPOINT, reader.count("Q", _KEYPOINT.itemsize))
    return ModelImage(image_id, camera_id, name, rigid(pose), rows["xy"], rows["point"])


def _binary_point(reader: _Reader) -> tuple[int, tuple[float, float, float], NDArray[np.int64]]:
    point_id, x, y, z, *_ = reader.take("q3d3Bd")
    length = reader.count("Q", 8)
    return point_id, (x, y, z), reader.rows(np.dtype("<u4"), 2 * length).reshape(-1, 2).astype(np.int64)


def _binary_rig(reader: _Reader) -> ModelRig:
    rig_id, number = reader.take("I")[0], reader.count("I", 8)
    sensors: dict[int, Pose | None] = {}
    for index in range(number):
        kind, sensor = reader.take("iI")
        pose: Pose | None = Pose()  # the first one is the rig's origin
        if index:
            pose = rigid(reader.take("7d")) if reader.take("B")[0] else None
        if kind == _CAMERA:
            sensors[sensor] = pose
    return ModelRig(rig_id, sensors)


def _binary_frame(reader: _Reader) -> ModelFrame:
    frame_id, rig_id, *pose = reader.take("II7d")
    data = [reader.take("iIQ") for _ in range(reader.count("I", 16))]
    images = tuple((sensor, image) for kind, sensor, image in data if kind == _CAMERA)
    return ModelFrame(frame_id, rig_id, rigid(pose), images)


_BINARY: dict[str, tuple[Callable[[_Reader], Any], int]] = {
    "cameras": (_binary_camera, 24),
    "images": (_binary_image, 73),
    "points3D": (_binary_point, 51),
    "rigs": (_binary_rig, 8),
    "frames": (_binary_frame, 68),
}


def _text(path: Path) -> list[Any]:
    if path.stem == "images":
        return _read(path, _text_images)
    record = _TEXT[path.stem]

    def records(content: bytes) -> Iterator[Any]:
        for number, line in enumerate(content.decode("utf-8").split("\n"), start=1):
            if fields := _fields(line):
                yield _line(number, record, fields)

    return _read(path, records)


def _fields(line: str) -> list[str]:
    return [] if line.lstrip().startswith("#") else line.split()


def _line(number: int, record: Callable[[list[str]], _T], fields: list[str]) -> _T:
    try:
        return record(fields)
    except IndexError as error:
        raise ValueError(f"line {number}: lacks columns") from error
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error


def _whole(text: str, least: int = 0) -> int:
    """A number of at most 64 bits."""
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 20 and least <= int(text) < 2**63):
        raise ValueError(f"{text!r} is no id or count")
    return int(text)


def _floats(fields: Sequence[str]) -> list[float]:
    return [float(field) for field in fields]


def _text_images(content: bytes) -> Iterator[ModelImage]:
    """Two lines an image; the second one, of its keypoints, may be empty."""
    lines = iter(enumerate(content.decode("utf-8").split("\n"), start=1))
    for number, line in lines:
        if not _fields(line):
            continue
        head = line.strip().split(None, 9)  # a name may hold spaces
        keypoints = next(lines, (0, ""))[1].split()
        yield _line(number, lambda fields, rest=keypoints: _text_image(fields, rest), head)  # type: ignore[misc]


def _text_image(fields: list[str], keypoints: list[str]) -> ModelImage:
    if len(keypoints) % 3:
        raise ValueError("its keypoints are no triples")
    pixels = np.array([_floats(keypoints[0::3]), _floats(keypoints[1::3])], dtype=np.float64).T
    points = np.array([_whole(field, -1) for field in keypoints[2::3]], dtype=np.int64)
    pose = rigid(_floats(fields[1:8]))
    return ModelImage(_whole(fields[0]), _whole(fields[8]), fields[9], pose, pixels.reshape(-1, 2), points)


def _text_camera(fields: list[str]) -> ModelCamera:
    size = _whole(fields[2]), _whole(fields[3])
    return model_camera(_whole(fields[0]), fields[1], size, _floats(fields[4:]))


def _text_point(fields: list[str]) -> tuple[int, tuple[float, float, float], NDArray[np.int64]]:
    x, y, z = _floats(fields[1:4])
    _floats(fields[4:8])  # colour and error, which we do not use
    track = np.array([_whole(field) for field in fields[8:]], dtype=np.int64)
    if len(fields) < 8 or len(track) % 2:
        raise ValueError("its track is no pairs")
    return _whole(fields[0]), (x, y, z), track.reshape(-1, 2)


def _text_rig(fields: list[str]) -> ModelRig:
    sensors: dict[int, Pose | None] = {}
    rest = fields[2:]
    for index in range(_whole(fields[1])):
        kind, sensor, rest = rest[0], _whole(rest[1]), rest[2:]
        pose: Pose | None = Pose()
        if index:
            known, rest = rest[0] == "1", rest[1:]
            pose = rigid(_floats(rest[:7])) if known else None
            rest = rest[7:] if known else rest
        if kind == "CAMERA":
            sensors[sensor] = pose
    return ModelRig(_whole(fields[0]), sensors)


def _text_frame(fields: list[str]) -> ModelFrame:
    data = fields[10:]
    if len(data) != 3 * _whole(fields[9]):
        raise ValueError("it does not list as many images as it says")
    images = tuple(
        (_whole(sensor), _whole(image))
        for kind, sensor, image in zip(data[0::3], data[1::3], data[2::3], strict=True)
        if kind == "CAMERA"
    )
    return ModelFrame(_whole(fields[0]), _whole(fields[1]), rigid(_floats(fields[2:9])), images)


_TEXT: dict[str, Callable[[list[str]], Any]] = {
    "cameras": _text_camera,
    "points3D": _text_point,
    "rigs": _text_rig,
    "frames": _text_frame,
}
