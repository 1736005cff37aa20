"""A camera that hangs upside down from the robot."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

import cv2
from robot import Robot, assert_at, image_msg, info_msg, until
from wall import CAMERA, view

from hfnet_core.geometry import Pose
from hfnet_ros.conversions import pose_from_msg

SHIFT = 64
OVERHEAD = Pose(np.diag([-1.0, -1.0, 1.0]))  # upright_from_taken
FORWARD = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.1, 0.0, 0.5]))


@pytest.mark.parametrize("rotation", ["180", "auto"])
def test_its_images_are_turned_and_its_pose_is_its_own(ros, wall_world, rotation):
    model, map_file = wall_world
    mount = FORWARD @ OVERHEAD
    numbers = " ".join(str(value) for value in (*mount.translation, *mount.quat_xyzw()))
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True, "base_frame_id": "base",
                        "base_from_camera": numbers, "image_rotation": rotation})  # fmt: skip
    try:
        robot.wait_active()
        upside_down = np.ascontiguousarray(np.rot90(view(SHIFT), 2))

        def send():
            robot.infos.publish(info_msg())
            robot.images.publish(image_msg(upside_down, robot.stamp()))
            time.sleep(0.2)
            return robot.poses

        until(send, 20, "a pose of the base")
        camera = pose_from_msg(robot.poses[-1].pose) @ mount
        assert_at(camera @ OVERHEAD.inverse(), SHIFT)
    finally:
        robot.close()


def test_a_camera_that_nobody_said_is_upside_down_is_found_all_the_same(ros, wall_world):
    """The first image is tried as it is, and one more way with each image; then images are turned before."""
    model, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True,
                        "localizer.search_budget_ms": 1000.0})  # fmt: skip
    try:
        robot.wait_active()
        upside_down = np.ascontiguousarray(np.rot90(view(SHIFT), 2))

        def show(image):
            robot.infos.publish(info_msg())
            robot.images.publish(image_msg(image, robot.stamp()))
            time.sleep(0.2)

        until(lambda: show(upside_down) or robot.poses, 20, "a pose of the camera upside down")
        assert_at(pose_from_msg(robot.poses[-1].pose) @ OVERHEAD.inverse(), SHIFT)
        before = len(robot.poses)
        until(lambda: show(view(SHIFT)) or len(robot.poses) >= before + 3, 20, "poses of the camera upright")
        assert_at(pose_from_msg(robot.poses[-1].pose), SHIFT)
    finally:
        robot.close()


def test_turning_can_be_switched_off(ros, wall_world):
    model, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True,
                        "localizer.turns": "off"})  # fmt: skip
    try:
        robot.wait_active()
        upside_down = np.ascontiguousarray(np.rot90(view(SHIFT), 2))
        for _ in range(5):
            said = robot.until_says("localized", again=lambda: robot.show(upside_down))
            assert "not localized: " in said.message  # a silent camera may be said first
        assert not robot.poses
    finally:
        robot.close()


@pytest.mark.parametrize(("seen", "localizes"), [(slice(0, 228), True), (slice(0, 24), False)])
def test_what_a_mask_file_hides_says_nothing(ros, wall_world, tmp_path, seen, localizes):
    model, map_file = wall_world
    mask = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    mask[seen] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True,
                        "mask_file": str(tmp_path / "mask.png")})  # fmt: skip
    try:
        robot.wait_active()
        said = robot.until_says("localized", again=lambda: robot.show(view(SHIFT)))
        assert said.message.startswith("localized (" if localizes else "not localized")
        if localizes:
            assert_at(pose_from_msg(robot.poses[-1].pose), SHIFT)
    finally:
        robot.close()
