"""What exists while a mapping node is active: its inputs, and the thread that makes keyframes of images."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from geometry_msgs.msg import PoseStamped
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode

from hfnet_core.errors import HFNetError
from hfnet_core.geometry import Pose
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.live.mapper import LiveFrame
from hfnet_core.mapping.pose_modes import IMAGES
from hfnet_ros.conversions import pose_to_stamped
from hfnet_ros.live.opened import Opened
from hfnet_ros.live.parameters import MappingConfigs
from hfnet_ros.node.cameras import Cameras
from hfnet_ros.node.depth.images import Depths
from hfnet_ros.node.diagnostics import Level, Reporter
from hfnet_ros.node.frame_sets import FrameSet
from hfnet_ros.node.image_sets import ImageSet
from hfnet_ros.node.inputs import Odometry
from hfnet_ros.parameters import Parameters

__all__ = ["MappingSession"]

_LOG_S = 5.0
_FINISH_S = 30.0  # for images that wait and keyframes that are not decided upon yet
_JUMP_S = 0.1  # simulated time that goes back by more starts over


@dataclass(frozen=True)
class _End:
    """What follows the last image."""


class MappingSession:
    """From activate to deactivate, or to the end of the drive. One thread makes keyframes, everything else is in the
    executor's."""

    def __init__(
        self,
        node: LifecycleNode,
        settings: Parameters[MappingConfigs],
        opened: Opened,
        reporter: Reporter,
    ) -> None:
        self._settings, self._reporter = settings, reporter
        self._frames, self._mapper, self._position = opened.frames, opened.mapper, opened.position
        self._position.start_over()
        frames = self._frames
        self._configs = settings.configs
        self.paused = False
        self.finished = False
        """The drive is over: the last keyframe is recorded, and none follows."""
        self._condition = threading.Condition()
        self._queue: deque[ImageSet | _End] = deque()
        self._stopping = False
        self._epoch = 0  # of the images that come, and of those that are recorded
        self._recorded_epoch = 0
        self._path: deque[PoseStamped] = deque()
        self._path_is_new = False
        self._odometry = Odometry(node, settings, frames, reporter)
        self._depths = Depths(node, settings, frames, reporter)
        self._cameras = Cameras(node, settings, frames, reporter, self._receive)
        back = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-_JUMP_S), on_clock_change=True)
        self._jumps = node.get_clock().create_jump_callback(back, post_callback=lambda _: self._cameras.start_over())
        self._thread = threading.Thread(target=self._run, name=f"{node.get_name()}-keyframes", daemon=True)
        self._thread.start()
        reporter.log.info(f"active: listening to {' and '.join(self._cameras.topics)}")

    # ---- the executor's thread

    @property
    def backlog(self) -> int:
        """Images that wait."""
        return len(self._queue)

    @property
    def unheard(self) -> list[str]:
        """Image and calibration topics that have no publisher as far as this node knows."""
        return self._cameras.unheard

    def watch(self) -> None:
        """Notice what changes without an image; call this now and then."""
        self._depths.watch()
        if not self.finished:
            self._position.tell()
        self._cameras.watch(self.paused or self.finished)

    def new_path(self) -> list[PoseStamped]:
        """Where keyframes were taken, as odometry has it, if there is something new."""
        with self._condition:
            found, self._path_is_new = list(self._path) if self._path_is_new else [], False
        return found

    def pause(self, paused: bool) -> None:
        """Let images pass by, or go on."""
        self.paused = paused
        self._reporter.note("paused", "paused by request" if paused else None)

    def finish(self) -> None:
        """The drive is over: record what has come, then nothing any more. `finished` tells when that is done."""
        with self._condition:
            if not self._stopping:
                self._queue.append(_End())
            self._stopping = True
            self._condition.notify()

    def close(self) -> bool:
        """Stop listening and record what has come; False where that takes too long."""
        self._jumps.unregister()
        self._cameras.close()
        self.finish()
        self._thread.join(_FINISH_S)
        self._odometry.close()
        self._depths.close()
        self._position.start_over()
        return not self._thread.is_alive()

    def _receive(self, images: ImageSet, group: int) -> None:
        if images.epoch != self._epoch:
            self._epoch = images.epoch
            self._reporter.log.warning("time went back: what comes is another stretch of the drive")
            self._frames.clear()
            self._odometry.clear()
            self._depths.clear()
        if self.paused or self._stopping:
            self._reporter.health.count("dropped", len(images.images))
            return
        dropped = None
        with self._condition:
            if len(self._queue) >= self._configs.live.queue_images:
                dropped = self._queue.popleft()
            self._queue.append(images)
            self._condition.notify()
        if isinstance(dropped, ImageSet):
            self._reporter.health.count("dropped", len(dropped.images))

    # ---- the thread of the keyframes

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._queue)
                item = self._queue.popleft()
            if isinstance(item, _End):
                self._guarded(self._mapper.finish)
                self.finished = True
                return
            self._guarded(partial(self._record, item))

    def _guarded(self, work: Callable[[], list[Keyframe]]) -> None:
        """The node outlives whatever an image does to it."""
        began_s = time.perf_counter()
        try:
            recorded = work()
            self._reporter.health.clear("internal")
        except HFNetError as error:
            self._reporter.refuse("keyframe", str(error), Level.ERROR)
            return
        except Exception as error:
            self._reporter.log.exception("an image failed unexpectedly", every_s=_LOG_S)
            self._reporter.health.problem("internal", f"unexpected {type(error).__name__}: {error}")
            return
        if recorded:
            self._reporter.health.clear("keyframe")
            self._reporter.health.took("keyframe", (time.perf_counter() - began_s) / len(recorded))
            self._lengthen(recorded)

    def _record(self, images: ImageSet) -> list[Keyframe]:
        """Raises what LiveMapper raises."""
        if images.epoch != self._epoch:
            self._reporter.health.count("dropped", len(images.images))
            return []
        before = []
        if images.epoch != self._recorded_epoch:
            self._recorded_epoch = images.epoch
            before = self._mapper.finish()
        frames = self._cameras.frames_of(images)
        if frames is None:
            return before
        config = self._configs.node
        odom_from_rig = None
        if config.odom_frame_id:
            odom_from_rig = self._odometry.odom_from_rig(frames, lambda: False)
            if odom_from_rig is None and self._configs.mode != IMAGES:  # its absence is reported where it was missed
                self._reporter.health.count("refused", len(frames.frames))
                return before
        try:
            return before + self._mapper.add(self._live(frames, odom_from_rig))
        finally:  # also where the disk is full
            if odom_from_rig is not None:
                self._position.see(frames, odom_from_rig)

    def _live(self, frames: FrameSet, odom_from_rig: Pose | None) -> list[LiveFrame]:
        names = self._configs.node.cameras
        return [
            LiveFrame(
                names.index(frame.name),
                frame.frame_id,
                frame.pixels,
                frame.stamp_ns,
                frame.camera,
                None if odom_from_rig is None else odom_from_rig @ frame.rig_from_camera,
                frame.preparation,
                frame.rig_from_camera if len(names) > 1 else None,
                self._depths.promised(frame),
            )
            for frame in frames.frames
        ]

    def _lengthen(self, recorded: list[Keyframe]) -> None:
        frame, poses = self._configs.node.odom_frame_id, []
        for keyframe in recorded:
            pose = keyframe.odometry_from_camera if self._configs.mode == IMAGES else keyframe.map_from_camera
            if frame and pose is not None:
                poses.append(pose_to_stamped(pose, frame, keyframe.stamp_ns))
        with self._condition:
            length = self._settings.configs.node.path_length
            self._path.extend(poses)
            while len(self._path) > length:
                self._path.popleft()
            if poses and length:
                self._path_is_new = True
