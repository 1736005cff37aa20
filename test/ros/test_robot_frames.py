"""Robots: where the camera sits on the base, odometry, initial poses, simulated time."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
from robot import LATCHED, Robot, assert_at, bytes_of, image_msg, info_msg, stamp_of, transforms, until
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Empty
from tf2_msgs.msg import TFMessage
from wall import map_from_camera, view

from hfnet_core.geometry import Pose
from hfnet_ros.conversions import (
    pose_from_msg,
    pose_from_transform,
    pose_to_msg,
    pose_to_stamped_with_covariance,
    pose_to_transform,
)

SHIFT = 64


def test_compressed_images_and_base_frame(ros, wall_world):
    """With base_frame_id poses are the base's, and nothing is published before it is known where the camera sits."""
    model, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True, "base_frame_id": "base",
                        "image_transport": "compressed"})  # fmt: skip
    try:
        robot.tf = robot.listen(TFMessage, "tf")
        robot.wait_active()
        jpeg = bytes_of(cv2.imencode(".png", view(SHIFT))[1].tobytes())

        def send():
            message = CompressedImage(format="png", data=jpeg)
            message.header = image_msg(view(SHIFT), robot.stamp()).header
            robot.infos.publish(info_msg())
            robot.compressed.publish(message)
            return True

        robot.until_says("no transform from the camera to the base", 20, send)
        assert not robot.poses
        base_from_camera = Pose.from_quat_xyzw([0.1, 0.2, 0.3, 0.9], [0.5, -0.2, 0.3])
        static = robot.publisher(TFMessage, "tf_static", LATCHED)
        static.publish(TFMessage(transforms=[pose_to_transform(base_from_camera, "base", "camera", 0)]))
        until(lambda: send() and time.sleep(0.2) is None and robot.poses, 15, "a pose of the base")
        assert_at(pose_from_msg(robot.poses[-1].pose) @ base_from_camera, SHIFT)
        found = until(lambda: transforms(robot.tf, "base"))
        assert_at(pose_from_transform(found[-1].transform) @ base_from_camera, SHIFT)
        assert not transforms(robot.tf, "camera")
    finally:
        robot.close()


def assert_bridged_and_frozen(robot):
    """Without poses map->odom goes on for correction_timeout_s in the image's time, then no longer."""
    status = robot.until_says("map->odom is frozen", 10)
    assert status.level >= DiagnosticStatus.WARN
    known = transforms(robot.tf, "odom")
    stamps = [stamp_of(item) for item in known]
    assert stamps == sorted(set(stamps))
    last_pose = max(stamp_of(pose) for pose in robot.poses)
    assert 0.5 < (stamps[-1] - 250_000_000 - last_pose) / 1e9 < 1.2
    time.sleep(0.5)
    assert len(transforms(robot.tf, "odom")) == len(known)


class _Odometry:
    """A base that stands still in a drifted odometry frame."""

    odom_from_base = Pose.from_quat_xyzw([0, 0, 0.5, 0.8], [3.0, 1.0, 0.0])
    base_from_camera = Pose.from_quat_xyzw([0.5, -0.5, 0.5, -0.5], [0.2, 0.0, 0.4])

    @classmethod
    def transform(cls, stamp_ns: int) -> TransformStamped:
        return pose_to_transform(cls.odom_from_base, "odom", "base", stamp_ns)

    @classmethod
    def message(cls, stamp_ns: int) -> Odometry:
        message = Odometry(child_frame_id="base")
        message.header = cls.transform(stamp_ns).header
        message.pose.pose = pose_to_msg(cls.odom_from_base)
        return message


@pytest.mark.parametrize("source", ["tf", "topic"])
def test_odometry_gives_map_from_odom_post_dated(ros, wall_world, source):
    model, map_file = wall_world
    quat, arm = _Odometry.base_from_camera.quat_xyzw(), _Odometry.base_from_camera.translation
    parameters = {
        "map_file": str(map_file), "model_file": str(model), "autostart": True, "base_frame_id": "base",
        "odom_frame_id": "odom", "transform_tolerance": 0.25, "odom_timeout_s": 0.5, "correction_timeout_s": 1.0,
        "base_from_camera": " ".join(str(v) for v in (*arm, *quat)), "odom_topic": "odom" if source == "topic" else "",
    }  # fmt: skip
    robot = Robot(ros, parameters)
    try:
        robot.tf = robot.listen(TFMessage, "tf")
        broadcaster, odometry = robot.publisher(TFMessage, "tf", 100), robot.publisher(Odometry, "odom")
        robot.wait_active()
        robot.pose_of(view(SHIFT), 20)
        assert not transforms(robot.tf, "odom")
        until(lambda: "no odometry" in robot.said())

        def drive():
            """Odometry on both sides of an image's stamp, the later one after the image."""
            stamp = robot.stamp()
            for moment in (stamp - 2 * 10**7, stamp + 2 * 10**7):
                if source == "tf":
                    broadcaster.publish(TFMessage(transforms=[_Odometry.transform(moment)]))
                else:
                    odometry.publish(_Odometry.message(moment))
                if moment < stamp:
                    robot.show(view(SHIFT), stamp)
            time.sleep(0.3)
            return True

        found = until(lambda: drive() and transforms(robot.tf, "odom"), 15, "map->odom")[0]
        map_from_odom = pose_from_transform(found.transform)
        assert_at(map_from_odom @ _Odometry.odom_from_base @ _Odometry.base_from_camera, SHIFT)
        stamps = {stamp_of(pose) for pose in robot.poses}
        assert stamp_of(found) - 250_000_000 in stamps
        assert_at(pose_from_msg(robot.poses[-1].pose) @ _Odometry.base_from_camera, SHIFT)
        assert_bridged_and_frozen(robot)
    finally:
        robot.close()


