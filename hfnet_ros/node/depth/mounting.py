"""Depth in the pixels of a camera of its own: whose calibration is that, and where it sits."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo

from hfnet_core.errors import DatasetError
from hfnet_core.images.registration import DepthMount
from hfnet_core.recordings.calibration import camera_from_info, is_uncalibrated
from hfnet_core.types import Camera
from hfnet_ros.conversions import frame_name, stamp_to_ns
from hfnet_ros.node.frame_sets import CameraFrame
from hfnet_ros.node.frames import Frames, TransformError

__all__ = ["DepthCamera"]


class DepthCamera:
    """The camera of depth images, by its camera_info; its place beside the images' camera by TF."""

    def __init__(self, node: Node, frames: Frames, topic: str, *, rectified: bool) -> None:
        self._node, self._frames, self._rectified = node, frames, rectified
        self._info: Any = None
        self._known: tuple[Any, Camera] | None = None  # the message that it is of
        self._subscription = node.create_subscription(CameraInfo, topic, self._receive, qos_profile_sensor_data)
        self.topic = str(self._subscription.topic_name)

    def _receive(self, message: Any) -> None:
        if self._info is None or not _same(message, self._info):
            self._info = message

    def mount(self, depth: Any, frame: CameraFrame) -> DepthMount:
        """Of a depth image for an image. Raises DatasetError where that is not known, or not yet."""
        depth_frame = frame_name(depth.header.frame_id)
        try:
            pose = self._frames.lookup(frame.frame_id, depth_frame, stamp_to_ns(depth.header.stamp))
        except TransformError as error:
            raise DatasetError(f"TF does not tell where it is from: {error}") from error
        return DepthMount(self._camera(), pose)

    def _camera(self) -> Camera:
        info = self._info
        if info is None or is_uncalibrated(info):
            raise DatasetError(f"it is not registered to the images, and {self.topic} has no calibration yet")
        if self._known is None or self._known[0] is not info:
            self._known = (info, camera_from_info(info, rectified=self._rectified))
        return self._known[1]

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)


def _same(one: Any, other: Any) -> bool:
    """Whether two messages say the same of the camera."""
    names = ("width", "height", "distortion_model", "binning_x", "binning_y", "roi")
    arrays = ("k", "d", "p")
    return all(getattr(one, name) == getattr(other, name) for name in names) and all(
        list(getattr(one, name)) == list(getattr(other, name)) for name in arrays
    )
