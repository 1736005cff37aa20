"""What the node hears: images, their calibration, odometry, initial poses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hfnet_core.config import NodeConfig
from hfnet_core.errors import HFNetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.transforms import TransformBuffer, TransformError
from hfnet_core.types import Camera
from hfnet_ros.conversions import (
    camera_from_info,
    decode_compressed_image,
    decode_raw_image,
    pose_from_msg,
    stamp_to_ns,
    topic_of,
)

__all__ = ["Calibration", "CalibrationError", "ImageMessage", "ImageSubscription", "OdometryInput", "StampJudge"]


@dataclass(frozen=True, eq=False)
class ImageMessage:
    """An image as it came. received_s: time.perf_counter() of its arrival."""

    message: Any
    compressed: bool
    received_s: float

    @property
    def stamp_ns(self) -> int:
        return stamp_to_ns(self.message.header.stamp)

    def decode(self) -> Any:
        """Gray or RGB pixels. Raises DatasetError."""
        return decode_compressed_image(self.message) if self.compressed else decode_raw_image(self.message)


class ImageSubscription:
    """Images of a camera, the newest only."""

    def __init__(self, node: Node, config: NodeConfig, camera: str, receive: Callable[[ImageMessage], None]) -> None:
        self._node = node
        compressed = config.image_transport == "compressed"
        reliability = ReliabilityPolicy[config.image_reliability.upper()]
        qos = QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=reliability)
        topic = topic_of(camera, config.image_topic) + ("/compressed" if compressed else "")

        def callback(message: Any) -> None:
            receive(ImageMessage(message, compressed, time.perf_counter()))

        self._subscription = node.create_subscription(CompressedImage if compressed else Image, topic, callback, qos)
        self.topic = self._subscription.topic_name

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)


class CalibrationError(HFNetError):
    """There is no calibration for this image."""


class Calibration:
    """The newest CameraInfo of a camera as a Camera."""

    def __init__(self, node: Node, config: NodeConfig, camera: str) -> None:
        self._node, self._rectified = node, config.image_rectified
        self._key: object = None
        self._camera: Camera | None = None
        self._error = ""
        self.frame_id = ""
        self._subscription = node.create_subscription(
            CameraInfo, topic_of(camera, config.camera_info_topic), self.receive, qos_profile_sensor_data
        )
        self.topic = self._subscription.topic_name

    def receive(self, info: CameraInfo) -> None:
        self.frame_id = info.header.frame_id
        roi = info.roi
        key = (
            info.width, info.height, info.distortion_model, bytes(info.d), bytes(info.k), bytes(info.p),
            info.binning_x, info.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height,
        )  # fmt: skip
        if key == self._key:
            return
        try:
            camera, error = camera_from_info(info, rectified=self._rectified), ""
        except HFNetError as reason:
            camera, error = None, f"uncalibrated camera: {self.topic}: {reason}"
        if self._key is not None:
            self._node.get_logger().info(f"{self.topic}: the calibration changed")
        self._camera, self._error, self._key = camera, error, key

    def camera_for(self, width: int, height: int) -> Camera:
        """The camera of an image of this size. Raises CalibrationError saying what is wrong."""
        camera, error = self._camera, self._error
        if error:
            raise CalibrationError(error)
        if camera is None:
            raise CalibrationError(f"no camera_info on {self.topic}: images wait for it")
        if (camera.width, camera.height) != (width, height):
            expected = f"{camera.width}x{camera.height}"
            raise CalibrationError(f"{self.topic} is for images of {expected}, got {width}x{height}: publish the "
                                   "calibration of these images")  # fmt: skip
        return camera

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)


class OdometryInput:
    """nav_msgs/Odometry as timed transforms from its child frame to the odometry frame."""

    def __init__(self, node: Node, config: NodeConfig) -> None:
        self._node, self._frame = node, config.odom_frame_id
        self._buffer = TransformBuffer.live()
        self.child_frame_id = ""
        self._error = ""
        self._subscription = node.create_subscription(
            Odometry, config.odom_topic, self._receive, qos_profile_sensor_data
        )
        self.topic = self._subscription.topic_name

    def _receive(self, message: Odometry) -> None:
        frame, child = message.header.frame_id, message.child_frame_id
        if frame != self._frame:
            self._error = f"{self.topic} is in frame {frame!r}, but odom_frame_id is {self._frame!r}"
            return
        try:
            self._buffer.add(frame, child, pose_from_msg(message.pose.pose), stamp_to_ns(message.header.stamp))
            self.child_frame_id, self._error = child, ""
        except (TransformError, ValueError) as error:
            self._error = str(error)

    def at(self, stamp_ns: int) -> Pose:
        """odom_from_child. Raises TransformError."""
        if self._error:
            raise TransformError(self._error)
        if not self.child_frame_id:
            raise TransformError(f"nothing came on {self.topic}")
        return self._buffer.lookup(self._frame, self.child_frame_id, stamp_ns)

    def clear(self) -> None:
        self._buffer.clear()

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)


class StampJudge:
    """Judges the stamps of images."""

    RESTART_S = 1.0  # a step back by more than this is a recording that starts over, less is an image out of order

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def restarted(self, stamp_ns: int) -> bool:
        """Whether time went back; the next images count from here then."""
        back = self._last_ns is not None and stamp_ns > 0 and stamp_ns < self._last_ns - self.RESTART_S * 1e9
        if back:
            self._last_ns = None
        return back

    def refusal(self, stamp_ns: int, now_ns: int, max_lead_s: float) -> str:
        """Why an image cannot be used, empty if it can. now_ns: 0 when there is no clock yet."""
        if stamp_ns <= 0:
            return "image has no stamp: the driver must stamp its images"
        lead_s = (stamp_ns - now_ns) * 1e-9
        if now_ns > 0 and lead_s > max_lead_s:
            return f"image is stamped {lead_s:.1f} s ahead of the clock: synchronise clocks, or set use_sim_time"
        if self._last_ns is not None and stamp_ns <= self._last_ns:
            return "image stamps do not advance: images out of order or published twice"
        self._last_ns = stamp_ns
        return ""
