"""map->odom, which nav2_amcl publishes in other robots: post-dated, and repeated between poses."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from rclpy.node import Node

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import Pose
from hfnet_ros.node.frames import Frames
from hfnet_ros.rclpy_typed import now_ns

__all__ = ["Correction", "Corrections"]

_LIVE_NS = 10**9  # an image that comes so soon after its stamp was taken by this clock; later, it is of a recording
_BACK_NS = 10 * 10**9  # further back than any image lags behind
_OLD_S: float = NodeConfig().correction_timeout_s  # who repeats for ever hears of it when others would stop


@dataclass(frozen=True, eq=False)
class Correction:
    """Where an image puts the odometry's frame.

    stamp_ns: of that image. received_ns: when it came, by the node's clock.
    """

    map_from_odom: Pose
    map_frame: str
    odom_frame: str
    stamp_ns: int
    received_ns: int

    @property
    def is_live(self) -> bool:
        """Whether the image was stamped by the node's clock."""
        return 0 <= self.received_ns - self.stamp_ns < _LIVE_NS


class Corrections:
    """The last correction, kept alive on /tf. Every method may be called from any thread.

    Ages are those of the node's clock, so that a simulation may run at any speed, pause and jump.
    """

    def __init__(self, node: Node, frames: Frames) -> None:
        self._node, self._frames, self._lock = node, frames, Lock()
        self.forget()

    def forget(self) -> None:
        """Repeat no old correction."""
        with self._lock:
            self._last: Correction | None = None
            self._doubted = False
            self._sent_ns = 0  # the stamp of the last transform: the next one's is later
            self._image_ns: tuple[int, int] | None = None  # stamp and arrival of the newest image
            self._version_ns = self._vouched_ns = 0

    def doubt(self) -> None:
        """An image contradicts the correction: repeat it no more until the next pose."""
        with self._lock:
            self._doubted = True

    def correct(self, correction: Correction, config: NodeConfig) -> None:
        """Broadcast a new correction, post-dated from its image's stamp on."""
        with self._lock:
            self._last, self._doubted = correction, False
            self._send(correction, correction.stamp_ns, config)
        self.bridge(config)  # a fast clock may have run past that while the image was looked at

    def heard(self, stamp_ns: int, received_ns: int) -> None:
        """An image came, whatever becomes of it."""
        with self._lock:
            self._image_ns = stamp_ns, received_ns

    def vouch(self, map_from_odom: Pose, frames: tuple[str, str], version_ns: int, config: NodeConfig) -> bool:
        """A mapping node says that odometry goes on, and where a version of the map puts its frame.

        The first word on a version counts, and replaces what is of the version before. From then on it keeps alive what
        images say, as long as none contradicts that. frames: of the map and of the odometry. Returns whether it is the
        first.
        """
        with self._lock:
            if self._image_ns is None:
                return False
            self._vouched_ns = now_ns(self._node)
            is_new = version_ns != self._version_ns or self._last is None
            if is_new:
                self._version_ns, self._doubted = version_ns, False
                self._last = Correction(map_from_odom, *frames, *self._image_ns)
        self.bridge(config)
        return is_new

    def bridge(self, config: NodeConfig) -> str:
        """Repeat map->odom when its post-dating runs out between two poses; returns what is wrong once it is stale.

        Time is the node's, or goes on from the image's stamp, so that a recording's past stays past. After
        correction_timeout_s nothing is repeated: old knowledge must not look new. A negative one repeats it for ever,
        as nav2_amcl does, unless an image contradicts it.
        """
        with self._lock:
            last = self._last
            if last is None or not config.tf_broadcast:
                return ""
            if self._doubted:
                return "map->odom is frozen: the last image contradicts it"
            clock_ns = now_ns(self._node)
            age_ns = max(0, clock_ns - last.received_ns)
            at_ns = max(last.stamp_ns, clock_ns) if last.is_live else last.stamp_ns + age_ns
            age_s = max(0, clock_ns - max(last.received_ns, self._vouched_ns)) * 1e-9
            endless = config.correction_timeout_s < 0
            if not endless and age_s > config.correction_timeout_s:
                return f"map->odom is frozen: no pose for {int(age_s)} s"
            if at_ns + int(0.5e9 * config.transform_tolerance) > self._sent_ns:
                self._send(last, at_ns, config)
            if endless and age_s > _OLD_S:
                return f"map->odom is repeated: no pose for {int(age_s)} s"
            return ""

    def _send(self, correction: Correction, at_ns: int, config: NodeConfig) -> None:
        """With the lock held: nothing may be doubted or corrected while this is decided and sent."""
        stamp_ns = at_ns + int(1e9 * config.transform_tolerance)
        if self._sent_ns - stamp_ns > _BACK_NS:  # time went back, and an image of the old one was late
            self._sent_ns = 0
        self._sent_ns = max(stamp_ns, self._sent_ns + 1)
        self._frames.broadcast(correction.map_frame, correction.odom_frame, correction.map_from_odom, self._sent_ns)
