"""Writing a bag (images, camera_info, poses) in any of the three containers, complete or not at all."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.extras import later
from hfnet_core.files import read_file
from hfnet_core.geometry import Pose
from hfnet_core.images.orientation import upright_jpeg
from hfnet_core.images.registration import DepthMount
from hfnet_core.limits import IMAGE_FILE
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.calibration import camera_info_fields
from hfnet_core.recordings.containers.checksums import add_checksums
from hfnet_core.recordings.image_folder import FolderFrame
from hfnet_core.types import Camera

__all__ = ["STORAGES", "BagWriter", "WriterTopics", "open_writer", "write_folder_bag"]

apsw, typesys = later("apsw"), later("rosbags.typesys")
rosbag1, rosbag2 = later("rosbags.rosbag1"), later("rosbags.rosbag2")

STORAGES = ("mcap", "sqlite3", "rosbag1")
_DEPTH_HEADER = 12  # bytes before the PNG in compressedDepth, which mean something for floats only
_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}


@dataclass(frozen=True)
class WriterTopics:
    """Names used in a written bag. map_frame is the frame of the poses, odometry_frame that of the odometry,
    camera_frame that of the images, depth_frame that of depth that is not registered to them."""

    image: str = "/camera/image_raw"
    compressed: str = "/camera/image_raw/compressed"
    camera_info: str = "/camera/camera_info"
    depth: str = "/camera/depth/image_raw/compressedDepth"
    depth_info: str = "/camera/depth/camera_info"
    pose: str = "/ground_truth/pose"
    odometry: str = "/odom"
    map_frame: str = "map"
    odometry_frame: str = "odom"
    camera_frame: str = "camera"
    depth_frame: str = "depth_camera"


class BagWriter:
    """Adds messages to a bag under construction; made by `open_writer`."""

    def __init__(self, writer: Any, storage: str, topics: WriterTopics) -> None:
        self._writer, self._ros1, self.topics = writer, storage == "rosbag1", topics
        self._store = typesys.get_typestore(typesys.Stores.ROS1_NOETIC if self._ros1 else typesys.Stores.ROS2_JAZZY)
        self._connections: dict[str, Any] = {}
        self._depth_frame = self.topics.camera_frame

    def type(self, name: str) -> Any:
        """The class of a message type of this bag's ROS version, such as geometry_msgs/msg/Pose."""
        return self._store.types[name]

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """A std_msgs/Header."""
        stamp = self.type("builtin_interfaces/msg/Time")(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        extra = {"seq": 0} if self._ros1 else {}
        return self.type("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id, **extra)

    def write(self, topic: str, kind: str, stamp_ns: int, **fields: Any) -> None:
        """Write one message; fields: by name, as the message class takes them."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self._store)
        message = self.type(kind)(**fields)
        serialize = self._store.serialize_ros1 if self._ros1 else self._store.serialize_cdr
        self._writer.write(self._connections[topic], stamp_ns, serialize(message, kind))

    def image(self, stamp_ns: int, image: NDArray[np.uint8]) -> None:
        """A raw image, [H, W] gray or [H, W, 3] RGB, uint8."""
        height, width = image.shape[:2]
        encoding = "mono8" if image.ndim == 2 else "rgb8"
        data = np.ascontiguousarray(image).reshape(-1)
        self.write(
            self.topics.image,
            "sensor_msgs/msg/Image",
            stamp_ns,
            header=self.header(stamp_ns, self.topics.camera_frame),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=data.size // height,
            data=data,
        )

    def depth(self, stamp_ns: int, data: bytes) -> None:
        """Depth as a 16-bit PNG in millimetres, its bytes kept as they are; registered to the image unless
        `depth_mount` has said otherwise."""
        self._compressed(stamp_ns, bytes(_DEPTH_HEADER) + data, "16UC1; compressedDepth png", self.topics.depth)

    def depth_mount(self, stamp_ns: int, mount: DepthMount) -> None:
        """Once before the depth of another camera: where that is and how it is calibrated. Raises as `camera_info`."""
        topics, self._depth_frame = self.topics, self.topics.depth_frame
        pose = self._pose(mount.colour_from_depth)
        place = self.type("geometry_msgs/msg/Vector3")(x=pose.position.x, y=pose.position.y, z=pose.position.z)
        transform = self.type("geometry_msgs/msg/TransformStamped")(
            header=self.header(stamp_ns, topics.camera_frame),
            child_frame_id=topics.depth_frame,
            transform=self.type("geometry_msgs/msg/Transform")(translation=place, rotation=pose.orientation),
        )
        self.write("/tf_static", "tf2_msgs/msg/TFMessage", stamp_ns, transforms=[transform])
        self._camera_info(topics.depth_info, topics.depth_frame, stamp_ns, mount.camera)

    def compressed(self, stamp_ns: int, data: bytes, image_format: str) -> None:
        """An encoded image, its bytes kept as they are. image_format: jpeg or png."""
        self._compressed(stamp_ns, data, image_format, self.topics.compressed)

    def _compressed(self, stamp_ns: int, data: bytes, image_format: str, topic: str) -> None:
        frame = self._depth_frame if topic == self.topics.depth else self.topics.camera_frame
        self.write(
            topic,
            "sensor_msgs/msg/CompressedImage",
            stamp_ns,
            header=self.header(stamp_ns, frame),
            format=image_format,
            data=np.frombuffer(data, dtype=np.uint8),
        )

    def camera_info(self, stamp_ns: int, camera: Camera) -> None:
        """The calibration. Raises DatasetError for a camera that ROS cannot express."""
        self._camera_info(self.topics.camera_info, self.topics.camera_frame, stamp_ns, camera)

    def _camera_info(self, topic: str, frame: str, stamp_ns: int, camera: Camera) -> None:
        model, k, d = camera_info_fields(camera)
        p = [k[0], 0.0, k[2], 0.0, 0.0, k[4], k[5], 0.0, 0.0, 0.0, 1.0, 0.0]
        roi = self.type("sensor_msgs/msg/RegionOfInterest")(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        arrays = {"d": d, "k": k, "r": np.eye(3).reshape(-1), "p": p}
        named = {name.upper() if self._ros1 else name: np.array(value) for name, value in arrays.items()}
        self.write(
            topic,
            "sensor_msgs/msg/CameraInfo",
            stamp_ns,
            header=self.header(stamp_ns, frame),
            height=camera.height,
            width=camera.width,
            distortion_model=model,
            binning_x=0,
            binning_y=0,
            roi=roi,
            **named,
        )

    def pose(self, stamp_ns: int, map_from_camera: Pose) -> None:
        """The camera's pose as a PoseStamped."""
        header = self.header(stamp_ns, self.topics.map_frame)
        pose = self._pose(map_from_camera)
        self.write(self.topics.pose, "geometry_msgs/msg/PoseStamped", stamp_ns, header=header, pose=pose)

    def odometry(self, stamp_ns: int, odom_from_camera: Pose) -> None:
        """The camera's pose as odometry has it, without covariance or speed."""
        zero = self.type("geometry_msgs/msg/Vector3")(x=0.0, y=0.0, z=0.0)
        still = self.type("geometry_msgs/msg/Twist")(linear=zero, angular=zero)
        unknown = np.zeros(36)
        pose = self.type("geometry_msgs/msg/PoseWithCovariance")(pose=self._pose(odom_from_camera), covariance=unknown)
        twist = self.type("geometry_msgs/msg/TwistWithCovariance")(twist=still, covariance=unknown)
        self.write(
            self.topics.odometry,
            "nav_msgs/msg/Odometry",
            stamp_ns,
            header=self.header(stamp_ns, self.topics.odometry_frame),
            child_frame_id=self.topics.camera_frame,
            pose=pose,
            twist=twist,
        )

    def _pose(self, pose: Pose) -> Any:
        x, y, z = (float(value) for value in pose.translation)
        qx, qy, qz, qw = (float(value) for value in pose.quat_xyzw())
        position = self.type("geometry_msgs/msg/Point")(x=x, y=y, z=z)
        orientation = self.type("geometry_msgs/msg/Quaternion")(x=qx, y=qy, z=qz, w=qw)
        return self.type("geometry_msgs/msg/Pose")(position=position, orientation=orientation)


@contextmanager
def open_writer(
    output: Path, storage: str, topics: WriterTopics | None = None, *, overwrite: bool = False
) -> Iterator[BagWriter]:
    """Write a bag at `output`: a file for rosbag1, a directory for mcap and sqlite3.

    It is built under a temporary name beside it and renamed at the end; after an exception nothing stays. An mcap has
    checksums, the other containers have no place for them. Raises ConfigError for an unknown storage, an output that
    exists, or one whose name belongs to another storage, DatasetError where it cannot be written.
    """
    if storage not in STORAGES:
        raise ConfigError(f"storage {storage!r} is not known; use one of {', '.join(STORAGES)}")
    if (output.suffix == ".bag") != (storage == "rosbag1"):
        raise ConfigError(f"{output}: rosbag1 files end in .bag, others do not: rename it or use another storage")
    if output.exists() and not overwrite:
        raise ConfigError(f"{output}: exists already; remove it or pass --overwrite")
    if not output.parent.is_dir():
        raise ConfigError(f"{output.parent}: no such directory to write a bag into")
    try:
        building = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise DatasetError(f"{output}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        unfinished = building / output.name  # rosbag2 names its files after the directory
        if storage == "rosbag1":
            writer: Any = rosbag1.Writer(unfinished)
        else:
            plugin = rosbag2.StoragePlugin.MCAP if storage == "mcap" else rosbag2.StoragePlugin.SQLITE3
            writer = rosbag2.Writer(unfinished, version=9, storage_plugin=plugin)
        with writer:
            yield BagWriter(writer, storage, topics or WriterTopics())
        for path in unfinished.glob("*.mcap"):
            add_checksums(path)
        if output.exists():
            output.rename(building / "replaced")
        unfinished.rename(output)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(f"{output}: cannot be written ({reason}); make room or choose another disk") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def write_folder_bag(
    frames: Sequence[FolderFrame],
    camera: Camera | None,
    output: Path,
    *,
    storage: str,
    overwrite: bool = False,
    progress: Progress = silent,
    depth_mount: DepthMount | None = None,
) -> int:
    """Write the frames of an image folder as a bag and return their number. Image bytes are kept as they are, except
    that photos are turned upright by their EXIF orientation, unless a calibration of their size as stored, or a pose,
    belongs to them.

    camera: None for images that nobody has calibrated. depth_mount: of depth that is not registered to the images.
    Raises DatasetError for an image that cannot be read.
    """
    count = 0
    with open_writer(output, storage, overwrite=overwrite) as writer:
        if depth_mount is not None and frames:
            writer.depth_mount(frames[0].stamp_ns, depth_mount)
        for frame in frames:
            data = read_file(frame.path, IMAGE_FILE)
            if camera is not None or frame.map_from_camera is None:
                data = upright_jpeg(data, (camera.width, camera.height) if camera is not None else None)
            writer.compressed(frame.stamp_ns, data, _FORMATS[frame.path.suffix.lower()])
            if camera is not None:
                writer.camera_info(frame.stamp_ns, camera)
            if frame.depth is not None:
                writer.depth(frame.stamp_ns, read_file(frame.depth, IMAGE_FILE))
            if frame.map_from_camera is not None:
                writer.pose(frame.stamp_ns, frame.map_from_camera)
            count += 1
            progress("writing images", count, len(frames))
    return count
