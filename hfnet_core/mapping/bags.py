"""A recording as a stream of images with stamp, camera and, where the bag knows it, pose."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.mapping.bag_reader import BagReader, Topic, stamp_of
from hfnet_core.mapping.calibration import camera_from_file, camera_from_info
from hfnet_core.mapping.image_messages import decode_compressed_image, decode_raw_image
from hfnet_core.mapping.pose_sources import PoseOptions, open_poses
from hfnet_core.types import Camera

__all__ = ["Bag", "BagFrame", "BagOptions", "BagStamp"]

_RAW, _COMPRESSED, _INFO = "sensor_msgs/Image", "sensor_msgs/CompressedImage", "sensor_msgs/CameraInfo"


@dataclass(frozen=True, eq=False)
class BagOptions:
    """What the user says about a bag; None leaves the choice to what is in it.

    calibration: a file that replaces camera_info. poses: see PoseOptions. max_pose_gap_s: poses further apart are not
    interpolated between.
    """

    image_topic: str | None = None
    camera_info_topic: str | None = None
    calibration: Path | None = None
    poses: PoseOptions = field(default_factory=PoseOptions)
    max_pose_gap_s: float = MapBuildConfig.max_pose_gap_s


@dataclass(frozen=True, eq=False)
class BagFrame:
    """One image of a recording.

    index: its position among the images of the topic, from 0. image: [H, W] or [H, W, 3] RGB, uint8 or uint16.
    map_from_camera: the recording's own pose, interpolated at the stamp, None where it has none.
    """

    index: int
    stamp_ns: int
    image: NDArray[Any]
    camera: Camera
    map_from_camera: Pose | None


@dataclass(frozen=True, eq=False)
class BagStamp:
    """When an image was taken and recorded, and the recording's own pose at that time, None where it has none."""

    stamp_ns: int
    recorded_ns: int
    map_from_camera: Pose | None


