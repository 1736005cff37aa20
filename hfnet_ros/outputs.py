"""What the node says when it knows where it is: poses, path, TF."""

from __future__ import annotations

from collections import deque

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import Pose
from hfnet_core.types import Localized
from hfnet_ros.conversions import (
    covariance_of_base,
    path_to_msg,
    pose_to_stamped,
    pose_to_stamped_with_covariance,
)
from hfnet_ros.frames import Frames

__all__ = ["Outputs"]

_QUEUE = 10


class Outputs:
    """Publishers of poses. Poses are those of base_frame_id, or of the camera's optical frame if that is empty."""

    def __init__(self, node: LifecycleNode, frames: Frames) -> None:
        self._node, self._frames = node, frames
        self._pose = node.create_lifecycle_publisher(PoseStamped, "~/pose", _QUEUE)
        self._with_covariance = node.create_lifecycle_publisher(
            PoseWithCovarianceStamped, "~/pose_with_covariance", _QUEUE
        )
        self._path = node.create_lifecycle_publisher(Path, "~/path", 1)
        self._poses: deque[PoseStamped] = deque()
        self._path_is_new = False

    def publish(self, found: Localized, base_from_camera: Pose | None, global_frame: str, stamp_ns: int,
                path_length: int) -> Pose:  # fmt: skip
        """Publish a pose; returns it. base_from_camera: None to publish the camera's."""
        pose, covariance = found.map_from_camera, found.covariance
        if base_from_camera is not None:
            covariance = covariance_of_base(covariance, pose, base_from_camera)
            pose = pose @ base_from_camera.inverse()
        message = pose_to_stamped(pose, global_frame, stamp_ns)
        self._pose.publish(message)
        self._with_covariance.publish(pose_to_stamped_with_covariance(pose, covariance, global_frame, stamp_ns))
        if path_length:
            self._poses.append(message)
            self._path_is_new = True
        while len(self._poses) > path_length:
            self._poses.popleft()
        return pose

    def publish_path(self, global_frame: str) -> None:
        """At leisure: a long path is costly."""
        if self._path_is_new and self._path.get_subscription_count():
            self._path_is_new = False
            stamp_ns = self._node.get_clock().now().nanoseconds
            self._path.publish(path_to_msg(list(self._poses), global_frame, stamp_ns))

    def broadcast(self, config: NodeConfig, found: Localized, map_from_target: Pose, odom_from_camera: Pose | None,
                  camera_frame: str, global_frame: str, stamp_ns: int) -> str:  # fmt: skip
        """Broadcast the transform that belongs to a pose; returns why not, or an empty text.

        With odometry it is map->odom, post-dated by transform_tolerance because it changes slowly. A moving camera's or
        base's own transform holds at the image's stamp only.
        """
        if config.odom_frame_id:
            if odom_from_camera is None:
                return ""  # reported where the odometry was missed
            map_from_odom = found.map_from_camera @ odom_from_camera.inverse()
            later_ns = stamp_ns + int(config.transform_tolerance * 1e9)
            self._frames.broadcast(global_frame, config.odom_frame_id, map_from_odom, later_ns)
            return ""
        child = config.base_frame_id or camera_frame
        if not child:
            return "images have no frame_id, so their transform cannot be broadcast"
        parent = self._frames.parent_of(child)
        if parent not in (None, global_frame):
            return (f"TF has {child!r} under {parent!r} already, so {global_frame!r}->{child!r} is not broadcast: set "
                    "base_frame_id or odom_frame_id, or tf_broadcast to false")  # fmt: skip
        self._frames.broadcast(global_frame, child, map_from_target, stamp_ns)
        return ""

    def forget(self) -> None:
        """Begin a new path."""
        self._poses.clear()

    def close(self) -> None:
        for publisher in (self._pose, self._with_covariance, self._path):
            self._node.destroy_lifecycle_publisher(publisher)
