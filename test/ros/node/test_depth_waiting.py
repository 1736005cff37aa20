"""Depth that comes after its image: waited for, where it usually comes."""

from __future__ import annotations

import gc
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from robot import image_msg
from wall import CAMERA

from hfnet_core.geometry import Pose
from hfnet_ros.node.depth.images import _DepthInput, _Wanted
from hfnet_ros.node.frame_sets import CameraFrame
from hfnet_ros.node.frames import NoFrames

STEP_NS = 100_000_000
LONG_S = 5.0  # nobody waits so long here: what comes ends it


class Input(_DepthInput):
    """Of a camera without ROS."""

    def __init__(self) -> None:
        node: Any = SimpleNamespace(create_subscription=lambda _, topic, *rest: SimpleNamespace(topic_name=topic))
        super().__init__(node, NoFrames(), "", _Wanted("image", "depth", ""))

    def come(self, number: int, metres: float = 1.0) -> None:
        self._receive(image_msg(np.full((240, 320), 1000 * metres, np.uint16), number * STEP_NS, "16UC1"))

    def ask(self, number: int, seconds: float = LONG_S) -> tuple[float | None, float]:
        """Metres, and how long it took."""
        began_s = time.monotonic()
        self.wait(number * STEP_NS, seconds)
        took_s = time.monotonic() - began_s
        frame = CameraFrame(np.zeros((240, 320), np.uint8), CAMERA, Pose(), "", "camera", number * STEP_NS)
        depth = self.at(self.awaited(number * STEP_NS), frame)
        return (None if depth is None else float(depth.metres[5, 5])), took_s


@pytest.fixture
def usual() -> Input:
    """Four images had their depth in time."""
    own = Input()
    for number in range(1, 5):
        own.come(number)
        assert own.ask(number)[0] == pytest.approx(1.0)
    return own


def test_depth_that_comes_late_is_waited_for(usual: Input) -> None:
    late = threading.Timer(0.05, usual.come, (5, 2.0))
    late.start()
    metres, took_s = usual.ask(5)
    late.join()
    assert metres == pytest.approx(2.0)
    assert took_s < LONG_S


def test_it_is_waited_for_so_long_and_no_longer(usual: Input) -> None:
    metres, took_s = usual.ask(5, seconds=0.05)
    assert metres is None
    assert 0.04 < took_s < LONG_S


def test_the_depth_of_a_later_image_ends_the_wait(usual: Input) -> None:
    usual.come(6)
    metres, took_s = usual.ask(5)
    assert metres is None
    assert took_s < LONG_S


def test_where_depth_seldom_comes_nobody_waits(usual: Input) -> None:
    for number in range(5, 10):
        usual.ask(number, seconds=0.0)  # without
    _, took_s = usual.ask(10)
    assert took_s < LONG_S
    for number in range(5, 11):  # all of it had only been late
        usual.come(number)
    metres, _ = usual.ask(11, seconds=0.0)
    assert metres is None
    late = threading.Timer(0.05, usual.come, (12, 3.0))
    late.start()
    assert usual.ask(12)[0] == pytest.approx(3.0)


def test_depth_that_is_promised_stays_however_much_comes_meanwhile(usual: Input) -> None:
    """An image that waits for others to decide about it, while depth comes faster than images."""
    frame = CameraFrame(np.zeros((240, 320), np.uint8), CAMERA, Pose(), "", "camera", 6 * STEP_NS)
    before, after = usual.awaited(4 * STEP_NS), usual.awaited(6 * STEP_NS)
    for number in range(5, 60):
        usual.come(number, 0.1 * number)
    assert usual.ask(6)[0] is None  # forgotten, but by who was promised it
    found = [usual.at(promised, frame) for promised in (before, after)]
    assert [None if depth is None else float(depth.metres[5, 5]) for depth in found] == pytest.approx([1.0, 0.6])
    del before, after, found
    gc.collect()
    assert not len(usual._awaited)
