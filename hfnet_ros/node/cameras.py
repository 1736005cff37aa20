"""The cameras of a robot: what each of them sees, what is wrong with it, and which images belong together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from hfnet_core.config import NodeConfig
from hfnet_core.errors import HFNetError
from hfnet_core.geometry import Pose
from hfnet_core.types import Camera
from hfnet_ros.conversions import poses_from_text
from hfnet_ros.node.diagnostics import Health, Level, Rate
from hfnet_ros.node.frame_sets import Shot, ShotAssembler
from hfnet_ros.node.frames import Frames, TransformError
from hfnet_ros.node.inputs import Calibration, CalibrationError, ImageMessage, ImageSubscription, StampJudge

__all__ = ["Cameras", "View"]


@dataclass(frozen=True, eq=False)
class View:
    """An image that can be localized. base_from_camera, name: of its camera, where there are several."""

    pixels: NDArray[Any]
    camera: Camera
    frame_id: str
    base_from_camera: Pose | None = None
    name: str = ""


class _Input:
    """One camera: its topics, its calibration, and whether it is alive. name: empty for the only camera."""

    def __init__(
        self, node: Node, config: NodeConfig, number: int, mount: Pose | None,
        receive: Callable[[int, ImageMessage], None],
    ) -> None:  # fmt: skip
        """mount: base_from_camera, where a parameter gives it."""
        self.name, self.mount = config.cameras[number], mount
        self.frame_id = ""
        self.stamps = StampJudge()
        self.was_silent = False
        self._rate, self._last_s = Rate(), time.monotonic()

        def heard(image: ImageMessage) -> None:
            self._last_s = time.monotonic()
            self._rate.tick(self._last_s)
            receive(number, image)

        self.calibration = Calibration(node, config, self.name)
        self.images = ImageSubscription(node, config, self.name, heard)

    def tag(self, name: str) -> str:
        """The name of a problem or fact of this camera."""
        return f"{name} {self.name}".rstrip()

    def said(self, text: str) -> str:
        """A complaint with the camera's name before it."""
        return f"{self.name}: {text}" if self.name else text

    @property
    def silent_s(self) -> float:
        """Since the last image, or since the beginning."""
        return time.monotonic() - self._last_s

    @property
    def traffic(self) -> str:
        return f"{self._rate.per_second(time.monotonic()):.1f} Hz, {self._rate.total} images"


