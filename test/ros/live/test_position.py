"""Where the robot is while it maps, over DDS: its pose by the newest version, and map->odom from one node only."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install 'hfnet_ros[mapping]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from mapping_robot import STEPS, Driver, ask, odom_from_camera, parameters, values
from robot import Mapper, Robot, until
from tf2_msgs.msg import TFMessage

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.maps.storage import load_map
from hfnet_ros.conversions import pose_from_msg, pose_from_transform, stamp_to_ns

HERE, HANDED_OVER = "broadcast here", "handed over to a localization node"  # map->odom, in diagnostics
NOISE = np.random.default_rng(0).integers(0, 256, (240, 320), dtype=np.uint8)


@pytest.fixture
def mapper(ros, wall_world, tmp_path):
    robots = []

    def start(**others) -> Mapper:
        robot = Mapper(ros, parameters(tmp_path, wall_world[0], **others))
        robots.append(robot)
        robot.driver = Driver(robot)
        robot.tf = robot.listen(TFMessage, "tf", 100)
        robot.pose = robot.listen(PoseStamped, "mapping/pose", 100)
        robot.covered = robot.listen(PoseWithCovarianceStamped, "mapping/pose_with_covariance", 100)
        robot.corrections = robot.listen(PoseWithCovarianceStamped, "mapping/correction", 100)
        return robot

    yield start
    for robot in robots:
        robot.close()


def corrections(messages) -> list[Pose]:
    return [
        pose_from_transform(item.transform)
        for message in list(messages)
        for item in message.transforms
        if (item.header.frame_id, item.child_frame_id) == ("map", "odom")
    ]


def error(message: PoseStamped, shift: int) -> float:
    return pose_error(pose_from_msg(message.pose), odom_from_camera(shift))[0]


def shown_and_says(robot: Mapper, wait_s: float, correction: str) -> bool:
    """Whether the mapping node says so of map->odom, a moment after an image that tells nothing."""
    shown = robot.driver.show(96, NOISE)
    time.sleep(wait_s)
    return bool(shown) and values(robot).get("map->odom") == correction


def test_every_image_has_a_pose_from_the_first_one_on(mapper, tmp_path):
    robot = mapper()
    robot.driver.wait()
    robot.driver.drive()
    until(lambda: robot.pose and stamp_to_ns(robot.pose[-1].header.stamp) == robot.driver.stamps[-1], 20.0)
    shown = dict(zip(robot.driver.stamps, STEPS, strict=True))
    assert len(robot.pose) >= 0.9 * len(STEPS)
    assert all(message.header.frame_id == "map" for message in robot.pose)
    assert all(error(message, shown[stamp_to_ns(message.header.stamp)]) < 1e-6 for message in robot.pose)
    before = [message.pose.covariance[0] for message in robot.covered]
    assert before[-1] > before[0] > 0  # the further, the less certain
    assert corrections(robot.tf)
    until(lambda: values(robot).get("map->odom") == HERE, 10.0)
    assert ask(robot, "save_map").success
    newest_ns = load_map(tmp_path / "wall.hfmap").keyframe_stamps_ns.max()
    until(
        lambda: (
            robot.driver.show(STEPS[-1])
            and time.sleep(0.2) is None
            and stamp_to_ns(robot.corrections[-1].header.stamp) == newest_ns
        ),
        20.0,
        "what the version says",
    )
    count = len(robot.pose)
    robot.driver.drive(reversed(STEPS), 0.05)
    until(lambda: len(robot.pose) > count + 10, 20.0)
    shown = dict(zip(robot.driver.stamps[-len(STEPS) :], reversed(STEPS), strict=True))
    late = [message for message in robot.pose if stamp_to_ns(message.header.stamp) in shown]
    assert max(error(message, shown[stamp_to_ns(message.header.stamp)]) for message in late) < 0.1
    assert max(np.linalg.norm(pose.translation) for pose in corrections(robot.tf)) < 0.1
    assert "Traceback" not in robot.log


def test_a_stretch_whose_odometry_began_anew_has_poses_once_a_version_holds_it(mapper):
    """The robot stood elsewhere when its odometry began: a jump of the odometry, none of the robot."""
    robot = mapper()
    robot.driver.wait()
    robot.driver.drive()
    until(lambda: robot.pose, 20.0)
    began_anew = Pose(np.eye(3), np.array([30.0, 0.0, 5.0]))
    robot.driver.moved = began_anew
    robot.driver.drive(reversed(STEPS))
    until(lambda: "another stretch of the drive" in robot.log, 20.0)
    time.sleep(1.0)
    count = len(robot.pose)
    robot.driver.drive(STEPS[:5])
    time.sleep(1.0)
    assert len(robot.pose) == count  # nobody knows where it is
    assert ask(robot, "save_map").success
    until(lambda: robot.driver.show(64) and time.sleep(0.2) is None and len(robot.pose) > count + 2, 30.0, "poses")
    assert error(robot.pose[-1], 64) < 0.15
    there = corrections(robot.tf)[-1]
    assert pose_error(there @ began_anew, Pose())[0] < 0.15


def test_where_poses_are_given_they_are_passed_on(mapper):
    robot = mapper(**{"build.pose_mode": "given"})
    robot.driver.wait()
    robot.driver.drive(STEPS[:10])
    until(lambda: len(robot.pose) > 5, 20.0)
    assert robot.pose[-1].header.frame_id == "odom"
    assert not corrections(robot.tf)


def test_tf_broadcast_is_a_parameter(mapper):
    robot = mapper(tf_broadcast=False)
    robot.driver.wait()
    robot.driver.drive(STEPS[:10])
    until(lambda: len(robot.pose) > 5 and robot.corrections, 20.0)
    assert not corrections(robot.tf)
    assert robot.set("tf_broadcast", True).successful
    robot.driver.drive(STEPS[10:20])
    until(lambda: corrections(robot.tf), 10.0)
    assert robot.set("transform_tolerance", 1.0).successful
    assert robot.set("correction_timeout_s", 1.0).successful


def follower(robot: Mapper, ros, model, folder) -> Robot:
    """A localization node beside, active in the map that the mapping node has just made."""
    robot.driver.wait()
    robot.driver.drive()
    assert ask(robot, "save_map").success
    beside = Robot(
        ros,
        {"map_file": str(folder / "wall.hfmap"), "model_file": str(model), "autostart": True,
         "map_follow": True, "odom_frame_id": "odom", "odom_topic": "odom", "image_reliability": "reliable",
         "localizer.search_budget_ms": 1000.0, "correction_timeout_s": 0.5},
        namespace=robot.namespace,
    )  # fmt: skip
    until(lambda: beside.state() == "active", 60.0, "the localization node")
    return beside


def test_beside_a_localization_node_that_one_broadcasts_for_both(mapper, ros, wall_world, tmp_path):
    """Also while no image is recognised, which it could not do by itself."""
    robot = mapper()
    beside = follower(robot, ros, wall_world[0], tmp_path)
    try:
        until(lambda: shown_and_says(robot, 0.2, HANDED_OVER), 30.0)
        time.sleep(1.0)
        robot.tf.clear()
        for _ in range(20):
            robot.driver.show(96, NOISE)
            time.sleep(0.1)
        until(lambda: corrections(robot.tf), 10.0, "map->odom, handed over")
        assert np.linalg.norm(corrections(robot.tf)[-1].translation) < 0.1
        poses = list(beside.poses)
        assert not poses  # what no image tells is no pose of the localization node
        beside.close()
        robot.tf.clear()
        until(lambda: shown_and_says(robot, 0.3, HERE), 60.0, "the mapping node by itself again")
        assert "Traceback" not in beside.log + robot.log
    finally:
        beside.close()


def test_who_broadcasts_changes_with_the_parameters_of_the_localization_node_beside(mapper, ros, wall_world, tmp_path):
    """At once: one that is told to follow no more, or to broadcast no more, leaves it to the mapping node."""
    robot = mapper()
    beside = follower(robot, ros, wall_world[0], tmp_path)
    try:
        until(lambda: shown_and_says(robot, 0.2, HANDED_OVER), 30.0)
        for name in ("map_follow", "tf_broadcast"):
            assert beside.set(name, False).successful
            until(lambda: shown_and_says(robot, 0.3, HERE), 30.0, f"the mapping node, without {name}")
            robot.tf.clear()
            robot.driver.show(96, NOISE)
            until(lambda: corrections(robot.tf), 10.0)
            assert beside.set(name, True).successful
            until(lambda: shown_and_says(robot, 0.3, HANDED_OVER), 30.0, f"the localization node, with {name}")
        assert beside.state() == "active"
        assert "Traceback" not in beside.log + robot.log
    finally:
        beside.close()
