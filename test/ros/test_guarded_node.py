"""No exception of a callback reaches the executor: it is said, and a request gets its answer."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter as RclpyParameter
from robot import until
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from hfnet_ros.guarded_node import GuardedNode, logged


class Clumsy(GuardedNode):
    """Every callback of it raises."""

    def __init__(self, **options) -> None:
        self.heard: list[str] = []
        super().__init__("clumsy", **options)
        self.create_subscription(String, "~/words", self._stumble, 10)
        self.create_service(Trigger, "~/fall", self._fall)
        self.create_service(SetBool, "~/fall_later", self._fall_later)
        self.create_timer(0.05, self._trip)
        self.trips = 0

    def on_unexpected(self, where: str, error: Exception) -> None:
        super().on_unexpected(where, error)
        self.heard.append(f"{where}: {error}")

    def _stumble(self, message: String) -> None:
        raise ValueError(message.data)

    def _fall(self, request, response):
        raise RuntimeError("fell")

    async def _fall_later(self, request, response):
        raise RuntimeError("fell later")

    def _trip(self) -> None:
        self.trips += 1
        raise KeyError("a stone")

    @logged
    def on_configure(self, state):
        raise OSError("no ground")


@pytest.fixture
def clumsy(ros):
    node = Clumsy(namespace=f"t{uuid.uuid4().hex[:8]}", context=ros.context)
    ros.executor.add_node(node)
    yield node
    ros.executor.remove_node(node)
    node.destroy_node()


def test_messages_timers_and_requests_that_fail_are_survived(ros, clumsy):
    name = clumsy.get_fully_qualified_name()
    words = ros.node.create_publisher(String, f"{name}/words", 10)
    until(words.get_subscription_count)
    words.publish(String(data="mind the \ufffd step"))
    until(lambda: "~/words: mind the \ufffd step" in clumsy.heard)
    assert not ros.call(Trigger, f"{name}/fall", Trigger.Request()).success
    assert not ros.call(SetBool, f"{name}/fall_later", SetBool.Request()).success
    assert {"~/fall: fell", "~/fall_later: fell later"} <= set(clumsy.heard)
    trips = clumsy.trips
    until(lambda: clumsy.trips > trips + 2)  # the executor turns on
    assert "_trip: 'a stone'" in clumsy.heard
    ros.node.destroy_publisher(words)


def test_impossible_and_failing_transitions_are_answered(ros, clumsy):
    name = clumsy.get_fully_qualified_name()

    def change(number: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=number))
        return bool(ros.call(ChangeState, f"{name}/change_state", request).success)

    assert not change(Transition.TRANSITION_ACTIVATE)  # rclpy itself would end the process
    assert not change(Transition.TRANSITION_CONFIGURE)
    state = ros.call(GetState, f"{name}/get_state", GetState.Request()).current_state.label
    assert state in {"unconfigured", "finalized"}


def test_a_parameter_of_no_known_type_is_refused_in_one_line(ros, clumsy, capfd):
    name = clumsy.get_fully_qualified_name()
    strange = Parameter(name="use_sim_time", value=ParameterValue(type=200))
    before = len(clumsy.heard)
    ros.call(SetParameters, f"{name}/set_parameters", SetParameters.Request(parameters=[strange]))
    until(lambda: "set_parameters: refused: 200 is not a valid" in (said := capfd.readouterr().err) or not said)
    assert not [what for what in clumsy.heard[before:] if "set_parameters" in what]


def test_a_check_of_ours_that_fails_in_rclpys_service_is_unexpected(ros, clumsy):
    def check(parameters):
        raise RuntimeError("the check itself is wrong")

    clumsy.add_on_set_parameters_callback(check)
    name = clumsy.get_fully_qualified_name()
    request = SetParameters.Request(parameters=[RclpyParameter("use_sim_time", value=False).to_parameter_msg()])
    ros.call(SetParameters, f"{name}/set_parameters", request)
    assert any("the check itself is wrong" in what for what in clumsy.heard)


def test_rclpys_own_services_are_guarded_and_work(ros, clumsy):
    name = clumsy.get_fully_qualified_name()
    request = GetParameters.Request(names=["use_sim_time"])
    assert len(ros.call(GetParameters, f"{name}/get_parameters", request).values) == 1
    assert all(hasattr(service.callback, "__wrapped__") for service in clumsy.services)


def test_what_is_destroyed_is_forgotten(clumsy):
    """rclpy's groups of callbacks keep a reference for ever: a node that comes and goes would grow."""
    entities = clumsy.default_callback_group.entities
    sizes = []
    for _ in range(5):
        clumsy.destroy_subscription(clumsy.create_subscription(String, "~/more", print, 10))
        clumsy.destroy_timer(clumsy.create_timer(10.0, print))
        sizes.append(len(entities))
    assert sizes[4] == sizes[1]


ASKED_TWICE = """
import os, signal, sys
from hfnet_ros.guarded_node import GuardedNode, run_node

class Busy(GuardedNode):
    def __init__(self):
        super().__init__("busy")
        self.create_timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))

    def destroy_node(self):
        os.kill(os.getpid(), signal.SIGTERM)
        super().destroy_node()
        print("released", flush=True)

sys.exit(run_node(Busy))
"""


def test_a_node_that_is_asked_to_end_while_it_ends_ends_as_well() -> None:
    """As `ros2 launch` does after five seconds: what takes longer is not to be cut off."""
    done = subprocess.run([sys.executable, "-c", ASKED_TWICE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "released"), done.stderr
    assert "Traceback" not in done.stderr


def test_what_follows_work_in_a_thread_is_the_executor_s_and_guarded(clumsy):
    """As any callback: what it touches may be gone, and what it raises is said."""
    where: list[int] = []

    def follow(done) -> None:
        where.append(threading.get_ident())
        raise ValueError(f"followed {done.result()}")

    clumsy.create_timer(0.05, lambda: where or clumsy.in_thread(threading.get_ident).add_done_callback(
        clumsy._guarded("following", follow)))  # fmt: skip
    until(lambda: any(text.startswith("following: followed") for text in clumsy.heard), 20.0)
    worker = int(next(text for text in clumsy.heard if text.startswith("following")).rsplit(" ", 1)[1])
    assert where[0] != worker
    assert clumsy.trips
