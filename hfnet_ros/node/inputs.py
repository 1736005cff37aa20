"""What the node hears: images, their calibration, odometry, initial poses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hfnet_core.config import NodeConfig
from hfnet_core.errors import HFNetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.calibration.recorded import is_rectified
from hfnet_core.recordings.transforms import TransformBuffer, TransformError
from hfnet_core.types import Camera
from hfnet_ros.conversions import (
    camera_from_info,
    doubts_about_info,
    frame_name,
    pose_from_msg,
    stamp_to_ns,
    topic_of,
)
from hfnet_ros.image_decoding import decode_compressed_image, decode_image
from hfnet_ros.node.diagnostics import Level, Reporter
from hfnet_ros.node.frame_sets import FrameSet
from hfnet_ros.node.frames import Frames, wait_for
from hfnet_ros.parameters import Parameters
from hfnet_ros.rclpy_typed import Log, now_ns, profile

__all__ = ["Calibration", "CalibrationError", "ImageMessage", "ImageSubscription", "Odometry", "StampJudge"]


@dataclass(frozen=True, eq=False)
class ImageMessage:
    """An image as it came. received_ns, received_s: its arrival by the node's clock and as time.perf_counter().
    offset_ns: what is to be added to its stamp."""

    message: Any
    compressed: bool
    received_ns: int
    received_s: float
    offset_ns: int = 0

    @property
    def stamp_ns(self) -> int:
        """When it was taken, 0 where it has no stamp."""
        stamp_ns = stamp_to_ns(self.message.header.stamp)
        return stamp_ns + self.offset_ns if stamp_ns else 0

    @property
    def frame_id(self) -> str:
        """The camera's optical frame as TF names it, empty where the driver gives none."""
        return frame_name(self.message.header.frame_id)

    def decode(self) -> Any:
        """Gray or RGB pixels. Raises DatasetError."""
        return decode_compressed_image(self.message) if self.compressed else decode_image(self.message)


def image_topic(node: Node, config: NodeConfig, camera: str) -> str:
    """The topic of a camera's images as it is after remapping, without what the transport appends.

    Whoever remaps the image remaps its transports, as in image_transport; a transport remapped by itself counts too.
    """
    base = topic_of(camera, config.image_topic)
    if config.image_transport == "compressed":
        compressed = base + "/compressed"
        if _is_remapped(node, compressed):
            return str(node.resolve_topic_name(compressed)).removesuffix("/compressed")
    return str(node.resolve_topic_name(base))


def info_topic(node: Node, config: NodeConfig, camera: str) -> str:
    """The topic of a camera's calibration: as set, as remapped, or beside its images."""
    if config.camera_info_topic:
        return topic_of(camera, config.camera_info_topic)
    usual = topic_of(camera, "camera_info")
    if _is_remapped(node, usual):
        return usual
    return image_topic(node, config, camera).rpartition("/")[0] + "/camera_info"


def _is_remapped(node: Node, topic: str) -> bool:
    return bool(node.resolve_topic_name(topic) != node.resolve_topic_name(topic, only_expand=True))


class ImageSubscription:
    """Images of a camera, the newest only."""

    def __init__(self, node: Node, config: NodeConfig, camera: str, receive: Callable[[ImageMessage], None]) -> None:
        self._node = node
        compressed = config.image_transport == "compressed"
        reliability = ReliabilityPolicy[config.image_reliability.upper()]
        topic = image_topic(node, config, camera) + ("/compressed" if compressed else "")

        offset_ns = round(1e9 * config.image_time_offset_s)

        def callback(message: Any) -> None:
            receive(ImageMessage(message, compressed, now_ns(node), time.perf_counter(), offset_ns))

        kind = CompressedImage if compressed else Image
        self._subscription = node.create_subscription(kind, topic, callback, profile(1, reliability))
        self.topic = self._subscription.topic_name

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)


class CalibrationError(HFNetError):
    """There is no calibration for this image."""


