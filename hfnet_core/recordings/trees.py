"""The transform trees of a recording: one for each /tf topic, never merged unless somebody says so."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.bag_reader import BagReader, stamp_of
from hfnet_core.recordings.transforms import TransformBuffer, TransformError

__all__ = ["TREE_TYPES", "Mount", "SeveralTreesError", "Tree", "Trees", "pose_from_numbers", "tree_name"]

TREE_TYPES = ("tf2_msgs/TFMessage", "tf/tfMessage")
_STATIC = "_static"
_NEARLY_UNIT = 0.1  # tf2 refuses more than half a percent; single precision and rounded numbers are further off
_log = logging.getLogger(__name__)


class SeveralTreesError(DatasetError):
    """A recording has several trees, and nothing tells which one a camera belongs to."""


@dataclass(frozen=True, eq=False)
class Mount:
    """A fixed transform between two frames."""

    parent: str
    child: str
    parent_from_child: Pose


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree. name: of its dynamic topic. topics: that exist in the recording."""

    name: str
    topics: tuple[str, ...]
    transforms: TransformBuffer

    @property
    def has_static(self) -> bool:
        """Whether fixed transforms were recorded."""
        return any(topic.endswith(_STATIC) for topic in self.topics)

    def knows(self, frame: str) -> bool:
        return frame.lstrip("/") in self.transforms.frames


class Trees:
    """All trees of a recording, read when one is first asked for.

    image_topic: of the camera, whose namespace chooses among trees that all know a frame. only: topics that alone are
    read, and then taken for one tree. mounts: fixed transforms that a calibration tells, for frames that the recording
    itself does not connect.
    """

    def __init__(
        self,
        bag: BagReader,
        image_topic: str,
        max_gap_s: float,
        only: tuple[str, ...] = (),
        mounts: tuple[Mount, ...] = (),
    ) -> None:
        self.bag, self.image_topic, self.max_gap_s, self.only = bag, image_topic, max_gap_s, only
        self.mounts = mounts
        self._foreign_said = False

    def of(self, frame: str) -> Tree:
        """The tree to look a frame up in; an empty one for a recording without transforms.

        Raises SeveralTreesError where several would do.
        """
        if not self.all:
            return self._mounted
        found = [tree for tree in self.all if tree.knows(frame)] or list(self.all)
        above = [tree for tree in found if self.image_topic.startswith(_namespace(tree.name) + "/")]
        above.sort(key=lambda tree: (len(_namespace(tree.name)), tree.name.endswith("/tf")))
        if len(found) == 1:
            self._say_foreign(found[0], frame, belongs=bool(above))
            return found[0]
        if not above:
            listed = ", ".join(tree.name for tree in found)
            raise SeveralTreesError(
                f"{self.bag.path}: {listed} are trees of their own and the images of {self.image_topic} may belong to "
                "any: choose one with --tf-topic (give it twice to join two)"
            )
        return above[-1]

    def fixed(self, target: str, source: str) -> Pose | None:
        """target_from_source where both are fixed to each other, None where nothing tells."""
        try:
            transforms = self.of(source).transforms
            return transforms.lookup(target, source, 0) if transforms.is_static(target, source) else None
        except (SeveralTreesError, TransformError):
            return None

    def _say_foreign(self, tree: Tree, frame: str, *, belongs: bool) -> None:
        """Log once that the only tree there is may be another robot's."""
        space = _namespace(tree.name)
        if space and tree.knows(frame) and not (belongs or self.only or self._foreign_said):
            self._foreign_said = True
            _log.warning(
                "%s: %s is taken for the tree of %s, which is outside of %s: of another robot, it would be wrong "
                "(--tf-topic %s confirms it)",
                self.bag.path,
                tree.name,
                self.image_topic,
                space,
                tree.name,
            )

    @cached_property
    def _mounted(self) -> Tree:
        """What is known without any transforms in the recording."""
        buffer = TransformBuffer.recorded(self.max_gap_s)
        _mount(buffer, self.mounts)
        return Tree("/tf", (), buffer)

    @cached_property
    def all(self) -> tuple[Tree, ...]:
        """Every tree, by name. Raises DatasetError when a topic of `only` is missing or holds no transforms."""
        return tuple(self._read())

    def _read(self) -> list[Tree]:
        topics = [topic.name for topic in self.bag.of_type(*TREE_TYPES)]
        if self.only:
            wanted = {tree_name(name) for name in self.only}
            known = {tree_name(name) for name in topics}
            for name in sorted(wanted - known):
                listed = ", ".join(sorted(topics)) or "none"
                raise DatasetError(f"{self.bag.path}: no transforms on {name}; topics of transforms are {listed}")
            topics = [name for name in topics if tree_name(name) in wanted]
        names = {name: self.only[0] if self.only else tree_name(name) for name in topics}
        buffers = {name: TransformBuffer.recorded(self.max_gap_s) for name in sorted(set(names.values()))}
        dropped = _Dropped()
        for topic, recorded_ns, message in self.bag.messages(topics):
            for item in message.transforms:
                problem = _learn(buffers[names[topic]], item, recorded_ns, static=topic.endswith(_STATIC))
                if problem:
                    dropped.add(topic, str(item.child_frame_id), problem)
        dropped.say(self.bag)
        for buffer in buffers.values():
            _mount(buffer, self.mounts)
        return [
            Tree(tree_name(name), tuple(topic for topic in topics if names[topic] == name), buffer)
            for name, buffer in buffers.items()
        ]


