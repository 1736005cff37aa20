"""Play a bag of any kind over real topics: `ros2 run hfnet_ros player BAG`.

Messages go out as the bytes they were recorded as, at the recorded pace. With --now their stamps are moved to the time
of playing. The service ~/pause (std_srvs/SetBool) halts, and with it the clock that --clock publishes. The latched
topic ~/timing tells, as JSON (see tape.py), which time of the bag was published when, so that anybody can get back from
one to the other.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from std_srvs.srv import SetBool

from hfnet_core.errors import ConfigError, DatasetError, HFNetError
from hfnet_ros.conversions import stamp_from_ns, stamp_to_ns
from hfnet_ros.rclpy_typed import LATCHED, Log, destroy_node, profile, shut_down
from hfnet_ros.replay.tape import Entry, Tape, Timing, moved_ns, restamp, starts_with_header

__all__ = ["Audience", "PlayOptions", "Player", "main"]

_IMAGES = ("sensor_msgs/Image", "sensor_msgs/CompressedImage")
_QUEUE = 20  # messages kept for slow reliable subscribers
_SETTLE_S = 0.5  # without another subscriber to images, and all are there
# On a robot every broadcaster keeps its own transforms for who comes later; here one publisher does for all of them.
_OF_ALL_BROADCASTERS = profile(1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_CLOCK_PERIOD_S = 0.01
_NAP_S = 0.1  # how late an interrupt may be noticed
_LAST_S = 0.2  # in which reliable subscribers fetch the last messages


@dataclass(frozen=True)
class PlayOptions:
    """How a bag is played. rate: its speed. now: stamps are moved to the time of playing. clock: publish /clock.

    sensor_qos: best effort instead of reliable. loop: from the beginning again, for ever. start_s: where to begin.
    Raises ConfigError for numbers that are not possible.
    """

    rate: float = 1.0
    now: bool = False
    clock: bool = False
    sensor_qos: bool = False
    loop: bool = False
    start_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ConfigError(f"rate: {self.rate!r} is not positive")
        if not self.start_s >= 0:
            raise ConfigError(f"start: {self.start_s!r} is negative")


@dataclass(frozen=True)
class Audience:
    """Who must listen before playing begins. timeout_s: how long that may take.

    localizer: name of a localization node, whose ~/status must say that it is ready; empty for none. evaluation:
    whether somebody must follow ~/timing.
    """

    timeout_s: float
    localizer: str = ""
    evaluation: bool = False


class Player:
    """Publishes a tape through a node, which spins in a thread of its own meanwhile."""

    def __init__(self, node: Node, tape: Tape, options: PlayOptions) -> None:
        self._node, self._tape, self._options = node, tape, options
        reliability = ReliabilityPolicy.BEST_EFFORT if options.sensor_qos else ReliabilityPolicy.RELIABLE
        qos = profile(_QUEUE, reliability)
        self._publishers: dict[str, Publisher] = {}
        self._latched = {topic.name for topic in tape.topics if topic.latched or topic.name.endswith("tf_static")}
        for topic in tape.topics:
            static = topic.name.endswith("tf_static")
            own = _OF_ALL_BROADCASTERS if static else LATCHED if topic.latched else qos
            self._publishers[topic.name] = node.create_publisher(tape.types[topic.name], topic.name, own)
        self._stamped = {name for name, kind in tape.types.items() if starts_with_header(kind)}
        self._transforms = {name for name, kind in tape.types.items() if kind.__name__ == "TFMessage"}
        self._timing_topic = node.create_publisher(String, "~/timing", LATCHED)
        self._clock = node.create_publisher(Clock, "/clock", 10) if options.clock else None
        self._clock_s = 0.0
        self._paused = threading.Event()
        node.create_service(SetBool, "~/pause", self._on_pause)
        self.published = 0

    def _on_pause(self, request: Any, response: Any) -> Any:
        (self._paused.set if request.data else self._paused.clear)()
        response.success, response.message = True, "paused" if request.data else "playing"
        return response

    # ---- before

    def wait_for(self, audience: Audience) -> str:
        """Until everybody listens; returns who does not when time ran out, an empty text when all do."""
        ready: list[bool] = []

        def heard(status: DiagnosticStatus) -> None:
            ready[:] = [any(item.key == "ready" and item.value == "true" for item in status.values)]

        subscription = None
        if audience.localizer:
            topic = f"/{audience.localizer.strip('/')}/status"
            subscription = self._node.create_subscription(DiagnosticStatus, topic, heard, LATCHED)
        until_s = time.monotonic() + audience.timeout_s
        try:
            while missing := self._missing(audience, any(ready)):
                if time.monotonic() > until_s or not self._node.context.ok():
                    return missing
                time.sleep(0.02)
            self._settle(until_s)
            return ""
        finally:
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    @property
    def _images(self) -> list[str]:
        return [topic.name for topic in self._tape.topics if topic.type in _IMAGES]

    def _subscribed(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if self._publishers[name].get_subscription_count() > 0}

    def _settle(self, until_s: float) -> None:
        """Until no more topics of images find their subscribers: those of several cameras come one by one."""
        before: set[str] = set()
        while before != (now := self._subscribed(self._images)) and time.monotonic() < until_s:
            before = now
            time.sleep(_SETTLE_S)

    def _missing(self, audience: Audience, is_ready: bool) -> str:
        """Some image needs a subscriber: nobody listens to depth, or to both cameras of a pair, as a rule. Where there
        are none, every topic does."""
        images = self._images
        if images and not self._subscribed(images):
            return f"nobody subscribed to {' or '.join(images)}"
        for name in () if images else self._publishers:
            if not self._subscribed([name]):
                return f"nobody subscribed to {name}"
        if audience.localizer and not is_ready:
            return f"{audience.localizer} did not say that it is ready"
        if audience.evaluation and self._timing_topic.get_subscription_count() == 0:
            return f"no evaluation listens to {self._timing_topic.topic_name}"
        return ""

    # ---- playing

    def play(self) -> Timing | None:
        """Publish everything; returns when it was played, None for an empty tape. Ends when ROS shuts down."""
        timing = self._play_once()
        while self._options.loop and timing is not None and self._node.context.ok():
            timing = self._play_once()
        if timing is not None and self._node.context.ok():
            timing = replace(timing, finished=True)
            self._tell(timing)
        return timing

    def _play_once(self) -> Timing | None:
        timing: Timing | None = None
        first_ns = 0
        for entry in self._tape:
            first_ns = first_ns or entry.recorded_ns + round(self._options.start_s * 1e9)
            if timing is None:
                begin_ns = time.time_ns() + round(1e9 * _NAP_S)
                timing = Timing(str(self._tape.path), first_ns, begin_ns, self._options.rate, self._options.now)
                self._tell(timing)
            if entry.recorded_ns < first_ns:
                if entry.topic.name in self._latched:  # who comes late hears of it too
                    self._publish(entry, timing)
                continue
            timing = self._wait_until_due(entry, timing)
            if not self._node.context.ok():
                break
            self._publish(entry, timing)
        return timing

    def _wait_until_due(self, entry: Entry, timing: Timing) -> Timing:
        """Returns the timing as it is after pauses; early when ROS shuts down."""
        while self._node.context.ok():
            if self._paused.is_set():
                timing = self._halt(timing)
            ahead_s = (timing.played_ns(entry.recorded_ns) - time.time_ns()) * 1e-9
            self._tell_time(timing)
            if ahead_s <= 0:
                break
            time.sleep(min(ahead_s, _NAP_S if self._clock is None else _CLOCK_PERIOD_S))
        return timing

    def _halt(self, timing: Timing) -> Timing:
        """Until playing goes on; what is due later is due later by as much."""
        begin_ns = time.time_ns()
        while self._paused.is_set() and self._node.context.ok():
            time.sleep(_CLOCK_PERIOD_S)
        moved = replace(timing, start_ns=timing.start_ns + time.time_ns() - begin_ns)
        self._tell(moved)
        return moved

    def _tell(self, timing: Timing) -> None:
        self._timing_topic.publish(String(data=timing.to_json()))

    def _tell_time(self, timing: Timing) -> None:
        """/clock, if asked for: in the bag's time, or in the wall's for restamped messages."""
        if self._clock is None or time.monotonic() - self._clock_s < _CLOCK_PERIOD_S:
            return
        self._clock_s = time.monotonic()
        now_ns = time.time_ns()
        bag_ns = now_ns if self._options.now else timing.first_ns + round((now_ns - timing.start_ns) * timing.rate)
        self._clock.publish(Clock(clock=stamp_from_ns(max(bag_ns, 0))))

    def _publish(self, entry: Entry, timing: Timing) -> None:
        message: Any = entry.data
        name = entry.topic.name
        if self._options.now and name in self._stamped:
            message = restamp(entry.data, timing)
        elif self._options.now and name in self._transforms:
            message = self._moved_transforms(entry, timing)
        self._publishers[name].publish(message)
        self.published += 1

    def _moved_transforms(self, entry: Entry, timing: Timing) -> Any:
        message = deserialize_message(entry.data, self._tape.types[entry.topic.name])
        for transform in message.transforms:
            transform.header.stamp = stamp_from_ns(moved_ns(stamp_to_ns(transform.header.stamp), timing))
        return message


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("player", description="Play a bag (rosbag1, sqlite3, mcap) over ROS 2 topics.")
    add = parser.add_argument
    add("bag", type=Path, help="the recording")
    add("--rate", type=float, default=1.0, help="speed of playing (1.0 as recorded)")
    add("--start", type=float, default=0.0, metavar="SECONDS", help="begin so long after the first message")
    add("--loop", action="store_true", help="from the beginning again, for ever")
    add("--topics", nargs="+", default=[], metavar="TOPIC", help="only these topics")
    add("--clock", action="store_true", help="publish /clock, for nodes with use_sim_time")
    add("--now", action="store_true", help="move stamps to the time of playing")
    add("--sensor-qos", action="store_true", help="publish best effort instead of reliably")
    add(
        "--wait-for-subscriber",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="begin when the images have a subscriber; fail when they have none after this time",
    )
    add(
        "--wait-for-localizer",
        default="",
        metavar="NODE",
        help="and when this localization node is ready: no image is lost to discovery then",
    )
    add("--wait-for-evaluation", action="store_true", help="and when `evaluate` listens")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    options = PlayOptions(
        arguments.rate, arguments.now, arguments.clock, arguments.sensor_qos, arguments.loop, arguments.start
    )
    audience = Audience(arguments.wait_for_subscriber, arguments.wait_for_localizer, arguments.wait_for_evaluation)
    tape = Tape(arguments.bag, arguments.topics)
    node = Node("player")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=_spin, args=(executor,), daemon=True)
    try:
        for topic in tape.skipped:
            Log.of(node).warning(f"{topic} is left out: its message package is not installed")
        player = Player(node, tape, options)
        spinning.start()
        if audience.timeout_s and (missing := player.wait_for(audience)):
            raise DatasetError(
                f"{arguments.bag}: {missing} within {audience.timeout_s:g} s; "
                "is the node running, with remapped topics?"
            )
        player.play()
        Log.of(node).info(f"{player.published} messages published")
        time.sleep(_LAST_S if node.context.ok() else 0.0)
    finally:
        tape.close()
        executor.shutdown()
        if spinning.ident is not None:  # it was started
            spinning.join()
        destroy_node(node)


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        return


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
