"""Frames over time behind one interface: tf2_ros where it is installed, our own buffer on /tf elsewhere.

`open_frames(node)` chooses. A transform is named target_from_source. Nothing is ever extrapolated.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable
from typing import Protocol

import yaml
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy

from hfnet_core.errors import first_line
from hfnet_core.geometry import Pose
from hfnet_core.recordings.transforms import NotYetKnownError, TransformBuffer, TransformError
from hfnet_ros.conversions import frame_name, pose_from_transform, pose_to_transform, stamp_to_ns
from hfnet_ros.rclpy_typed import Log, now_ns, profile

__all__ = [
    "Frames",
    "NoFrames",
    "NotYetKnownError",
    "OwnFrames",
    "Tf2Frames",
    "TransformError",
    "open_frames",
    "wait_for",
]

_POLL_S = 0.004
_STANDSTILL_S = 0.5  # of the computer's time without a tick of the node's clock: it is paused
_TREE_AGE_S = 1.0
_LOG_S = 10.0


class Frames(Protocol):
    """Transforms heard on /tf and /tf_static, and a way to add to them. `lookup` may be called from any thread."""

    name: str

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose:
        """target_from_source at a time, interpolated. Raises TransformError when it is not known (yet)."""

    def parent_of(self, frame: str) -> str | None:
        """The frame's parent, None when nobody gave it one."""

    def broadcast(self, parent: str, child: str, parent_from_child: Pose, stamp_ns: int) -> None:
        """Publish on /tf."""

    def clear(self) -> None:
        """Forget what depends on time (the clock went back)."""

    def close(self) -> None:
        """Stop listening and free everything."""


class OwnFrames:
    """With tf2_msgs alone."""

    name = "built in"

    def __init__(self, node: Node) -> None:
        from tf2_msgs.msg import TFMessage

        self._node, self._log, self._message, self._buffer = node, Log.of(node), TFMessage, TransformBuffer.live()
        dynamic = profile(100)
        latched = profile(100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(TFMessage, "/tf", dynamic)
        self._subscriptions = [
            node.create_subscription(TFMessage, topic, self._receiver(topic, static), qos)
            for topic, static, qos in (("/tf", False, dynamic), ("/tf_static", True, latched))
        ]

    def _receiver(self, topic: str, static: bool) -> Callable[[object], None]:
        def receive(message: object) -> None:
            for item in message.transforms:  # type: ignore[attr-defined]
                self._learn(item, topic, static)

        return receive

    def _learn(self, item: TransformStamped, topic: str, static: bool) -> None:
        try:
            pose, stamp_ns = pose_from_transform(item.transform), stamp_to_ns(item.header.stamp)
            self._buffer.add(item.header.frame_id, item.child_frame_id, pose, stamp_ns, static)
        except (ValueError, TransformError) as error:
            self._log.warning(f"{topic}: ignored a transform of {item.child_frame_id!r}: {error}", _LOG_S, topic)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose:
        return self._buffer.lookup(target, source, stamp_ns)

    def parent_of(self, frame: str) -> str | None:
        return self._buffer.parent_of(frame)

    def broadcast(self, parent: str, child: str, parent_from_child: Pose, stamp_ns: int) -> None:
        transform = pose_to_transform(parent_from_child, parent, child, stamp_ns)
        self._publisher.publish(self._message(transforms=[transform]))

    def clear(self) -> None:
        self._buffer.clear()

    def close(self) -> None:
        self._buffer = TransformBuffer.live()  # at once: its subscriptions are in a circle with us
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._publisher)


class Tf2Frames:
    """With tf2_ros, as the rest of a ROS system does it."""

    name = "tf2_ros"

    def __init__(self, node: Node) -> None:
        import tf2_ros

        self._node, self._tf2 = node, tf2_ros
        self._buffer = tf2_ros.Buffer()
        self._tree: dict[str, dict[str, object]] = {}
        self._tree_s = -math.inf
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)
        self._broadcaster = tf2_ros.TransformBroadcaster(node)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose:
        from rclpy.time import Time

        target, source = frame_name(target), frame_name(source)  # which tf2 refuses with a slash
        if target == source:
            return Pose()
        try:
            found = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns))
            return pose_from_transform(found.transform)
        except (self._tf2.TransformException, ValueError) as error:
            late = isinstance(error, self._tf2.ExtrapolationException) and "future" in str(error)
            raise (NotYetKnownError if late else TransformError)(first_line(error)) from error

    def parent_of(self, frame: str) -> str | None:
        if time.monotonic() - self._tree_s > _TREE_AGE_S:  # the only way to ask tf2 is costly
            known = yaml.safe_load(self._buffer.all_frames_as_yaml())
            self._tree = known if isinstance(known, dict) else {}
            self._tree_s = time.monotonic()
        entry = self._tree.get(frame_name(frame))
        return str(entry["parent"]) if entry else None

    def broadcast(self, parent: str, child: str, parent_from_child: Pose, stamp_ns: int) -> None:
        self._broadcaster.sendTransform(pose_to_transform(parent_from_child, parent, child, stamp_ns))

    def clear(self) -> None:
        self._buffer.clear()

    def close(self) -> None:
        self._listener.unregister()
        self._node.destroy_publisher(self._broadcaster.pub_tf)


class NoFrames:
    """Without tf2_msgs: nothing is known, nothing is broadcast."""

    name = "none"

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose:
        if target == source:
            return Pose()
        raise TransformError(f"{target!r} from {source!r}: TF is off, because tf2_msgs is not installed")

    def parent_of(self, frame: str) -> str | None:
        return None

    def broadcast(self, parent: str, child: str, parent_from_child: Pose, stamp_ns: int) -> None:
        """Said once by open_frames."""

    def clear(self) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to free."""


def open_frames(node: Node) -> Frames:
    """The best way this environment has; says so once when TF must stay off."""
    if importlib.util.find_spec("tf2_ros") is not None:
        return Tf2Frames(node)
    if importlib.util.find_spec("tf2_msgs") is not None:
        return OwnFrames(node)
    Log.of(node).warning("TF is off: tf2_msgs is not installed (python -m hfnet_ros.build_tf2_msgs builds it)")
    return NoFrames()


def wait_for(
    node: Node, lookup: Callable[[], Pose], timeout_s: float, give_up: Callable[[], bool] = lambda: False
) -> Pose:
    """Repeat a lookup while its answer may yet come; raises its TransformError when time is up or `give_up()`.

    Time is that of the node's clock, simulated or not; a clock that stands still or goes back has no more to wait for.
    """
    began_ns = last_ns = now_ns(node)
    moved_s = time.monotonic()
    while True:
        try:
            return lookup()
        except NotYetKnownError:
            clock_ns = now_ns(node)
            if clock_ns != last_ns:
                last_ns, moved_s = clock_ns, time.monotonic()
            stands = clock_ns == 0 or time.monotonic() - moved_s > _STANDSTILL_S
            if stands or not 0 <= clock_ns - began_ns < timeout_s * 1e9 or give_up():
                raise
        time.sleep(_POLL_S)
