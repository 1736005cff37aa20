"""What exists while the node is active: its inputs, the worker, and the way of an image from message to pose."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from scipy.spatial.transform import Rotation

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import Array, Pose, moved_covariance
from hfnet_core.localization.tracking.consistency import UNKNOWN_PRIOR
from hfnet_core.types import Localized, NotLocalized, Reason
from hfnet_ros.conversions import covariance_from_msg, pose_from_msg
from hfnet_ros.node.cameras import Cameras
from hfnet_ros.node.diagnostics import Health, Level
from hfnet_ros.node.frame_sets import Shot
from hfnet_ros.node.frames import Frames, TransformError, wait_for
from hfnet_ros.node.inputs import OdometryInput
from hfnet_ros.node.latest_only import Worker
from hfnet_ros.node.outputs import Outputs, Sight
from hfnet_ros.node.pipeline import Engine

__all__ = ["Session"]

_STOP_S = 1.5
_LOG_S = 5.0  # the same complaint at most this often; diagnostics have it all the time


class Session:
    """From activate to deactivate. Images are handled in the worker's thread, everything else in the executor's."""

    def __init__(self, node: Node, config: Callable[[], NodeConfig], engine: Engine, frames: Frames, outputs: Outputs,
                 health: Health, report: Callable[[], None]) -> None:  # fmt: skip
        """config: the settings now in force. report: called when diagnostics may have news."""
        self._node, self._config, self._engine, self._frames = node, config, engine, frames
        self._outputs, self._health, self._report = outputs, health, report
        self._log = node.get_logger()
        self.camera_frame = ""
        self.paused = False
        self._free_s = 0.0  # when the image before was done: what waited until then, waited for that one
        # map_from_base and its covariance, until an image tells the camera's frame and stamp
        self._prior: tuple[Pose, Array] | None = _initial_pose(config())
        self._worker: Worker[Shot] = Worker(self._work, f"{node.get_name()}-worker")
        self._odometry = OdometryInput(node, config()) if config().odom_topic else None
        self._initial = node.create_subscription(PoseWithCovarianceStamped, "initialpose", self._on_initial_pose, 1)
        self._cameras = Cameras(node, config, frames, health, self._refuse, self._start_over, self._receive)
        self._worker.start()
        self._log.info(f"active: listening to {' and '.join(self._cameras.topics)}")

    @property
    def global_frame(self) -> str:
        return self._config().global_frame_id or self._engine.map.landmark_map.frame_id

    def close(self) -> None:
        """Stop listening and let the image at hand finish; it is not published any more."""
        self._cameras.close()
        if not self._worker.stop(_STOP_S):
            self._log.warning(f"the image at hand takes longer than {_STOP_S} s")
        if self._odometry is not None:
            self._odometry.close()
        self._node.destroy_subscription(self._initial)

    def forget(self) -> None:
        """Search the whole map for the next image."""
        self._prior = None
        self._engine.forget()
        self._outputs.forget()

    def watch(self) -> None:
        """Notice what changes without an image, and keep TF alive between poses; call it now and then."""
        stale = self._outputs.bridge(self._config())
        if stale:
            self._health.problem("correction", stale, Level.WARN)
        else:
            self._health.clear("correction")
        self._note("map file", self._engine.map.change())
        self._health.fact("backend", self._engine.description)
        self._note("backend", self._engine.degraded_reason)
        if self._cameras.watch(self.paused):
            self._health.forget_result()

    def pause(self, paused: bool) -> None:
        """Let images pass by, or go on."""
        self.paused = paused
        if paused:
            self._health.problem("paused", "paused by request", Level.WARN)
            self._health.forget_result()
        else:
            self._health.clear("paused")

    def publish_path(self) -> None:
        """At leisure: it is costly."""
        self._outputs.publish_path(self.global_frame)

    def _receive(self, shot: Shot, sender: int) -> None:
        unused = shot if self.paused else self._worker.put(shot, sender)
        if unused is not None:
            self._health.count("dropped", len(unused.images))

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        frame, reason = message.header.frame_id, ""
        if not self._config().base_frame_id:
            reason = "it is the robot's, and base_frame_id is not set"
        elif frame != self.global_frame:
            reason = f"it is in frame {frame!r}, not {self.global_frame!r}"
        else:
            try:
                self._prior = pose_from_msg(message.pose.pose), covariance_from_msg(message.pose.covariance)
            except ValueError as error:
                reason = str(error)
        if reason:
            self._log.warning(f"initialpose ignored: {reason}")

    # ---- in the worker's thread

    def _work(self, shot: Shot) -> None:
        try:
            self._attempt(shot)
            self._report()
            self._free_s = time.perf_counter()
        except Exception:
            if self._node.context.ok():  # at shutdown publishers go first
                raise

    def _attempt(self, shot: Shot) -> None:
        """The node outlives whatever an image does to it."""
        try:
            self._localize(shot)
        except Exception as error:
            if not self._node.context.ok():
                return
            self._log.error(f"an image failed unexpectedly:\n{traceback.format_exc()}", throttle_duration_sec=_LOG_S)
            self._health.problem("internal", f"unexpected {type(error).__name__}: {error}")
        else:
            self._health.clear("internal")

    def _localize(self, shot: Shot) -> None:
        """Convert, call, publish."""
        started = time.perf_counter()
        stamp_ns = shot.stamp_ns
        views = self._cameras.views(shot)
        if not views:
            return
        several = self._cameras.several
        self.camera_frame = self._config().base_frame_id if several else views[0].frame_id
        sight = Sight(stamp_ns, shot.received_s, self.camera_frame, self.global_frame)
        decoded = time.perf_counter()
        self._apply_prior(stamp_ns)
        images, cameras = (
            [view.pixels for view in views],
            [(view.camera, view.base_from_camera or Pose()) for view in views],
        )
        outcome = self._engine.process(images, cameras, stamp_ns, lambda: self._odom_from_camera(stamp_ns))
        processed = time.perf_counter()
        for view, failure in zip(views, outcome.failures, strict=True) if several else ():
            self._note(f"features {view.name}", f"{view.name}: {failure}" if failure is not None else None)
        self._note("focal length", self._engine.focal_warning)
        if isinstance(outcome.result, Localized) and not self._worker.stopping:
            self._publish(outcome.result, outcome.odom_from_camera, sight)
        if isinstance(outcome.result, NotLocalized) and outcome.result.reason is Reason.INCONSISTENT:
            self._outputs.doubt()
        total = time.perf_counter() - shot.received_s
        self._health.finished(outcome.result, {
            **outcome.timings_s, **outcome.result.timings_s, "waiting": started - shot.received_s,
            "decoding": decoded - started, "publishing": shot.received_s + total - processed, "total": total,
            "overhead": total - sum(outcome.timings_s.values()) - max(0.0, self._free_s - shot.received_s),
        }, outcome.consistency)  # fmt: skip
        self._outputs.publish_picture(images, outcome, sight)
        found = outcome.result if isinstance(outcome.result, Localized) else None
        frusta = [(found.map_from_camera @ (view.base_from_camera or Pose()), view.camera) for view in views if found]
        self._outputs.publish_frustum(frusta, found.mode if found else None, sight)

    def _start_over(self) -> None:
        self._log.warning("image stamps went back: starting over")
        self._engine.forget()
        self._outputs.forget()
        self._frames.clear()
        if self._odometry is not None:
            self._odometry.clear()

    def _refuse(self, name: str, text: str, level: Level = Level.ERROR) -> None:
        self._health.count("refused")
        if level >= Level.ERROR:  # what was known is of the past
            self._health.forget_result()
        self._complain(name, text, level)

    def _note(self, name: str, trouble: str | None) -> None:
        """Warn of trouble, or that there is none any more."""
        if trouble:
            self._complain(name, trouble, Level.WARN)
        else:
            self._health.clear(name)

    def _complain(self, name: str, text: str, level: Level = Level.ERROR) -> None:
        if self._health.problem(name, text, level):
            self._log.warning(text, throttle_duration_sec=_LOG_S)

    def _odom_from_camera(self, stamp_ns: int) -> Pose | None:
        """Where the odometry puts the camera, None when it does not say."""
        config = self._config()
        if not config.odom_frame_id:
            return None
        try:
            pose = wait_for(
                lambda: self._lookup_odometry(stamp_ns), config.odom_timeout_s, lambda: self._worker.stopping
            )
        except TransformError as error:
            self._complain("odometry", f"no odometry: {error}", Level.WARN)
            return None
        self._health.clear("odometry")
        return pose

    def _lookup_odometry(self, stamp_ns: int) -> Pose:
        """Raises TransformError."""
        config = self._config()
        if self._odometry is not None:
            odom_from_child, child = self._odometry.at(stamp_ns), self._odometry.child_frame_id
        elif config.base_from_camera:
            child = config.base_frame_id
            odom_from_child = self._frames.lookup(config.odom_frame_id, child, stamp_ns)
        else:
            return self._frames.lookup(config.odom_frame_id, self.camera_frame, stamp_ns)
        if child == config.base_frame_id:
            return odom_from_child @ self._cameras.base_from_camera(stamp_ns)
        return odom_from_child @ self._frames.lookup(child, self.camera_frame, stamp_ns)

    def _publish(self, found: Localized, odom_from_camera: Pose | None, sight: Sight) -> None:
        config, base_from_camera = self._config(), None
        if config.base_frame_id:
            try:
                base_from_camera = self._cameras.base_from_camera(sight.stamp_ns)
            except TransformError as error:
                self._complain("base", f"no transform from the camera to the base, nothing is published: {error}")
                return
        self._health.clear("base")
        pose = self._outputs.publish(found, base_from_camera, sight, config.path_length)
        self._health.published()
        refusal = ""
        if config.tf_broadcast:
            refusal = self._outputs.broadcast(config, found, pose, odom_from_camera, sight)
        self._note("tf", refusal)

    def _apply_prior(self, stamp_ns: int) -> None:
        """Hand an initial pose to the tracker as soon as it can be told for the camera."""
        prior = self._prior
        if prior is None:
            return
        map_from_base, covariance = prior
        try:
            base_from_camera = self._cameras.base_from_camera(stamp_ns)
        except TransformError as error:
            self._log.warning(f"the initial pose waits: {error}", throttle_duration_sec=_LOG_S)
            return
        covariance = moved_covariance(covariance, map_from_base.rotation @ base_from_camera.translation)
        self._engine.set_prior(map_from_base @ base_from_camera, covariance, stamp_ns)
        self._prior = None


def _initial_pose(config: NodeConfig) -> tuple[Pose, Array] | None:
    """map_from_base and its covariance, of the initial_pose parameters, if they are to be used."""
    if not config.set_initial_pose:
        return None
    heading = Rotation.from_euler("z", config.initial_pose_yaw).as_matrix()
    return Pose(heading, np.array([config.initial_pose_x, config.initial_pose_y, config.initial_pose_z])), UNKNOWN_PRIOR
