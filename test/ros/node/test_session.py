"""What the two threads of a session pass on to each other."""

from __future__ import annotations

import time
from threading import Lock
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from wall import CAMERA

from hfnet_core.geometry import Pose
from hfnet_ros.node.frame_sets import CameraFrame, FrameSet
from hfnet_ros.node.session import Session, _Seen
from hfnet_ros.node.stages import Laps


class World:
    """A session without ROS, that notes what becomes of an image."""

    def __init__(self) -> None:
        self.did: list[Any] = []
        self.session = Session.__new__(Session)
        self.session.paused, self.session._epoch = False, 0
        self.session._node = SimpleNamespace(context=SimpleNamespace(ok=lambda: True))
        self.session._stages = SimpleNamespace(stopping=False)
        self.session._reporter = SimpleNamespace(
            health=SimpleNamespace(
                count=lambda name, images: self.did.append((name, images)),
                clear=lambda name: None,
                problem=lambda name, text: self.did.append((name, text)),
            ),
            log=SimpleNamespace(exception=lambda text, every_s: None),
            news=lambda: None,
        )
        self.session._pipeline = SimpleNamespace(
            settle=lambda stamp_s: self.did.append(("settle", stamp_s)),
            localize=self._localize,
            map=SimpleNamespace(damage=""),
            damage="",
            turn=Lock(),
        )
        self.session._outputs = SimpleNamespace(corrections=SimpleNamespace(heard=lambda stamp_ns, received_ns: None))
        self.session._depths = SimpleNamespace(ranges_of=lambda frames, extracted: [])
        self.session._odometry = SimpleNamespace(odom_from_rig=lambda frames, give_up: None)

    def _localize(self, *_: object) -> None:
        self.did.append("localize")
        raise ValueError("broken")

    def finish(self, **what: Any) -> list[Any]:
        now_s = time.perf_counter()
        self.session._finish(_Seen(Laps(now_s), **what), now_s)
        return self.did


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def frames() -> FrameSet:
    frame = CameraFrame(np.zeros((CAMERA.height, CAMERA.width), np.uint8), CAMERA, Pose(), "", "camera", 10**9)
    return FrameSet((frame,), 10**9, "camera", 10**9, time.perf_counter(), 0)


def test_an_image_of_a_time_that_is_over_teaches_nothing(world, frames):
    """It was at hand when time started over: what was to be forgotten is, and stays so."""
    world.session._epoch = 1
    assert world.finish(frames=frames, extracted=[]) == [("settle", 1.0), ("dropped", 1)]


def test_an_image_at_hand_when_a_pause_begins_is_not_localized(world, frames):
    world.session.paused = True
    assert world.finish(frames=frames, extracted=[]) == [("settle", 1.0), ("dropped", 1)]


def test_what_fails_in_either_thread_is_said_and_survived(world, frames):
    assert world.finish(error=TypeError("odd")) == [("internal", "unexpected TypeError: odd")]
    world.did.clear()
    assert world.finish(frames=frames, extracted=[])[1:] == ["localize", ("internal", "unexpected ValueError: broken")]


def test_images_that_cannot_be_used_end_there(world):
    assert world.finish() == []


@pytest.mark.parametrize("damage", ["", "no pose is published: hall.hfmap is damaged"])
def test_corrections_of_a_damaged_map_are_not_repeated_though_others_may_serve(world, monkeypatch, damage):
    session = world.session
    for part in ("_outputs", "_settings", "_handover", "_depths", "_cameras", "_reporter", "_pipeline", "weak"):
        setattr(session, part, MagicMock())
    monkeypatch.setattr(session, "_clock_trouble", lambda: "")
    session._pipeline.damage, session._pipeline.map.damage = "", damage
    session.watch()
    assert session._outputs.forget.called is bool(damage)
