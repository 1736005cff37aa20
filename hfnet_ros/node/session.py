"""What exists while the node is active: its inputs, two threads, and the way of an image from message to pose."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from scipy.spatial.transform import Rotation

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import Pose, on_plane, tilt_deg
from hfnet_core.localization.tracking.consistency import UNKNOWN_PRIOR
from hfnet_core.types import Features, NotLocalized, Reason
from hfnet_ros.conversions import covariance_from_msg, frame_name, pose_from_msg
from hfnet_ros.memory import give_back_freed
from hfnet_ros.node.cameras import Cameras
from hfnet_ros.node.depth.images import Depths
from hfnet_ros.node.diagnostics import Level, Reporter, Whereabouts
from hfnet_ros.node.frame_sets import FrameSet
from hfnet_ros.node.frames import Frames
from hfnet_ros.node.image_sets import ImageSet
from hfnet_ros.node.inputs import Odometry
from hfnet_ros.node.maps.display import MapDisplay
from hfnet_ros.node.maps.handover import Handover
from hfnet_ros.node.outputs import Outputs
from hfnet_ros.node.pipeline import Outcome, Pipeline
from hfnet_ros.node.stages import Laps, Stages
from hfnet_ros.node.weak.recorder import WeakRecorder
from hfnet_ros.parameters import Configs, Parameters
from hfnet_ros.rclpy_typed import now_ns

__all__ = ["Loaded", "Session"]

_STOP_S = 1.5
_LOG_S = 5.0  # the same complaint at most this often; diagnostics have it all the time
_BRIDGE_S = 0.1  # of the node's clock between two looks at the age of map->odom
_STANDSTILL_S = 1.0  # of the computer's time without a tick of /clock
_TILT_DEG = 10.0  # more than this, and a robot that moves on a plane is in a map that does not lie level
_JUMP_S = 0.1  # simulated time that goes back by more starts over


@dataclass(frozen=True, eq=False)
class Loaded:
    """What configure allocates and cleanup frees."""

    pipeline: Pipeline
    frames: Frames
    outputs: Outputs
    display: MapDisplay

    def close(self) -> None:
        for part in (self.display, self.outputs, self.frames, self.pipeline):
            part.close()
        give_back_freed()


@dataclass(frozen=True, eq=False)
class _Seen:
    """Frames with their features; none where no image can be used, or an error that is no fault of the images."""

    laps: Laps
    frames: FrameSet | None = None
    extracted: Sequence[Features | NotLocalized] = ()
    error: Exception | None = None


class Session:
    """From activate to deactivate. Two threads handle the images: the network of the next one runs while this one is
    localized. Everything else is in the executor's."""

    def __init__(self, node: LifecycleNode, settings: Parameters[Configs], loaded: Loaded, reporter: Reporter) -> None:
        self._node, self._settings, self._reporter = node, settings, reporter
        self._pipeline, self._frames, self._outputs = loaded.pipeline, loaded.frames, loaded.outputs
        self.paused, self._whereabouts = False, Whereabouts(reporter.log)
        self._epoch = 0  # of time: grows when it starts over
        self._clock_ns, self._clock_s = now_ns(node), time.monotonic()
        self._start_from_parameters(self._config)
        self._stages: Stages[ImageSet, _Seen] = Stages(self._look, self._finish, node.get_name())
        self._odometry = Odometry(node, settings, self._frames, reporter)
        self._initial = node.create_subscription(PoseWithCovarianceStamped, "initialpose", self._on_initial_pose, 1)
        self._depths = Depths(node, settings, self._frames, reporter)
        self.weak = WeakRecorder(self._config, reporter)
        self._handover = Handover(node, settings, self._pipeline, self._outputs.corrections)
        self._cameras = Cameras(node, settings, self._frames, reporter, self._receive)
        self._bridge = node.create_timer(_BRIDGE_S, self._keep_correction) if self._config.odom_frame_id else None
        back = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-_JUMP_S), on_clock_change=True)
        self._jumps = node.get_clock().create_jump_callback(back, post_callback=lambda _: self._clock_jumped())
        self._stages.start()
        reporter.log.info(f"active: listening to {' and '.join(self._cameras.topics)}")

    @property
    def _config(self) -> NodeConfig:
        return self._settings.configs.node

    @property
    def map_frame(self) -> str:
        return self._config.global_frame_id or self._pipeline.map.landmark_map.frame_id

    def close(self) -> None:
        """Stop listening and let the images at hand finish; they are not published any more."""
        self._jumps.unregister()
        if self._bridge is not None:
            self._node.destroy_timer(self._bridge)
        self._cameras.close()
        if not self._stages.stop(_STOP_S):
            self._reporter.log.warning(f"the images at hand take longer than {_STOP_S} s")
        self._odometry.close()
        self._depths.close()
        self._handover.close()
        self._node.destroy_subscription(self._initial)

    def forget(self) -> None:
        """Search the whole map for the next image."""
        self._pipeline.forget()
        self._outputs.forget()

    def pause(self, paused: bool) -> None:
        """Let images pass by, or go on."""
        self.paused = paused
        if paused:
            self._reporter.health.problem("paused", "paused by request", Level.WARN)
            self._reporter.health.forget_result()
        else:
            self._reporter.health.clear("paused")

    def publish_path(self) -> None:
        """At leisure: it is costly."""
        self._outputs.publish_path(self.map_frame)

    # ---- what changes without an image

    def watch(self) -> None:
        """Notice it; call this now and then."""
        self._reporter.note("clock", self._clock_trouble())
        if self._pipeline.map.damage:
            self._outputs.forget()  # nor is an old correction repeated
        self._keep_correction()
        self._reporter.note("map file", "" if self._config.map_follow else self._pipeline.map.change())
        self._handover.watch()
        self._depths.watch()
        self.weak.tell()
        self._reporter.note("maps", self._pipeline.unusable_maps)
        self._reporter.health.fact("backend", self._pipeline.description)
        self._reporter.note("backend", self._pipeline.degraded_reason)
        if self._cameras.watch(self.paused):
            self._reporter.health.forget_result()

    @property
    def unheard(self) -> list[str]:
        """Image and calibration topics that have no publisher as far as this node knows."""
        return self._cameras.unheard

    def _keep_correction(self) -> None:
        stale = self._outputs.corrections.bridge(self._config)
        if stale:
            self._reporter.health.problem("correction", stale, Level.WARN)
        else:
            self._reporter.health.clear("correction")

    def _clock_trouble(self) -> str:
        """What is wrong with simulated time, empty if nothing."""
        clock_ns, steady_s = now_ns(self._node), time.monotonic()
        if clock_ns != self._clock_ns:
            self._clock_ns, self._clock_s = clock_ns, steady_s
        if steady_s - self._clock_s < _STANDSTILL_S:
            return ""
        if clock_ns == 0:
            return "use_sim_time is set, but nothing came on /clock"
        return "simulated time stands still: nothing new on /clock"

    # ---- what comes in

    def _receive(self, images: ImageSet, group: int) -> None:
        if images.epoch != self._epoch:
            self._start_over(images.epoch)
        unused = images if self.paused else self._stages.put(images, group)
        if unused is not None:
            self._reporter.health.count("dropped", len(unused.images))

    def _clock_jumped(self) -> None:
        self._cameras.start_over()
        self._start_over(self._cameras.epoch)

    def _start_over(self, epoch: int) -> None:
        self._epoch = epoch
        self._reporter.log.warning("time went back: starting over")
        self.forget()
        self._frames.clear()
        self._odometry.clear()
        self._depths.clear()
        self.weak.forget()

    def _start_from_parameters(self, config: NodeConfig) -> None:
        if config.set_initial_pose:
            heading = Rotation.from_euler("z", config.initial_pose_yaw).as_matrix()
            position = np.array([config.initial_pose_x, config.initial_pose_y, config.initial_pose_z])
            self._pipeline.start_from(Pose(heading, position), UNKNOWN_PRIOR)

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        frame, reason = frame_name(message.header.frame_id), ""
        if not self._config.base_frame_id:
            reason = "it is the robot's, and base_frame_id is not set"
        elif frame != self.map_frame:
            reason = f"it is in frame {frame!r}, not {self.map_frame!r}"
        else:
            try:
                map_from_base = pose_from_msg(message.pose.pose)
                self._pipeline.start_from(map_from_base, covariance_from_msg(message.pose.covariance))
            except ValueError as error:
                reason = str(error)
        if reason:
            self._reporter.log.warning(f"initialpose ignored: {reason}")

    # ---- in the threads of the images: one looks, one finishes

    def _look(self, images: ImageSet, free_s: float) -> _Seen:
        """Convert, extract features."""
        laps = Laps(images.received_s)
        laps.begun(free_s)
        try:
            frames = self._cameras.frames_of(images)
            laps.end("decoding")
            extracted = self._pipeline.extract(frames) if frames is not None else ()
            laps.end("extraction")
        except Exception as error:  # said when it is this one's turn
            return _Seen(laps, error=error)
        return _Seen(laps, frames, extracted)

    def _finish(self, seen: _Seen, free_s: float) -> None:
        """The node outlives whatever an image does to it."""
        seen.laps.begun(free_s)
        try:
            with self._pipeline.turn:
                self._localize(seen)
            self._reporter.health.clear("internal")
        except Exception as error:
            # At shutdown publishers go first, and at cleanup those of an image that takes long.
            if self._stages.stopping or not self._node.context.ok():
                return
            self._reporter.log.exception("an image failed unexpectedly", every_s=_LOG_S)
            self._reporter.health.problem("internal", f"unexpected {type(error).__name__}: {error}")
        if self._node.context.ok():
            self._reporter.news()

    def _localize(self, seen: _Seen) -> None:
        """Localize, publish. Raises what was met before."""
        if seen.error is not None:
            raise seen.error
        frames, laps = seen.frames, seen.laps
        if frames is None:
            return
        self._pipeline.settle(frames.stamp_ns * 1e-9)
        if self._is_map_damaged():
            return
        if self.paused or frames.epoch != self._epoch:  # asked after what was forgotten: it shall not be learned again
            self._reporter.health.count("dropped", len(frames.frames))
            return
        odom_from_rig = self._odometry.odom_from_rig(frames, lambda: self._stages.stopping)  # it may yet come
        laps.end("odometry")
        self._outputs.corrections.heard(frames.stamp_ns, frames.received_ns)
        known = self._pipeline.map
        outcome = self._pipeline.localize(frames, seen.extracted, odom_from_rig, self._depths.ranges_of)
        if self._pipeline.map is not known:  # of several, another: paths and corrections are of one
            self._outputs.forget()
        laps.end("localization")
        self._publish(frames, outcome, odom_from_rig)
        laps.end("publishing")
        self._pipeline.learn()
        self._report(frames, outcome, laps)
        self._outputs.publish_views(outcome, frames, self.map_frame)
        self.weak.see(frames, outcome.result, odom_from_rig)

    def _is_map_damaged(self) -> bool:
        """As the check in the background found it."""
        damage = self._pipeline.damage
        if damage:
            self._reporter.refuse("map", damage)
        return bool(damage)

    def _publish(self, frames: FrameSet, outcome: Outcome, odom_from_rig: Pose | None) -> None:
        found, config = outcome.result, self._config
        if self._stages.stopping or frames.epoch != self._epoch or self._pipeline.map.damage:
            return
        places = found.places if isinstance(found, NotLocalized) else ()
        self._outputs.publish_candidates(places, frames, self.map_frame)
        if isinstance(found, NotLocalized):
            if found.reason is Reason.INCONSISTENT:
                self._outputs.corrections.doubt()
            return
        map_from_rig, covariance, map_frame = found.map_from_camera, found.covariance, self.map_frame
        if config.two_d_mode:
            self._reporter.note("plane", _tilt_trouble(map_from_rig))
            map_from_rig, covariance = on_plane(map_from_rig, covariance)
        self._outputs.publish(map_from_rig, covariance, frames, map_frame, config.path_length)
        self._whereabouts.heard(map_from_rig, covariance, map_frame)
        self._reporter.health.published()
        if config.tf_broadcast:
            self._reporter.note("tf", self._outputs.broadcast(config, map_from_rig, odom_from_rig, frames, map_frame))
        else:
            self._reporter.health.clear("tf")

    def _report(self, frames: FrameSet, outcome: Outcome, laps: Laps) -> None:
        self._reporter.hardware_id = frames.rig_frame
        others = any(features is not None for features in outcome.features)  # else the result says it
        for frame, failure in zip(frames.frames, outcome.failures, strict=True):
            trouble = f"{frame.name}: {failure}" if failure is not None and others else None
            self._reporter.note(f"features {frame.name}".rstrip(), trouble)
        self._report_calibration(frames)
        timings_s = {**laps.seconds, **outcome.result.timings_s, **laps.totals}
        self._reporter.health.finished(outcome.result, timings_s, outcome.consistency)

    def _report_calibration(self, frames: FrameSet) -> None:
        """What numbers, map and images say against calibrations; and images against mounting and stamps."""
        warnings, watch = self._pipeline.calibration_warnings, self._pipeline.calibration
        for frame in frames.frames:
            said = "; ".join(text for text in (frame.doubt, warnings.get(frame.name)) if text)
            named = f"{frame.name}: {said}" if said and frame.name else said
            self._reporter.note(f"calibration doubt {frame.name}".rstrip(), named)
        self._reporter.note("odometry and images", watch.drive_warning)
        told = (f"{name}: {text}" if name else text for name, text in watch.summaries.items() if text)
        self._reporter.health.fact("calibration by images", "; ".join(told))
        self._reporter.health.fact("mounting and stamps by images", watch.drive_summary)


def _tilt_trouble(map_from_base: Pose) -> str:
    """What is wrong with a robot on a plane, empty if nothing."""
    degrees = tilt_deg(map_from_base)
    if degrees <= _TILT_DEG:
        return ""
    return (
        f"two_d_mode: the base leans by {int(degrees)} deg: the map does not lie level (`hfnet map align --floor`), or "
        "base_from_camera is wrong"
    )
