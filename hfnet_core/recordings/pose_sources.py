"""Where the pose of the camera at an image's stamp comes from: a pose topic, a transform tree, or a TUM file.

The rule, which every message repeats: a message without a child frame (PoseStamped, PoseWithCovarianceStamped, a TUM
file) holds the pose of the camera (x right, y down, z forward), unless `pose_frame` names the frame it is the pose of.
Odometry and TransformStamped hold the pose of their child frame. Where that is not the camera's frame, the transform
between the two is looked up in the bag's /tf and /tf_static, or given as `base_from_camera`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.bag_reader import BagReader, Topic, stamp_of
from hfnet_core.recordings.options import PoseOptions
from hfnet_core.recordings.transforms import TimedPoses, TransformError
from hfnet_core.recordings.trees import TREE_TYPES, Tree, Trees, pose_from_numbers
from hfnet_core.recordings.tum import read_tum

__all__ = ["NoPoses", "PoseFinder", "PoseSource"]

_OF_CAMERA = ("geometry_msgs/PoseStamped", "geometry_msgs/PoseWithCovarianceStamped")
_OF_CHILD = ("nav_msgs/Odometry", "geometry_msgs/TransformStamped")
_FIXED_FRAMES = ("map", "world", "odom")
_STAYING = ("map", "world", "earth")
_ASKED_FOR = ("goal", "initialpose", "clicked", "waypoint")  # how topics begin of poses that somebody asks for
_MOUNT = "--base-from-camera 'x y z qx qy qz qw'"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PoseSource:
    """map_from_camera at a time. `description` says where it comes from, `map_frame` what the poses are relative to.

    lookup: raises TransformError, saying why, where there is none. is_cameras: the poses are taken for those of this
    very camera, not carried over from another frame. drifts: they are odometry, in a frame that wanders (REP-105) over
    time.
    """

    lookup: Callable[[int], Pose]
    map_frame: str
    description: str
    is_cameras: bool = False
    drifts: bool = False

    def at(self, stamp_ns: int) -> Pose | None:
        try:
            return self.lookup(stamp_ns)
        except TransformError:
            return None

    def why_not(self, stamp_ns: int) -> str:
        """Why there is no pose at a time, "" where there is."""
        try:
            self.lookup(stamp_ns)
        except TransformError as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class NoPoses:
    """A recording that has no poses, and what is missing, with the remedy."""

    reason: str


@dataclass(frozen=True, eq=False)
class _Base:
    """A frame whose pose in the map frame is known over time."""

    timed: TimedPoses
    map_frame: str
    frame: str
    description: str
    drifts: bool = False


@dataclass(frozen=True, eq=False)
class PoseFinder:
    """Finds the source of poses of a camera in a bag. max_gap_s: poses further apart are not interpolated between."""

    bag: BagReader
    options: PoseOptions
    trees: Trees
    camera_frame: str
    max_gap_s: float

    def find(self) -> PoseSource | NoPoses:
        """Raises DatasetError when several topics qualify, a topic is missing or has the wrong type, or the frames are
        not connected.
        """
        if self.options.poses is not None:
            rows = read_tum(self.options.poses)
            timed = TimedPoses.from_samples((row.stamp_ns, row.pose) for row in rows)
            said = f"poses of {self.options.poses.name} ({len(timed)})"
            return self._carried(_Base(timed, "map", self.options.pose_frame or self.camera_frame, said))
        topic = self._topic()
        if topic is not None and topic.type not in TREE_TYPES:
            return self._carried(self._read(topic))
        return self._from_tree(required=topic is not None)

    def _topic(self) -> Topic | None:
        types = (*_OF_CAMERA, *_OF_CHILD)
        if self.options.pose_topic is not None:
            topic = self.bag.topic(self.options.pose_topic)
            if topic.type not in (*types, *TREE_TYPES):
                usable = ", ".join((*types, *TREE_TYPES))
                raise DatasetError(f"{self.bag.path}: {topic} holds no poses; usable types are {usable}")
            return topic
        found = [topic for topic in self.bag.of_type(*types) if topic.count > 1 and not _is_asked_for(topic)]
        if len(found) > 1:
            listed = ", ".join(str(topic) for topic in found)
            raise DatasetError(f"{self.bag.path}: several topics hold poses, choose one with --pose-topic: {listed}")
        return found[0] if found else None

    def _read(self, topic: Topic) -> _Base:
        """The poses of a topic; a message that holds none, as odometry sends when it is lost, is a gap."""
        samples: list[tuple[int, Pose]] = []
        gaps: list[int] = []
        parent = child = reason = ""
        for _, recorded_ns, message in self.bag.messages([topic.name]):
            parent = parent or str(message.header.frame_id).lstrip("/")
            child = child or str(getattr(message, "child_frame_id", "")).lstrip("/")
            try:
                samples.append((stamp_of(message, recorded_ns), pose_from_numbers(*_numbers(topic, message))))
            except ValueError as error:
                gaps.append(stamp_of(message, recorded_ns))
                reason = reason or str(error)
        if gaps and not samples:
            raise DatasetError(f"{self.bag.path}: none of the poses of {topic} can be used: each {reason}")
        if gaps:
            found = f"{len(gaps)} of {len(gaps) + len(samples)} poses left out, the first {reason}"
            _log.warning("%s: %s: %s: taken for gaps", self.bag.path, topic.name, found)
        frame = self.options.pose_frame or child or self.camera_frame
        map_frame = self.options.map_frame or (parent if parent not in ("", frame, self.camera_frame) else "map")
        timed = TimedPoses.from_samples(samples, gaps)
        # Odometry is what its name says unless its frame is one that stays (REP-105); some simulators publish truth so.
        drifts = _wanders(parent) or (topic.type == "nav_msgs/Odometry" and _last(parent) not in _STAYING)
        return _Base(timed, map_frame, frame, f"poses of {topic.name} ({topic.type}, {len(timed)})", drifts)

    def _carried(self, base: _Base) -> PoseSource:
        """Poses of a base frame, carried over to the camera."""
        timed = partial(base.timed.lookup, max_gap_s=self.max_gap_s)
        if (fixed := self.options.base_from_camera) is not None:
            said = f"{base.description} with the given base_from_camera"
            return PoseSource(lambda stamp: timed(stamp) @ fixed, base.map_frame, said, drifts=base.drifts)
        frame = base.frame.lstrip("/")
        if frame == self.camera_frame:
            said = f"{base.description} of the camera"
            return PoseSource(timed, base.map_frame, said, is_cameras=True, drifts=base.drifts)
        tree = self.trees.of(self.camera_frame)
        if not self._connects(tree, frame, self.camera_frame):
            raise DatasetError(
                f"{self.bag.path}: {base.description} are of frame {frame!r} and {tree.name} does not connect it to "
                f"the camera's {self.camera_frame!r}{self._why(tree, self.camera_frame)}; pass {_MOUNT}"
            )

        def lookup(stamp_ns: int) -> Pose:
            return timed(stamp_ns) @ tree.transforms.lookup(frame, self.camera_frame, stamp_ns)

        said = f"{base.description} of {frame}, with {frame} -> {self.camera_frame} from {tree.name}"
        return PoseSource(lookup, base.map_frame, said, drifts=base.drifts)

    def _from_tree(self, *, required: bool) -> PoseSource | NoPoses:
        """Poses from transforms alone: a fixed frame, a chain that moves, and the camera or a base on the way to it."""
        child, last = self.camera_frame, self.options.base_from_camera
        if last is not None:
            child = self.options.pose_frame or "base_link"
        tree = self.trees.of(child)
        wanted = (self.options.map_frame,) if self.options.map_frame else _FIXED_FRAMES
        moving = (
            frame
            for frame in wanted
            if self._connects(tree, frame, child) and not tree.transforms.is_static(frame, child)
        )
        if (fixed := next(moving, None)) is not None:
            return _of_tree(tree, fixed, child, last or Pose())
        still = next((frame for frame in wanted if self._connects(tree, frame, child)), None)
        missing = f"{tree.name} does not connect {' or '.join(wanted)} to {child!r}{self._why(tree, child)}"
        if still is not None:
            missing = f"by {tree.name} {child!r} never moves in {still!r}, as of a robot that stands still"
        remedy = f"pass --map-frame, or {_MOUNT} with --pose-frame FRAME"
        if still is not None:
            remedy = "record while it drives, or pass --map-frame"
        if required or self.options.map_frame:
            raise DatasetError(f"{self.bag.path}: {missing}: {remedy}")
        return NoPoses(f"{missing}: {remedy}" if tree.topics else "")

    def _connects(self, tree: Tree, target: str, source: str) -> bool:
        try:
            return tree.transforms.connects(target, source)
        except TransformError as error:
            raise DatasetError(
                f"{self.bag.path}: {tree.name}: {error}; name a source of poses with --pose-topic or --poses, or pass "
                f"{_MOUNT}"
            ) from error

    def _why(self, tree: Tree, frame: str) -> str:
        """What is odd about a frame that leads nowhere, or "": for a bracket."""
        if not tree.topics:
            return ""
        if not frame:
            return f" (the images of {self.trees.image_topic} name no frame: pass --camera-frame)"
        facts = []
        if not tree.knows(frame):
            facts.append(f"it does not know {frame!r}, but {', '.join(tree.transforms.frames)}")
            if frame == self.camera_frame:
                near = get_close_matches(frame, tree.transforms.frames, n=1)
                other = f"--camera-frame {near[0]}" if near else "--camera-frame may name another"
                facts.append(f"that is the frame of {self.trees.image_topic}: {other}")
        if not tree.has_static:
            facts.append(f"there is no {tree.name}_static, which an earlier part of the recording may have")
        return f" ({'; '.join(facts)})" if facts else ""


def _of_tree(tree: Tree, map_frame: str, child: str, child_from_camera: Pose) -> PoseSource:
    return PoseSource(
        lambda stamp: tree.transforms.lookup(map_frame, child, stamp) @ child_from_camera,
        map_frame,
        f"transforms {map_frame} -> {child} of {tree.name}",
        drifts=_wanders(map_frame),
    )


def _numbers(topic: Topic, message: Any) -> tuple[Any, Any]:
    """(position, orientation) of a message of one of the types above."""
    if topic.type == "geometry_msgs/TransformStamped":
        return message.transform.translation, message.transform.rotation
    inner = message.pose if topic.type == "geometry_msgs/PoseStamped" else message.pose.pose
    return inner.position, inner.orientation


def _is_asked_for(topic: Topic) -> bool:
    """Whether poses are where somebody wants the robot, or says that it is, now and then."""
    return _last(topic.name).lower().startswith(_ASKED_FOR)


def _last(frame: str) -> str:
    """A frame's name without the robot's, which some put before a slash."""
    return frame.rsplit("/", 1)[-1]


def _wanders(frame: str) -> bool:
    return _last(frame).startswith("odom")
