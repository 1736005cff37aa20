"""Where the pose of the camera at an image's stamp comes from: a pose topic, a transform tree, or a TUM file.

The rule, which every message repeats: a message without a child frame (PoseStamped, PoseWithCovarianceStamped, a TUM
file) holds the pose of the camera (x right, y down, z forward), unless `pose_frame` names the frame it is the pose of.
Odometry and TransformStamped hold the pose of their child frame. Where that is not the camera's frame, the transform
between the two is looked up in the bag's /tf and /tf_static, or given as `base_from_camera`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.bag_reader import BagReader, Topic, stamp_of
from hfnet_core.recordings.options import PoseOptions
from hfnet_core.recordings.transforms import TimedPoses, TransformBuffer
from hfnet_core.recordings.tum import read_tum

__all__ = ["PoseSource", "open_poses", "read_tree"]

_OF_CAMERA = ("geometry_msgs/PoseStamped", "geometry_msgs/PoseWithCovarianceStamped")
_OF_CHILD = ("nav_msgs/Odometry", "geometry_msgs/TransformStamped")
_TREE = ("tf2_msgs/TFMessage", "tf/tfMessage")
_FIXED_FRAMES = ("map", "world", "odom")
_STAYING = ("map", "world", "earth")


@dataclass(frozen=True, eq=False)
class PoseSource:
    """map_from_camera at a time. `description` says where it comes from, `map_frame` what the poses are relative to.

    is_cameras: the poses are taken for those of this very camera, not carried over from another frame. drifts: they are
    odometry, in a frame that wanders (REP-105) over time.
    """

    at: Callable[[int], Pose | None]
    map_frame: str
    description: str
    is_cameras: bool = False
    drifts: bool = False


def open_poses(bag: BagReader, options: PoseOptions, camera_frame: str, max_gap_s: float) -> PoseSource | None:
    """The source of poses of a bag, or None where it has none.

    Raises DatasetError when several topics qualify, a topic is missing or has the wrong type, or the frames are not
    connected.
    """
    tree = read_tree(bag)
    if options.poses is not None:
        rows = read_tum(options.poses)
        timed = TimedPoses.from_samples((row.stamp_ns, row.pose) for row in rows)
        base = _Base("map", options.pose_frame or camera_frame, f"poses of {options.poses.name} ({len(timed)})")
        return _timed_source(bag, timed, base, options, tree, camera_frame, max_gap_s)
    topic = _choose(bag, options)
    if topic is not None and topic.type not in _TREE:
        timed, base = _read_topic(bag, topic, options, camera_frame)
        return _timed_source(bag, timed, base, options, tree, camera_frame, max_gap_s)
    return _tree_source(bag, tree, options, camera_frame, max_gap_s, required=topic is not None)


@dataclass(frozen=True)
class _Base:
    """A frame whose pose in the map frame is known over time."""

    map_frame: str
    frame: str
    description: str
    drifts: bool = False


def _choose(bag: BagReader, options: PoseOptions) -> Topic | None:
    types = (*_OF_CAMERA, *_OF_CHILD)
    if options.pose_topic is not None:
        topic = bag.topic(options.pose_topic)
        if topic.type not in (*types, *_TREE):
            raise DatasetError(f"{bag.path}: {topic} holds no poses; usable types are {', '.join((*types, *_TREE))}")
        return topic
    found = [topic for topic in bag.of_type(*types) if topic.count > 1]  # one message is a goal or an initial guess
    if len(found) > 1:
        listed = ", ".join(str(topic) for topic in found)
        raise DatasetError(f"{bag.path}: several topics hold poses, choose one with --pose-topic: {listed}")
    return found[0] if found else None


def read_tree(bag: BagReader) -> TransformBuffer:
    """Every transform of the bag."""
    tree = TransformBuffer()
    topics = bag.of_type(*_TREE)
    for name, recorded_ns, message in bag.messages([topic.name for topic in topics]):
        for item in message.transforms:
            pose = _pose_of(bag, name, item.transform.translation, item.transform.rotation)
            static = name.endswith("tf_static")
            tree.add(item.header.frame_id, item.child_frame_id, stamp_of(item, recorded_ns), pose, static=static)
    return tree


def _read_topic(bag: BagReader, topic: Topic, options: PoseOptions, camera_frame: str) -> tuple[TimedPoses, _Base]:
    samples: list[tuple[int, Pose]] = []
    parent = child = ""
    for name, recorded_ns, message in bag.messages([topic.name]):
        if topic.type == "geometry_msgs/TransformStamped":
            pose = _pose_of(bag, name, message.transform.translation, message.transform.rotation)
        else:
            inner = message.pose if topic.type == "geometry_msgs/PoseStamped" else message.pose.pose
            pose = _pose_of(bag, name, inner.position, inner.orientation)
        if not samples:
            parent = str(message.header.frame_id).lstrip("/")
            child = str(getattr(message, "child_frame_id", "")).lstrip("/")
        samples.append((stamp_of(message, recorded_ns), pose))
    frame = options.pose_frame or child or camera_frame
    map_frame = options.map_frame or (parent if parent not in ("", frame, camera_frame) else "map")
    timed = TimedPoses.from_samples(samples)
    # Odometry is what its name says unless its frame is one that stays (REP-105); some simulators publish truth so.
    drifts = _wanders(parent) or (topic.type == "nav_msgs/Odometry" and _last(parent) not in _STAYING)
    return timed, _Base(map_frame, frame, f"poses of {topic.name} ({topic.type}, {len(timed)})", drifts)


def _last(frame: str) -> str:
    """A frame's name without the robot's, which some put before a slash."""
    return frame.rsplit("/", 1)[-1]


def _wanders(frame: str) -> bool:
    return _last(frame).startswith("odom")


def _pose_of(bag: BagReader, topic: str, position: Any, orientation: Any) -> Pose:
    numbers = np.array([position.x, position.y, position.z, orientation.x, orientation.y, orientation.z, orientation.w])
    if not np.isfinite(numbers).all() or not np.any(numbers[3:]):
        raise DatasetError(f"{bag.path}: topic {topic} holds a pose that is not finite or has a zero quaternion")
    return Pose.from_quat_xyzw(numbers[3:], numbers[:3])


def _timed_source(
    bag: BagReader, timed: TimedPoses, base: _Base, options: PoseOptions, tree: TransformBuffer, camera_frame: str,
    max_gap_s: float,
) -> PoseSource:  # fmt: skip
    """Poses of a base frame, carried over to the camera."""
    if options.base_from_camera is not None:
        fixed = options.base_from_camera
        said = f"{base.description} with the given base_from_camera"
        return PoseSource(lambda stamp: _then(timed.at(stamp, max_gap_s), fixed), base.map_frame, said,
                          drifts=base.drifts)  # fmt: skip
    frame = base.frame.lstrip("/")
    if frame == camera_frame:
        said = f"{base.description} of the camera"
        return PoseSource(lambda stamp: timed.at(stamp, max_gap_s), base.map_frame, said, is_cameras=True,
                          drifts=base.drifts)  # fmt: skip
    if tree.path(frame, camera_frame) is None:
        raise DatasetError(
            f"{bag.path}: {base.description} are of frame {frame!r} and /tf does not connect it to the camera's "
            f"{camera_frame!r}; pass --base-from-camera 'x y z qx qy qz qw'"
        )

    def at(stamp_ns: int) -> Pose | None:
        return _then(timed.at(stamp_ns, max_gap_s), tree.lookup(frame, camera_frame, stamp_ns, max_gap_s))

    said = f"{base.description} of {frame}, with {frame} -> {camera_frame} from /tf"
    return PoseSource(at, base.map_frame, said, drifts=base.drifts)


def _then(map_from_base: Pose | None, base_from_camera: Pose | None) -> Pose | None:
    return None if map_from_base is None or base_from_camera is None else map_from_base @ base_from_camera


def _tree_source(
    bag: BagReader, tree: TransformBuffer, options: PoseOptions, camera_frame: str, max_gap_s: float, *, required: bool
) -> PoseSource | None:
    """Poses from /tf alone: a fixed frame, a chain that moves, and the camera (or a base on the way to it)."""
    child = camera_frame
    if options.base_from_camera is not None:
        child = options.pose_frame or "base_link"
    wanted = (options.map_frame,) if options.map_frame else _FIXED_FRAMES
    moving = (frame for frame in wanted if tree.path(frame, child) is not None and not tree.is_static(frame, child))
    map_frame = next(moving, None)
    if map_frame is not None:
        fixed, last = map_frame, options.base_from_camera or Pose()
        said = f"transforms {fixed} -> {child} of /tf"
        return PoseSource(lambda stamp: _then(tree.lookup(fixed, child, stamp, max_gap_s), last), fixed, said,
                          drifts=_wanders(fixed))  # fmt: skip
    if required or options.map_frame:
        raise DatasetError(
            f"{bag.path}: /tf does not connect {' or '.join(wanted)} to {child!r}; it knows "
            f"{', '.join(tree.frames) or 'no frames'}: pass --map-frame, or --base-from-camera with --pose-frame"
        )
    return None
