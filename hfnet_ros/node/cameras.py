"""The cameras of a robot: from messages to frames, and what is wrong on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from hfnet_core.config import NodeConfig
from hfnet_core.errors import HFNetError
from hfnet_core.files import home_path
from hfnet_core.geometry import Pose
from hfnet_core.images.preparation import AUTO, Preparation, read_mask, rotation_by_up
from hfnet_core.images.sixteen_bit import RunningBits
from hfnet_ros.conversions import poses_from_text, texts_per_camera
from hfnet_ros.node.diagnostics import Level, Rate, Reporter
from hfnet_ros.node.frame_sets import CameraFrame, FrameSet
from hfnet_ros.node.frames import Frames, TransformError, wait_for
from hfnet_ros.node.image_sets import ImageSet, ImageSetAssembler
from hfnet_ros.node.inputs import Calibration, CalibrationError, ImageMessage, ImageSubscription, StampJudge
from hfnet_ros.parameters import Parameters
from hfnet_ros.rclpy_typed import now_ns

__all__ = ["Cameras"]

_PROBLEMS = ("calibration", "image", "base")  # of an image on its way to a frame


class _UnusableError(HFNetError):
    """An image cannot be localized. kind: which of _PROBLEMS is why."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class _Input:
    """One camera: its topics, its calibration, and whether it is alive. name: empty for the only camera."""

    def __init__(
        self, node: Node, config: NodeConfig, number: int, mounting: Pose | None, receive: Callable[..., None]
    ) -> None:
        """mounting: base_from_camera, where a parameter gives it. receive: called with number and image."""
        self._node, self.name, self.mounting = node, config.cameras[number], mounting
        self.frame_id = ""
        self.stamps = StampJudge()
        self.is_usable = True
        """Whether its last image could be localized."""
        self.was_silent = False
        self.bits = RunningBits()
        self._rate = Rate()
        self.hear()

        def heard(image: ImageMessage) -> None:
            self.hear()
            self._rate.tick()
            receive(number, image)

        self._rotation = texts_per_camera(config.image_rotation, len(config.cameras), "image_rotation")[number]
        self._mask_file = texts_per_camera(config.mask_file, len(config.cameras), "mask_file")[number]
        self._preparation: Preparation | None = None
        self.calibration = Calibration(node, config, self.name)
        self.images = ImageSubscription(node, config, self.name, heard)

    def preparation(self, size: tuple[int, int], rig_from_camera: Pose) -> Preparation:
        """What is done to images of this (width, height). Raises DatasetError for a mask that does not fit."""
        if self._preparation is None:
            level = rotation_by_up(rig_from_camera.rotation[2]) if self._rotation == AUTO else int(self._rotation)
            mask = read_mask(home_path(self._mask_file), size) if self._mask_file else None
            self._preparation = Preparation(level or 0, mask)
        return self._preparation

    def hear(self) -> None:
        """It is alive now."""
        self._heard_ns = now_ns(self._node)

    def tag(self, name: str) -> str:
        """The name of a problem or fact of this camera."""
        return f"{name} {self.name}".rstrip()

    def named(self, text: str) -> str:
        """A complaint with the camera's name before it."""
        return f"{self.name}: {text}" if self.name else text

    @property
    def silent_s(self) -> float:
        """Since the last image, or since the beginning, by the node's clock."""
        clock_ns = now_ns(self._node)
        if self._heard_ns == 0:  # simulated time had not begun
            self._heard_ns = clock_ns
        return max(0.0, (clock_ns - self._heard_ns) * 1e-9)

    @property
    def traffic(self) -> str:
        return f"{self._rate.per_second():.1f} Hz, {self._rate.total} images"


