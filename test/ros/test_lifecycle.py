"""Configure, activate, deactivate, clean up, end: of a node in another process."""

from __future__ import annotations

import importlib
import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from diagnostic_msgs.msg import DiagnosticStatus
from helpers import tiny_model
from rclpy.qos import qos_profile_sensor_data
from robot import LATCHED, Robot, until
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger
from wall import view

SHIFT = 32


@pytest.fixture
def robot(ros, wall_world):
    """A node that knows the wall, unconfigured."""
    model, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model)})
    yield robot
    robot.close()


def test_the_whole_circle_twice(robot):
    assert robot.state() == "unconfigured"
    for _ in range(2):
        assert robot.transition("configure")
        assert robot.state() == "inactive"
        assert robot.transition("activate")
        robot.wait_active()
        robot.pose_of(view(SHIFT))
        assert robot.transition("deactivate")
        assert robot.state() == "inactive"
        until(lambda: robot.images.get_subscription_count() == 0)
        time.sleep(0.2)
        before = len(robot.poses)
        robot.show(view(SHIFT))
        time.sleep(0.3)
        assert len(robot.poses) == before
        assert robot.transition("activate")  # and on again without configuring
        robot.wait_active()
        robot.pose_of(view(SHIFT))
        assert robot.transition("deactivate")
        assert robot.transition("cleanup")
        assert robot.state() == "unconfigured"
    assert "Traceback" not in robot.log
    assert robot.transition("unconfigured_shutdown")
    assert robot.state() == "finalized"


def test_readiness_says_what_is_waited_for(ros, wall_world):
    model, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "image_topic": "elsewhere"})
    try:
        told = robot.listen(DiagnosticStatus, "localization/status", LATCHED)
        until(lambda: told and told[-1].message == "unconfigured", 20.0)
        assert robot.transition("configure")
        until(lambda: told[-1].message == "inactive")
        assert robot.transition("activate")
        until(lambda: "waiting for a publisher of" in told[-1].message)
        assert f"{robot.namespace}/elsewhere" in told[-1].message
        assert {item.key: item.value for item in told[-1].values}["ready"] == "false"
        robot.publisher(Image, "elsewhere", qos_profile_sensor_data)
        until(lambda: {item.key: item.value for item in told[-1].values}["ready"] == "true")
    finally:
        robot.close()


def test_impossible_requests_are_answered_and_survived(robot):
    assert not robot.transition("activate")  # not configured yet
    assert robot.state() == "unconfigured"
    assert not robot.call(Trigger, "localization/relocalize").success
    assert not robot.call(SetBool, "localization/pause", SetBool.Request(data=True)).success
    assert robot.transition("configure")
    assert not robot.transition("configure")
    assert robot.transition("inactive_shutdown")


def test_cleanup_frees_the_map(robot, wall_world):
    """A large map is memory-mapped: the process has the file open until cleanup."""
    assert robot.set("map_memory_mib", 0).successful

    def mapped():
        return wall_world[1].name in Path(f"/proc/{robot.process.pid}/maps").read_text()

    assert robot.transition("configure")
    assert mapped()
    assert robot.transition("cleanup")
    assert not mapped()
    status = robot.until_says("unconfigured")
    assert "map hash" not in {item.key for item in status.values}


@pytest.mark.skipif(importlib.util.find_spec("bond") is None, reason="bond_core's messages are not installed")
def test_signs_of_life_for_nav2s_lifecycle_manager(robot):
    """From activate to deactivate, on the topic and under the name that nav2 expects; the last one is a farewell."""
    messages = importlib.import_module("bond.msg")
    beats = robot.listen(messages.Status, "bond")
    assert robot.transition("configure")
    time.sleep(0.3)
    assert not beats
    assert robot.transition("activate")
    until(lambda: len(beats) >= 10, 5.0)
    assert {beat.id for beat in beats} == {"localization"}
    assert len({beat.instance_id for beat in beats}) == 1
    assert all(beat.active and 0.0 < beat.heartbeat_period <= 0.1 + 1e-6 for beat in beats)
    assert robot.transition("deactivate")
    until(lambda: not beats[-1].active)
    known = len(beats)
    time.sleep(0.3)
    assert len(beats) == known