class Cameras:
    """All cameras of a node. Shots are delivered in the executor's thread; `views` may be asked for in another."""

    def __init__(
        self, node: Node, config: Callable[[], NodeConfig], frames: Frames, health: Health,
        refuse: Callable[[str, str, Level], None], restarted: Callable[[], None], deliver: Callable[[Shot, int], None],
    ) -> None:  # fmt: skip
        """refuse: called with problem, text and level for an image that cannot be used. restarted: called when stamps
        went back. deliver: called with a shot and the number of its sender, of whom only the newest shot counts.
        """
        self._node, self._config, self._frames, self._health = node, config, frames, health
        self._refuse, self._restarted, self._deliver = refuse, restarted, deliver
        own = config()
        self.several = len(own.cameras) > 1
        self._shots: ShotAssembler | None = None
        self._dropped = 0  # images of no shot that are counted already
        self._timer = None
        if self.several and own.camera_mode == "rig":
            self._shots = ShotAssembler(own.rig_tolerance_s, own.rig_timeout_s)
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(own.rig_timeout_s / 2, self._hurry, clock=steady)
        mounts = poses_from_text(own.base_from_camera, len(own.cameras), "base_from_camera")
        self._inputs: list[_Input] = []
        for number, mount in enumerate(mounts):
            self._inputs.append(_Input(node, own, number, mount, self._receive))

    @property
    def topics(self) -> list[str]:
        """What is listened to."""
        return [topic for own in self._inputs for topic in (own.images.topic, own.calibration.topic)]

    def close(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        for own in self._inputs:
            own.images.close()
            own.calibration.close()

    # ---- from images to shots

    def _receive(self, number: int, image: ImageMessage) -> None:
        self._health.received()
        if not self._accept_stamp(self._inputs[number], image.stamp_ns):
            return
        if self._shots is None:
            self._deliver(Shot({number: image}), number)
            return
        timeout_s = self._config().image_timeout_s
        awaited = [other for other, own in enumerate(self._inputs) if own.silent_s <= timeout_s]
        self._deliver_rig(self._shots, self._shots.add(number, image, awaited))

    def _hurry(self) -> None:
        """Images that are missing have had their time."""
        if self._shots is not None:
            self._deliver_rig(self._shots, self._shots.overdue())

    def _deliver_rig(self, shots: ShotAssembler, shot: Shot | None) -> None:
        self._health.count("dropped", shots.dropped - self._dropped)
        self._dropped = shots.dropped
        if shot is not None:
            self._deliver(shot, 0)

    def _accept_stamp(self, own: _Input, stamp_ns: int) -> bool:
        if own.stamps.restarted(stamp_ns):
            if self._shots is not None:
                self._shots.clear()
            self._restarted()
        now_ns = self._node.get_clock().now().nanoseconds
        refusal = own.stamps.refusal(stamp_ns, now_ns, self._config().max_image_lead_s)
        if refusal:
            self._refuse(own.tag("stamp"), own.said(refusal), Level.WARN)
            return False
        self._health.clear(own.tag("stamp"))
        return True

    # ---- from shots to views

    def views(self, shot: Shot) -> list[View]:
        """The images that can be used; what is wrong with the others is said."""
        found = [view for number, image in sorted(shot.images.items()) if (view := self._view(number, image))]
        if found:
            self._health.clear("cameras")
        elif self.several:
            self._health.problem("cameras", "no camera can be used")
            self._health.forget_result()
        return found

    def _view(self, number: int, image: ImageMessage) -> View | None:
        own, level = self._inputs[number], Level.WARN if self.several else Level.ERROR
        try:
            pixels = image.decode()
            camera = own.calibration.camera_for(pixels.shape[1], pixels.shape[0])
        except CalibrationError as error:
            self._refuse(own.tag("calibration"), str(error), level)
            return None
        except HFNetError as error:
            self._refuse(own.tag("image"), own.said(str(error)), level)
            return None
        self._health.clear(own.tag("calibration"))
        self._health.clear(own.tag("image"))
        own.frame_id = image.message.header.frame_id or own.calibration.frame_id
        if not self.several:
            return View(pixels, camera, own.frame_id)
        try:
            view = View(pixels, camera, own.frame_id, self._place(number, image.stamp_ns), own.name)
        except TransformError as error:
            text = own.said(f"no transform from the camera to the base, its images are not used: {error}")
            self._refuse(own.tag("base"), text, level)
            return None
        self._health.clear(own.tag("base"))
        return view

    def _place(self, number: int, stamp_ns: int) -> Pose:
        """base_from_camera of one of several. Raises TransformError."""
        own = self._inputs[number]
        for other in self._inputs if own.mount is None else ():
            if other is not own and other.frame_id == own.frame_id:
                raise TransformError(f"{own.name} and {other.name} are both in frame {own.frame_id!r}")
        return own.mount or self._frames.lookup(self._config().base_frame_id, own.frame_id, stamp_ns)

    def base_from_camera(self, stamp_ns: int) -> Pose:
        """Of what is localized: the camera, or the base itself where there are several. Raises TransformError."""
        return Pose() if self.several else self._place(0, stamp_ns)

    # ---- silence

    def watch(self, paused: bool) -> bool:
        """Say which cameras are silent; whether all of them are."""
        timeout_s = self._config().image_timeout_s
        silent = [own for own in self._inputs if not paused and own.silent_s > timeout_s]
        for own in self._inputs:
            if own in silent:
                self._say_silent(own, Level.ERROR if len(silent) == len(self._inputs) else Level.WARN)
            else:
                self._health.clear(own.tag("camera"))
                own.was_silent = False
            if self.several:
                self._health.fact(own.tag("camera"), own.traffic)
        return len(silent) == len(self._inputs)

    def _say_silent(self, own: _Input, level: Level) -> None:
        publishers = self._node.count_publishers(own.images.topic)
        text = f"no image on {own.images.topic} for {int(own.silent_s)} s ({publishers} publishers)"
        self._health.problem(own.tag("camera"), text, level)
        if not own.was_silent:
            self._node.get_logger().warning(text)
        own.was_silent = True