class Bag:
    """A bag with its image topic, camera and pose source chosen.

    The camera is that of K and D in camera_info, for image topics whose last part contains `rect` that of P without
    distortion; a changing camera_info counts from its stamp on. Raises DatasetError, one line, for everything that is
    missing, ambiguous or unusable.
    """

    def __init__(self, path: Path, options: BagOptions | None = None) -> None:
        self.path = Path(path)
        self.options = options or BagOptions()
        self._reader = BagReader(self.path)
        self.info_topic: Topic | None = None  # stays None with a calibration file
        try:
            self.image_topic = self._choose_image_topic()
            self.camera_frame, self._first_size = self._peek()
            self._infos, self.camera_source = self._read_cameras()
            poses = self.options.poses
            self._poses = open_poses(self._reader, poses, self.camera_frame, self.options.max_pose_gap_s)
        except BaseException:
            self._reader.close()
            raise
        self.broken: list[str] = []

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def __len__(self) -> int:
        """Number of images."""
        return self.image_topic.count

    @property
    def topics(self) -> tuple[Topic, ...]:
        return self._reader.topics

    @property
    def has_poses(self) -> bool:
        return self._poses is not None

    @property
    def pose_source(self) -> str:
        """Where poses come from, for people."""
        return self._poses.description if self._poses is not None else "no poses"

    @property
    def map_frame(self) -> str:
        """Name of the frame the poses are relative to."""
        return self._poses.map_frame if self._poses is not None else "map"

    def require_poses(self) -> None:
        """Raises DatasetError when the bag has no poses, listing its topics."""
        if self._poses is None:
            listed = ", ".join(str(topic) for topic in self.topics)
            raise DatasetError(
                f"{self.path}: has no poses (PoseStamped, Odometry, /tf from map, world or odom to "
                f"{self.camera_frame!r}); pass --poses FILE in TUM format; the bag has {listed}"
            )

    def _choose_image_topic(self) -> Topic:
        if self.options.image_topic is not None:
            topic = self._reader.topic(self.options.image_topic)
            if topic.type not in (_RAW, _COMPRESSED):
                raise DatasetError(f"{self.path}: {topic} holds no images")
            return topic
        found = self._reader.of_type(_RAW, _COMPRESSED)
        names = {topic.name for topic in found}
        # image_transport records one picture several times; the raw one loses nothing.
        found = [topic for topic in found if not any(topic.name == f"{n}/{t}" for n in names for t in _TRANSPORTS)]
        if not found:
            listed = ", ".join(str(topic) for topic in self._reader.topics) or "nothing"
            raise DatasetError(f"{self.path}: has no image topic; it has {listed}")
        if len(found) > 1:
            listed = ", ".join(str(topic) for topic in found)
            raise DatasetError(f"{self.path}: several image topics, choose one with --image-topic: {listed}")
        return found[0]

    def _peek(self) -> tuple[str, tuple[int, int]]:
        """Frame id and (width, height) of the first image."""
        for _, _, message in self._reader.messages([self.image_topic.name]):
            image = self._decode(message)
            return str(message.header.frame_id).lstrip("/"), (image.shape[1], image.shape[0])
        raise DatasetError(f"{self.path}: topic {self.image_topic.name} has no messages")

    def _decode(self, message: Any) -> NDArray[Any]:
        try:
            decode = decode_raw_image if self.image_topic.type == _RAW else decode_compressed_image
            return decode(message)
        except DatasetError as error:
            raise DatasetError(f"{self.path}: topic {self.image_topic.name}: {error}") from error

    def _read_cameras(self) -> tuple[list[tuple[int, Camera]], str]:
        """[(valid from stamp, camera)] and where they come from."""
        if self.options.calibration is not None:
            path = self.options.calibration
            return [(0, self._fitting(camera_from_file(path), str(path)))], f"calibration file {path.name}"
        topic = self.info_topic = self._choose_info_topic()
        rectified = "rect" in _image_name(self.image_topic).rsplit("/", 1)[-1]
        out: list[tuple[int, Camera]] = []
        for name, recorded_ns, message in self._reader.messages([topic.name]):
            try:
                camera = camera_from_info(message, rectified=rectified)
            except DatasetError as error:
                raise DatasetError(f"{self.path}: topic {name}: {error}") from error
            if not out:
                self._check_frame(topic, str(message.header.frame_id).lstrip("/"))
            if not out or camera != out[-1][1]:
                out.append((stamp_of(message, recorded_ns), self._fitting(camera, name)))
        return out, f"{'P' if rectified else 'K and D'} of {topic.name}"

    def _fitting(self, camera: Camera, source: str) -> Camera:
        if (camera.width, camera.height) != self._first_size:
            width, height = self._first_size
            raise DatasetError(
                f"{self.path}: {source} is for {camera.width}x{camera.height}, the images of {self.image_topic.name} "
                f"are {width}x{height}; pass a --calibration for this size"
            )
        return camera

    def _choose_info_topic(self) -> Topic:
        if self.options.camera_info_topic is not None:
            topic = self._reader.topic(self.options.camera_info_topic)
            if topic.type != _INFO:
                raise DatasetError(f"{self.path}: {topic} is no {_INFO}")
            return topic
        found = self._reader.of_type(_INFO)
        image = _image_name(self.image_topic)
        for name in (f"{image.rsplit('/', 1)[0]}/camera_info", f"{image}/camera_info"):
            beside = [topic for topic in found if topic.name == name]
            if beside:
                return beside[0]
        if not found:
            raise DatasetError(
                f"{self.path}: no {_INFO} for {self.image_topic.name}; pass --calibration FILE (camera_info YAML)"
            )
        if len(found) > 1:
            listed = ", ".join(str(topic) for topic in found)
            raise DatasetError(
                f"{self.path}: no camera_info topic stands beside {self.image_topic.name}, choose one with "
                f"--camera-info-topic: {listed}"
            )
        return found[0]

    def _check_frame(self, topic: Topic, frame: str) -> None:
        """A calibration found by type alone must at least speak of the same camera."""
        chosen = self.options.camera_info_topic is not None
        if not chosen and frame and self.camera_frame and frame != self.camera_frame:
            raise DatasetError(
                f"{self.path}: {topic.name} is for frame {frame!r}, images are in {self.camera_frame!r}; pass "
                "--camera-info-topic or --calibration"
            )

    def frames(self, indices: Collection[int] | None = None) -> Iterator[BagFrame]:
        """Images in order of recording, all or those with the given indices; the others are not decoded.

        A damaged image after the first is left out and described in `broken`.
        """
        self.broken = []
        wanted = None if indices is None else frozenset(indices)
        for index, (_, recorded_ns, message) in enumerate(self._reader.messages([self.image_topic.name])):
            if wanted is not None and index not in wanted:
                continue
            stamp_ns = stamp_of(message, recorded_ns)
            camera = self._camera_at(stamp_ns)
            try:
                image = self._decode(message)
            except DatasetError as error:
                self.broken.append(f"image {index}: {error}")
                continue
            if image.shape[:2] != (camera.height, camera.width):
                self.broken.append(f"image {index}: is {image.shape[1]}x{image.shape[0]}, not as calibrated")
                continue
            pose = self._poses.at(stamp_ns) if self._poses is not None else None
            yield BagFrame(index, stamp_ns, image, camera, pose)

    def timeline(self) -> list[BagStamp]:
        """Every image of `frames` in the same order, without decoding any."""
        out = []
        for _, recorded_ns, message in self._reader.messages([self.image_topic.name]):
            stamp_ns = stamp_of(message, recorded_ns)
            pose = self._poses.at(stamp_ns) if self._poses is not None else None
            out.append(BagStamp(stamp_ns, recorded_ns, pose))
        return out

    def _camera_at(self, stamp_ns: int) -> Camera:
        after = int(np.searchsorted([stamp for stamp, _ in self._infos], stamp_ns, side="right"))
        return self._infos[max(after - 1, 0)][1]


_TRANSPORTS = ("compressed", "compressedDepth", "theora", "zstd")


def _image_name(topic: Topic) -> str:
    """The base name of an image topic: without its transport."""
    head, _, tail = topic.name.rpartition("/")
    return head if tail in _TRANSPORTS and head else topic.name
