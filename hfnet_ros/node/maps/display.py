"""The map where the robot is: in diagnostics, in rviz, on Earth, and by name."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from hfnet_core.config import NodeConfig
from hfnet_ros.node.diagnostics import Health
from hfnet_ros.node.map_component import Datum, MapView, SharedMap
from hfnet_ros.node.pipeline import Pipeline
from hfnet_ros.rclpy_typed import LATCHED, Log, lifecycle_publisher

__all__ = ["MapDisplay"]


class MapDisplay:
    """Latched: a cloud and frustums for rviz, the datum, and on `~/current_map` the name of the map file."""

    def __init__(self, node: LifecycleNode, config: NodeConfig, health: Health) -> None:
        """Raises ConfigError where datum_service needs what is not installed."""
        self._node, self._health, self._log = node, health, Log.of(node)
        self._frame_id = config.global_frame_id
        self._datum = Datum(node, config.datum_service)  # first: it may be refused
        self._view = MapView(node) if config.publish_map_cloud else None
        self._name = lifecycle_publisher(node, String, "~/current_map", LATCHED)
        self._shown: SharedMap | None = None

    def describe(self, shared: SharedMap) -> None:
        """Its facts, in diagnostics."""
        self._health.fact("map", shared.path)
        self._health.fact("map hash", shared.map_hash)
        self._health.fact("map keyframes", shared.landmark_map.keyframes)
        self._health.fact("map landmarks", shared.landmark_map.landmarks)

    def show(self, shared: SharedMap) -> None:
        """Publish it."""
        self._shown = shared
        frame_id = self._frame_id or shared.landmark_map.frame_id
        if self._view is not None:
            self._view.show(shared, frame_id)
        place = self._datum.show(shared, frame_id)
        self._health.fact("map on Earth", "unknown" if place is None else place.in_words())
        self._name.publish(String(data=shared.path.stem))

    def follow(self, pipeline: Pipeline, *, active: bool) -> None:
        """Of several maps, show the one where the robot is by now. Call this now and then."""
        if pipeline.maps:
            self._health.fact("maps", pipeline.maps)
        if active and pipeline.is_settled and self._shown is not pipeline.map:
            self._log.info(f"now in {pipeline.map.path}")
            self.describe(pipeline.map)
            self.show(pipeline.map)

    def close(self) -> None:
        for part in (self._view, self._datum):
            if part is not None:
                part.close()
        self._node.destroy_lifecycle_publisher(self._name)
