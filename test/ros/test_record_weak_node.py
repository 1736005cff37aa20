"""Images of stretches that the map does not know well, kept by the node over real DDS, and only when asked for."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from robot import Robot, until
from std_srvs.srv import SetBool
from wall import CAMERA, noise_image, view

from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.stretches.reading import recordings_of

SHIFT = 64


def robot_with(ros, wall_world, folder, **parameters):
    model, map_file = wall_world
    given = {"map_file": str(map_file), "model_file": str(model), "autostart": True, "record_weak_folder": str(folder)}
    return Robot(ros, {**given, **parameters})


def kept(folder):
    return sorted(folder.glob("*/images/*.jpg"))


def fact(robot):
    values = {item.key: item.value for status in robot.statuses()[-1:] for item in status.values}
    return values.get("weak stretches kept", "")


def test_nothing_is_kept_until_somebody_asks_and_then_weak_stretches_are(ros, wall_world, tmp_path):
    folder = tmp_path / "weak"
    robot = robot_with(ros, wall_world, folder)
    try:
        robot.wait_active()
        robot.until_says("not localized", again=lambda: robot.show(noise_image()))
        assert not folder.exists()
        until(lambda: fact(robot) == "off", 10)
        answer = robot.call(SetBool, "localization/record_weak", SetBool.Request(data=True))
        assert answer.success
        assert str(folder) in answer.message
        robot.pose_of(view(SHIFT))
        until(lambda: robot.show(noise_image()) and time.sleep(0.5) is None and len(kept(folder)) >= 3, 30)
        until(lambda: "images in" in fact(robot), 10)
        assert robot.call(SetBool, "localization/record_weak", SetBool.Request(data=False)).success
        time.sleep(1.0)
        before = len(kept(folder))
        robot.until_says("not localized", again=lambda: robot.show(noise_image()))
        assert len(kept(folder)) == before
        with recordings_of([folder]) as paths, Bag(paths[0]) as bag:
            frames = list(bag.frames())
        assert len(frames) == before
        assert frames[0].camera.params[:4] == pytest.approx(CAMERA.params)
        assert frames[0].stamp_ns < frames[-1].stamp_ns
    finally:
        robot.close()


def test_the_parameter_keeps_from_the_start_and_the_folder_stays_bounded(ros, wall_world, tmp_path):
    folder = tmp_path / "weak"
    robot = robot_with(ros, wall_world, folder, record_weak=True, record_weak_mib=1)
    try:
        robot.wait_active()
        until(lambda: robot.show(noise_image()) and time.sleep(0.3) is None and len(kept(folder)) >= 3, 40)
        assert sum(path.stat().st_size for path in kept(folder)) <= 1 << 20
    finally:
        robot.close()


def test_a_folder_that_cannot_be_made_is_said_and_localization_goes_on(ros, wall_world, tmp_path):
    (tmp_path / "weak").write_text("no folder")
    robot = robot_with(ros, wall_world, tmp_path / "weak", record_weak=True)
    try:
        robot.wait_active()
        robot.until_says("weak stretches are not kept", again=lambda: robot.show(noise_image()))
        robot.pose_of(view(SHIFT))
    finally:
        robot.close()


def test_without_a_session_the_request_is_answered(ros, wall_world, tmp_path):
    robot = robot_with(ros, wall_world, tmp_path / "weak", autostart=False)
    try:
        answer = robot.call(SetBool, "localization/record_weak", SetBool.Request(data=True))
        assert (answer.success, answer.message) == (False, "not active")
    finally:
        robot.close()
