"""Signs of life where bond_core's messages are missing, or stand-ins of them; test_lifecycle.py has the real ones."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from hfnet_ros.node.bond import open_heartbeat


class Node:
    """What a heartbeat wants of a node, and what it did with it."""

    def __init__(self) -> None:
        self.said, self.timers, self.topics = [], [], []
        self.context = SimpleNamespace(ok=lambda: True)

    def get_name(self) -> str:
        return "localization"

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: "now"))

    def create_publisher(self, kind, topic, qos):
        self.topics.append(topic)
        return SimpleNamespace(publish=self.said.append)

    def create_timer(self, period_s, callback, clock):
        self.timers.append((period_s, callback))
        return self.timers[-1]

    def destroy_timer(self, timer):
        self.timers.remove(timer)

    def destroy_publisher(self, publisher):
        self.topics.clear()


@pytest.fixture
def bond(monkeypatch):
    module = ModuleType("bond")
    module.__spec__ = ModuleSpec("bond", None)
    messages = ModuleType("bond.msg")
    messages.Status = lambda **fields: SimpleNamespace(header=SimpleNamespace(), **fields)
    monkeypatch.setitem(sys.modules, "bond", module)
    monkeypatch.setitem(sys.modules, "bond.msg", messages)


def test_beats_and_says_farewell(bond):
    node = Node()
    heartbeat = open_heartbeat(node, 0.1)
    assert node.topics == ["bond"]
    ((period_s, beat),) = node.timers
    assert period_s == 0.1
    beat()
    beat()
    heartbeat.close()
    assert [status.active for status in node.said] == [True, True, False]
    assert {(status.id, status.heartbeat_period) for status in node.said} == {("localization", 0.1)}
    assert len({status.instance_id for status in node.said}) == 1
    assert not node.timers
    assert not node.topics


def test_at_shutdown_it_is_silent(bond):
    node = Node()
    heartbeat = open_heartbeat(node, 0.1)
    node.context.ok = lambda: False
    heartbeat.close()
    assert not node.said


def test_without_nav2_there_is_none(bond, monkeypatch):
    assert open_heartbeat(Node(), 0.0) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert open_heartbeat(Node(), 0.1) is None
