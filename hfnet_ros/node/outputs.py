"""What the node says when it knows where it is: poses, path, TF, and a picture of why."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import Pose
from hfnet_core.images.drawing import draw_frame_set
from hfnet_core.types import Camera, Localized, Mode
from hfnet_ros.conversions import (
    array_to_image,
    covariance_of_base,
    frustums_to_marker,
    path_to_msg,
    pose_to_stamped,
    pose_to_stamped_with_covariance,
)
from hfnet_ros.node.frames import Frames
from hfnet_ros.node.pipeline import Outcome

__all__ = ["Outputs", "Sight"]

_QUEUE = 10
_FRUSTUM_M, _FRUSTUM_S = 0.5, 2
_TRACKED_RGB, _FOUND_RGB = (0.2, 0.9, 0.3), (1.0, 0.8, 0.1)


@dataclass(frozen=True)
class Sight:
    """When and through which frames an image saw. received_s: time.perf_counter() of its arrival."""

    stamp_ns: int
    received_s: float
    camera_frame: str
    global_frame: str


@dataclass(frozen=True, eq=False)
class _Correction:
    """A broadcast map_from_odom."""

    map_from_odom: Pose
    odom_frame: str
    sight: Sight

    @property
    def age_s(self) -> float:
        return time.perf_counter() - self.sight.received_s


class Outputs:
    """Publishers of poses. Poses are those of base_frame_id, or of the camera's optical frame if that is empty."""

    def __init__(self, node: LifecycleNode, frames: Frames) -> None:
        self._node, self._frames = node, frames
        self._pose = node.create_lifecycle_publisher(PoseStamped, "~/pose", _QUEUE)
        self._with_covariance = node.create_lifecycle_publisher(
            PoseWithCovarianceStamped, "~/pose_with_covariance", _QUEUE
        )
        self._path = node.create_lifecycle_publisher(Path, "~/path", 1)
        self._picture = node.create_lifecycle_publisher(Image, "~/debug_image", qos_profile_sensor_data)
        self._frustum = node.create_lifecycle_publisher(Marker, "~/frustum", 1)
        self._lock = Lock()
        self.forget()

    def forget(self) -> None:
        """Begin a new path, and repeat no old correction."""
        with self._lock:
            self._poses: deque[PoseStamped] = deque()
            self._path_is_new = False
            self._correction: _Correction | None = None
            self._doubted = False
            self._last_ns = 0

    def doubt(self) -> None:
        """An image contradicts the correction: repeat it no more until the next pose."""
        with self._lock:
            self._doubted = True

    def publish(self, found: Localized, base_from_camera: Pose | None, sight: Sight, path_length: int) -> Pose:
        """Publish a pose; returns it. base_from_camera: None to publish the camera's."""
        pose, covariance = found.map_from_camera, found.covariance
        if base_from_camera is not None:
            covariance = covariance_of_base(covariance, pose, base_from_camera)
            pose = pose @ base_from_camera.inverse()
        message = pose_to_stamped(pose, sight.global_frame, sight.stamp_ns)
        self._pose.publish(message)
        self._with_covariance.publish(
            pose_to_stamped_with_covariance(pose, covariance, sight.global_frame, sight.stamp_ns)
        )
        with self._lock:
            self._poses.append(message)
            self._path_is_new = True
            while len(self._poses) > path_length:
                self._poses.popleft()
        return pose

    def publish_path(self, global_frame: str) -> None:
        """At leisure: a long path is costly."""
        poses: list[PoseStamped] = []
        with self._lock:
            if self._path_is_new and self._path.get_subscription_count():
                poses, self._path_is_new = list(self._poses), False
        if poses:
            self._path.publish(path_to_msg(poses, global_frame, self._node.get_clock().now().nanoseconds))

    def publish_picture(self, images: Sequence[Any], outcome: Outcome, sight: Sight) -> None:
        """For somebody who looks; free otherwise."""
        if self._picture.get_subscription_count():
            picture = draw_frame_set(images, outcome.features, outcome.result)
            self._picture.publish(array_to_image(picture, sight.camera_frame, sight.stamp_ns))

    def publish_frustum(self, views: Sequence[tuple[Pose, Camera]], mode: Mode | None, sight: Sight) -> None:
        """What the cameras see now: green where the last pose guided the search, yellow where the whole map was
        searched, gone without a pose. views: map_from_camera and camera."""
        if self._frustum.get_subscription_count():
            colour = _TRACKED_RGB if mode is Mode.TRACKING else _FOUND_RGB
            frame, stamp_ns = sight.global_frame, sight.stamp_ns
            marker = frustums_to_marker(views, frame, stamp_ns, "frustum", colour, _FRUSTUM_M)
            marker.lifetime.sec = _FRUSTUM_S  # a camera that fell silent sees nothing any more
            self._frustum.publish(marker)

    def broadcast(
        self, config: NodeConfig, found: Localized, map_from_target: Pose, odom_from_camera: Pose | None, sight: Sight
    ) -> str:
        """Broadcast the transform that belongs to a pose; returns why not, or an empty text.

        With odometry it is map->odom, post-dated by transform_tolerance because it changes slowly. A moving camera's or
        base's own transform holds at the image's stamp only.
        """
        if config.odom_frame_id:
            if odom_from_camera is not None:  # its absence is reported where it was missed
                map_from_odom = found.map_from_camera @ odom_from_camera.inverse()
                self._correct(_Correction(map_from_odom, config.odom_frame_id, sight), config)
            return ""
        child = config.base_frame_id or sight.camera_frame
        if not child:
            return "images have no frame_id, so their transform cannot be broadcast"
        parent = self._frames.parent_of(child)
        if parent not in (None, sight.global_frame):
            own = f"{sight.global_frame!r}->{child!r}"
            return (f"TF has {child!r} under {parent!r} already, so {own} is not broadcast: set base_frame_id or "
                    "odom_frame_id, or tf_broadcast to false")  # fmt: skip
        self._frames.broadcast(sight.global_frame, child, map_from_target, sight.stamp_ns)
        return ""

    def _correct(self, correction: _Correction, config: NodeConfig) -> None:
        with self._lock:
            self._correction, self._doubted = correction, False
            self._send(correction, correction.sight.stamp_ns, config)

    def _send(self, correction: _Correction, now_ns: int, config: NodeConfig) -> None:
        """With the lock held: nothing may be doubted or corrected while this is decided and sent."""
        self._last_ns = max(now_ns + int(config.transform_tolerance * 1e9), self._last_ns + 1)
        self._frames.broadcast(
            correction.sight.global_frame, correction.odom_frame, correction.map_from_odom, self._last_ns
        )

    def bridge(self, config: NodeConfig) -> str:
        """Repeat map->odom when its post-dating runs out between two poses; returns what is wrong once it is stale.

        Time goes on from the image's stamp, so that a recording's past stays past. After correction_timeout_s nothing
        is repeated: old knowledge must not look new.
        """
        with self._lock:
            correction = self._correction
            if correction is None or not config.tf_broadcast:
                return ""
            if self._doubted:
                return "map->odom is frozen: the last image contradicts it"
            age_s = correction.age_s
            if age_s > config.correction_timeout_s:
                return f"map->odom is frozen: no pose for {int(age_s)} s"
            now_ns = correction.sight.stamp_ns + int(age_s * 1e9)
            if now_ns + int(0.5 * config.transform_tolerance * 1e9) > self._last_ns:
                self._send(correction, now_ns, config)
            return ""

    def close(self) -> None:
        for publisher in (self._pose, self._with_covariance, self._path, self._picture, self._frustum):
            self._node.destroy_lifecycle_publisher(publisher)
