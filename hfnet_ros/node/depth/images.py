"""Depth images registered to those of the cameras, by their stamps."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from hfnet_core.errors import DatasetError
from hfnet_core.images.depth import DepthImage, decode_compressed_depth, decode_depth, ranges_at
from hfnet_core.recordings.depth.layouts import depth_topics_of
from hfnet_core.types import Features, NotLocalized, Ranges
from hfnet_ros.conversions import stamp_to_ns, topic_of
from hfnet_ros.node.diagnostics import Level, Reporter
from hfnet_ros.node.frame_sets import CameraFrame, FrameSet
from hfnet_ros.node.inputs import image_topic
from hfnet_ros.parameters import Parameters

__all__ = ["AUTO_DEPTH", "Depths"]

AUTO_DEPTH = "auto"
_KEPT = 10  # images, while those of the cameras are at work
_TOGETHER_NS = 20_000_000  # colour and depth that are not triggered together differ by half a frame


class _DepthInput:
    """One camera's depth. topic: "" for none; `auto` waits for a publisher on one of its driver's layout."""

    def __init__(self, node: Node, name: str, images: str, topic: str, kept: int) -> None:
        self._node, self.name, self._images = node, name, images
        self._recent: deque[tuple[int, Any]] = deque(maxlen=kept)
        self._subscription: Any = None
        self.used = self.asked = 0
        self.fits = True  # the camera's images, as far as somebody has tried
        self.topic = ""
        self._looking = topic == AUTO_DEPTH
        if topic and not self._looking:
            self._listen(topic)

    def look(self) -> None:
        """Whether the driver publishes depth by now."""
        if not self._looking:
            return
        known = {name for name, _ in self._node.get_topic_names_and_types() if self._node.count_publishers(name)}
        found = depth_topics_of(self._images, known)
        if found:
            self._looking = False
            self._listen(found[0])

    def _listen(self, topic: str) -> None:
        kind = CompressedImage if topic.rpartition("/")[2] in ("compressedDepth", "compressed") else Image
        self._subscription = self._node.create_subscription(kind, topic, self._receive, qos_profile_sensor_data)
        self.topic = str(self._subscription.topic_name)

    def _receive(self, message: Any) -> None:
        self._recent.append((stamp_to_ns(message.header.stamp), message))

    def at(self, stamp_ns: int) -> DepthImage | None:
        """The depth nearest to an image's stamp, None where none is near. Raises DatasetError."""
        near = min(tuple(self._recent), key=lambda item: abs(item[0] - stamp_ns), default=(0, None))
        if near[1] is None or abs(near[0] - stamp_ns) > _TOGETHER_NS:
            return None
        return decode_depth(near[1]) if isinstance(near[1], Image) else decode_compressed_depth(near[1])

    def clear(self) -> None:
        self._recent.clear()

    def close(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)


class Depths:
    """Of all cameras. Messages come in the executor's thread; `ranges_of` and `image` are asked in that of the images.

    kept: messages of each camera that are remembered.
    """

    def __init__(self, node: Node, settings: Parameters[Any], reporter: Reporter, kept: int = _KEPT) -> None:
        config = settings.configs.node
        self._reporter = reporter
        self._offset_ns = round(1e9 * config.image_time_offset_s)  # which is in the stamps of images, not in these
        self._inputs: dict[str, _DepthInput] = {}
        for name in config.cameras:
            named = (
                topic_of(name, config.depth_topic) if config.depth_topic not in ("", AUTO_DEPTH) else config.depth_topic
            )
            self._inputs[name] = _DepthInput(node, name, image_topic(node, config, name), named, kept)

    @property
    def topics(self) -> list[str]:
        """What is listened to."""
        return [own.topic for own in self._inputs.values() if own.topic]

    def ranges_of(self, frames: FrameSet, extracted: Sequence[Features | NotLocalized]) -> list[Ranges | None]:
        """How far away the keypoints of each frame are; None where no depth came."""
        pairs = zip(frames.frames, extracted, strict=True)
        return [self._of(frame, found) if isinstance(found, Features) else None for frame, found in pairs]

    def _of(self, frame: CameraFrame, features: Features) -> Ranges | None:
        own, depth = self._inputs[frame.name], self.image(frame.name, frame.stamp_ns)
        if depth is None:
            return None
        try:
            found = ranges_at(depth, features.keypoints_px, features.width, features.height)
        except DatasetError as error:
            own.fits = False
            self._complain(own, error)
            return None
        own.fits = True
        return found

    def image(self, camera: str, stamp_ns: int) -> DepthImage | None:
        """The depth that a camera's image of this stamp has, None where none came."""
        own = self._inputs[camera]
        if not own.topic:
            return None
        own.asked += 1
        try:
            depth = own.at(stamp_ns - self._offset_ns)
        except DatasetError as error:
            self._complain(own, error)
            return None
        if depth is not None:
            own.used += 1
            if own.fits:
                self._reporter.health.clear(f"depth {own.name}".rstrip())
        return depth

    def _complain(self, own: _DepthInput, error: DatasetError) -> None:
        self._reporter.complain(f"depth {own.name}".rstrip(), f"depth is not used: {own.topic}: {error}", Level.WARN)

    def watch(self) -> None:
        """Look for depth that is to be found by itself, and say what came. Call this now and then."""
        for own in self._inputs.values():
            own.look()
            if own.topic:
                fact = f"{own.topic}, with {own.used} of {own.asked} images"
                self._reporter.health.fact(f"depth images {own.name}".rstrip(), fact)

    def clear(self) -> None:
        """Time went back."""
        for own in self._inputs.values():
            own.clear()

    def close(self) -> None:
        for own in self._inputs.values():
            own.close()
