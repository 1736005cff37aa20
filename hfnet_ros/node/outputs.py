"""What the node publishes when it knows where it is: poses, path, TF, and a picture of why."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock

from geometry_msgs.msg import PoseArray, PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import Array, Pose
from hfnet_core.images.drawing import draw_frame_set
from hfnet_core.types import Localized, Mode
from hfnet_ros.conversions import (
    array_to_image,
    frustums_to_marker,
    header,
    path_to_msg,
    pose_to_msg,
    pose_to_stamped,
    pose_to_stamped_with_covariance,
)
from hfnet_ros.node.corrections import Correction, Corrections
from hfnet_ros.node.frame_sets import FrameSet
from hfnet_ros.node.frames import Frames
from hfnet_ros.node.pipeline import Outcome
from hfnet_ros.rclpy_typed import lifecycle_publisher, now_ns

__all__ = ["Outputs"]

_QUEUE = 10
_FRUSTUM_M, _FRUSTUM_S = 0.5, 2
_TRACKED_RGB, _FOUND_RGB = (0.2, 0.9, 0.3), (1.0, 0.8, 0.1)


class Outputs:
    """Publishers of poses. Poses are those of base_frame_id, or of the camera's optical frame if that is empty."""

    def __init__(self, node: LifecycleNode, frames: Frames) -> None:
        self._node, self._frames = node, frames
        self._pose = lifecycle_publisher(node, PoseStamped, "~/pose", _QUEUE)
        self._with_covariance = lifecycle_publisher(node, PoseWithCovarianceStamped, "~/pose_with_covariance", _QUEUE)
        self._candidates = lifecycle_publisher(node, PoseArray, "~/candidates", _QUEUE)
        self._path = lifecycle_publisher(node, Path, "~/path", 1)
        self._picture = lifecycle_publisher(node, Image, "~/debug_image", qos_profile_sensor_data)
        self._frustum = lifecycle_publisher(node, Marker, "~/frustum", 1)
        self.corrections = Corrections(node, frames)
        self._lock = Lock()
        self._doubtful = False  # whether candidates are shown, which whoever watches keeps until told
        self._given: set[tuple[str, str]] = set()  # (map frame, child) of what was broadcast: TF remembers it
        self.forget()

    def forget(self) -> None:
        """Begin a new path, and repeat no old correction."""
        self.corrections.forget()
        with self._lock:
            self._poses: deque[PoseStamped] = deque()
            self._path_is_new = False

    def publish(self, pose: Pose, covariance: Array, frames: FrameSet, map_frame: str, path_length: int) -> None:
        """Publish map_from_rig with its covariance [6, 6]."""
        message = pose_to_stamped(pose, map_frame, frames.stamp_ns)
        self._pose.publish(message)
        self._with_covariance.publish(pose_to_stamped_with_covariance(pose, covariance, map_frame, frames.stamp_ns))
        with self._lock:
            self._poses.append(message)
            self._path_is_new = True
            while len(self._poses) > path_length:
                self._poses.popleft()

    def publish_candidates(self, places: Sequence[Localized], frames: FrameSet, map_frame: str) -> None:
        """The pose in each of several look-alike places; once it is known, or nothing is, an empty message."""
        if places or self._doubtful:
            poses = [pose_to_msg(place.map_from_camera) for place in places]
            self._candidates.publish(PoseArray(header=header(map_frame, frames.stamp_ns), poses=poses))
        self._doubtful = bool(places)

    def broadcast(
        self, config: NodeConfig, map_from_rig: Pose, odom_from_rig: Pose | None, frames: FrameSet, map_frame: str
    ) -> str:
        """Broadcast the transform that belongs to a pose; returns why not, or an empty text.

        With odometry it is map->odom (see corrections.py). A moving camera's or base's own transform holds at the
        image's stamp only.
        """
        if config.odom_frame_id:
            if odom_from_rig is not None:  # its absence is reported where it was missed
                map_from_odom = map_from_rig @ odom_from_rig.inverse()
                self.corrections.correct(
                    Correction(map_from_odom, map_frame, config.odom_frame_id, frames.stamp_ns, frames.received_ns),
                    config,
                )
            return ""
        child = frames.rig_frame
        if not child:
            return "images have no frame_id, so their transform cannot be broadcast"
        parent = self._frames.parent_of(child)
        if parent not in (None, map_frame) and (parent, child) not in self._given:
            return (
                f"TF has {child!r} under {parent!r} already, so {map_frame!r}->{child!r} is not broadcast: set "
                "base_frame_id or odom_frame_id, or tf_broadcast to false"
            )
        self._given.add((map_frame, child))
        self._frames.broadcast(map_frame, child, map_from_rig, frames.stamp_ns)
        return ""

    def publish_path(self, map_frame: str) -> None:
        """At leisure: a long path is costly."""
        poses: list[PoseStamped] = []
        with self._lock:
            if self._path_is_new and self._path.get_subscription_count():
                poses, self._path_is_new = list(self._poses), False
        if poses:
            self._path.publish(path_to_msg(poses, map_frame, now_ns(self._node)))

    def publish_views(self, outcome: Outcome, frames: FrameSet, map_frame: str) -> None:
        """For somebody who looks; free otherwise."""
        if self._picture.get_subscription_count():
            shown = list(zip(outcome.features, (frame.pixels for frame in frames.frames), strict=True))
            shown.sort(key=lambda pair: pair[0] is None)  # the result counts the views that have features
            picture = draw_frame_set([pixels for _, pixels in shown], [own for own, _ in shown], outcome.result)
            self._picture.publish(array_to_image(picture, frames.rig_frame, frames.stamp_ns))
        if self._frustum.get_subscription_count():
            self._frustum.publish(_frustum(outcome, frames, map_frame))

    def close(self) -> None:
        for publisher in (
            self._pose,
            self._with_covariance,
            self._candidates,
            self._path,
            self._picture,
            self._frustum,
        ):
            self._node.destroy_lifecycle_publisher(publisher)


def _frustum(outcome: Outcome, frames: FrameSet, map_frame: str) -> Marker:
    """What the cameras see now: green where the last pose guided the search, yellow where the whole map was searched,
    gone without a pose."""
    found, views, rgb = outcome.result, [], _FOUND_RGB
    if isinstance(found, Localized):
        views = [(found.map_from_camera @ frame.rig_from_camera, frame.camera) for frame in frames.frames]
        rgb = _TRACKED_RGB if found.mode is Mode.TRACKING else _FOUND_RGB
    marker = frustums_to_marker(views, map_frame, frames.stamp_ns, "frustum", rgb, _FRUSTUM_M)
    marker.lifetime.sec = _FRUSTUM_S  # a camera that fell silent sees nothing any more
    return marker
