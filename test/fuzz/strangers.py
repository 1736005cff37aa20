"""Strangers on the network of a running node: they send what `attacks.py` makes and ask for whatever can be asked."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import attacks
import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.srv import LoadMap
from rcl_interfaces.msg import Parameter, ParameterEvent
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters, SetParametersAtomically
from robot import Robot
from std_msgs.msg import String
from std_srvs.srv import Empty, SetBool, Trigger
from tf2_msgs.msg import TFMessage

__all__ = ["ANSWER_S", "ATTACKS", "Strangers"]

ANSWER_S = 60.0  # a busy machine's DDS is slow; a node that hangs stays silent for ever
_ENDS = {Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, Transition.TRANSITION_INACTIVE_SHUTDOWN,
         Transition.TRANSITION_ACTIVE_SHUTDOWN}  # fmt: skip


class Strangers:
    """What they have to do with one robot. changed: names of settings that may be others than at the start."""

    def __init__(self, robot: Robot, maps: attacks.Maps) -> None:
        self.robot, self.maps = robot, maps
        self.changed: set[str] = set()
        self.unanswered: list[str] = []
        self._clients: dict[str, Any] = {}
        self._context = rclpy.Context()  # another process, as far as DDS can tell: a topic may have another type there
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("stranger", namespace=robot.namespace, context=self._context)
        self.topics = {
            "image": robot.images, "camera_info": robot.infos,
            "tf": robot.publisher(TFMessage, "tf", 100), "tf_static": robot.publisher(TFMessage, "tf_static", 100),
            "initialpose": robot.publisher(PoseWithCovarianceStamped, "initialpose", 1),
            "diagnostics": robot.publisher(attacks.DiagnosticArray, "/diagnostics"),
            "events": robot.publisher(ParameterEvent, "/parameter_events"),
            "wrong type": self._node.create_publisher(String, "image", 1),
            "wrong type of tf": self._node.create_publisher(String, "tf", 1),
        }  # fmt: skip

    def close(self) -> None:
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    @staticmethod
    def some(rng: random.Random) -> list[str]:
        """Half of what they may do: what always comes with something else is hidden by it.

        Every other time settings and state stay, so that there are poses to judge.
        """
        names = sorted(ATTACKS) if rng.random() < 0.5 else sorted(set(ATTACKS) - _DECISIVE)
        return rng.sample(names, k=len(names) // 2)

    def act(self, rng: random.Random, names: list[str]) -> str:
        """Do one of these things; returns its name."""
        name = rng.choices(names, [ATTACKS[name][0] for name in names])[0]
        ATTACKS[name][1](self, rng)
        return name

    def ask(self, kind: type, service: str, request: Any) -> Any:
        """The answer of a service of the node, None where none came."""
        if service not in self._clients:
            name = f"{self.robot.namespace}{service}" if service[0] == "/" else f"{self.robot.name}/{service}"
            self._clients[service] = self.robot.node.create_client(kind, name)
        client, deadline = self._clients[service], time.monotonic() + ANSWER_S
        future = None
        while time.monotonic() < deadline and self.robot.process.poll() is None:
            if future is None and client.service_is_ready():
                future = client.call_async(request)
            if future is not None and future.done():
                return future.result()
            time.sleep(0.005)
        if self.robot.process.poll() is None:
            self.unanswered.append(f"{service}: {str(request)[:150]}")
        return None

    def change(self, number: int) -> bool:
        """Ask for a transition; whether it succeeded."""
        answer = self.ask(ChangeState, "change_state", ChangeState.Request(transition=Transition(id=number)))
        return bool(answer is not None and answer.success)

    def set(self, parameters: list[Parameter]) -> Any:
        before = set(self.changed)
        self.changed |= {item.name for item in parameters}  # at once: a pose may come before the answer
        answer = self.ask(SetParameters, "set_parameters", SetParameters.Request(parameters=parameters))
        if answer is not None and len(answer.results) == len(parameters):
            done = {item.name for item, result in zip(parameters, answer.results, strict=True) if result.successful}
            self.changed = before | done
        return answer

    def set_atomically(self, parameters: list[Parameter]) -> Any:
        before = set(self.changed)
        self.changed |= {item.name for item in parameters}
        request = SetParametersAtomically.Request(parameters=parameters)
        answer = self.ask(SetParametersAtomically, "set_parameters_atomically", request)
        if answer is not None and not answer.result.successful:
            self.changed = before
        return answer


_DECISIVE = {"parameter", "parameters", "parameters atomically", "transition", "any transition", "pause"}


def _walk(by: Strangers, rng: random.Random) -> None:
    """A transition that makes sense."""
    by.change(rng.choice((1, 2, 3, 4, 3, 4)))


def _any_transition(by: Strangers, rng: random.Random) -> None:
    by.change(rng.choice([number for number in range(256) if number not in _ENDS]))


def _flood(by: Strangers, rng: random.Random) -> None:
    for _ in range(rng.choice((30, 300))):
        by.robot.images.publish(attacks.image(rng, by.robot.stamp()))


def _publish(topic: str, make: Callable[[Strangers, random.Random], Any]) -> Callable[[Strangers, random.Random], None]:
    return lambda by, rng: by.topics[topic].publish(make(by, rng))


def _names(rng: random.Random) -> list[str]:
    return [attacks.word(rng) for _ in range(rng.choice((1, 3, 100)))]


ATTACKS: dict[str, tuple[int, Callable[[Strangers, random.Random], Any]]] = {
    "image": (12, lambda by, rng: by.robot.images.publish(attacks.image(rng, by.robot.stamp()))),
    "flood of images": (1, _flood),
    "calibration": (8, lambda by, rng: by.robot.infos.publish(attacks.camera_info(rng))),
    "transforms": (6, _publish("tf", lambda by, rng: attacks.transforms(rng, by.robot.stamp()))),
    "static transforms": (2, _publish("tf_static", lambda by, rng: attacks.transforms(rng, by.robot.stamp()))),
    "initial pose": (5, _publish("initialpose", lambda by, rng: attacks.initial_pose(rng, by.robot.stamp()))),
    "false diagnostics": (1, _publish("diagnostics", lambda by, rng: attacks.diagnostics(rng, by.robot.name))),
    "false events": (1, _publish("events", lambda by, rng: attacks.event(rng, by.robot.name))),
    "another type": (1, _publish("wrong type", lambda by, rng: attacks.text(rng))),
    "another type on tf": (1, _publish("wrong type of tf", lambda by, rng: attacks.text(rng))),
    "relocalize": (2, lambda by, rng: by.ask(Trigger, "relocalize", Trigger.Request())),
    "reinitialize": (1, lambda by, rng: by.ask(Empty, "/reinitialize_global_localization", Empty.Request())),
    "pause": (2, lambda by, rng: by.ask(SetBool, "pause", SetBool.Request(data=rng.random() < 0.3))),
    "load_map": (8, lambda by, rng: by.ask(LoadMap, "load_map", LoadMap.Request(map_url=by.maps.url(rng)))),
    "parameter": (10, lambda by, rng: by.set([attacks.parameter(rng)])),
    "parameters": (3, lambda by, rng: by.set([attacks.parameter(rng) for _ in range(rng.choice((0, 2, 30)))])),
    "parameters atomically": (
        2,
        lambda by, rng: by.set_atomically([attacks.parameter(rng), attacks.parameter(rng)]),
    ),
    "get parameters": (
        1,
        lambda by, rng: by.ask(GetParameters, "get_parameters", GetParameters.Request(names=_names(rng))),
    ),
    "describe parameters": (
        1,
        lambda by, rng: by.ask(
            DescribeParameters, "describe_parameters", DescribeParameters.Request(names=_names(rng))
        ),
    ),
    "list parameters": (
        1,
        lambda by, rng: by.ask(
            ListParameters,
            "list_parameters",
            ListParameters.Request(prefixes=_names(rng), depth=rng.choice((0, 1, 2**64 - 1))),
        ),
    ),
    "transition": (3, _walk),
    "any transition": (2, _any_transition),
    "nothing": (8, lambda by, rng: time.sleep(rng.uniform(0.0, 0.5))),
}
