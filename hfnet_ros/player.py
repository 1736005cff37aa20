"""Play a bag of any kind over real topics: `ros2 run hfnet_ros player BAG`.

Messages go out as the bytes they were recorded as, at the recorded pace. With --now their stamps are moved to the time
of playing. The latched topic ~/timing tells, as JSON (see `Timing`), which time of the bag was published when, so that
anybody can get back from one to the other.
"""

from __future__ import annotations

import argparse
import importlib
import json
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from hfnet_core.errors import ConfigError, DatasetError, HFNetError
from hfnet_core.recordings.bag_reader import BagReader, Topic
from hfnet_ros.conversions import stamp_from_ns
from hfnet_ros.rclpy_typed import LATCHED, Log, destroy_node, profile, shut_down

__all__ = ["Player", "Tape", "Timing", "main"]

_IMAGES = ("sensor_msgs/Image", "sensor_msgs/CompressedImage")
_RENAMED = {"tf/tfMessage": "tf2_msgs/TFMessage"}
_QUEUE = 20  # messages kept for slow reliable subscribers
_AHEAD = 64  # messages read ahead of their time
_CLOCK_PERIOD_S = 0.01
_NAP_S = 0.1  # how late an interrupt may be noticed


@dataclass(frozen=True)
class Timing:
    """When a bag is played. Nanoseconds; start_ns by the wall clock. restamped: whether stamps were moved to it."""

    bag: str
    first_ns: int
    start_ns: int
    rate: float
    restamped: bool
    finished: bool = False

    def played_ns(self, bag_ns: int) -> int:
        """Wall time at which a time of the bag is due."""
        return self.start_ns + round((bag_ns - self.first_ns) / self.rate)

    def bag_ns(self, stamp_ns: int) -> int:
        """Time of the bag that a published stamp stands for."""
        return self.first_ns + round((stamp_ns - self.start_ns) * self.rate) if self.restamped else stamp_ns

    @classmethod
    def from_json(cls, text: str) -> Timing:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class _Entry:
    topic: str
    recorded_ns: int
    data: bytes


