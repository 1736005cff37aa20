"""The lifecycle node: convert, call, publish."""

from __future__ import annotations

import functools
import logging
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.srv import LoadMap
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterException, InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.task import Future
from std_srvs.srv import Empty, SetBool, Trigger

from hfnet_core.config import NodeConfig
from hfnet_core.errors import HFNetError, first_line
from hfnet_core.threads import one_blas_thread
from hfnet_ros.node.bond import Heartbeat, open_heartbeat
from hfnet_ros.node.diagnostics import Health, Level
from hfnet_ros.node.frames import Frames, open_frames
from hfnet_ros.node.map_component import MapView, SharedMap
from hfnet_ros.node.outputs import Outputs
from hfnet_ros.node.pipeline import Engine
from hfnet_ros.node.session import Session
from hfnet_ros.parameters import Configs, Parameters

__all__ = ["LocalizationNode", "main"]

_TICK_S = 0.2
_SWITCH_S = 5e-4  # the worker publishes while the executor runs: Python's usual 5 ms between threads would add up
_REFUSED = (HFNetError, InvalidParameterException, InvalidParameterTypeException, InvalidParameterValueException)
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class _ToRos(logging.Handler):
    """What the library logs goes where the node's own words go."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger("hfnet_core")
        say = log.error if record.levelno >= logging.ERROR else log.warning
        (say if record.levelno >= logging.WARNING else log.info)(self.format(record))


def _logged(transition: Callable[[Any, LifecycleState], TransitionCallbackReturn]) -> Any:
    """rclpy turns an exception in a transition into an error without a word; say what it was."""

    @functools.wraps(transition)
    def wrapped(node: LocalizationNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(f"{transition.__name__} failed unexpectedly:\n{traceback.format_exc()}")
            raise

    return wrapped


@dataclass(frozen=True, eq=False)
class _Loaded:
    """What configure allocates and cleanup frees."""

    engine: Engine
    frames: Frames
    outputs: Outputs
    view: MapView | None

    def close(self) -> None:
        for part in (self.view, self.outputs, self.frames, self.engine):
            if part is not None:
                part.close()


class LocalizationNode(LifecycleNode):
    """Localizes the images of one camera in one map.

    Raises HFNetError or rclpy's parameter exceptions when parameters given at start are refused.
    """

    def __init__(self, name: str = "localization", **options: Any) -> None:
        super().__init__(name, **options)
        self.health = Health()
        self._loaded: _Loaded | None = None
        self._session: Session | None = None
        self._heartbeat: Heartbeat | None = None
        self._news, self._reported_s = "", 0.0
        self._settings = Parameters(self, lambda: self._loaded is None, self._settings_changed)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._create_services()
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still or be missing
        self._timer = self.create_timer(_TICK_S, self._tick, clock=steady)
        self._refuse_impossible_transitions()
        if self._settings.configs.node.autostart:
            self._autostart = self.create_timer(0.0, self._start_by_itself, clock=steady)

    @property
    def _config(self) -> NodeConfig:
        return self._settings.configs.node

    @property
    def loaded_map(self) -> SharedMap | None:
        """The map in use, None while unconfigured."""
        return None if self._loaded is None else self._loaded.engine.map

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
                self.get_logger().error(f"transition refused: {first_line(error)}")
                response.success = False
                return response

        service.callback = guarded

    def _start_by_itself(self) -> None:
        self._autostart.cancel()
        if self.trigger_configure() == _SUCCESS:
            self.trigger_activate()

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load model and map, open TF, create publishers."""
        configs = self._settings.configs
        self.health.restart()
        started = time.monotonic()
        engine = None
        try:
            engine = Engine(configs.node, configs.engine, configs.extractor, configs.localizer)
            engine.warm_up()
            frames = open_frames(self)
            view = MapView(self) if configs.node.publish_map_cloud else None
            self._loaded = _Loaded(engine, frames, Outputs(self, frames), view)
        except Exception as error:
            if engine is not None:
                engine.close()
            return self._refuse_to_configure(error)
        self.health.clear("configuration")
        self.health.state("inactive")
        self.health.fact("model", f"{engine.info.name} {engine.info.version}")
        self.health.fact("model hash", engine.info.model_hash)
        self.health.fact("frames through", frames.name)
        self._describe(engine.map)
        landmark_map = engine.map.landmark_map
        self.get_logger().info(
            f"configured in {time.monotonic() - started:.2f} s: {engine.map.path} with {landmark_map.keyframes} "
            f"keyframes and {landmark_map.landmarks} landmarks; {engine.description}; TF: {frames.name}"
        )
        return super().on_configure(state)

    def _refuse_to_configure(self, error: Exception) -> TransitionCallbackReturn:
        expected = isinstance(error, HFNetError)
        reason = f"cannot configure: {error if expected else f'unexpected {type(error).__name__}: {error}'}"
        self.get_logger().error(reason if expected else f"{reason}\n{''.join(traceback.format_exception(error))}")
        self.health.problem("configuration", reason)
        return _FAILURE

    def _describe(self, shown: SharedMap) -> None:
        """The map's facts for diagnostics."""
        self.health.fact("map", shown.path)
        self.health.fact("map hash", shown.map_hash)
        self.health.fact("map keyframes", shown.landmark_map.keyframes)
        self.health.fact("map landmarks", shown.landmark_map.landmarks)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start listening."""
        loaded = self._loaded
        if loaded is None:
            return _FAILURE
        result = super().on_activate(state)
        self.health.restart()
        self.health.state("active")
        loaded.engine.forget()
        loaded.engine.settle()
        loaded.outputs.forget()
        self._show_map(loaded.engine.map)
        self._heartbeat = open_heartbeat(self, self._config.bond_heartbeat_period)
        self._session = Session(self, lambda: self._config, loaded.engine, loaded.frames, loaded.outputs, self.health,
                                self._report_news)  # fmt: skip
        return result

    def _show_map(self, shown: SharedMap) -> None:
        if self._loaded is not None and self._loaded.view is not None:
            self._loaded.view.show(shown, self._config.global_frame_id or shown.landmark_map.frame_id)

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and publishing; keep model and map."""
        self._stop_listening()
        self.health.restart()
        self.health.state("inactive")
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free model and map."""
        self._release()
        self.health.restart()
        self.health.state("unconfigured")
        return super().on_cleanup(state)

    @_logged
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
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            heartbeat.close()

    def _release(self) -> None:
        """Give back whatever configure and activate took; harmless when there is nothing."""
        self._stop_listening()
        loaded, self._loaded = self._loaded, None
        self.health.forget_facts()
        if loaded is not None:
            loaded.close()

    def destroy_node(self) -> None:
        self._release()
        super().destroy_node()

    # ---- requests

    def _on_relocalize(self, _: Any, response: Any) -> Any:
        response.success = self._loaded is not None
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
        self._session.pause(bool(request.data))
        response.success, response.message = True, "paused" if request.data else "running"
        return response

    async def _on_load_map(self, request: Any, response: Any) -> Any:
        """Load beside the running map, in its own thread: images go on meanwhile."""
        loaded = self._loaded
        if loaded is None:
            response.result = LoadMap.Response.RESULT_UNDEFINED_FAILURE
            self.get_logger().error("load_map: the node is not configured")
            return response
        done = Future()

        def load() -> None:
            try:
                done.set_result(loaded.engine.prepare_map(request.map_url.removeprefix("file://")))
            except Exception as error:
                done.set_result(error)
            self.executor.wake()  # which waits for messages, not for futures

        threading.Thread(target=load, daemon=True).start()
        found = await done
        if isinstance(found, SharedMap) and loaded is self._loaded:
            loaded.engine.use_map(found)
            self._describe(found)
            self._show_map(found)
            self.health.clear("load_map")
            self.get_logger().info(f"load_map: now in {found.path}")
            response.result = LoadMap.Response.RESULT_SUCCESS
            return response
        reason = found if isinstance(found, Exception) else "the node was cleaned up meanwhile"
        self.health.problem("load_map", f"load_map failed, the map stays: {reason}", Level.WARN)
        self.get_logger().error(f"load_map failed, the map stays: {reason}")
        response.result = LoadMap.Response.RESULT_INVALID_MAP_DATA
        return response

    def _settings_changed(self, configs: Configs) -> None:
        if self._loaded is not None:
            self._loaded.engine.configure(configs.extractor, configs.localizer)

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
                session.publish_path()

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


def main(args: list[str] | None = None) -> int:
    """Run the node until it is asked to end; returns the exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # importing pycolmap makes it a crash with a stack trace
    sys.setswitchinterval(_SWITCH_S)
    one_blas_thread()
    rclpy.init(args=args)
    logging.getLogger("hfnet_core").addHandler(_ToRos())
    logging.getLogger("hfnet_core").setLevel(logging.INFO)
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
