"""Map while driving: a lifecycle node that records keyframes, and has versions of the map made of them meanwhile."""

from __future__ import annotations

import sys
import time
from typing import Any

from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from hfnet_core.mapping.live.solver_process import Solved
from hfnet_ros.conversions import path_to_msg
from hfnet_ros.guarded_node import ReportedNode, logged, run_node
from hfnet_ros.live.health import Mapping, MappingHealth
from hfnet_ros.live.opened import Opened
from hfnet_ros.live.parameters import MAPPING, MappingConfigs
from hfnet_ros.live.session import MappingSession
from hfnet_ros.live.shares import Share
from hfnet_ros.node.bond import Heartbeat, open_heartbeat
from hfnet_ros.node.diagnostics import Level, Reporter
from hfnet_ros.node.map_component import SharedMap, shared_map
from hfnet_ros.parameters import Parameters
from hfnet_ros.rclpy_typed import Log, bring_up, lifecycle_publisher, now_ns, steady_clock

__all__ = ["MappingNode", "main"]

_TICK_S = 0.2
_FAILURE = TransitionCallbackReturn.FAILURE


class MappingNode(ReportedNode):
    """Makes a map of what one to four cameras see while they are driven about.

    Raises HFNetError or rclpy's parameter exceptions when parameters given at start are refused.
    """

    health: MappingHealth

    def __init__(self, name: str = "mapping", **options: Any) -> None:
        super().__init__(name, **options)
        self.log = Log.of(self)
        self.health = MappingHealth()
        self._reporter = Reporter(self, self.health)
        self._opened: Opened | None = None
        self._session: MappingSession | None = None
        self._heartbeat: Heartbeat | None = None
        self._final = 0  # attempt that ends the drive, 0 for none
        self._waiting: list[tuple[int, Future]] = []  # requests for a version, by its attempt
        self._shares = Share(), Share()
        self._settings = Parameters(self, lambda: self._opened is None, self._settings_changed, MAPPING)
        self._path = lifecycle_publisher(self, Path, "~/path", 1)
        self.create_service(Trigger, "~/save_map", self._on_save_map)
        self.create_service(Trigger, "~/finish", self._on_finish)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self._timer = self.create_timer(_TICK_S, self._tick, clock=steady_clock())
        if self._settings.configs.node.autostart:
            self._autostart = self.create_timer(0.0, self._start_by_itself, clock=steady_clock())

    # ---- lifecycle

    def on_unexpected(self, where: str, error: Exception) -> None:
        """Said in diagnostics too, until the next transition."""
        super().on_unexpected(where, error)
        self.health.problem("internal", f"{where}: unexpected {type(error).__name__}: {error}")

    def _start_by_itself(self) -> None:
        self.destroy_timer(self._autostart)
        bring_up(self)

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, open the drive folder, create publishers."""
        self.health.restart()
        started_s = time.monotonic()
        try:
            opened = self._opened = Opened(self, self._settings, self._reporter)
        except Exception as error:
            return self._refuse_to_configure(error)
        self.health.clear("configuration")
        self.health.state("inactive")
        info = opened.extractor.info
        facts = {
            "model": f"{info.name} {info.version}",
            "model hash": info.model_hash,
            "frames through": opened.frames.name,
            "poses": self._settings.configs.mode,
            "map": opened.output,
            "drive folder": opened.path,
        }
        for name, value in facts.items():
            self.health.fact(name, value)
        self.log.info(
            f"configured in {time.monotonic() - started_s:.2f} s: keyframes go to {opened.path}, which has "
            f"{opened.mapper.keyframes}; {opened.description}; TF: {opened.frames.name}"
        )
        return super().on_configure(state)

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start listening."""
        opened = self._opened
        if opened is None:
            return _FAILURE
        result = super().on_activate(state)
        self.health.restart()
        self.health.state("active")
        if not opened.solves:
            self._reporter.complain("solver", opened.handed_over, Level.WARN)
        self._final = 0
        self._heartbeat = open_heartbeat(self, self._settings.configs.node.bond_heartbeat_period)
        self._session = MappingSession(self, self._settings, opened, self._reporter)
        return result

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The drive is over: stop listening, record what has come, and adjust the whole map, which goes on while the
        node is inactive."""
        self._stop_listening()
        self.health.restart()
        self.health.state("inactive")
        if self._opened is not None and self._opened.solves:
            self._final = self._opened.versions.request()
        return super().on_deactivate(state)

    def _stop_listening(self) -> None:
        session, self._session = self._session, None
        if session is not None and not session.close():
            self.log.warning("the last images take too long: some keyframes are not recorded")
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            heartbeat.close()

    def _release(self) -> None:
        """Give back whatever configure and activate took; harmless when there is nothing."""
        self._stop_listening()
        opened, self._opened = self._opened, None
        self.health.forget_facts()
        if opened is not None:
            opened.close()
        self._tell_waiting()

    def _settings_changed(self, configs: MappingConfigs) -> None:
        if self._opened is not None:
            self._opened.versions.every_s = configs.live.publish_every_s

    # ---- requests

    async def _on_save_map(self, _: Any, response: Any) -> Any:
        """A version of everything recorded so far; answered when it is written."""
        return await self._version(response)

    async def _on_finish(self, _: Any, response: Any) -> Any:
        """The drive is over: answered when the last version is written."""
        session = self._session
        if session is None:
            response.success, response.message = False, "not active"
            return response
        session.finish()
        while not session.finished:
            await self.in_thread(lambda: time.sleep(_TICK_S))
        return await self._version(response, final=True)

    async def _version(self, response: Any, *, final: bool = False) -> Any:
        opened = self._opened
        if opened is None:
            response.success, response.message = False, "not configured"
            return response
        if not opened.solves:
            response.success, response.message = final, opened.handed_over
            return response
        attempt, done = opened.versions.request(), Future()  # type: ignore[no-untyped-call]
        self._final = attempt if final else self._final
        self._waiting.append((attempt, done))
        found = await done
        response.success = isinstance(found, Solved) and not found.error
        response.message = _in_words(found, opened) if isinstance(found, Solved) else "cleaned up meanwhile"
        return response

    def _tell_waiting(self, found: Solved | None = None) -> None:
        """Those who wait for a version that is over; all, once there is nothing to wait for."""
        opened = self._opened
        over = [item for item in self._waiting if opened is None or opened.versions.has_ended(item[0])]
        self._waiting = [item for item in self._waiting if item not in over]
        for _, done in over:
            done.set_result(found)  # type: ignore[no-untyped-call]

    def _on_pause(self, request: Any, response: Any) -> Any:
        """Let images pass by, keep everything else; ends with deactivation."""
        response.success, response.message = False, "not active"
        if self._session is not None:
            self._session.pause(bool(request.data))
            response.success, response.message = True, "paused" if request.data else "running"
        return response

    # ---- now and then

    def _tick(self) -> None:
        session, opened = self._session, self._opened
        if session is not None:
            session.watch()
        if opened is not None:
            self._advance(opened)
        if session is not None and opened is not None:
            self._locate(session, opened)
        self.health.tell(self._progress())
        self._reporter.news()
        self._reporter.ready(session.unheard if session is not None else ())
        if self._reporter.is_due(self._settings.configs.node.diagnostics_period_s - 0.5 * _TICK_S):
            self._reporter.publish()
            poses = session.new_path() if session is not None else []
            if poses:
                self._path.publish(path_to_msg(poses, self._settings.configs.node.odom_frame_id, now_ns(self)))

    def _advance(self, opened: Opened) -> None:
        """The next version."""
        found = opened.versions.tick(opened.mapper.keyframes) if opened.solves else None
        for warning in opened.versions.warnings():
            self.log.warning(warning)
        if found is None:
            return
        if found.error:
            self._reporter.complain("map", f"no new version of the map: {found.error}", Level.WARN)
        else:
            self.health.clear("map")
            self.log.info(_in_words(found, opened))
            if opened.view is not None:
                loading: Any = self.in_thread(lambda: _loaded(opened))
                loading.add_done_callback(
                    self._guarded("showing the map", lambda done: self._show(opened, done.result()))
                )
        self._tell_waiting(found)

    def _locate(self, session: MappingSession, opened: Opened) -> None:
        """Ask a version of the map that is new where odometry's frame is."""
        position = opened.position
        wanted = position.wanted(opened.output)
        if wanted is None:
            return

        def take(done: Any) -> None:
            told = done.result()
            if isinstance(told, Exception):
                self.log.warning(f"the new version of the map does not tell where the robot is: {told}")
            elif session is self._session:
                position.take(told, wanted)

        asking: Any = self.in_thread(lambda: position.asked(opened.output, opened.folder, wanted))
        asking.add_done_callback(self._guarded("asking the map", take))

    def _show(self, opened: Opened, shown: SharedMap | Exception) -> None:
        """The newest version for rviz."""
        if isinstance(shown, Exception):
            self.log.warning(f"the new version of the map cannot be shown: {shown}")
        elif opened is self._opened and opened.view is not None:
            opened.view.show(shown, shown.landmark_map.frame_id)

    def _progress(self) -> Mapping:
        opened, session = self._opened, self._session
        if opened is None:
            return Mapping()
        versions = opened.versions
        newest = versions.newest or Solved()
        final = self._final > 0 and not versions.has_ended(self._final)
        return Mapping(
            keyframes=opened.mapper.keyframes,
            backlog=session.backlog if session is not None else 0,
            version=versions.made,
            age_s=None if versions.newest_s is None else time.monotonic() - versions.newest_s,
            in_map=newest.keyframes,
            landmarks=newest.landmarks,
            solving=f"final adjustment: {versions.stage}" if versions.stage and final else versions.stage,
            own_share=self._shares[0].of(time.process_time()),
            solver_share=self._shares[1].of(versions.cpu_s),
        )


def _loaded(opened: Opened) -> SharedMap:
    return shared_map(opened.output, opened.extractor.info.model_hash)


def _in_words(found: Solved, opened: Opened) -> str:
    """What a version is, for people."""
    if found.error:
        return f"no new version of the map: {found.error}"
    how = "grown" if found.is_grown else "made"
    return (
        f"{opened.output}: {found.landmarks} landmarks of {found.keyframes} keyframes, {how} in {found.seconds:.1f} s"
    )


def main(args: list[str] | None = None) -> int:
    """Run the node until it is asked to end; returns the exit status."""
    return run_node(MappingNode, args)


if __name__ == "__main__":
    sys.exit(main())
