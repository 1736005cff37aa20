"""The mapping node beside: what it says of map->odom is handed over to whoever localizes in its map.

Of both nodes one broadcasts: a localization node that follows the map makes itself known on `mapping/followed_by`, and
the mapping node broadcasts nothing as long as somebody is there.
"""

from __future__ import annotations

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from std_msgs.msg import String

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import on_plane
from hfnet_ros.conversions import covariance_from_msg, pose_from_msg, stamp_to_ns
from hfnet_ros.node.corrections import Corrections
from hfnet_ros.node.pipeline import Pipeline
from hfnet_ros.parameters import Configs, Parameters
from hfnet_ros.rclpy_typed import LATCHED, Log

__all__ = ["CORRECTION", "FOLLOWED_BY", "Handover"]

CORRECTION, FOLLOWED_BY = "correction", "followed_by"  # topics of the mapping node
_MAPPER = "mapping"  # its name; remap mapping/correction and mapping/followed_by for another
_LOG_S = 10.0


class Handover:
    """Takes over map->odom from the mapping node: with every version of the map, and until an image says it better.

    Does so as long as the settings want it; `watch` follows them.
    """

    def __init__(
        self, node: LifecycleNode, settings: Parameters[Configs], pipeline: Pipeline, corrections: Corrections
    ) -> None:
        self._node, self._settings, self._log = node, settings, Log.of(node)
        self._pipeline, self._corrections = pipeline, corrections
        self._presence: Publisher | None = None
        self._subscription: Subscription | None = None
        self.watch()

    @property
    def _config(self) -> NodeConfig:
        return self._settings.configs.node

    def watch(self) -> None:
        """Make this node known as the one that broadcasts, or no longer; call this now and then."""
        config = self._config
        wanted = config.map_follow and config.tf_broadcast and bool(config.odom_frame_id)
        if wanted and self._presence is None:
            self._presence = self._node.create_publisher(String, f"{_MAPPER}/{FOLLOWED_BY}", LATCHED)
            self._presence.publish(String(data=self._node.get_fully_qualified_name()))
            self._subscription = self._node.create_subscription(
                PoseWithCovarianceStamped, f"{_MAPPER}/{CORRECTION}", self._receive, 1
            )
        elif not wanted:
            self.close()

    def _receive(self, message: PoseWithCovarianceStamped) -> None:
        """Of the version in use only: another one's is of another map. Its stamp is that of its newest keyframe."""
        landmark_map = self._pipeline.map.landmark_map
        version_ns = stamp_to_ns(message.header.stamp)
        if not landmark_map.keyframes or int(landmark_map.keyframe_stamps_ns.max()) != version_ns:
            return
        try:
            map_from_odom, covariance = pose_from_msg(message.pose.pose), covariance_from_msg(message.pose.covariance)
        except ValueError as error:
            self._log.warning(f"{_MAPPER}/{CORRECTION} ignored: {error}", _LOG_S, "handover")
            return
        config = self._config
        if config.two_d_mode:
            map_from_odom, _ = on_plane(map_from_odom, covariance)
        frames = config.global_frame_id or landmark_map.frame_id, config.odom_frame_id
        if self._corrections.vouch(map_from_odom, frames, version_ns, config):
            self._pipeline.expect(map_from_odom, covariance)

    def close(self) -> None:
        """Leave it to the mapping node."""
        presence, self._presence = self._presence, None
        subscription, self._subscription = self._subscription, None
        if presence is not None:
            self._node.destroy_publisher(presence)
        if subscription is not None:
            self._node.destroy_subscription(subscription)
