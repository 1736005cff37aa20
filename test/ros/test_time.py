"""Simulated time at any speed, with pauses and jumps: whatever the node tells is as old as /clock says."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from diagnostic_msgs.msg import DiagnosticStatus
from robot import Robot, assert_at, image_msg, info_msg, stamp_of, transforms, until
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage
from wall import map_from_camera, view

from hfnet_core.geometry import Pose
from hfnet_ros.conversions import pose_from_transform, pose_to_transform, stamp_from_ns

SHIFT = 64
ODOM_FROM_MAP = Pose.from_quat_xyzw([0, 0, 0.5, 0.8], [3.0, 1.0, 0.0])
ODOM_FROM_CAMERA = ODOM_FROM_MAP @ map_from_camera(SHIFT)
TOLERANCE_S, TIMEOUT_S = 1.0, 4.0
BEGIN_S = 1000.0


class Simulation:
    """/clock at a rate, and a camera whose images and odometry come five times a simulated second."""

    def __init__(self, robot: Robot, rate: float) -> None:
        self.robot, self.rate = robot, rate
        self.shows = True
        self._clock = robot.publisher(Clock, "clock")
        self._tf = robot.publisher(TFMessage, "tf", 100)
        self._lock = threading.Lock()
        self._now_s, self._seen_s = BEGIN_S, time.monotonic()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._tell_time, self._show)]
        for thread in self._threads:
            thread.start()

    @property
    def now_s(self) -> float:
        with self._lock:
            steady_s = time.monotonic()
            self._now_s += self.rate * (steady_s - self._seen_s)
            self._seen_s = steady_s
            return self._now_s

    def jump(self, seconds: float) -> None:
        with self._lock:
            self._now_s += seconds

    def at_rate(self, rate: float) -> None:
        self.now_s  # noqa: B018  time until now passed at the old rate
        self.rate = rate

    def _tell_time(self) -> None:
        while not self._stop.wait(0.01):
            self._clock.publish(Clock(clock=stamp_from_ns(int(self.now_s * 1e9))))

    def _show(self) -> None:
        last_s = 0.0
        while not self._stop.wait(0.005):
            now_s = self.now_s
            if self.shows and (now_s >= last_s + 0.2 or now_s < last_s):
                last_s = now_s
                stamp_ns = int(now_s * 1e9)
                for offset_ns in (-(10**7), 10**7):
                    pose = pose_to_transform(ODOM_FROM_CAMERA, "odom", "camera", stamp_ns + offset_ns)
                    self._tf.publish(TFMessage(transforms=[pose]))
                self.robot.infos.publish(info_msg())
                self.robot.images.publish(image_msg(view(SHIFT), stamp_ns))

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Watch:
    """map->odom, each with the simulated time at which it came."""

    def __init__(self, robot: Robot, simulation: Simulation) -> None:
        self._simulation = simulation
        self._tf = robot.listen(TFMessage, "tf", 100)

    def look(self, seconds: float) -> list[float]:
        """For so long of the computer's time; how far the newest map->odom was ahead of the clock, all the time."""
        ahead, until_s = [], time.monotonic() + seconds
        while time.monotonic() < until_s:
            found = self.all()
            if found:
                ahead.append(stamp_of(found[-1]) * 1e-9 - self._simulation.now_s)
            time.sleep(0.02)
        return ahead

    def all(self) -> list:
        return transforms(self._tf, "odom")


@pytest.fixture
def start(ros, wall_world):
    """A node in a simulation of some rate, localized."""
    ended = []

    def start(rate: float) -> tuple[Robot, Simulation, Watch]:
        model, map_file = wall_world
        given = {
            "map_file": str(map_file),
            "model_file": str(model),
            "autostart": True,
            "use_sim_time": True,
            "odom_frame_id": "odom",
            "odom_timeout_s": 2.0,
            "transform_tolerance": TOLERANCE_S,
            "correction_timeout_s": TIMEOUT_S,
            "image_timeout_s": 10.0,
        }
        robot = Robot(ros, given, "/clock:=clock")
        ended.append(robot)
        simulation = Simulation(robot, rate)
        ended.insert(0, simulation)
        watch = Watch(robot, simulation)
        robot.wait_active()
        until(watch.all, 30.0, "map->odom")
        return robot, simulation, watch

    yield start
    for part in ended:
        part.close()


@pytest.mark.parametrize("rate", [0.2, 1.0, 5.0])
def test_map_to_odom_is_current_at_any_speed(start, rate):
    robot, simulation, watch = start(rate)
    ahead_s = watch.look(3.0)
    assert max(ahead_s) < TOLERANCE_S + 0.2
    # By the computer's time it would be seconds old on a fast clock; one that is busy may be late now and then.
    assert np.median(ahead_s) > 0.0, sorted(ahead_s)
    assert_at(pose_from_transform(watch.all()[-1].transform) @ ODOM_FROM_CAMERA, SHIFT)
    simulation.shows = False
    left_s = simulation.now_s
    robot.until_says("map->odom is frozen: no pose for", 10.0 + TIMEOUT_S / rate)
    assert TIMEOUT_S - 0.1 < simulation.now_s - left_s < TIMEOUT_S + 3.0 * max(rate, 1.0)
    simulation.shows = True
    robot.until_says("localized (", 20.0, level=DiagnosticStatus.OK)


def test_a_pause_makes_nothing_old(start):
    robot, simulation, watch = start(1.0)
    robot.until_says("localized (", 20.0)
    simulation.at_rate(0.0)
    status = robot.until_says("simulated time stands still", 10.0)
    assert status.level == DiagnosticStatus.WARN
    time.sleep(TIMEOUT_S + 1.0)
    assert "frozen" not in robot.said()
    assert "no image" not in robot.said()
    assert max(watch.look(0.2)) < TOLERANCE_S + 0.2
    simulation.at_rate(1.0)
    robot.until_says("localized (", 20.0, level=DiagnosticStatus.OK)


def test_a_jump_ahead_is_noticed_and_survived(start):
    robot, simulation, watch = start(1.0)
    robot.until_says("localized (", 20.0)
    simulation.shows = False
    simulation.jump(100.0)
    robot.until_says("map->odom is frozen: no pose for 10", 10.0)
    robot.until_says("no image on", 10.0)
    simulation.shows = True
    robot.until_says("localized (", 20.0, level=DiagnosticStatus.OK)
    assert until(lambda: watch.look(0.1)[-1] > 0.0, 10.0)


def test_after_a_jump_back_everything_begins_anew(start):
    robot, simulation, watch = start(1.0)
    robot.until_says("localized (", 20.0)
    simulation.jump(-300.0)
    until(lambda: "time went back: starting over" in robot.log, 10.0)
    known = len(watch.all())
    until(lambda: len(watch.all()) > known, 20.0, "a new map->odom")
    robot.until_says("localized (", 20.0, level=DiagnosticStatus.OK)
    ahead_s = watch.look(1.0)
    assert max(ahead_s) < TOLERANCE_S + 0.2  # not of the old future
    assert ahead_s[-1] > -0.5
