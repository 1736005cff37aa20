"""What rclpy leaves untyped, with types: the rest of the package reaches it through here.

Also the node's two voices of time: the node's clock (simulated where `use_sim_time` says so) for ages and timeouts of
what happens in the world, steady time for what the computer itself does.
"""

from __future__ import annotations

import time
import traceback
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from hfnet_core.errors import printable, shortened

__all__ = [
    "LATCHED",
    "Log",
    "bring_up",
    "destroy_node",
    "lifecycle_publisher",
    "now_ns",
    "profile",
    "shut_down",
    "steady_clock",
]


def profile(
    depth: int,
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE,
) -> QoSProfile:
    """A quality of service that keeps the last `depth` messages."""
    given: dict[str, Any] = {"depth": depth, "history": HistoryPolicy.KEEP_LAST}
    return QoSProfile(**given, reliability=reliability, durability=durability)  # type: ignore[no-untyped-call]


_LONGEST_LINE, _LONGEST = 2_000, 20_000  # characters of a line of the log, of one with a traceback
LATCHED = profile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""The newest message also for those who come later."""


class Log:
    """The log of a node. every_s: the same `topic` (else the same text) is not logged again within this time."""

    def __init__(self, name: str) -> None:
        self._logger: Any = get_logger(name)
        self._quiet_until_s: dict[str, float] = {}

    @classmethod
    def of(cls, node: Node) -> Log:
        # rclpy's own name of it: with the namespace, dots between
        return cls(node.get_logger().name)  # type: ignore[no-untyped-call]

    def info(self, text: object) -> None:
        self._logger.info(_said(text))

    def warning(self, text: object, every_s: float = 0.0, topic: str = "") -> None:
        if self._may_speak(topic or str(text), every_s):
            self._logger.warning(_said(text))

    def error(self, text: object, every_s: float = 0.0, topic: str = "") -> None:
        if self._may_speak(topic or str(text), every_s):
            self._logger.error(_said(text))

    def exception(self, text: object, every_s: float = 0.0, topic: str = "") -> None:
        """An error with the traceback of the exception at hand."""
        self.error(f"{text}:\n{traceback.format_exc()}", every_s, topic or str(text))

    def _may_speak(self, topic: str, every_s: float) -> bool:
        if every_s <= 0.0:
            return True
        now_s = time.monotonic()
        if now_s < self._quiet_until_s.get(topic, 0.0):
            return False
        self._quiet_until_s = {name: until_s for name, until_s in self._quiet_until_s.items() if until_s > now_s}
        self._quiet_until_s[topic] = now_s + every_s
        return True


def _said(text: object) -> str:
    """As terminals can take it; names of frames and topics may be anything, and of any length."""
    lines = printable(str(text), lines=True).split("\n")
    return shortened("\n".join(shortened(line, _LONGEST_LINE) for line in lines), _LONGEST)


def bring_up(node: LifecycleNode) -> None:
    """Configure and activate; stops at the first that fails."""
    lifecycle: Any = node
    if lifecycle.trigger_configure() == TransitionCallbackReturn.SUCCESS:
        lifecycle.trigger_activate()


def steady_clock() -> Clock:
    """For timers that must run while simulated time stands still or is missing."""
    return Clock(clock_type=ClockType.STEADY_TIME)


def now_ns(node: Node) -> int:
    """The node's clock; 0 while simulated time has not begun."""
    return int(node.get_clock().now().nanoseconds)


def lifecycle_publisher(node: LifecycleNode, kind: type[Any], topic: str, qos: QoSProfile | int) -> Any:
    """A publisher that is silent while the node is not active."""
    return node.create_lifecycle_publisher(kind, topic, qos)  # type: ignore[no-untyped-call]


def destroy_node(node: Node) -> None:
    node.destroy_node()  # type: ignore[no-untyped-call]


def shut_down(context: Context | None = None) -> None:
    """End ROS if it has not ended yet."""
    rclpy.try_shutdown(context=context)  # type: ignore[attr-defined]