class Cameras:
    """All cameras of a node. Images are delivered in the executor's thread; `frames_of` may be asked in another.

    `epoch` grows whenever time starts over, because stamps or the node's clock went back: what was delivered before
    belongs to a past that is over.
    """

    def __init__(
        self,
        node: Node,
        settings: Parameters[Any],
        frames: Frames,
        reporter: Reporter,
        deliver: Callable[[ImageSet, int], None],
    ) -> None:
        """deliver: called with images of one time and the number of their group, of which only the newest count."""
        self._node, self._settings, self._frames, self._reporter = node, settings, frames, reporter
        self._deliver = deliver
        self.epoch = 0
        config = settings.configs.node
        numbers = range(len(config.cameras))
        together = len(numbers) > 1 and config.camera_mode == "rig"
        groups = [list(numbers)] if together else [[number] for number in numbers]
        tolerance_s = config.rig_tolerance_s if together else 0.0
        self._groups = [ImageSetAssembler(group, tolerance_s, config.rig_timeout_s) for group in groups]
        self._dropped = 0  # images of no set that are counted already
        self._timer = node.create_timer(config.rig_timeout_s / 2, self._hurry) if together else None
        mountings = poses_from_text(config.base_from_camera, len(numbers), "base_from_camera")
        self._inputs: list[_Input] = []
        for number, mounting in enumerate(mountings):
            self._inputs.append(_Input(node, config, number, mounting, self._receive))

    @property
    def topics(self) -> list[str]:
        """What is listened to."""
        return [topic for own in self._inputs for topic in (own.images.topic, own.calibration.topic)]

    @property
    def unheard(self) -> list[str]:
        """Topics that have no publisher as far as this node knows."""
        return [topic for topic in self.topics if self._node.count_publishers(topic) == 0]

    def close(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        for own in self._inputs:
            own.images.close()
            own.calibration.close()

    def start_over(self) -> None:
        """Time went back: what waits belongs to the past, and stamps may begin anywhere."""
        self.epoch += 1
        for group in self._groups:
            group.clear()
        for own in self._inputs:
            own.stamps = StampJudge()
            own.hear()

    # ---- images of one time

    def _receive(self, number: int, image: ImageMessage) -> None:
        self._reporter.health.received()
        if not self._accept_stamp(self._inputs[number], image):
            return
        timeout_s = self._settings.configs.node.image_timeout_s
        alive = [other for other, own in enumerate(self._inputs) if own.silent_s <= timeout_s]
        for index, group in enumerate(self._groups):
            if number in group.cameras:
                self._hand_over(index, group.add(number, image, alive, self.epoch))

    def _hurry(self) -> None:
        """Images that are missing have had their time."""
        for index, group in enumerate(self._groups):
            self._hand_over(index, group.overdue(now_ns(self._node), self.epoch))

    def _hand_over(self, group: int, images: ImageSet | None) -> None:
        dropped = sum(own.dropped for own in self._groups)
        self._reporter.health.count("dropped", dropped - self._dropped)
        self._dropped = dropped
        if images is not None:
            self._deliver(images, group)

    def _accept_stamp(self, own: _Input, image: ImageMessage) -> bool:
        if own.stamps.restarted(image.stamp_ns):
            self.start_over()
        refusal = own.stamps.refusal(image.stamp_ns, image.received_ns, self._settings.configs.node.max_image_lead_s)
        if refusal:
            self._reporter.refuse(own.tag("stamp"), own.named(refusal), Level.WARN)
            return False
        self._reporter.health.clear(own.tag("stamp"))
        return True

    # ---- from images to frames

    def frames_of(self, images: ImageSet) -> FrameSet | None:
        """The images that can be used, None without any; what is wrong with the others is said."""
        found: list[CameraFrame] = []
        refused: list[tuple[_Input, _UnusableError]] = []
        for number, image in sorted(images.images.items()):
            own = self._inputs[number]
            try:
                found.append(self._frame(own, image))
            except _UnusableError as error:
                refused.append((own, error))
            own.is_usable = not refused or refused[-1][0] is not own
        level = Level.WARN if any(own.is_usable for own in self._inputs) else Level.ERROR
        for own, why in refused:
            self._reporter.refuse(own.tag(why.kind), str(why), level)
        if not found:
            return None
        rig_frame = self._settings.configs.node.base_frame_id or found[0].frame_id
        return FrameSet(tuple(found), images.stamp_ns, rig_frame, images.received_ns, images.received_s, images.epoch)

    def _frame(self, own: _Input, image: ImageMessage) -> CameraFrame:
        """Raises _UnusableError."""
        try:
            pixels = own.bits.apply(image.decode())
            camera = own.calibration.camera_for(pixels.shape[1], pixels.shape[0])
        except CalibrationError as error:
            raise _UnusableError("calibration", str(error)) from error
        except HFNetError as error:
            raise _UnusableError("image", own.named(str(error))) from error
        own.frame_id = image.frame_id or own.calibration.frame_id
        try:
            mounting = self._mounting(own, image.stamp_ns)
        except TransformError as error:
            text = f"no transform from the camera to the base, its images are not used: {error}"
            raise _UnusableError("base", own.named(text)) from error
        try:
            preparation = own.preparation((camera.width, camera.height), mounting)
        except HFNetError as error:
            raise _UnusableError("image", own.named(str(error))) from error
        for kind in _PROBLEMS:
            self._reporter.health.clear(own.tag(kind))
        doubt = own.calibration.doubt
        return CameraFrame(pixels, camera, mounting, own.name, own.frame_id, image.stamp_ns, preparation, doubt)

    def _mounting(self, own: _Input, stamp_ns: int) -> Pose:
        """rig_from_camera. Raises TransformError."""
        config = self._settings.configs.node
        if not config.base_frame_id:
            return Pose()
        if own.mounting is not None:
            return own.mounting
        for other in self._inputs:
            if other is not own and other.frame_id == own.frame_id:
                raise TransformError(f"{own.name} and {other.name} are both in frame {own.frame_id!r}")
        return wait_for(
            self._node,
            lambda: self._frames.lookup(config.base_frame_id, own.frame_id, stamp_ns),
            config.odom_timeout_s,
        )

    # ---- silence

    def watch(self, paused: bool) -> bool:
        """Say which cameras are silent; whether all of them are."""
        timeout_s = self._settings.configs.node.image_timeout_s
        silent = [own for own in self._inputs if not paused and own.silent_s > timeout_s]
        for own in self._inputs:
            if own in silent:
                self._complain_of_silence(own, Level.ERROR if len(silent) == len(self._inputs) else Level.WARN)
            else:
                self._reporter.health.clear(own.tag("camera"))
                own.was_silent = False
            self._reporter.health.fact(own.tag("camera"), own.traffic)
        return len(silent) == len(self._inputs)

    def _complain_of_silence(self, own: _Input, level: Level) -> None:
        publishers = self._node.count_publishers(own.images.topic)
        text = f"no image on {own.images.topic} for {int(own.silent_s)} s ({publishers} publishers)"
        self._reporter.health.problem(own.tag("camera"), text, level)
        if not own.was_silent:
            self._reporter.log.warning(text)
        own.was_silent = True
