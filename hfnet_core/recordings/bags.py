"""A recording as a stream of images with stamp, camera and, where the bag knows it, pose."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array, Pose
from hfnet_core.georeference.track import GpsTrack
from hfnet_core.images.messages import bytes_of
from hfnet_core.images.preparation import AUTO, Preparation, read_mask, rotation_by_up
from hfnet_core.images.sixteen_bit import FULL_BITS, sample_of, significant_bits
from hfnet_core.recordings.bag_reader import BagReader, Topic, stamp_of
from hfnet_core.recordings.calibration import guess_camera
from hfnet_core.recordings.calibration.plausibility import check_against_map
from hfnet_core.recordings.calibration.recorded import BagCameras, ImageTopic, mounts_of_rig, read_cameras
from hfnet_core.recordings.camera_topics import COMPRESSED, RAW, choose_image_topic, choose_info_topic, image_name
from hfnet_core.recordings.fixes import NoFixes, read_fixes
from hfnet_core.recordings.gravity import UpReader, common_rotation, read_up, up_by_frames
from hfnet_core.recordings.options import BagOptions
from hfnet_core.recordings.pictures import Picture, image_messages, pictures
from hfnet_core.recordings.pose_sources import NoPoses, PoseFinder, PoseSource
from hfnet_core.recordings.trees import TREE_TYPES, Trees
from hfnet_core.types import Camera

_log = logging.getLogger(__name__)

__all__ = [
    "Bag",
    "BagFrame",
    "BagStamp",
    "open_cameras",
]

_ASKED = 50  # images that are asked which way is up


@dataclass(frozen=True, eq=False)
class BagFrame:
    """One image of a recording.

    index: its position among the images of the topic, from 0. image: [H, W] or [H, W, 3] RGB, uint8 or uint16.
    map_from_camera: the recording's own pose, interpolated at the stamp, None where it has none. camera_guessed: nobody
    has calibrated the camera. preparation: how features are taken of it.
    """

    index: int
    stamp_ns: int
    image: NDArray[Any]
    camera: Camera
    map_from_camera: Pose | None
    camera_guessed: bool = False
    preparation: Preparation = field(default_factory=Preparation)

    @property
    def name(self) -> str:
        """What the image is called where names are needed, in files of features: its index, six digits."""
        return f"{self.index:06d}"


@dataclass(frozen=True, eq=False)
class BagStamp:
    """When an image was taken and recorded, and the recording's own pose at that time, None where it has none."""

    stamp_ns: int
    recorded_ns: int
    map_from_camera: Pose | None


