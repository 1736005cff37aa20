"""Depth images of the cameras, by their stamps: registered to the images, or brought to them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakSet

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from hfnet_core.errors import DatasetError
from hfnet_core.images.depth import DepthImage, decode_compressed_depth, decode_depth, ranges_at
from hfnet_core.images.registration import register
from hfnet_core.recordings.calibration.recorded import is_rectified
from hfnet_core.recordings.depth.layouts import DEPTH_TRANSPORTS, depth_topics_of, info_of, unregistered_depth
from hfnet_core.types import Features, NotLocalized, Ranges
from hfnet_ros.conversions import frame_name, stamp_to_ns, topic_of
from hfnet_ros.node.depth.mounting import DepthCamera
from hfnet_ros.node.diagnostics import Level, Reporter
from hfnet_ros.node.frame_sets import CameraFrame, FrameSet
from hfnet_ros.node.frames import Frames
from hfnet_ros.node.inputs import image_topic
from hfnet_ros.parameters import Parameters

__all__ = ["AUTO_DEPTH", "Depths"]

AUTO_DEPTH = "auto"
_KEPT = 10  # images, while those of the cameras are at work
_TOGETHER_NS = 20_000_000  # colour and depth that are not triggered together differ by half a frame
_WAIT_S = 0.1  # for the depth of an image, which drivers compute after it
_REMEMBERED, _LEAST, _WORTH = 16, 4, 0.5  # waiting pays where half of the images before had depth in the end


@dataclass(frozen=True)
class _Wanted:
    """What somebody has set of a camera's depth. images: topic of its images. topic: "" for none; `auto` waits for a
    publisher on one of its driver's layout. info: topic of the depth's own camera_info, "" for registered depth."""

    images: str
    topic: str
    info: str


class _Awaited:
    """The depth of an image that is asked for later: what comes nearest to its stamp stays until then."""

    def __init__(self, stamp_ns: int) -> None:
        self._stamp_ns, self._apart_ns = stamp_ns, _TOGETHER_NS + 1
        self.message: Any = None

    def offer(self, stamp_ns: int, message: Any) -> None:
        apart_ns = abs(stamp_ns - self._stamp_ns)
        if apart_ns < self._apart_ns:
            self._apart_ns, self.message = apart_ns, message


class _DepthInput:
    """One camera's depth."""

    def __init__(self, node: Node, frames: Frames, name: str, wanted: _Wanted) -> None:
        self._node, self._frames, self.name, self._wanted = node, frames, name, wanted
        self._recent: deque[tuple[int, Any]] = deque(maxlen=_KEPT)
        self._awaited: WeakSet[_Awaited] = WeakSet()
        self._arrived = threading.Condition()
        self._had: deque[list[Any]] = deque(maxlen=_REMEMBERED)  # stamp of an image, whether its depth came
        self._subscription: Any = None
        self._camera: DepthCamera | None = None
        self.used = self.asked = 0
        self.fits = True  # the camera's images, as far as somebody has tried
        self.topic = ""
        self._looking = wanted.topic == AUTO_DEPTH
        if wanted.topic and not self._looking:
            self._listen(wanted.topic)

    def look(self) -> None:
        """Whether the driver publishes depth by now."""
        if not self._looking:
            return
        known = {name for name, _ in self._node.get_topic_names_and_types() if self._node.count_publishers(name)}
        found = depth_topics_of(self._wanted.images, known)
        if found:
            self._looking = False
            self._listen(found[0])

    def _listen(self, topic: str) -> None:
        base = next(topic.removesuffix(end) for end in reversed(DEPTH_TRANSPORTS) if topic.endswith(end))
        kind = Image if base == topic else CompressedImage
        self._subscription = self._node.create_subscription(kind, topic, self._receive, qos_profile_sensor_data)
        self.topic = str(self._subscription.topic_name)
        found = self._wanted.topic == AUTO_DEPTH and base in unregistered_depth(self._wanted.images)
        info = self._wanted.info or (info_of(base) if found else "")
        if info:
            self._camera = DepthCamera(self._node, self._frames, info, rectified=is_rectified(base))

    def _receive(self, message: Any) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        with self._arrived:
            self._recent.append((stamp_ns, message))
            for one in self._awaited:
                one.offer(stamp_ns, message)
            for item in self._had:
                item[1] = item[1] or abs(item[0] - stamp_ns) <= _TOGETHER_NS
            self._arrived.notify_all()

    def wait(self, stamp_ns: int, seconds: float) -> None:
        """Until the depth of an image is here, or will not come, or time is up; not where it seldom comes."""
        with self._arrived:
            worth = len(self._had) >= _LEAST and sum(item[1] for item in self._had) >= _WORTH * len(self._had)
            self._had.append([stamp_ns, self._is_decided(stamp_ns)])
            if worth:
                self._arrived.wait_for(lambda: self._is_decided(stamp_ns), max(seconds, 0.0))

    def _is_decided(self, stamp_ns: int) -> bool:
        return any(own_ns > stamp_ns - _TOGETHER_NS for own_ns, _ in self._recent)

    def awaited(self, stamp_ns: int) -> _Awaited:
        """The depth of an image, which has come, or comes as long as somebody keeps what this returns."""
        one = _Awaited(stamp_ns)
        with self._arrived:
            for item in self._recent:
                one.offer(*item)
            self._awaited.add(one)
        return one

    def at(self, awaited: _Awaited, frame: CameraFrame) -> DepthImage | None:
        """In the pixels of an image; None where none came near to its stamp. Raises DatasetError."""
        message = awaited.message
        if message is None:
            return None
        depth = decode_depth(message) if isinstance(message, Image) else decode_compressed_depth(message)
        own = self._camera
        if own is None or (not self._wanted.info and frame_name(message.header.frame_id) == frame.frame_id):
            return depth
        return register(depth, own.mount(message, frame), frame.camera)

    def clear(self) -> None:
        with self._arrived:
            self._recent.clear()
            self._had.clear()
            self._awaited.clear()

    def close(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        if self._camera is not None:
            self._camera.close()


class Depths:
    """Of all cameras. Messages come in the executor's thread; `ranges_of` and `image` are asked in that of the images.

    frames: where depth that is not registered is from.
    """

    def __init__(self, node: Node, settings: Parameters[Any], frames: Frames, reporter: Reporter) -> None:
        config = settings.configs.node
        self._reporter = reporter
        self._offset_ns = round(1e9 * config.image_time_offset_s)  # which is in the stamps of images, not in these
        self._inputs: dict[str, _DepthInput] = {}
        for name in config.cameras:
            topic, info = config.depth_topic, config.depth_camera_info_topic
            if topic not in ("", AUTO_DEPTH):
                topic = topic_of(name, topic)
            wanted = _Wanted(image_topic(node, config, name), topic, topic_of(name, info) if info else "")
            self._inputs[name] = _DepthInput(node, frames, name, wanted)

    @property
    def topics(self) -> list[str]:
        """What is listened to."""
        return [own.topic for own in self._inputs.values() if own.topic]

    def ranges_of(self, frames: FrameSet, extracted: Sequence[Features | NotLocalized]) -> list[Ranges | None]:
        """How far away the keypoints of each frame are; None where no depth came, for which this waits a moment."""
        until_s = time.monotonic() + _WAIT_S
        for frame in frames.frames:
            if self._inputs[frame.name].topic:
                self._inputs[frame.name].wait(frame.stamp_ns - self._offset_ns, until_s - time.monotonic())
        pairs = zip(frames.frames, extracted, strict=True)
        return [self._of(frame, found) if isinstance(found, Features) else None for frame, found in pairs]

    def _of(self, frame: CameraFrame, features: Features) -> Ranges | None:
        own, depth = self._inputs[frame.name], self.image(frame)
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

    def promised(self, frame: CameraFrame) -> Callable[[], DepthImage | None]:
        """`image`, to be asked for later, however much depth comes meanwhile."""
        own = self._inputs[frame.name]
        return partial(self.image, frame, own.awaited(frame.stamp_ns - self._offset_ns) if own.topic else None)

    def image(self, frame: CameraFrame, awaited: _Awaited | None = None) -> DepthImage | None:
        """The depth that an image has, in its pixels; None where none came."""
        own = self._inputs[frame.name]
        if not own.topic:
            return None
        own.asked += 1
        try:
            depth = own.at(awaited or own.awaited(frame.stamp_ns - self._offset_ns), frame)
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
