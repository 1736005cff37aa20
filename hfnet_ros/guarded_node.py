"""A lifecycle node that outlives its own mistakes: no exception of a callback reaches the executor.

An executor ends with the first exception that a callback raises, and with it every node in the process. Whatever is
called for a message, a request or a timer goes through one guard here instead: the exception becomes a problem in
diagnostics and a line in the log, a request gets an answer that says no.
"""

from __future__ import annotations

import functools
import inspect
import logging
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.exceptions import InvalidParameterException, InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.service import Service
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from rclpy.task import Future
from rclpy.timer import Timer

from hfnet_core.errors import HFNetError, first_line
from hfnet_core.threads import one_blas_thread
from hfnet_ros.memory import Tidier
from hfnet_ros.node.diagnostics import Health
from hfnet_ros.rclpy_typed import Log, shut_down, steady_clock

__all__ = ["GuardedNode", "ReportedNode", "logged", "run_node"]

_LOG_S = 5.0
_TIDY_S = 30.0  # between two looks at the memory
_SWITCH_S = 5e-4  # the worker publishes while the executor runs: Python's usual 5 ms between threads would add up
_REFUSED = (HFNetError, InvalidParameterException, InvalidParameterTypeException, InvalidParameterValueException)


N = TypeVar("N", bound=LifecycleNode)


