"""The lifecycle node: convert, call, publish."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import State
from nav_msgs.srv import LoadMap
from rclpy.exceptions import InvalidParameterException, InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from scipy.spatial.transform import Rotation
from std_srvs.srv import Empty, SetBool, Trigger

from hfnet_core.errors import HFNetError
from hfnet_core.geometry import Pose
from hfnet_core.types import Localized, NotLocalized, Reason
from hfnet_ros.conversions import pose_from_msg, pose_from_text
from hfnet_ros.diagnostics import Health, Level
from hfnet_ros.engine import Engine
from hfnet_ros.frames import Frames, TransformError, open_frames, wait_for
from hfnet_ros.inputs import Calibration, CalibrationError, Clockwork, ImageMessage, ImageSubscription, OdometryInput
from hfnet_ros.map_component import MapView
from hfnet_ros.outputs import Outputs
from hfnet_ros.parameters import Configs, Parameters
from hfnet_ros.worker import Worker

__all__ = ["LocalizationNode", "main"]

_TICK_S = 0.2
_STOP_S = 1.5
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class LocalizationNode(LifecycleNode):
    """Localizes the images of one camera in one map.

    Raises HFNetError or rclpy's parameter exceptions when parameters given at start are refused.
    """

    def __init__(self, name: str = "localization", **options: Any) -> None:
        super().__init__(name, **options)
        self.health = Health()
        self._engine: Engine | None = None
        self._frames: Frames | None = None
        self._outputs: Outputs | None = None
        self._view: MapView | None = None
        self._worker: Worker[ImageMessage] | None = None
        self._inputs: list[Any] = []
        self._odometry: OdometryInput | None = None
        self._paused = False
        self._prior: Pose | None = None  # map_from_base, until an image tells the camera's frame and stamp
        self._camera_frame = ""
        self._news, self._reported_s = "", 0.0
        self._parameters = Parameters(self, lambda: self._engine is None, self._settings_changed)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._create_services()
        self._timer = self.create_timer(_TICK_S, self._tick)
        self._refuse_impossible_transitions()
        if self._parameters.configs.node.autostart:
            self._autostart = self.create_timer(0.0, self._start_by_itself)

    @property
    def _config(self) -> Any:
        return self._parameters.configs.node

    def _create_services(self) -> None:
        self.create_service(Trigger, "~/relocalize", self._on_relocalize)
        self.create_service(Empty, "reinitialize_global_localization", self._on_reinitialize)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_service(LoadMap, "~/load_map", self._on_load_map)

    # ---- lifecycle

    def _refuse_impossible_transitions(self) -> None:
        """rclpy lets a request that does not fit the state end the process; answer it with failure instead."""
        service = self._service_change_state
        change = service.callback

        def guarded(request: Any, response: Any) -> Any:
            try:
                return change(request, response)
            except Exception as error:  # rclpy's RCLError is not public
                if type(error).__name__ != "RCLError":
                    raise
                self.get_logger().error(f"transition refused: {str(error).splitlines()[0]}")
                response.success = False
                return response

        service.callback = guarded

    def _start_by_itself(self) -> None:
        self._autostart.cancel()
        if self.trigger_configure() == _SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load model and map, open TF, create publishers."""
        configs = self._parameters.configs
        self.health.restart()
        started = time.monotonic()
        try:
            self._engine = Engine(configs.node, configs.extractor, configs.localizer)
            self._engine.warm_up()
        except HFNetError as error:
            return self._refuse_to_configure(str(error))
        except Exception as error:
            self.get_logger().error(traceback.format_exc())
            return self._refuse_to_configure(f"unexpected {type(error).__name__}: {error}")
        self._frames = open_frames(self)
        self._outputs = Outputs(self, self._frames)
        self._view = MapView(self) if configs.node.publish_map_cloud else None
        self.health.clear("configuration")
        self.health.state("inactive")
        self._describe(self._engine)
        loaded = self._engine.map.landmark_map
        self.get_logger().info(f"configured in {time.monotonic() - started:.2f} s: map {self._engine.map.path} with "
                               f"{loaded.keyframes} keyframes and {loaded.landmarks} landmarks, TF: {self._frames.name}")
        return super().on_configure(state)

    def _refuse_to_configure(self, reason: str) -> TransitionCallbackReturn:
        self.get_logger().error(f"cannot configure: {reason}")
        self._release()
        self.health.problem("configuration", f"cannot configure: {reason}")
        return _FAILURE

    def _describe(self, engine: Engine) -> None:
        """Facts for diagnostics."""
        info, shown = engine.info, engine.map
        self.health.fact("model", f"{info.name} {info.version}")
        self.health.fact("model hash", info.model_hash)
        self.health.fact("backend", type(engine.backend).__name__)
        self.health.fact("map", shown.path)
        self.health.fact("map hash", shown.map_hash)
        self.health.fact("map keyframes", shown.landmark_map.keyframes)
        self.health.fact("map landmarks", shown.landmark_map.landmarks)
        self.health.fact("frames through", self._frames.name if self._frames else "none")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start listening."""
        result = super().on_activate(state)
        config = self._config
        self.health.restart()
        self.health.state("active")
        self._clockwork, self._paused, self._camera_frame = Clockwork(), False, ""
        self._engine.forget()
        self._outputs.forget()
        if self._view is not None:
            self._view.show(self._engine.map, self._global_frame)
        if config.set_initial_pose:
            heading = Rotation.from_euler("z", config.initial_pose_yaw).as_matrix()
            position = [config.initial_pose_x, config.initial_pose_y, config.initial_pose_z]
            self._prior = Pose(heading, position)
        self._worker = Worker(self._work, f"{self.get_name()}-worker")
        self._calibration = Calibration(self, config)
        self._odometry = OdometryInput(self, config) if config.odom_topic else None
        self._images = ImageSubscription(self, config, self._receive)
        self._initial = self.create_subscription(PoseWithCovarianceStamped, "initialpose", self._on_initial_pose, 1)
        self.get_logger().info(f"active: listening to {self._images.topic} and {self._calibration.topic}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and publishing; keep model and map."""
        self._stop_listening()
        self.health.restart()
        self.health.state("inactive")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free model and map."""
        self._release()
        self.health.restart()
        self.health.state("unconfigured")
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        self.health.state("finalized")
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: free everything, so that configure can be tried again."""
        self._release()
        self.health.state("unconfigured")
        self.health.problem("configuration", "a transition failed; see the log, then configure again")
        return super().on_error(state)

    def _stop_listening(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        self._images.close()
        if not worker.stop(_STOP_S):
            self.get_logger().warning(f"the image at hand takes longer than {_STOP_S} s")
        self._calibration.close()
        if self._odometry is not None:
            self._odometry.close()
        self.destroy_subscription(self._initial)

    def _release(self) -> None:
        """Give back whatever configure and activate took; harmless when there is nothing."""
        self._stop_listening()
        for part in (self._view, self._outputs, self._frames, self._engine):
            if part is not None:
                part.close()
        self._view = self._outputs = self._frames = self._engine = None
        self._prior = None

    def destroy_node(self) -> None:
        self._release()
        super().destroy_node()

    # ---- an image

    @property
    def _global_frame(self) -> str:
        return str(self._config.global_frame_id or self._engine.map.landmark_map.frame_id)

    def _receive(self, image: ImageMessage) -> None:
        self.health.received()
        if self._worker is not None and not self._paused and self._worker.put(image):
            self.health.count("dropped")

    def _work(self, image: ImageMessage) -> None:
        """In the worker's thread. The node outlives whatever an image does to it."""
        try:
            self._localize(image)
        except Exception as error:
            if self.context.ok():  # at shutdown publishers go first
                self.get_logger().error(f"an image failed unexpectedly:\n{traceback.format_exc()}",
                                        throttle_duration_sec=5.0)  # fmt: skip
                self.health.problem("internal", f"unexpected {type(error).__name__}: {error}")
        else:
            self.health.clear("internal")

    def _localize(self, image: ImageMessage) -> None:
        started = time.perf_counter()
        stamp_ns = image.stamp_ns
        if not self._accept_stamp(stamp_ns):
            return
        try:
            pixels = image.decode()
            camera = self._calibration.camera_for(pixels.shape[1], pixels.shape[0])
        except CalibrationError as error:
            self._refuse_image("calibration", str(error))
            return
        except HFNetError as error:
            self.health.finished(NotLocalized(Reason.BAD_IMAGE, str(error)), {})
            self._refuse_image("image", str(error))
            return
        self.health.clear("calibration")
        self.health.clear("image")
        self._camera_frame = image.message.header.frame_id or self._calibration.frame_id
        decoded = time.perf_counter()
        self._apply_prior(stamp_ns)
        outcome = self._engine.process(pixels, camera, stamp_ns, lambda: self._odom_from_camera(stamp_ns))
        processed = time.perf_counter()
        if isinstance(outcome.result, Localized) and self._may_publish:
            self._publish(outcome.result, outcome.odom_from_camera, stamp_ns)
        published = time.perf_counter()
        overhead = (started - image.received_s, decoded - started, published - processed)
        timings = {**outcome.timings_s, **outcome.result.timings_s, "waiting": overhead[0], "decoding": overhead[1],
                   "publishing": overhead[2], "total": published - image.received_s}  # fmt: skip
        self.health.finished(outcome.result, timings)
        self._report_news()

    @property
    def _may_publish(self) -> bool:
        worker = self._worker
        return worker is not None and not worker.stopping

    def _accept_stamp(self, stamp_ns: int) -> bool:
        if self._clockwork.restarted(stamp_ns):
            self.get_logger().warning("image stamps went back: starting over")
            self._engine.forget()
            self._frames.clear()
            if self._odometry is not None:
                self._odometry.clear()
        now_ns = self.get_clock().now().nanoseconds
        refusal = self._clockwork.refusal(stamp_ns, now_ns, self._config.max_image_lead_s)
        if refusal:
            self._refuse_image("stamp", refusal, Level.WARN)
            return False
        self.health.clear("stamp")
        return True

    def _refuse_image(self, name: str, text: str, level: Level = Level.ERROR) -> None:
        self.health.count("refused")
        if self.health.problem(name, text, level):
            self.get_logger().warning(text, throttle_duration_sec=5.0)
        self._report_news()

    def _base_from_camera(self, stamp_ns: int) -> Pose:
        """Raises TransformError."""
        given = pose_from_text(self._config.base_from_camera, "base_from_camera")
        return given if given is not None else self._frames.lookup(self._config.base_frame_id, self._camera_frame, stamp_ns)

    def _odom_from_camera(self, stamp_ns: int) -> Pose | None:
        """Where the odometry puts the camera, None when it does not say."""
        config = self._config
        if not config.odom_frame_id:
            return None
        worker = self._worker
        try:
            pose = wait_for(lambda: self._lookup_odometry(stamp_ns), config.odom_timeout_s,
                            lambda: worker is None or worker.stopping)  # fmt: skip
        except TransformError as error:
            if self.health.problem("odometry", f"no odometry: {error}", Level.WARN):
                self.get_logger().warning(f"no odometry: {error}", throttle_duration_sec=5.0)
            return None
        self.health.clear("odometry")
        return pose

    def _lookup_odometry(self, stamp_ns: int) -> Pose:
        config = self._config
        if self._odometry is not None:
            odom_from_child, child = self._odometry.at(stamp_ns), self._odometry.child_frame_id
        elif config.base_from_camera:
            child = config.base_frame_id
            odom_from_child = self._frames.lookup(config.odom_frame_id, child, stamp_ns)
        else:
            return self._frames.lookup(config.odom_frame_id, self._camera_frame, stamp_ns)
        if child == config.base_frame_id:
            return odom_from_child @ self._base_from_camera(stamp_ns)
        return odom_from_child @ self._frames.lookup(child, self._camera_frame, stamp_ns)

    def _publish(self, found: Localized, odom_from_camera: Pose | None, stamp_ns: int) -> None:
        config, base_from_camera = self._config, None
        if config.base_frame_id:
            try:
                base_from_camera = self._base_from_camera(stamp_ns)
            except TransformError as error:
                self.health.problem("base", f"no transform from the camera to the base, nothing is published: {error}")
                return
        self.health.clear("base")
        pose = self._outputs.publish(found, base_from_camera, self._global_frame, stamp_ns, config.path_length)
        self.health.published()
        if not config.tf_broadcast:
            self.health.clear("tf")
            return
        refusal = self._outputs.broadcast(config, found, pose, odom_from_camera, self._camera_frame, self._global_frame,
                                          stamp_ns)  # fmt: skip
        if not refusal:
            self.health.clear("tf")
        elif self.health.problem("tf", refusal, Level.WARN):
            self.get_logger().warning(refusal)

    def _apply_prior(self, stamp_ns: int) -> None:
        prior = self._prior
        if prior is None:
            return
        try:
            self._engine.set_prior(prior @ self._base_from_camera(stamp_ns), stamp_ns)
        except TransformError as error:
            self.get_logger().warning(f"the initial pose waits: {error}", throttle_duration_sec=5.0)
            return
        self._prior = None

    # ---- requests

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        frame = message.header.frame_id
        try:
            if not self._config.base_frame_id:
                raise ValueError("it is the robot's, and base_frame_id is not set")
            if frame != self._global_frame:
                raise ValueError(f"it is in frame {frame!r}, not {self._global_frame!r}")
            self._prior = pose_from_msg(message.pose.pose)
        except ValueError as error:
            self.get_logger().warning(f"initialpose ignored: {error}")

    def _on_relocalize(self, _: Any, response: Any) -> Any:
        response.success = self._engine is not None
        response.message = "the next image is searched for in the whole map" if response.success else "not configured"
        if self._engine is not None:
            self._prior = None
            self._engine.forget()
        return response

    def _on_reinitialize(self, _: Any, response: Any) -> Any:
        """nav2_amcl's name for the same."""
        self._on_relocalize(_, Trigger.Response())
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        self._paused = bool(request.data)
        if self._paused:
            self.health.problem("paused", "paused by request", Level.WARN)
        else:
            self.health.clear("paused")
        response.success, response.message = True, "paused" if self._paused else "running"
        return response

    async def _on_load_map(self, request: Any, response: Any) -> Any:
        """Load beside the running map, in its own thread: images go on meanwhile."""
        engine = self._engine
        if engine is None:
            response.result = LoadMap.Response.RESULT_UNDEFINED_FAILURE
            self.get_logger().error("load_map: the node is not configured")
            return response
        done = Future()

        def load() -> None:
            try:
                done.set_result(engine.prepare_map(request.map_url.removeprefix("file://")))
            except Exception as error:
                done.set_result(error)
            self.executor.wake()

        threading.Thread(target=load, daemon=True).start()
        loaded = await done
        if callable(loaded) and engine is self._engine:
            loaded()
            self._describe(engine)
            if self._view is not None:
                self._view.show(engine.map, self._global_frame)
            self.health.clear("load_map")
            self.get_logger().info(f"load_map: now in {engine.map.path}")
            response.result = LoadMap.Response.RESULT_SUCCESS
            return response
        reason = str(loaded) if isinstance(loaded, Exception) else "the node was cleaned up meanwhile"
        self.health.problem("load_map", f"load_map failed, the map stays: {reason}", Level.WARN)
        self.get_logger().error(f"load_map failed, the map stays: {reason}")
        response.result = LoadMap.Response.RESULT_INVALID_MAP_DATA
        return response

    def _settings_changed(self, configs: Configs) -> None:
        if self._engine is not None:
            self._engine.configure(configs.extractor, configs.localizer)

    # ---- diagnostics

    def _tick(self) -> None:
        if self._worker is not None and not self._paused:
            silent_s = self.health.silent_s()
            if silent_s > self._config.image_timeout_s:
                others = f"{self._images.publishers()} publishers"
                self.health.problem("camera", f"no image on {self._images.topic} for {int(silent_s)} s ({others})")
            else:
                self.health.clear("camera")
        self._report_news()
        now_s = time.monotonic()
        if now_s - self._reported_s >= self._config.diagnostics_period_s - 0.5 * _TICK_S:
            self._report(now_s)
            if self._outputs is not None and self._state_machine.current_state[0] == State.PRIMARY_STATE_ACTIVE:
                self._outputs.publish_path(self._global_frame)

    def _report_news(self) -> None:
        """Diagnostics at once when something changed."""
        news = self.health.summary()[2]
        if news != self._news:
            self._news = news
            self._report(time.monotonic())

    def _report(self, now_s: float) -> None:
        self._reported_s = now_s
        name = self.get_fully_qualified_name().lstrip("/")
        stamp_ns = self.get_clock().now().nanoseconds
        self._diagnostics.publish(self.health.to_msg(name, self._camera_frame, stamp_ns))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is asked to end; returns the exit status."""
    rclpy.init(args=args)
    node: LocalizationNode | None = None
    try:
        node = LocalizationNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (HFNetError, InvalidParameterException, InvalidParameterTypeException, InvalidParameterValueException) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
