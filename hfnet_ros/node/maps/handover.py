"""The mapping node beside: what it says of map->odom is handed over to whoever localizes in its map.

Of both nodes one broadcasts: a localization node that follows the map makes itself known on `mapping/followed_by`, and
the mapping node broadcasts nothing as long as somebody is there.
"""

from __future__ import annotations

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import on_plane
from hfnet_ros.conversions import covariance_from_msg, pose_from_msg, stamp_to_ns
from hfnet_ros.node.corrections import Corrections
from hfnet_ros.node.pipeline import Pipeline
from hfnet_ros.rclpy_typed import LATCHED, Log

__all__ = ["CORRECTION", "FOLLOWED_BY", "Handover"]

CORRECTION, FOLLOWED_BY = "correction", "followed_by"  # topics of the mapping node
_MAPPER = "mapping"  # its name; remap mapping/correction and mapping/followed_by for another
_LOG_S = 10.0


class Handover:
    """Takes over map->odom from the mapping node: with every version of the map, and until an image says it better."""

    def __init__(self, node: LifecycleNode, config: NodeConfig, pipeline: Pipeline, corrections: Corrections) -> None:
        self._node, self._config, self._log = node, config, Log.of(node)
        self._pipeline, self._corrections = pipeline, corrections
        self._wanted = config.map_follow and config.tf_broadcast and bool(config.odom_frame_id)
        if self._wanted:
            self._presence = node.create_publisher(String, f"{_MAPPER}/{FOLLOWED_BY}", LATCHED)
            self._presence.publish(String(data=node.get_fully_qualified_name()))
            self._subscription = node.create_subscription(
                PoseWithCovarianceStamped, f"{_MAPPER}/{CORRECTION}", self._receive, 1
            )

    def _receive(self, message: PoseWithCovarianceStamped) -> None:
        """Of the version in use only: another one's is of another map. Its stamp is that of its newest keyframe."""
        landmark_map = self._pipeline.map.landmark_map
        version_ns = stamp_to_ns(message.header.stamp)
        if not landmark_map.keyframes or int(landmark_map.keyframe_stamps_ns.max()) != version_ns:
            return
        try:
            map_from_odom, covariance = pose_from_msg(message.pose.pose), covariance_from_msg(message.pose.covariance)
        except ValueError as error:
            self._log.warning(f"{self._subscription.topic_name} ignored: {error}", _LOG_S, "handover")
            return
        if self._config.two_d_mode:
            map_from_odom, _ = on_plane(map_from_odom, covariance)
        frames = self._config.global_frame_id or landmark_map.frame_id, self._config.odom_frame_id
        if self._corrections.vouch(map_from_odom, frames, version_ns, self._config):
            self._pipeline.expect(map_from_odom, covariance)

    def close(self) -> None:
        if self._wanted:
            self._node.destroy_publisher(self._presence)
            self._node.destroy_subscription(self._subscription)
