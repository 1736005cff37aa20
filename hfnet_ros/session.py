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
from hfnet_core.errors import HFNetError
from hfnet_core.geometry import Pose
from hfnet_core.types import Localized
from hfnet_ros.conversions import pose_from_msg, pose_from_text
from hfnet_ros.diagnostics import Health, Level
from hfnet_ros.engine import Engine
from hfnet_ros.frames import Frames, TransformError, wait_for
from hfnet_ros.inputs import Calibration, CalibrationError, ImageMessage, ImageSubscription, OdometryInput, StampJudge
from hfnet_ros.outputs import Outputs, Sight
from hfnet_ros.worker import Worker

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
        self._silent = False
        self._stamps = StampJudge()
        self._prior = _initial_pose(config())  # map_from_base, until an image tells the camera's frame and stamp
        self._worker: Worker[ImageMessage] = Worker(self._work, f"{node.get_name()}-worker")
        self._calibration = Calibration(node, config())
        self._odometry = OdometryInput(node, config()) if config().odom_topic else None
        self._initial = node.create_subscription(PoseWithCovarianceStamped, "initialpose", self._on_initial_pose, 1)
        self._images = ImageSubscription(node, config(), self._receive)
        self._worker.start()
        self._log.info(f"active: listening to {self._images.topic} and {self._calibration.topic}")

    @property
    def global_frame(self) -> str:
        return self._config().global_frame_id or self._engine.map.landmark_map.frame_id

    def close(self) -> None:
        """Stop listening and let the image at hand finish; it is not published any more."""
        self._images.close()
        if not self._worker.stop(_STOP_S):
            self._log.warning(f"the image at hand takes longer than {_STOP_S} s")
        self._calibration.close()
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
        self._health.fact("backend", self._engine.description)
        degraded = self._engine.degraded_reason
        if degraded:
            self._complain("backend", degraded, Level.WARN)
        else:
            self._health.clear("backend")
        silent_s = self._health.silent_s()
        if self.paused or silent_s <= self._config().image_timeout_s:
            self._health.clear("camera")
            self._silent = False
            return
        publishers = self._node.count_publishers(self._images.topic)
        text = f"no image on {self._images.topic} for {int(silent_s)} s ({publishers} publishers)"
        self._health.problem("camera", text)
        self._health.forget_result()
        if not self._silent:
            self._log.warning(text)
        self._silent = True

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

    def _receive(self, image: ImageMessage) -> None:
        self._health.received()
        if self.paused or self._worker.put(image):
            self._health.count("dropped")

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        frame, reason = message.header.frame_id, ""
        if not self._config().base_frame_id:
            reason = "it is the robot's, and base_frame_id is not set"
        elif frame != self.global_frame:
            reason = f"it is in frame {frame!r}, not {self.global_frame!r}"
        else:
            try:
                self._prior = pose_from_msg(message.pose.pose)
            except ValueError as error:
                reason = str(error)
        if reason:
            self._log.warning(f"initialpose ignored: {reason}")

    # ---- in the worker's thread

    def _work(self, image: ImageMessage) -> None:
        """The node outlives whatever an image does to it."""
        try:
            self._localize(image)
        except Exception as error:
            if not self._node.context.ok():
                return  # at shutdown publishers go first
            self._log.error(f"an image failed unexpectedly:\n{traceback.format_exc()}", throttle_duration_sec=_LOG_S)
            self._health.problem("internal", f"unexpected {type(error).__name__}: {error}")
        else:
            self._health.clear("internal")
        self._report()

    def _localize(self, image: ImageMessage) -> None:
        """Convert, call, publish."""
        started = time.perf_counter()
        stamp_ns = image.stamp_ns
        if not self._accept_stamp(stamp_ns):
            return
        try:
            pixels = image.decode()
            camera = self._calibration.camera_for(pixels.shape[1], pixels.shape[0])
        except CalibrationError as error:
            self._refuse("calibration", str(error))
            return
        except HFNetError as error:
            self._refuse("image", str(error))
            return
        self._health.clear("calibration")
        self._health.clear("image")
        self.camera_frame = image.message.header.frame_id or self._calibration.frame_id
        sight = Sight(stamp_ns, image.received_s, self.camera_frame, self.global_frame)
        decoded = time.perf_counter()
        self._apply_prior(stamp_ns)
        outcome = self._engine.process(pixels, camera, stamp_ns, lambda: self._odom_from_camera(stamp_ns))
        processed = time.perf_counter()
        if isinstance(outcome.result, Localized) and not self._worker.stopping:
            self._publish(outcome.result, outcome.odom_from_camera, sight)
        total = time.perf_counter() - image.received_s
        self._health.finished(outcome.result, {
            **outcome.timings_s, **outcome.result.timings_s, "waiting": started - image.received_s,
            "decoding": decoded - started, "publishing": image.received_s + total - processed, "total": total,
            "overhead": total - sum(outcome.timings_s.values()),
        })  # fmt: skip
        self._outputs.publish_picture(pixels, outcome, sight)

    def _accept_stamp(self, stamp_ns: int) -> bool:
        if self._stamps.restarted(stamp_ns):
            self._log.warning("image stamps went back: starting over")
            self._engine.forget()
            self._outputs.forget()
            self._frames.clear()
            if self._odometry is not None:
                self._odometry.clear()
        now_ns = self._node.get_clock().now().nanoseconds
        refusal = self._stamps.refusal(stamp_ns, now_ns, self._config().max_image_lead_s)
        if refusal:
            self._refuse("stamp", refusal, Level.WARN)
            return False
        self._health.clear("stamp")
        return True

    def _refuse(self, name: str, text: str, level: Level = Level.ERROR) -> None:
        self._health.count("refused")
        if level >= Level.ERROR:  # what was known is of the past
            self._health.forget_result()
        self._complain(name, text, level)

    def _complain(self, name: str, text: str, level: Level = Level.ERROR) -> None:
        if self._health.problem(name, text, level):
            self._log.warning(text, throttle_duration_sec=_LOG_S)

    def _base_from_camera(self, stamp_ns: int) -> Pose:
        """Raises TransformError."""
        config = self._config()
        given = pose_from_text(config.base_from_camera, "base_from_camera")
        return given or self._frames.lookup(config.base_frame_id, self.camera_frame, stamp_ns)

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
            return odom_from_child @ self._base_from_camera(stamp_ns)
        return odom_from_child @ self._frames.lookup(child, self.camera_frame, stamp_ns)

    def _publish(self, found: Localized, odom_from_camera: Pose | None, sight: Sight) -> None:
        config, base_from_camera = self._config(), None
        if config.base_frame_id:
            try:
                base_from_camera = self._base_from_camera(sight.stamp_ns)
            except TransformError as error:
                self._complain("base", f"no transform from the camera to the base, nothing is published: {error}")
                return
        self._health.clear("base")
        pose = self._outputs.publish(found, base_from_camera, sight, config.path_length)
        self._health.published()
        refusal = ""
        if config.tf_broadcast:
            refusal = self._outputs.broadcast(config, found, pose, odom_from_camera, sight)
        if refusal:
            self._complain("tf", refusal, Level.WARN)
        else:
            self._health.clear("tf")

    def _apply_prior(self, stamp_ns: int) -> None:
        """Hand an initial pose to the tracker as soon as it can be told for the camera."""
        prior = self._prior
        if prior is None:
            return
        try:
            self._engine.set_prior(prior @ self._base_from_camera(stamp_ns), stamp_ns)
        except TransformError as error:
            self._log.warning(f"the initial pose waits: {error}", throttle_duration_sec=_LOG_S)
            return
        self._prior = None


def _initial_pose(config: NodeConfig) -> Pose | None:
    """map_from_base of the initial_pose parameters, if they are to be used."""
    if not config.set_initial_pose:
        return None
    heading = Rotation.from_euler("z", config.initial_pose_yaw).as_matrix()
    return Pose(heading, np.array([config.initial_pose_x, config.initial_pose_y, config.initial_pose_z]))