def test_simulated_time(ros, wall_world):
    """Starts and reports without a clock, takes the past of a recording, and refuses what /clock has not reached."""
    model, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True, "use_sim_time": True},
                  "/clock:=clock")  # fmt: skip
    try:
        clock = robot.publisher(Clock, "clock")
        robot.wait_active()
        robot.until_says("nothing came on /clock", 20)

        def show() -> bool:
            clock.publish(Clock(clock=Time(sec=1000)))  # each time: a clock's subscription is best effort
            robot.show(view(SHIFT), 10**12 + robot.stamp() % 10**9)
            return bool(robot.poses)

        until(show, 15, "a pose")
        found = robot.poses
        assert 1000 <= found[0].header.stamp.sec <= 1001
        robot.until_says("ahead of the clock", 10, lambda: robot.show(view(SHIFT), 1100 * 10**9))
    finally:
        robot.close()


def test_a_frame_with_another_parent_is_not_stolen(ros, wall_world):
    """Without base_frame_id a camera that hangs under something else in TF keeps its parent."""
    model, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True})
    try:
        robot.tf = robot.listen(TFMessage, "tf")
        static = robot.publisher(TFMessage, "tf_static", LATCHED)
        static.publish(TFMessage(transforms=[pose_to_transform(Pose(), "base", "camera", 0)]))
        robot.wait_active()
        robot.until_says("under 'base' already", 20, lambda: robot.show(view(SHIFT)))
        robot.tf.clear()  # until /tf_static is discovered the node cannot know
        assert robot.pose_of(view(SHIFT))
        time.sleep(0.3)
        assert not transforms(robot.tf, "camera")
    finally:
        robot.close()


def text_of(pose: Pose) -> str:
    return " ".join(str(value) for value in (*pose.translation, *pose.quat_xyzw()))


def test_a_robot_on_a_plane_has_no_height_and_does_not_lean(ros, wall_world):
    """Position and heading are what was found; a base that leans in the map is reported."""
    model, map_file = wall_world
    map_from_base = Pose(Rotation.from_euler("zx", [0.7, 0.05]).as_matrix(), np.array([1.0, 2.0, 0.1]))
    mounting = text_of(map_from_base.inverse() @ map_from_camera(SHIFT))
    robot = Robot(ros, {
        "map_file": str(map_file), "model_file": str(model), "autostart": True, "base_frame_id": "base",
        "base_from_camera": mounting, "two_d_mode": True,
    })  # fmt: skip
    try:
        robot.wait_active()
        pose = pose_from_msg(robot.pose_of(view(SHIFT)).pose)
        assert pose.translation == pytest.approx([1.0, 2.0, 0.0], abs=0.01)
        assert Rotation.from_matrix(pose.rotation).as_rotvec() == pytest.approx([0.0, 0.0, 0.7], abs=0.01)
        covariance = until(lambda: robot.with_covariance)[-1].pose.covariance.reshape(6, 6)
        assert np.diag(covariance)[2:5] == pytest.approx(1e-6)
        robot.until_says("localized (", again=lambda: robot.show(view(SHIFT)), level=DiagnosticStatus.OK)
        assert robot.set("two_d_mode", False).successful
        until(lambda: abs(pose_from_msg(robot.pose_of(view(SHIFT)).pose).translation[2] - 0.1) < 0.01)
        assert robot.set("two_d_mode", True).successful
    finally:
        robot.close()


def test_initial_poses_start_tracking(ros, wall_world):
    """From the parameters at activation, later from a topic; the first pose then needs no search of the whole map."""
    model, map_file = wall_world
    forward_x = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    base_from_camera = Pose(forward_x, np.array([0.1, 0.0, 1.5]))
    map_from_base = map_from_camera(SHIFT) @ base_from_camera.inverse()
    x, y, z = map_from_base.translation.tolist()
    yaw = float(Rotation.from_matrix(map_from_base.rotation).as_euler("xyz")[2])
    robot = Robot(ros, {
        "map_file": str(map_file), "model_file": str(model), "autostart": True, "base_frame_id": "base",
        "base_from_camera": text_of(base_from_camera), "set_initial_pose": True, "initial_pose.x": x,
        "initial_pose.y": y, "initial_pose.z": z, "initial_pose.yaw": yaw, "localizer.global_check_every": 0,
    })  # fmt: skip
    try:
        initial = robot.publisher(PoseWithCovarianceStamped, "initialpose")
        robot.wait_active()
        known = len(robot.statuses())
        assert_at(pose_from_msg(robot.pose_of(view(SHIFT)).pose) @ base_from_camera, SHIFT)
        robot.until_says("localized (tracking)", again=lambda: robot.show(view(SHIFT)), since=known)
        assert not [status for status in robot.statuses() if "localized (global)" in status.message]
        robot.call(Empty, "reinitialize_global_localization")
        # Slowly: diagnostics may pass over a state that lasts for one image of many.
        robot.until_says("localized (global)", again=lambda: robot.show(view(SHIFT)) and time.sleep(1.0))
        robot.call(Empty, "reinitialize_global_localization")
        until(initial.get_subscription_count)
        elsewhere = pose_to_stamped_with_covariance(map_from_base, np.eye(6), "elsewhere", 1)
        until(lambda: initial.publish(elsewhere) or time.sleep(0.1) or "initialpose ignored" in robot.log)
        initial.publish(pose_to_stamped_with_covariance(map_from_base, np.eye(6), "map", 1))
        time.sleep(0.3)
        known = len(robot.statuses())
        robot.until_says("localized (", again=lambda: robot.show(view(SHIFT)))
        first = next(status for status in robot.statuses()[known:] if "localized (" in status.message)
        assert first.message == "localized (tracking)"
    finally:
        robot.close()
