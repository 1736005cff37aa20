"""What a client of the localizer hears while a bag is played to it."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.node import Node
from std_msgs.msg import String

from hfnet_core.config import EvaluationConfig
from hfnet_core.evaluation.metrics import Sample
from hfnet_core.evaluation.trajectory import nearest
from hfnet_core.geometry import Array, Pose
from hfnet_core.recordings.bag_reader import Topic
from hfnet_core.recordings.bags import Bag, BagStamp
from hfnet_core.recordings.options import BagOptions
from hfnet_ros.conversions import pose_from_msg, stamp_to_ns
from hfnet_ros.rclpy_typed import LATCHED
from hfnet_ros.replay.processes import ChildError
from hfnet_ros.replay.tape import Timing

__all__ = ["LOCALIZER", "Listener", "QueryBag"]

LOCALIZER = "/localization"
"""The localizer's name where nobody renamed it."""
_SPIN_S = 0.05


@dataclass(frozen=True, eq=False)
class QueryBag:
    """A bag read for its images' stamps and truth. image, info: its topics."""

    path: Path
    images: list[BagStamp]
    image: Topic
    info: Topic | None
    options: BagOptions

    @classmethod
    def read(cls, path: Path, options: BagOptions | None = None) -> QueryBag:
        """Raises DatasetError when the bag cannot be read or has no images or poses."""
        with Bag(path, options) as bag:
            bag.require_poses()
            return cls(path, bag.timeline(), bag.image_topic, bag.info_topic, bag.options)

    @property
    def image_rate_hz(self) -> float:
        """As recorded."""
        stamps = [item.recorded_ns for item in self.images]
        return 1e9 * (len(stamps) - 1) / max(stamps[-1] - stamps[0], 1) if len(stamps) > 1 else 1.0


@dataclass(frozen=True, eq=False)
class _Receipt:
    """A pose as it came. received_ns: wall time."""

    pose: Pose
    received_ns: int


class Listener:
    """What a client of the node hears, by the stamps of the messages."""

    def __init__(self, node: Node, localizer: str = LOCALIZER, player: str = "/player") -> None:
        self._node, self._name = node, localizer.strip("/")
        self.poses: dict[int, _Receipt] = {}
        self.covariances: dict[int, Array] = {}
        self.status: dict[str, str] = {}
        self.message, self.failed = "", False
        self.timings: list[Timing] = []
        self._player, self._listens_to_player = player, False
        node.create_subscription(PoseStamped, f"/{self._name}/pose", self._pose, 100)
        covariance_topic = f"/{self._name}/pose_with_covariance"
        node.create_subscription(PoseWithCovarianceStamped, covariance_topic, self._covariance, 100)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 100)
        node.create_subscription(DiagnosticStatus, f"/{self._name}/status", self._heard, LATCHED)

    @property
    def timing(self) -> Timing | None:
        """The newest."""
        return self.timings[-1] if self.timings else None

    def _heard(self, _: object) -> None:
        """The localizer is known. A player that waits for an evaluation takes it that nothing is missed from now on."""
        self.listen_to_player()

    def listen_to_player(self) -> None:
        """Also where no localizer was heard of."""
        if self._listens_to_player:
            return
        self._listens_to_player = True
        self._node.create_subscription(String, f"{self._player}/timing", self._timing, LATCHED)

    def _pose(self, message: PoseStamped) -> None:
        receipt = _Receipt(pose_from_msg(message.pose), time.time_ns())
        self.poses.setdefault(stamp_to_ns(message.header.stamp), receipt)

    def _covariance(self, message: PoseWithCovarianceStamped) -> None:
        self.covariances[stamp_to_ns(message.header.stamp)] = np.array(message.pose.covariance).reshape(6, 6)

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.strip("/") == self._name:
                self.status = {item.key: item.value for item in status.values}
                self.message, self.failed = status.message, status.level == DiagnosticStatus.ERROR

    def _timing(self, message: String) -> None:
        self.timings.append(Timing.from_json(message.data))

    def _heard_at(self) -> list[tuple[int, int, Timing | None]]:
        """(time of the bag, stamp of the pose, timing that says so) of all poses; of several timings (after pauses)
        only the right one comes upon an image."""
        if not self.timings:
            return sorted((stamp_ns, stamp_ns, None) for stamp_ns in self.poses)
        known = [(timing.bag_ns(stamp_ns), stamp_ns, timing) for timing in self.timings for stamp_ns in self.poses]
        return sorted(known, key=lambda item: item[:2])

    def require_started(self) -> None:
        """Raises ChildError when the node says that it cannot be configured."""
        if self.failed and self.status.get("state") == "unconfigured":
            raise ChildError(f"the node does not start: {self.message}")

    def spin(self, seconds: float = _SPIN_S) -> None:
        """Listen for a while."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=left_s)

    def samples(self, query: QueryBag, config: EvaluationConfig, blind: Collection[int] = ()) -> list[Sample]:
        """The query's images with what was heard of each. blind: stamps of images that show nothing."""
        heard = self._heard_at()
        stamps = [stamp for stamp, _, _ in heard]
        out = []
        for item in query.images:
            index = nearest(stamps, item.stamp_ns, config.max_stamp_gap_s)
            hidden = item.stamp_ns in blind
            if index is None:
                out.append(Sample(item.stamp_ns, item.map_from_camera, reason="no pose was published", blind=hidden))
                continue
            _, stamp_ns, timing = heard[index]
            receipt = self.poses[stamp_ns]
            latency_s = None
            if timing is not None:
                latency_s = (receipt.received_ns - timing.played_ns(item.recorded_ns)) * 1e-9
            covariance = self.covariances.get(stamp_ns)
            out.append(Sample(item.stamp_ns, item.map_from_camera, receipt.pose, covariance, latency_s, blind=hidden))
        return out