def logged(
    transition: Callable[[N, LifecycleState], TransitionCallbackReturn],
) -> Callable[[N, LifecycleState], TransitionCallbackReturn]:
    """A transition whose exception is told: rclpy turns it into an error without a word."""

    @functools.wraps(transition)
    def wrapped(node: N, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            Log.of(node).exception(f"{transition.__name__} failed unexpectedly")
            raise

    return wrapped


def _is_ours(error: Exception) -> bool:
    """Whether something of ours was called, or of others who are neither rclpy nor Python, the guard apart.

    In rclpy's own services (parameters, life cycle) it is not, where a request makes no sense to them.
    """
    called = [frame.filename for frame in traceback.extract_tb(error.__traceback__)[1:]]
    return not called or any(not _is_rclpys(name) for name in called)


def _is_rclpys(file: str) -> bool:
    """Whether it is a file of rclpy or of Python itself."""
    parts = set(Path(file).parts)
    python = file.startswith(sysconfig.get_path("stdlib")) and not parts & {"site-packages", "dist-packages"}
    return "rclpy" in parts or python


class GuardedNode(LifecycleNode):
    """What LifecycleNode is, with every callback guarded. Override `on_unexpected` to say more than the log does."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)  # which creates services of its own, guarded already
        for service in self.services:
            if not hasattr(service.callback, "__wrapped__"):  # those of the life cycle are made another way
                service.callback = self._guarded(service.srv_name, service.callback)

    def on_unexpected(self, where: str, error: Exception) -> None:
        """A callback raised. where: its topic, service or name."""
        Log.of(self).exception(f"{where} failed unexpectedly", every_s=_LOG_S)

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., Any], *args: Any, **options: Any
    ) -> Subscription:
        self._forget_destroyed()
        return super().create_subscription(msg_type, topic, self._guarded(topic, callback), *args, **options)

    def create_service(self, srv_type: Any, srv_name: str, callback: Callable[..., Any], **options: Any) -> Service:
        """One whose callback awaits something is in a group of its own: in the usual one everything else would wait."""
        if inspect.iscoroutinefunction(callback):
            options.setdefault("callback_group", ReentrantCallbackGroup())
        return super().create_service(srv_type, srv_name, self._guarded(srv_name, callback), **options)

    def create_timer(self, timer_period_sec: float, callback: Callable[..., Any], *args: Any, **options: Any) -> Timer:
        self._forget_destroyed()
        name = getattr(callback, "__name__", "a timer")
        return super().create_timer(timer_period_sec, self._guarded(name, callback), *args, **options)

    def _forget_destroyed(self) -> None:
        """rclpy keeps a reference to every subscription, timer and event for ever, also when it is no more."""
        entities = self.default_callback_group.entities
        entities -= {reference for reference in entities if reference() is None}

    def in_thread(self, work: Callable[[], Any]) -> Future:
        """Its result, or the exception that it raised, to be awaited."""
        done = Future(executor=self.executor)  # type: ignore[no-untyped-call]

        def run() -> None:
            try:
                found = work()
            except Exception as error:
                found = error
            done.set_result(found)  # type: ignore[no-untyped-call]
            if self.executor is not None:
                self.executor.wake()  # which waits for messages, not for futures

        threading.Thread(target=run, daemon=True).start()
        return done

    def _guarded(self, where: str, callback: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(callback)
        def call(*args: Any) -> Any:
            try:
                return callback(*args)
            except Exception as error:
                return self._answer(where, error, args)

        @functools.wraps(callback)
        async def wait(*args: Any) -> Any:
            try:
                return await callback(*args)
            except Exception as error:
                return self._answer(where, error, args)

        return wait if inspect.iscoroutinefunction(callback) else call

    def _answer(self, where: str, error: Exception, args: tuple[Any, ...]) -> Any:
        """What a service answers with: the response as it came, which says no."""
        if not self.context.ok():  # at shutdown publishers go before the callbacks that use them
            pass
        elif type(error).__name__ == "RCLError" or not _is_ours(error):
            # rclpy's: what a request asks for does not fit the state, or is nothing that can be asked for.
            Log.of(self).error(f"{where}: refused: {first_line(error)}", _LOG_S, where)
        else:
            self.on_unexpected(where, error)
        return args[1] if len(args) > 1 else None


class _ToRos(logging.Handler):
    """What the library logs goes where the node's own words go."""

    def emit(self, record: logging.LogRecord) -> None:
        log = Log("hfnet_core")
        write = log.error if record.levelno >= logging.ERROR else log.warning
        (write if record.levelno >= logging.WARNING else log.info)(self.format(record))


class ReportedNode(GuardedNode):
    """One whose life cycle is told in diagnostics, and which gives everything back at the end of it.

    A node sets `log` and `health` before its first transition, and says in `_release` what there is to give back.
    """

    log: Log
    health: Health

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._tidier = Tidier()
        self.create_timer(_TIDY_S, self._tidier.tidy, clock=steady_clock())

    def _release(self) -> None:
        """Give back whatever configure and activate took; harmless when there is nothing."""
        raise NotImplementedError

    def _refuse_to_configure(self, error: Exception) -> TransitionCallbackReturn:
        expected = isinstance(error, HFNetError)
        reason = f"cannot configure: {error if expected else f'unexpected {type(error).__name__}: {error}'}"
        self.log.error(reason if expected else f"{reason}\n{''.join(traceback.format_exception(error))}")
        self.health.problem("configuration", reason)
        return TransitionCallbackReturn.FAILURE

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free what is held; what was written stays."""
        self._release()
        self.health.restart()
        self.health.state("unconfigured")
        return super().on_cleanup(state)

    @logged
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

    def destroy_node(self) -> None:
        self._release()
        super().destroy_node()  # type: ignore[no-untyped-call]


def run_node(make: Callable[[], GuardedNode], args: list[str] | None = None) -> int:
    """Run a node in a process of its own until it is asked to end; returns the exit status."""
    _on_signals(signal.default_int_handler)
    sys.setswitchinterval(_SWITCH_S)
    one_blas_thread()
    # The signals are ours: rclpy's handlers would shut ROS down before the node has said goodbye.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    logging.getLogger("hfnet_core").addHandler(_ToRos())
    logging.getLogger("hfnet_core").setLevel(logging.INFO)
    node: GuardedNode | None = None
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except _REFUSED as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    finally:
        _on_signals(signal.SIG_IGN)  # it is ending: `ros2 launch` asks again after five seconds
        if node is not None:
            node.destroy_node()  # type: ignore[no-untyped-call]
        shut_down()
        _on_signals(signal.default_int_handler)
    return 0


def _on_signals(handler: Any) -> None:
    """What those who want the process to end bring about."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
