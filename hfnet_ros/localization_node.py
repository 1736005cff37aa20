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
from nav_msgs.srv import LoadMap
from rclpy.exceptions import InvalidParameterException, InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import Empty, SetBool, Trigger

from hfnet_core.config import NodeConfig
from hfnet_core.errors import HFNetError
from hfnet_ros.diagnostics import Health, Level
from hfnet_ros.engine import Engine
from hfnet_ros.frames import Frames, open_frames
from hfnet_ros.map_component import MapView
from hfnet_ros.outputs import Outputs
from hfnet_ros.parameters import Configs, Parameters
from hfnet_ros.session import Session

__all__ = ["LocalizationNode", "main"]

_TICK_S = 0.2
_REFUSED = (HFNetError, InvalidParameterException, InvalidParameterTypeException, InvalidParameterValueException)
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
        self._session: Session | None = None
        self._news, self._reported_s = "", 0.0
        self._parameters = Parameters(self, lambda: self._engine is None, self._settings_changed)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._create_services()
        self._timer = self.create_timer(_TICK_S, self._tick)
        self._refuse_impossible_transitions()
        if self._parameters.configs.node.autostart:
            self._autostart = self.create_timer(0.0, self._start_by_itself)

    @property
    def _config(self) -> NodeConfig:
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
        seconds, loaded = time.monotonic() - started, self._engine.map.landmark_map
        self.get_logger().info(
            f"configured in {seconds:.2f} s: {self._engine.map.path} with {loaded.keyframes} keyframes and "
            f"{loaded.landmarks} landmarks; TF: {self._frames.name}"
        )
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
        self.health.restart()
        self.health.state("active")
        self._engine.forget()
        self._outputs.forget()
        self._session = Session(self, lambda: self._config, self._engine, self._frames, self._outputs, self.health,
                                self._report_news)  # fmt: skip
        if self._view is not None:
            self._view.show(self._engine.map, self._session.global_frame)
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
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _release(self) -> None:
        """Give back whatever configure and activate took; harmless when there is nothing."""
        self._stop_listening()
        for part in (self._view, self._outputs, self._frames, self._engine):
            if part is not None:
                part.close()
        self._view = self._outputs = self._frames = self._engine = None

    def destroy_node(self) -> None:
        self._release()
        super().destroy_node()

    # ---- requests

    def _on_relocalize(self, _: Any, response: Any) -> Any:
        response.success = self._engine is not None
        response.message = "the next image is searched for in the whole map" if response.success else "not configured"
        if self._session is not None:
            self._session.forget()
        return response

    def _on_reinitialize(self, _: Any, response: Any) -> Any:
        """nav2_amcl's name for the same."""
        self._on_relocalize(_, Trigger.Response())
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        """Let images pass by, keep everything else; ends with deactivation."""
        if self._session is None:
            response.success, response.message = False, "not active"
            return response
        self._session.paused = bool(request.data)
        if request.data:
            self.health.problem("paused", "paused by request", Level.WARN)
        else:
            self.health.clear("paused")
        response.success, response.message = True, "paused" if request.data else "running"
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
            if self._view is not None and self._session is not None:
                self._view.show(engine.map, self._session.global_frame)
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
        session = self._session
        if session is not None:
            session.watch()
        self._report_news()
        now_s = time.monotonic()
        if now_s - self._reported_s >= self._config.diagnostics_period_s - 0.5 * _TICK_S:
            self._report(now_s)
            if session is not None:
                self._outputs.publish_path(session.global_frame)

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
        camera = self._session.camera_frame if self._session is not None else ""
        self._diagnostics.publish(self.health.to_msg(name, camera, stamp_ns))


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
    except _REFUSED as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
