"""The sign of life that nav2_lifecycle_manager wants of the nodes it manages: our half of a bond (package bond_core).

A manager with a bond_timeout calls a node dead that is silent on the topic `bond`. It watches the nodes, they do not
watch it; so publishing is all there is to do.
"""

from __future__ import annotations

import importlib.util
import uuid

from rclpy.lifecycle import LifecycleNode

from hfnet_ros.rclpy_typed import steady_clock

__all__ = ["Heartbeat", "open_heartbeat"]

_TIMEOUT_S = 4.0  # told to the other side, as nav2's nodes do


class Heartbeat:
    """Beats in the executor's thread until it is closed."""

    def __init__(self, node: LifecycleNode, period_s: float) -> None:
        from bond.msg import Status

        self._node, self._kind, self._period_s = node, Status, period_s
        self._instance = str(uuid.uuid4())
        self._publisher = node.create_publisher(Status, "bond", 5)
        self._timer = node.create_timer(period_s, self._beat, clock=steady_clock())

    def _beat(self, active: bool = True) -> None:
        message = self._kind(id=self._node.get_name(), instance_id=self._instance, active=active)
        message.heartbeat_timeout, message.heartbeat_period = _TIMEOUT_S, self._period_s
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def close(self) -> None:
        """Say that the end is meant."""
        self._node.destroy_timer(self._timer)
        if self._node.context.ok():  # at shutdown publishers go first
            self._beat(active=False)
        self._node.destroy_publisher(self._publisher)


def open_heartbeat(node: LifecycleNode, period_s: float) -> Heartbeat | None:
    """None where the period is 0 or the messages of bond_core are not installed, as without nav2."""
    if period_s <= 0.0 or importlib.util.find_spec("bond") is None:
        return None
    return Heartbeat(node, period_s)