@pytest.mark.skipif(importlib.util.find_spec("bond") is None, reason="bond_core's messages are not installed")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_ended_says_farewell(robot, number):
    """Else the manager waits for its bond_timeout and then takes the whole system down."""
    messages = importlib.import_module("bond.msg")
    beats = robot.listen(messages.Status, "bond")
    assert robot.transition("configure")
    assert robot.transition("activate")
    until(lambda: len(beats) >= 3, 5.0)
    status, _ = robot.end(number)
    assert status == 0
    until(lambda: not beats[-1].active, 5.0)


def test_configure_names_what_is_wrong_and_can_be_repeated(ros, wall_world, tmp_path):
    model, map_file = wall_world
    other = tiny_model(tmp_path, seed=5)
    truncated = tmp_path / "truncated.hfmap"
    truncated.write_bytes(map_file.read_bytes()[:5000])
    robot = Robot(ros, {"map_file": "", "model_file": str(model)})
    try:
        for parameter, value, named in (
            ("map_file", "", "map_file"),
            ("map_file", str(tmp_path / "missing.hfmap"), "missing.hfmap"),
            ("map_file", str(truncated), "truncated.hfmap"),
            ("model_file", str(tmp_path / "missing.onnx"), "missing.onnx"),
            ("model_file", str(other), "model"),
        ):
            if parameter == "model_file":
                assert robot.set("map_file", str(map_file)).successful
            assert robot.set(parameter, value).successful
            lines = len(robot.log.splitlines())
            assert not robot.transition("configure")
            assert robot.state() == "unconfigured"
            assert named in robot.until_says("cannot configure").message
            said = until(lambda lines=lines: [line for line in robot.log.splitlines()[lines:] if "[INFO]" not in line])
            assert len(said) == 1
            assert named in said[0]
        assert robot.set("model_file", str(model)).successful
        assert robot.set("datum_service", "/datum").successful
        assert not robot.transition("configure")
        assert "robot_localization is not installed" in robot.until_says("cannot configure").message
        assert robot.set("datum_service", "").successful

        def hears_tf() -> bool:
            told = ros.node.get_subscriber_names_and_types_by_node("localization", robot.namespace)
            return any(topic.endswith("/tf") for topic, _ in told)

        until(lambda: not hears_tf(), 20.0, "nothing is left of what was refused")
        assert robot.transition("configure")
        until(hears_tf, 20.0, "the node hears of transforms")
    finally:
        robot.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("state", ["unconfigured", "active"])
def test_signals_end_it_cleanly(ros, wall_world, number, state):
    model, map_file = wall_world
    parameters = {"map_file": str(map_file), "model_file": str(model), "autostart": state == "active"}
    robot = Robot(ros, parameters)
    try:
        if state == "active":
            robot.wait_active()
            robot.pose_of(view(SHIFT))
            robot.show(view(SHIFT))  # at work when the signal comes
        else:
            assert robot.state() == "unconfigured"
        status, seconds = robot.end(number)
    finally:
        robot.close()
    assert status == 0
    assert seconds < 2.0
    assert "Traceback" not in robot.log
    assert "terminate called" not in robot.log


@pytest.mark.parametrize(
    ("parameter", "named"),
    [("localizer.min_inliers:=3", "min_inliers"), ("backend:=abacus", "abacus"),
     ("transform_tolerance:=soon", "transform_tolerance"), ("odom_topic:=odom", "odom_frame_id"),
     ("base_from_camera:='1 2 3'", "base_from_camera"), ("correction_timeout_s:=-2.0", "correction_timeout_s")],
)  # fmt: skip
def test_refused_at_start_in_one_line(parameter, named):
    command = [sys.executable, "-m", "hfnet_ros.localization_node", "--ros-args", "-p", parameter]
    command += ["-p", "base_frame_id:=base"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert named in done.stderr
