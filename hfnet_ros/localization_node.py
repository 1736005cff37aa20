"""The lifecycle node: convert, call, publish."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Any

from nav_msgs.srv import LoadMap
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Empty, SetBool, Trigger

from hfnet_core.config import NodeConfig
from hfnet_core.files import home_path
from hfnet_ros.guarded_node import ReportedNode, logged, run_node
from hfnet_ros.live.following import MapFollower
from hfnet_ros.node.bond import Heartbeat, open_heartbeat
from hfnet_ros.node.diagnostics import Health, Level, Reporter
from hfnet_ros.node.frames import open_frames
from hfnet_ros.node.map_component import MapNotFoundError, SharedMap
from hfnet_ros.node.maps.display import MapDisplay
from hfnet_ros.node.outputs import Outputs
from hfnet_ros.node.pipeline import Pipeline, PreparedMap
from hfnet_ros.node.session import Loaded, Session
from hfnet_ros.parameters import LOCALIZATION, Configs, Parameters
from hfnet_ros.rclpy_typed import Log, bring_up, steady_clock

__all__ = ["LocalizationNode", "main"]

_TICK_S = 0.2
_AWAIT_MAP_S = 0.5  # between two looks for a map that shall come
_MOST_LOADS = 4  # maps at once, each of which may take gigabytes
_FAILURE = TransitionCallbackReturn.FAILURE


class LocalizationNode(ReportedNode):
    """Localizes the images of one to four cameras in one map.

    Raises HFNetError or rclpy's parameter exceptions when parameters given at start are refused.
    """

    def __init__(self, name: str = "localization", **options: Any) -> None:
        super().__init__(name, **options)
        self.log = Log.of(self)
        self.health = Health()
        self._reporter = Reporter(self, self.health)
        self._loaded: Loaded | None = None
        self._loading = 0
        self._follower = MapFollower()
        self._session: Session | None = None
        self._heartbeat: Heartbeat | None = None
        self._settings = Parameters(self, lambda: self._loaded is None, self._settings_changed, LOCALIZATION)
        self._create_services()
        self._timer = self.create_timer(_TICK_S, self._tick, clock=steady_clock())  # simulated time may be missing
        if self._settings.configs.node.autostart:
            self._autostart = self.create_timer(0.0, self._start_by_itself, clock=steady_clock())

    @property
    def _config(self) -> NodeConfig:
        return self._settings.configs.node

    @property
    def loaded_map(self) -> SharedMap | None:
        """The map in use, None while unconfigured."""
        return None if self._loaded is None else self._loaded.pipeline.map

    def _create_services(self) -> None:
        self.create_service(Trigger, "~/relocalize", self._on_relocalize)
        self.create_service(Empty, "reinitialize_global_localization", self._on_reinitialize)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_service(LoadMap, "~/load_map", self._on_load_map)
        self.create_service(SetBool, "~/record_weak", self._on_record_weak)

    # ---- lifecycle

    def on_unexpected(self, where: str, error: Exception) -> None:
        """Said in diagnostics too, until the next transition."""
        super().on_unexpected(where, error)
        self.health.problem("internal", f"{where}: unexpected {type(error).__name__}: {error}")

    def _start_by_itself(self) -> None:
        self.destroy_timer(self._autostart)
        config = self._config
        if config.map_follow and config.map_file and not home_path(config.map_file).exists():
            self.health.problem("configuration", f"waiting for the map {config.map_file}", Level.WARN)
            self._autostart = self.create_timer(_AWAIT_MAP_S, self._start_by_itself, clock=steady_clock())
            return
        self.health.clear("configuration")
        bring_up(self)

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load model and map, open TF, create publishers."""
        configs = self._settings.configs
        self.health.restart()
        started = time.monotonic()
        with ExitStack() as stack:
            try:
                pipeline = Pipeline(configs)
                stack.callback(pipeline.close)
                pipeline.warm_up()
                frames = open_frames(self)
                stack.callback(frames.close)
                display = MapDisplay(self, configs.node, self.health)
                stack.callback(display.close)
                self._loaded = Loaded(pipeline, frames, Outputs(self, frames), display)
            except Exception as error:
                return self._refuse_to_configure(error)
            stack.pop_all()
        self._follower = MapFollower()  # what another one loads may be of another model
        self.health.clear("configuration")
        self.health.state("inactive")
        self.health.fact("model", f"{pipeline.info.name} {pipeline.info.version}")
        self.health.fact("model hash", pipeline.info.model_hash)
        self.health.fact("frames through", frames.name)
        display.describe(pipeline.map)
        landmark_map = pipeline.map.landmark_map
        self.log.info(
            f"configured in {time.monotonic() - started:.2f} s: {pipeline.map.path} with {landmark_map.keyframes} "
            f"keyframes and {landmark_map.landmarks} landmarks; {pipeline.description}; TF: {frames.name}"
        )
        return super().on_configure(state)

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start listening."""
        loaded = self._loaded
        if loaded is None:
            return _FAILURE
        result = super().on_activate(state)
        self.health.restart()
        self.health.state("active")
        loaded.pipeline.forget()
        loaded.pipeline.settle_if_idle()
        loaded.outputs.forget()
        loaded.display.show(loaded.pipeline.map)
        self._heartbeat = open_heartbeat(self, self._config.bond_heartbeat_period)
        self._session = Session(self, self._settings, loaded, self._reporter)
        return result

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and publishing; keep model and map."""
        self._stop_listening()
        self.health.restart()
        self.health.state("inactive")
        return super().on_deactivate(state)

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
        response.success, response.message = False, "not active"
        if self._session is not None:
            self._session.pause(bool(request.data))
            response.success, response.message = True, "paused" if request.data else "running"
        return response

    def _on_record_weak(self, request: Any, response: Any) -> Any:
        """Begin or end keeping images of weak stretches; ends with deactivation unless the parameter says so."""
        response.success, response.message = False, "not active"
        if self._session is not None:
            weak = self._session.weak
            weak.enabled = bool(request.data)
            response.success = True
            response.message = f"images of weak stretches are kept in {weak.path}" if weak.enabled else "off"
        return response

    async def _on_load_map(self, request: Any, response: Any) -> Any:
        """Load beside the running map, in its own thread: images go on meanwhile."""
        response.result = LoadMap.Response.RESULT_UNDEFINED_FAILURE
        loaded = self._loaded
        if loaded is None or self._loading == _MOST_LOADS:
            self.log.error(f"load_map: the node is not configured, or is loading {_MOST_LOADS} maps already")
            return response
        path = request.map_url.removeprefix("file://")
        self._loading += 1
        found = await self.in_thread(lambda: loaded.pipeline.prepare_map(path))
        self._loading -= 1
        if isinstance(found, PreparedMap) and loaded is self._loaded:
            loaded.pipeline.use_map(found)
            self._take(found.shared)
            self.health.clear("load_map")
            self.health.clear("map_follow")
            self.log.info(f"load_map: now in {path}")
            response.result = LoadMap.Response.RESULT_SUCCESS
            return response
        reason = found if isinstance(found, Exception) else "the node was cleaned up meanwhile"
        self.health.problem("load_map", f"load_map failed, the map stays: {reason}", Level.WARN)
        self.log.error(f"load_map failed, the map stays: {reason}")
        missing = isinstance(found, MapNotFoundError)
        response.result = (
            LoadMap.Response.RESULT_MAP_DOES_NOT_EXIST if missing else LoadMap.Response.RESULT_INVALID_MAP_DATA
        )
        return response

    def _take(self, shown: SharedMap) -> None:
        """Tell of another map."""
        if self._loaded is not None:
            self._loaded.display.describe(shown)
            self._loaded.display.show(shown)

    def _follow(self, loaded: Loaded) -> None:
        """Use the next version of the map once it is there, and loaded; images go on meanwhile."""
        if loaded.pipeline.maps or not loaded.pipeline.is_settled:
            return  # of a folder nobody makes versions, and one at a time waits for the next image
        found = self._follower.watch(loaded.pipeline.map, lambda path: loaded.pipeline.prepare_map(path).shared)
        if isinstance(found, SharedMap):
            loaded.pipeline.follow_map(found)
            self._take(found)
            self.health.clear("map_follow")
            self.log.info(
                f"map_follow: now in a new version of {found.path} with {found.landmark_map.keyframes} keyframes"
            )
        elif found is not None:
            self.health.problem("map_follow", f"map_follow failed, the map stays: {found}", Level.WARN)
            self.log.error(f"map_follow failed, the map stays: {found}")

    def _settings_changed(self, configs: Configs) -> None:
        if self._loaded is not None:
            self._loaded.pipeline.configure(configs.extractor, configs.localizer)

    # ---- diagnostics

    def _tick(self) -> None:
        session = self._session
        if session is not None:
            session.watch()
        if self._loaded is not None:
            if self._config.map_follow:
                self._follow(self._loaded)
            self._loaded.pipeline.map.tell(self._reporter)
            self._loaded.display.follow(self._loaded.pipeline, active=session is not None)
        self._reporter.news()
        is_due = self._reporter.is_due(self._config.diagnostics_period_s - 0.5 * _TICK_S)
        if is_due or session is None or not self._reporter.is_ready:  # who publishes what is costly to ask
            self._reporter.ready(session.unheard if session is not None else ())
        if is_due:
            self._reporter.note("node name", self._namesake())
            self._reporter.publish()
            if session is not None:
                session.publish_path()

    def _namesake(self) -> str:
        """What is wrong with the node's name, empty if nothing."""
        own = self.get_name(), self.get_namespace()
        if self.get_node_names_and_namespaces().count(own) < 2:
            return ""
        return (
            f"several nodes are called {self.get_fully_qualified_name()}: requests reach any of them; give each a "
            "namespace or a name"
        )


def main(args: list[str] | None = None) -> int:
    """Run the node until it is asked to end; returns the exit status."""
    return run_node(LocalizationNode, args)


if __name__ == "__main__":
    sys.exit(main())