class Tape:
    """The messages of a bag in order, read ahead in a thread. Raises DatasetError where the bag cannot be read."""

    def __init__(self, path: Path, names: Sequence[str] = ()) -> None:
        self._reader = BagReader(path)
        self.path = path
        chosen = [self._reader.topic(name) for name in names] or [topic for topic in self._reader.topics if topic.count]
        self.types: dict[str, type[Any]] = {}
        self.topics: list[Topic] = []
        self.skipped: list[Topic] = []
        for topic in chosen:
            message_type = _message_type(topic.type)
            if message_type is None:
                self.skipped.append(topic)
            else:
                self.types[topic.name] = message_type
                self.topics.append(topic)
        if self.skipped and (names or not self.topics):
            listed = ", ".join(str(topic) for topic in self.skipped)
            self._reader.close()
            raise DatasetError(f"{path}: no Python package here has the messages of {listed}; install it")
        self._queue: Queue[_Entry | Exception | None] = Queue(_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for name, recorded_ns, data in self._reader.serialized([topic.name for topic in self.topics]):
                if not self._put(_Entry(name, recorded_ns, data)):
                    return
            self._put(None)
        except Exception as error:  # handed to the playing thread, which raises it
            self._put(error)

    def _put(self, item: _Entry | Exception | None) -> bool:
        while not self._stop.is_set():
            with suppress(Full):
                self._queue.put(item, timeout=_NAP_S)
                return True
        return False

    def __iter__(self) -> Iterator[_Entry]:
        while True:
            try:
                item = self._queue.get(timeout=_NAP_S)
            except Empty:
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()


def _message_type(name: str) -> type[Any] | None:
    """The Python class of `package/Name`, None where its package is not installed."""
    package, _, kind = _RENAMED.get(name, name).partition("/")
    try:
        found: type[Any] | None = getattr(importlib.import_module(f"{package}.msg"), kind, None)
    except ImportError:
        return None
    return found


def restamp(data: bytes, timing: Timing) -> bytes:
    """A serialized message that begins with a std_msgs/Header, its stamp moved to the time of playing.

    In CDR the stamp (int32 s, uint32 ns) follows the 4 bytes of encapsulation, whose second says the byte order. A
    stamp of zero stays: a driver that did not stamp its images still did not.
    """
    layout = "<iI" if data[1] else ">iI"
    seconds, nanoseconds = struct.unpack_from(layout, data, 4)
    stamp_ns = seconds * 10**9 + nanoseconds
    if stamp_ns == 0:
        return data
    moved = timing.played_ns(stamp_ns)
    return data[:4] + struct.pack(layout, moved // 10**9, moved % 10**9) + data[12:]


class Player:
    """Publishes a tape through a node."""

    def __init__(
        self,
        node: Node,
        tape: Tape,
        *,
        rate: float = 1.0,
        now: bool = False,
        clock: bool = False,
        sensor_qos: bool = False,
    ) -> None:
        if not rate > 0:
            raise ConfigError(f"rate: {rate!r} is not positive")
        self._node, self._tape, self._rate, self._now = node, tape, rate, now
        reliability = ReliabilityPolicy.BEST_EFFORT if sensor_qos else ReliabilityPolicy.RELIABLE
        qos = profile(_QUEUE, reliability)
        self._publishers: dict[str, Publisher] = {}
        for topic in tape.topics:
            latched = topic.latched or topic.name.endswith("tf_static")
            own = LATCHED if latched else qos
            self._publishers[topic.name] = node.create_publisher(tape.types[topic.name], topic.name, own)
        self._stamped = {name for name, kind in tape.types.items() if _starts_with_header(kind)}
        self._transforms = {name for name, kind in tape.types.items() if kind.__name__ == "TFMessage"}
        self._timing_topic = node.create_publisher(String, "~/timing", LATCHED)
        self._clock = node.create_publisher(Clock, "/clock", 10) if clock else None
        self.published = 0

    def wait_for_subscribers(self, timeout_s: float) -> bool:
        """Until every image topic (every topic, when there is none) has a subscriber; False when time ran out."""
        images = [topic.name for topic in self._tape.topics if topic.type in _IMAGES]
        waiting = [self._publishers[name] for name in images or self._publishers]
        until_s = time.monotonic() + timeout_s
        while any(publisher.get_subscription_count() == 0 for publisher in waiting):
            if time.monotonic() > until_s or not self._node.context.ok():
                return False
            time.sleep(0.02)
        return True

    def play(self) -> Timing | None:
        """Publish everything; returns when it was played, None for an empty tape. Ends when ROS shuts down."""
        timing: Timing | None = None
        tick_s = 0.0
        for entry in self._tape:
            if timing is None:
                start_ns = time.time_ns() + round(1e9 * _NAP_S)
                timing = Timing(str(self._tape.path), entry.recorded_ns, start_ns, self._rate, self._now)
                self._timing_topic.publish(String(data=timing.to_json()))
            due_ns = timing.played_ns(entry.recorded_ns)
            while (ahead_s := (due_ns - time.time_ns()) * 1e-9) > 0:
                if not self._node.context.ok():
                    return timing
                if self._clock is not None:
                    self._tell_time(timing)
                    ahead_s = min(ahead_s, _CLOCK_PERIOD_S)
                time.sleep(min(ahead_s, _NAP_S))
            if not self._node.context.ok():
                return timing
            if self._clock is not None and time.monotonic() - tick_s > _CLOCK_PERIOD_S:
                tick_s = time.monotonic()
                self._tell_time(timing)
            self._publish(entry, timing)
        if timing is not None:
            timing = Timing(**{**asdict(timing), "finished": True})
            self._timing_topic.publish(String(data=timing.to_json()))
        return timing

    def _tell_time(self, timing: Timing) -> None:
        """/clock, if asked for: in the bag's time, or in the wall's for restamped messages."""
        now_ns = time.time_ns()
        bag_ns = now_ns if self._now else timing.first_ns + round((now_ns - timing.start_ns) * timing.rate)
        if self._clock is not None:
            self._clock.publish(Clock(clock=stamp_from_ns(max(bag_ns, 0))))

    def _publish(self, entry: _Entry, timing: Timing) -> None:
        message: Any = entry.data
        if self._now and entry.topic in self._stamped:
            message = restamp(entry.data, timing)
        elif self._now and entry.topic in self._transforms:
            message = self._moved_transforms(entry, timing)
        self._publishers[entry.topic].publish(message)
        self.published += 1

    def _moved_transforms(self, entry: _Entry, timing: Timing) -> Any:
        from rclpy.serialization import deserialize_message

        message = deserialize_message(entry.data, self._tape.types[entry.topic])
        for transform in message.transforms:
            stamp = transform.header.stamp
            transform.header.stamp = stamp_from_ns(timing.played_ns(stamp.sec * 10**9 + stamp.nanosec))
        return message


def _starts_with_header(kind: type[Any]) -> bool:
    fields = kind.get_fields_and_field_types()
    return next(iter(fields.values()), "") == "std_msgs/Header"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("player", description="Play a bag (rosbag1, sqlite3, mcap) over ROS 2 topics.")
    parser.add_argument("bag", type=Path, help="the recording")
    parser.add_argument("--rate", type=float, default=1.0, help="speed of playing (1.0 as recorded)")
    parser.add_argument("--topics", nargs="+", default=[], metavar="TOPIC", help="only these topics")
    parser.add_argument("--clock", action="store_true", help="publish /clock, for nodes with use_sim_time")
    parser.add_argument("--now", action="store_true", help="move stamps to the time of playing")
    parser.add_argument("--sensor-qos", action="store_true", help="publish best effort instead of reliably")
    parser.add_argument(
        "--wait-for-subscriber",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="begin when the images have a subscriber, at most this much later",
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    tape = Tape(arguments.bag, arguments.topics)
    try:
        node = Node("player")
        for topic in tape.skipped:
            Log.of(node).warning(f"{topic} is left out: its message package is not installed")
        player = Player(
            node, tape, rate=arguments.rate, now=arguments.now, clock=arguments.clock, sensor_qos=arguments.sensor_qos
        )
        if arguments.wait_for_subscriber and not player.wait_for_subscribers(arguments.wait_for_subscriber):
            raise DatasetError(
                f"{arguments.bag}: nobody subscribed to its images within {arguments.wait_for_subscriber:g} s; "
                "is the node running, with remapped topics?"
            )
        player.play()
        Log.of(node).info(f"{player.published} messages published")
        time.sleep(0.2 if node.context.ok() else 0.0)  # reliable subscribers fetch the last messages
        destroy_node(node)
    finally:
        tape.close()


def main(args: Sequence[str] | None = None) -> int:
    """The executable; returns its exit status: 2 with one line for an expected error."""
    given = list(sys.argv if args is None else ["player", *args])
    arguments = _parser().parse_args(remove_ros_args(given)[1:])
    rclpy.init(args=given)
    try:
        _run(arguments)
    except HFNetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        shut_down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