class Calibration:
    """The newest CameraInfo of a camera as a Camera."""

    def __init__(self, node: Node, config: NodeConfig, camera: str) -> None:
        self._node, self._log = node, Log.of(node)
        self._rectified, self._trust = config.image_rectified, config.trust_calibration
        self._images = image_topic(node, config, camera)
        self.doubt = ""
        """What is unlikely in it, though possible."""
        self._key: object = None
        self._camera: Camera | None = None
        self._error = ""
        self.frame_id = ""
        self._subscription = node.create_subscription(
            CameraInfo, info_topic(node, config, camera), self.receive, qos_profile_sensor_data
        )
        self.topic = self._subscription.topic_name

    def receive(self, info: CameraInfo) -> None:
        self.frame_id = frame_name(info.header.frame_id)
        roi = info.roi
        size = (info.width, info.height, info.binning_x, info.binning_y)
        region = (roi.x_offset, roi.y_offset, roi.width, roi.height)
        key = (size, region, info.distortion_model, bytes(info.d), bytes(info.k), bytes(info.p))
        if key == self._key:
            return
        try:
            camera, error = camera_from_info(info, rectified=self._rectified, trust=self._trust), ""
            self.doubt = "" if self._trust else self._doubt(info)
        except HFNetError as reason:
            self.doubt, camera, error = "", None, f"uncalibrated camera: {self.topic}: {reason}"
        if self._key is not None:
            self._log.info(f"{self.topic}: the calibration changed")
        self._camera, self._error, self._key = camera, error, key

    def _doubt(self, info: CameraInfo) -> str:
        doubts = [f"{self.topic}: {doubt}" for doubt in doubts_about_info(info, rectified=self._rectified)]
        if not self._rectified and any(info.d) and is_rectified(self._images):
            doubts.append(f"{self._images} is rectified by its name, but D is not zero: set image_rectified")
        return "; ".join(doubts)

    def camera_for(self, width: int, height: int) -> Camera:
        """The camera of an image of this size. Raises CalibrationError saying what is wrong."""
        camera, error = self._camera, self._error
        if error:
            raise CalibrationError(error)
        if camera is None:
            raise CalibrationError(f"no camera_info on {self.topic}: images wait for it")
        if (camera.width, camera.height) != (width, height):
            expected = f"{camera.width}x{camera.height}"
            raise CalibrationError(
                f"{self.topic} is for images of {expected}, got {width}x{height}: publish the calibration of these "
                "images"
            )
        return camera

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)


class _OdometryTopic:
    """nav_msgs/Odometry as timed transforms from its child frame to the odometry frame."""

    def __init__(self, node: Node, config: NodeConfig) -> None:
        self._node, self._frame = node, config.odom_frame_id
        self._buffer = TransformBuffer.live()
        self._child, self._error = "", ""
        self._subscription = node.create_subscription(
            OdometryMsg, config.odom_topic, self._receive, qos_profile_sensor_data
        )
        self._topic = self._subscription.topic_name

    def _receive(self, message: OdometryMsg) -> None:
        frame, child = frame_name(message.header.frame_id), frame_name(message.child_frame_id)
        if frame != self._frame:
            self._error = f"{self._topic} is in frame {frame!r}, but odom_frame_id is {self._frame!r}"
            return
        if not child:
            self._error = (
                f"{self._topic} has no child_frame_id: set it in the odometry's source, or leave odom_topic empty to "
                "take /tf"
            )
            return
        try:
            self._buffer.add(frame, child, pose_from_msg(message.pose.pose), stamp_to_ns(message.header.stamp))
            self._child, self._error = child, ""
        except (TransformError, ValueError) as error:
            self._error = f"{self._topic}: {error}"

    def at(self, stamp_ns: int) -> tuple[Pose, str]:
        """odom_from_child and the name of the child. Raises TransformError."""
        if self._error:
            raise TransformError(self._error)
        if not self._child:
            raise TransformError(f"nothing came on {self._topic}")
        return self._buffer.lookup(self._frame, self._child, stamp_ns), self._child

    def clear(self) -> None:
        self._buffer.clear()

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)


class Odometry:
    """Where the odometry puts the rig: from its own topic or from TF, as the settings say, or nowhere."""

    def __init__(self, node: Node, settings: Parameters[Any], frames: Frames, reporter: Reporter) -> None:
        config = settings.configs.node
        self._node, self._settings, self._frames, self._reporter = node, settings, frames, reporter
        self._topic = _OdometryTopic(node, config) if config.odom_topic else None

    def odom_from_rig(self, frames: FrameSet, give_up: Callable[[], bool]) -> Pose | None:
        """At the time of the frames, for which it is waited; None when the odometry does not say."""
        config = self._settings.configs.node
        if not config.odom_frame_id:
            return None
        try:
            pose = wait_for(self._node, lambda: self._at(config, frames), config.odom_timeout_s, give_up)
        except TransformError as error:
            self._reporter.complain("odometry", f"no odometry: {error}", Level.WARN)
            return None
        self._reporter.health.clear("odometry")
        return pose

    def _at(self, config: NodeConfig, frames: FrameSet) -> Pose:
        """Raises TransformError."""
        if self._topic is None:
            return self._frames.lookup(config.odom_frame_id, frames.rig_frame, frames.stamp_ns)
        odom_from_child, child = self._topic.at(frames.stamp_ns)
        return odom_from_child @ self._frames.lookup(child, frames.rig_frame, frames.stamp_ns)

    def clear(self) -> None:
        """Time went back."""
        if self._topic is not None:
            self._topic.clear()

    def close(self) -> None:
        if self._topic is not None:
            self._topic.close()


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