def _mount(buffer: TransformBuffer, mounts: Iterable[Mount]) -> None:
    """Add fixed transforms between frames that are not connected, and of which the child has no parent yet."""
    for mount in mounts:
        if mount.parent == mount.child or buffer.connects(mount.parent, mount.child):
            continue
        if buffer.parent_of(mount.child) is None:
            buffer.add(mount.parent, mount.child, mount.parent_from_child, 0, static=True)
        elif buffer.parent_of(mount.parent) is None:
            buffer.add(mount.child, mount.parent, mount.parent_from_child.inverse(), 0, static=True)


def _learn(buffer: TransformBuffer, item: Any, recorded_ns: int, *, static: bool) -> str:
    """Add a TransformStamped. Returns what is wrong with it, "" where it was added."""
    try:
        pose = pose_from_numbers(item.transform.translation, item.transform.rotation)
        buffer.add(str(item.header.frame_id), str(item.child_frame_id), pose, stamp_of(item, recorded_ns), static)
    except (TransformError, ValueError) as error:
        return str(error)
    return ""


class _Dropped:
    """Transforms that were left out: how many, by topic and child frame, and the first reason of each."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._reasons: dict[tuple[str, str], str] = {}

    def add(self, topic: str, child: str, reason: str) -> None:
        self._counts[topic, child] += 1
        self._reasons.setdefault((topic, child), reason)

    def say(self, bag: BagReader) -> None:
        for (topic, child), count in sorted(self._counts.items()):
            reason = self._reasons[topic, child]
            _log.warning("%s: %s: %d transforms of %r left out: %s", bag.path, topic, count, child, reason)


def tree_name(topic: str) -> str:
    """A tree is called by its dynamic topic: /tf for /tf and /tf_static."""
    return topic.removesuffix(_STATIC)


def _namespace(tree: str) -> str:
    return tree.rsplit("/", 1)[0]


def pose_from_numbers(position: Any, orientation: Any) -> Pose:
    """A pose from messages with x, y, z and x, y, z, w. Raises ValueError for what is no pose."""
    numbers = np.array([position.x, position.y, position.z, orientation.x, orientation.y, orientation.z, orientation.w])
    if not np.isfinite(numbers).all():
        raise ValueError("is not finite")
    if not np.any(numbers[3:]):
        raise ValueError("has a zero quaternion")
    if abs(np.linalg.norm(numbers[3:]) - 1) > _NEARLY_UNIT:
        raise ValueError("has a quaternion that is far from unit length")
    pose = Pose.from_quat_xyzw(numbers[3:], numbers[:3])
    if not pose.is_finite():
        raise ValueError(f"is {np.abs(numbers[:3]).max():.0e} m away")
    return pose
