"""The calibration of a bag's images over time: from a file, or from a camera_info topic."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_reader import BagReader, Topic, stamp_of
from hfnet_core.recordings.calibration import camera_from_file, camera_from_info, doubts_about_info, is_uncalibrated
from hfnet_core.recordings.calibration.files.reading import cameras_in_file, same_topic
from hfnet_core.recordings.camera_topics import image_topics
from hfnet_core.recordings.options import BagOptions
from hfnet_core.recordings.pictures import image_messages
from hfnet_core.recordings.trees import Mount
from hfnet_core.types import Camera

__all__ = ["BagCameras", "ImageTopic", "is_rectified", "mounts_of_rig", "read_cameras"]

_log = logging.getLogger(__name__)
_RECTIFIED = re.compile(r"image_rect.*|(.*_)?rect(ified)?(_.*)?")


@dataclass(frozen=True)
class ImageTopic:
    """What a calibration must fit. name: without transport. frame: of its images. size: (width, height) of them.

    info_is_named: the name of the camera_info topic says that it is theirs.
    """

    name: str
    frame: str
    size: tuple[int, int]
    info_is_named: bool = True


@dataclass(frozen=True, eq=False)
class BagCameras:
    """infos: (valid from stamp in ns, camera), in order; none where nobody has calibrated it. source: for people."""

    infos: tuple[tuple[int, Camera], ...]
    source: str

    def at(self, stamp_ns: int) -> Camera:
        """The camera at a time; the first one counts from the beginning."""
        after = int(np.searchsorted([stamp for stamp, _ in self.infos], stamp_ns, side="right"))
        return self.infos[max(after - 1, 0)][1]


def is_rectified(name: str) -> bool:
    """Whether an image topic, without transport, is rectified by convention: image_rect, image_rect_color, ..."""
    return _RECTIFIED.fullmatch(name.rsplit("/", 1)[-1]) is not None


def read_cameras(reader: BagReader, topic: Topic | None, image: ImageTopic, options: BagOptions) -> BagCameras:
    """topic: of camera_info, None where a file replaces it or there is none.

    K and D count, of rectified images P without distortion. What is unlikely is logged. Raises DatasetError for a
    calibration that is missing, of another size, or cannot be true.
    """
    if options.calibration is not None:
        path = options.calibration
        camera = camera_from_file(
            path, topic=image.name, size=image.size, rectified=is_rectified(image.name), trust=options.trust_calibration
        )
        return BagCameras(((0, _fitting(reader, image, camera, str(path))),), f"calibration file {path.name}")
    if topic is None:
        return BagCameras((), "none, guessed")
    return _from_topic(reader, topic, image, options)


def mounts_of_rig(reader: BagReader, path: Path) -> tuple[Mount, ...]:
    """How the cameras of a calibration file sit to each other, in the frames that the recording's images name.

    Cameras count whose topic and place the file tells; none for a file of one camera. Raises DatasetError for a file
    that cannot be read.
    """
    cameras = [item for item in cameras_in_file(path) if item.topic and item.first_from_camera is not None]
    framed = [(frame, item) for item in cameras if (frame := _frame_of(reader, item.topic))]
    out = []
    for frame, item in framed[1:]:
        parent, first = framed[0]
        if item.first_from_camera is not None and first.first_from_camera is not None:
            out.append(Mount(parent, frame, first.first_from_camera.inverse() @ item.first_from_camera))
    return tuple(out)


def _frame_of(reader: BagReader, name: str) -> str:
    """The frame of the images of a topic in whatever transport, "" where there are none."""
    for topic in image_topics(reader):
        if same_topic(topic.name, name):
            for _, message in image_messages(reader.messages([topic.name]), topic.type):
                return str(message.header.frame_id).lstrip("/")
    return ""


def _from_topic(reader: BagReader, topic: Topic, image: ImageTopic, options: BagOptions) -> BagCameras:
    rectified, trust = is_rectified(image.name), options.trust_calibration
    out: list[tuple[int, Camera]] = []
    empty: list[Any] = []  # as drivers send them that are not calibrated, or not yet
    for name, recorded_ns, message in reader.messages([topic.name]):
        if is_uncalibrated(message):
            empty.append(message)
            continue
        camera = _camera_of(reader, name, message, options, rectified=rectified)
        if not out:
            _check_frame(reader, topic, str(message.header.frame_id).lstrip("/"), image)
        if not out or camera != out[-1][1]:
            for doubt in () if trust else doubts_about_info(message, rectified=rectified):
                _log.warning("%s: topic %s: %s", reader.path, name, doubt)
            out.append((stamp_of(message, recorded_ns), _fitting(reader, image, camera, name)))
    if empty and not out:
        if options.camera_optional:
            return BagCameras((), f"none, guessed ({topic.name} holds zeros)")
        _camera_of(reader, topic.name, empty[0], options, rectified=rectified)  # says what is missing
    if empty:
        _log.warning("%s: topic %s: %d of its calibrations hold zeros and are left out", reader.path, topic, len(empty))
    return BagCameras(tuple(out), f"{'P' if rectified else 'K and D'} of {topic.name}")


def _camera_of(reader: BagReader, name: str, message: Any, options: BagOptions, *, rectified: bool) -> Camera:
    try:
        return camera_from_info(message, rectified=rectified, trust=options.trust_calibration)
    except DatasetError as error:
        raise DatasetError(f"{reader.path}: topic {name}: {error}") from error


def _fitting(reader: BagReader, image: ImageTopic, camera: Camera, source: str) -> Camera:
    if (camera.width, camera.height) != image.size:
        width, height = image.size
        raise DatasetError(
            f"{reader.path}: {source} is for {camera.width}x{camera.height}, the images of {image.name} "
            f"are {width}x{height}; pass a --calibration for this size"
        )
    return camera


def _check_frame(reader: BagReader, topic: Topic, frame: str, image: ImageTopic) -> None:
    """A calibration found by type alone must at least speak of the same camera."""
    if not frame or not image.frame or frame == image.frame:
        return
    said = f"{reader.path}: {topic.name} is for frame {frame!r}, images are in {image.frame!r}"
    if not image.info_is_named:
        raise DatasetError(f"{said}; pass --camera-info-topic or --calibration")
    _log.warning("%s; taken for theirs, as its name says", said)