class Bag:
    """A bag with its image topic, camera and pose source chosen.

    The camera is that of K and D in camera_info, for rectified image topics (image_rect*) that of P without distortion;
    a changing camera_info counts from its stamp on. 16-bit images are at full range, by the bits that the recording's
    images hold. Raises DatasetError, one line, for everything that is missing, ambiguous or unusable.
    """

    def __init__(self, path: Path, options: BagOptions | None = None) -> None:
        self.path = Path(path)
        self.options = options or BagOptions()
        self._reader = BagReader(self.path)
        self.info_topic: Topic | None = None  # stays None with a calibration file
        try:
            self.image_topic = choose_image_topic(self._reader, self.options)
            frame, first = self._peek()
            self.camera_frame = self.options.camera_frame or frame
            self.bits = self._significant_bits() if first.dtype == np.uint16 else FULL_BITS
            self._cameras = self._read_cameras((first.shape[1], first.shape[0]))
            self._trees = self._open_trees()
            self._poses, self.no_poses = self._find_poses()
            self._mask = (
                None if self.options.mask is None else read_mask(self.options.mask, (first.shape[1], first.shape[0]))
            )
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

    def _open_trees(self) -> Trees:
        poses, only = self.options.poses, self.options.poses.tf_topics
        if not only and poses.pose_topic is not None and self._reader.topic(poses.pose_topic).type in TREE_TYPES:
            only = (poses.pose_topic,)
        calibration = self.options.calibration
        mounts = mounts_of_rig(self._reader, calibration) if calibration is not None else ()
        return Trees(self._reader, self.image_topic.name, self.options.max_pose_gap_s, only, mounts)

    def _find_poses(self) -> tuple[PoseSource | None, str]:
        """The source of poses, or None and why there is none."""
        if not self.options.poses_wanted:
            return None, "not asked for"
        found = PoseFinder(
            self._reader, self.options.poses, self._trees, self.camera_frame, self.options.max_pose_gap_s
        ).find()
        return (None, found.reason) if isinstance(found, NoPoses) else (found, "")

    @property
    def topics(self) -> tuple[Topic, ...]:
        return self._reader.topics

    def why_no_pose(self, stamp_ns: int) -> str:
        """Why an image of this time has no pose."""
        if self._poses is None:
            return self.no_poses
        return self._poses.why_not(stamp_ns) or "another image has the same stamp"

    @property
    def has_poses(self) -> bool:
        return self._poses is not None

    @property
    def poses_are_cameras(self) -> bool:
        """Whether poses are taken for those of this very camera, not carried over from another frame."""
        return self._poses is not None and self._poses.is_cameras

    @property
    def poses_drift(self) -> bool:
        """Whether poses are odometry: good from one image to the next, worse the longer the drive."""
        return self._poses is not None and self._poses.drifts

    @property
    def camera_unknown(self) -> bool:
        """Whether there is no calibration; the cameras of `frames` are guesses then."""
        return not self._cameras.infos

    @property
    def camera_source(self) -> str:
        """Where the calibration comes from, for people."""
        return self._cameras.source

    def compare_cameras(self, known: Collection[Camera]) -> None:
        """Log where calibrations differ from those of a map's cameras.

        Raises DatasetError for one that is a map's camera of another resolution, unless calibrations are trusted.
        """
        for camera in dict.fromkeys(camera for _, camera in self._cameras.infos):
            try:
                said = "" if self.options.trust_calibration else check_against_map(camera, known)
            except DatasetError as error:
                raise DatasetError(f"{self.path}: {self.camera_source}: {error}") from error
            if said:
                _log.warning("%s: %s: %s", self.path, self.camera_source, said)

    def mount(self, frame: str) -> Pose | None:
        """frame_from_camera where /tf has the camera fixed to that frame; a given base_from_camera replaces it."""
        given = self.options.poses.base_from_camera
        return self.fixed(frame) if given is None else given

    def fixed(self, frame: str) -> Pose | None:
        """frame_from_camera where /tf has the camera fixed to a frame, whatever else is given."""
        return self._trees.fixed(frame, self.camera_frame)

    @cached_property
    def gps(self) -> GpsTrack | NoFixes:
        """Fixes of a satellite receiver, or why there are none; "" without a receiver."""
        return read_fixes(self._reader, self._trees, self.camera_frame, self.options.gps_topic)

    @cached_property
    def _up(self) -> tuple[UpReader, str] | None:
        return read_up(self._reader, self._trees, self.camera_frame)

    def up_at(self, stamp_ns: int) -> Array | None:
        """Unit vector [3] away from gravity in the camera frame, None where no accelerometer tells."""
        return None if self._up is None else self._up[0](stamp_ns)

    @property
    def up_source(self) -> str:
        """What tells which way is up, for people; "" for nothing."""
        return "" if self._up is None else self._up[1]

    @cached_property
    def rotation(self) -> int | None:
        """By which images are turned to be upright, None where that is asked for and nothing tells."""
        if self.options.image_rotation != AUTO:
            return int(self.options.image_rotation)
        level = up_by_frames(self._trees, self.camera_frame)
        if level is not None and (found := rotation_by_up(level)) is not None:
            return found
        stamps = [item.stamp_ns for item in self.timeline()]
        some = stamps[:: max(1, len(stamps) // _ASKED)]
        found = common_rotation(self.up_at(stamp) for stamp in some)
        if found is None and self._poses is not None and self.options.poses.poses is None:  # topics are z up (REP-103)
            poses = (self._poses.at(stamp) for stamp in some)
            found = common_rotation(None if pose is None else pose.rotation[2] for pose in poses)
        return found

    @cached_property
    def _preparation(self) -> Preparation:
        if self.rotation is None:
            _log.warning("%s: nothing tells which way is up: images are taken as they are", self.path)
        return Preparation(self.rotation or 0, self._mask)

    @property
    def pose_source(self) -> str:
        """Where poses come from, for people."""
        if self._poses is not None:
            return self._poses.description
        return "no poses"

    @property
    def map_frame(self) -> str:
        """Name of the frame the poses are relative to."""
        return self._poses.map_frame if self._poses is not None else "map"

    def require_poses(self) -> None:
        """Raises DatasetError when the bag has no poses, listing its topics."""
        if self._poses is None:
            listed = ", ".join(str(topic) for topic in self.topics)
            wanted = f"no PoseStamped, Odometry, nor /tf from map, world or odom to {self.camera_frame!r}"
            why = self.no_poses or wanted
            raise DatasetError(
                f"{self.path}: has no poses ({why}); pass --poses FILE in TUM format; the bag has {listed}"
            )

    def _peek(self) -> tuple[str, NDArray[Any]]:
        """Frame id and pixels of the first image that can be read."""
        first: Picture | None = None
        for picture in self._pictures():
            if picture.image is not None:
                return str(picture.message.header.frame_id).lstrip("/"), picture.image
            first = first or picture
        said = f": {first.error}" if first is not None else " has no messages"
        raise DatasetError(f"{self.path}: topic {self.image_topic.name}{said}")

    def _significant_bits(self) -> int:
        """What the 16-bit images of the recording hold, by some of them."""
        samples = self._pictures(sample_of(len(self)))
        return significant_bits(picture.image for picture in samples if picture.image is not None)

    def _pictures(self, indices: Collection[int] | None = None, bits: int = FULL_BITS) -> Iterator[Picture]:
        raw = self.image_topic.type == RAW
        try:
            yield from pictures(self._image_messages(), raw=raw, wanted=indices, bits=bits)
        except DatasetError as error:
            said = str(error)
            where = f"{self.path}: topic {self.image_topic.name}"
            raise DatasetError(said if said.startswith(str(self.path)) else f"{where} {said}") from error

    def _image_messages(self) -> Iterator[tuple[int, Any]]:
        return image_messages(self._reader.messages([self.image_topic.name]), self.image_topic.type)

    def _read_cameras(self, size: tuple[int, int]) -> BagCameras:
        named = True
        if self.options.calibration is None:
            self.info_topic, named = choose_info_topic(self._reader, self.options, self.image_topic)
        image = ImageTopic(image_name(self.image_topic), self.camera_frame, size, info_is_named=named)
        return read_cameras(self._reader, self.info_topic, image, self.options)

    def frames(self, indices: Collection[int] | None = None) -> Iterator[BagFrame]:
        """Images in order of recording, all or those with the given indices; the others are not decoded.

        A damaged image after the first is left out and described in `broken`. An image with the stamp of an earlier one
        has no pose: two places at one time cannot both be right.
        """
        self.broken = []
        wanted = None if indices is None else frozenset(indices)
        stamps: set[int] = set()
        for picture in self._pictures(wanted, self.bits):
            image, index, message = picture.image, picture.index, picture.message
            stamp_ns = stamp_of(message, picture.recorded_ns)
            repeated = stamp_ns in stamps
            stamps.add(stamp_ns)
            if image is None:
                self.broken.append(f"image {index}: {self.path}: topic {self.image_topic.name}: {picture.error}")
                continue
            camera = self._guess(image, message) if self.camera_unknown else self._cameras.at(stamp_ns)
            if image.shape[:2] != (camera.height, camera.width):
                self.broken.append(f"image {index}: is {image.shape[1]}x{image.shape[0]}, not as calibrated")
                continue
            pose = self._poses.at(stamp_ns) if self._poses is not None and not repeated else None
            yield BagFrame(index, stamp_ns, image, camera, pose, self.camera_unknown, self._preparation)

    def timeline(self) -> list[BagStamp]:
        """Every image of `frames` in the same order, without decoding any."""
        out = []
        for recorded_ns, message in self._image_messages():
            stamp_ns = stamp_of(message, recorded_ns)
            pose = self._poses.at(stamp_ns) if self._poses is not None else None
            out.append(BagStamp(stamp_ns, recorded_ns, pose))
        return out

    def _guess(self, image: NDArray[Any], message: Any) -> Camera:
        encoded = bytes_of(message) if self.image_topic.type == COMPRESSED else b""
        return guess_camera(image.shape[1], image.shape[0], encoded)


def open_cameras(paths: Sequence[Path], options: BagOptions | Sequence[BagOptions] | None = None) -> Iterator[Bag]:
    """Each bag, once for each camera that options name; closed when the next one is asked for.

    Raises DatasetError when a bag's poses would be taken for those of two cameras at once.
    """
    wanted: Sequence[BagOptions | None] = options if isinstance(options, Sequence) else (options,)
    for path in paths:
        owner = ""
        for own in wanted:
            with Bag(path, own) as bag:
                if bag.poses_are_cameras and owner:
                    raise DatasetError(
                        f"{path}: {bag.pose_source} cannot be those of {owner} and of {bag.image_topic.name}; name the "
                        "frame they are of with --pose-frame (/tf must connect it to the cameras) or pass a "
                        "--base-from-camera for each"
                    )
                owner = bag.image_topic.name if bag.poses_are_cameras else owner
                yield bag
