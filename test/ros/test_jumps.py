"""Odometry that jumps, is late or missing, and robots that are carried away: poses are held back until images agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from diagnostic_msgs.msg import DiagnosticStatus
from robot import Robot, assert_at, info_msg, stamp_of, transforms, until
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from wall import SHIFTS, map_from_camera, view

from hfnet_core.geometry import Pose
from hfnet_ros.conversions import pose_from_msg, pose_from_transform, pose_to_transform

HERE, THERE = SHIFTS[0], SHIFTS[-1]  # 1.2 m apart
ODOM_FROM_MAP = Pose.from_quat_xyzw([0, 0, 0.5, 0.8], [3.0, 1.0, 0.0])
IMAGES = 3


class Driver:
    """Shows images with odometry on both sides of their stamps."""

    def __init__(self, robot: Robot) -> None:
        self.robot, self.offset = robot, Pose()  # of the odometry, which jumps
        self.stamps: list[int] = []
        self.tf = robot.listen(TFMessage, "tf", 100)
        self._broadcaster = robot.publisher(TFMessage, "tf", 100)

    def say(self, stamp_ns: int, shift: int) -> None:
        """Odometry at a time."""
        odom_from_camera = self.offset @ ODOM_FROM_MAP @ map_from_camera(shift)
        self._broadcaster.publish(
            TFMessage(transforms=[pose_to_transform(odom_from_camera, "odom", "camera", stamp_ns)])
        )

    def show(self, shift: int, believed: int | None = None, late_s: float = 0.0) -> int:
        """An image at a shift while odometry believes in another; returns its stamp."""
        stamp_ns, believed = self.robot.stamp(), shift if believed is None else believed
        self.stamps.append(stamp_ns)
        self.say(stamp_ns - 10**7, believed)
        self.robot.show(view(shift), stamp_ns)
        time.sleep(late_s)
        self.say(stamp_ns + 10**7, believed)
        return stamp_ns

    def show_until(self, told: Callable[[], Any], shift: int, believed: int) -> tuple[list[int], Any]:
        """Show an image, and again where nothing comes of it: best effort may lose one. Its stamps, and what came."""
        stamps, end_s = [], time.monotonic() + 15.0
        while time.monotonic() < end_s:
            stamps.append(self.show(shift, believed))
            with suppress(AssertionError):
                return stamps, until(told, 3.0)
        raise AssertionError(f"nothing came of {len(stamps)} images; diagnostics say {self.robot.said()!r}")

    def doubt(self, agreeing: int) -> tuple[DiagnosticStatus, dict[str, str]] | None:
        """The last diagnostics, if they tell of so many images that agree on a pose elsewhere."""
        status = self.robot.statuses()[-1]
        values = {item.key: item.value for item in status.values}
        return (status, values) if values.get("images agreeing elsewhere") == str(agreeing) else None

    def poses_at(self, stamps: list[int]) -> list[Pose]:
        found = {stamp_of(pose): pose_from_msg(pose.pose) for pose in self.robot.poses}
        return [found[stamp] for stamp in stamps if stamp in found]

    def settle(self, shift: int) -> None:
        """Localized with odometry, at a shift."""
        self.robot.call(Trigger, "localization/relocalize")
        self.robot.until_says("localized (", again=lambda: self.show(shift), level=DiagnosticStatus.OK)
        begin = len(self.tf)
        until(lambda: self.show(shift) and transforms(self.tf[begin:], "odom"), 10.0)
        self.robot.until_says("localized (tracking)", again=lambda: self.show(shift), level=DiagnosticStatus.OK)


@pytest.fixture(scope="module")
def robot(ros, wall_world):
    model, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True, "odom_frame_id": "odom",
                        "transform_tolerance": 0.25, "localizer.gate_images": IMAGES,
                        "diagnostics_period_s": 0.1, "image_timeout_s": 10.0})  # fmt: skip
    try:
        robot.wait_active()
        yield robot
    finally:
        robot.close()


@pytest.fixture
def driver(robot):
    driver = Driver(robot)
    driver.settle(HERE)
    return driver


def assert_held_back_then_believed(driver: Driver, shift: int, believed: int) -> None:
    """The first images after a jump give no pose and freeze map->odom; with the last it is believed."""
    stamps: list[int] = []
    for count in range(1, IMAGES):
        shown, (status, values) = driver.show_until(lambda count=count: driver.doubt(count), shift, believed)
        stamps += shown
        assert "contradicts what the ones before predict" in status.message
        assert values["reason code"] == "INCONSISTENT"
        assert values["tracking state"] == "DOUBTING"
        assert float(values["distance from prediction [sigma]"]) > np.sqrt(22.5)
        time.sleep(0.1)
        known = len(transforms(driver.tf, "odom"))
        time.sleep(0.5)  # longer than transform_tolerance
        assert len(transforms(driver.tf, "odom")) == known
    assert "map->odom is frozen: the last image contradicts it" in driver.robot.said()
    assert not driver.poses_at(stamps)
    shown, _ = driver.show_until(lambda: driver.poses_at(driver.stamps[-1:]), shift, believed)
    (pose,) = driver.poses_at([*stamps, *shown])
    assert_at(pose, shift)
    transform = until(lambda: [t for t in transforms(driver.tf, "odom") if stamp_of(t) == shown[-1] + 250_000_000])[0]
    odom_from_camera = driver.offset @ ODOM_FROM_MAP @ map_from_camera(believed)
    assert_at(pose_from_transform(transform.transform) @ odom_from_camera, shift)
    driver.robot.until_says("localized (tracking)", again=lambda: driver.show(shift, believed))


def test_a_robot_that_is_carried_away(driver):
    assert_held_back_then_believed(driver, THERE, HERE)


def test_odometry_that_jumps(driver):
    driver.offset = Pose.from_quat_xyzw([0, 0, 0.3, 0.95], [5.0, 2.0, 0.0])
    assert_held_back_then_believed(driver, HERE, HERE)


def test_a_drive_is_not_doubted(driver):
    shown = {}
    for shift in SHIFTS:
        known = len(driver.robot.statuses())
        shown[driver.show(shift)] = shift
        time.sleep(0.3)
    until(lambda: len(driver.poses_at(list(shown))) >= len(SHIFTS) - 1)  # best effort may lose one
    for pose in driver.robot.poses:
        if stamp_of(pose) in shown:
            assert_at(pose_from_msg(pose.pose), shown[stamp_of(pose)])
    values = {item.key: item.value for item in driver.robot.until_says("localized (tracking)", since=known).values}
    assert values["tracking state"] == "TRACKING"
    assert float(values["distance from prediction [sigma]"]) < np.sqrt(22.5)


@pytest.mark.parametrize("late_s", [None, 0.4], ids=["missing", "late"])
def test_odometry_that_is_missing_or_late(driver, late_s):
    """The images go on alone, map->odom does not, and diagnostics say so."""
    stamps: list[int] = []

    def send() -> None:
        if late_s is None:
            stamps.append(driver.robot.show(view(HERE), info=info_msg()))
        else:
            stamps.append(driver.show(HERE, late_s=late_s))

    begin = time.monotonic()
    status = driver.robot.until_says("no odometry", 2.0, send)
    assert time.monotonic() - begin < 1.5
    assert status.level == DiagnosticStatus.WARN
    assert "after what was received" in status.message
    assert_at(until(lambda: driver.poses_at(stamps))[-1], HERE)
    assert not [t for t in transforms(driver.tf, "odom") if stamp_of(t) - 250_000_000 in stamps]
    driver.settle(HERE)
