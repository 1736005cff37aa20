"""Who broadcasts map->odom of two nodes, by their topics alone: the other node is played by the test.

`mapping/followed_by` has a publisher while somebody follows the map; `mapping/correction` says where the odometry's
frame is.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from geometry_msgs.msg import PoseWithCovarianceStamped
from mapping_robot import STEPS, Driver, parameters, values
from robot import LATCHED, Mapper, Robot, until
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from wall import noise_image

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.maps.storage import load_map
from hfnet_ros.conversions import pose_from_transform, pose_to_stamped_with_covariance, stamp_to_ns

MAP_FROM_ODOM = Pose.from_quat_xyzw([0.0, 0.0, 0.6, 0.8], [3.0, 1.0, 0.0])
SURE = np.diag([1e-4] * 6)


def corrections(messages: list) -> list[Pose]:
    return [
        pose_from_transform(item.transform)
        for message in list(messages)
        for item in message.transforms
        if (item.header.frame_id, item.child_frame_id) == ("map", "odom")
    ]


@pytest.fixture
def mapper(ros, wall_world, tmp_path):
    robots = []

    def start(*remaps: str) -> Mapper:
        robot = Mapper(ros, parameters(tmp_path, wall_world[0], solve="never"), *remaps)
        robots.append(robot)
        robot.driver, robot.tf = Driver(robot), robot.listen(TFMessage, "tf", 100)
        robot.corrections = robot.listen(PoseWithCovarianceStamped, "mapping/correction", 100)
        robot.driver.wait()
        return robot

    yield start
    for robot in robots:
        robot.close()


def says(robot: Mapper, text: str) -> bool:
    """Whether the mapping node says so of map->odom, a moment after an image."""
    robot.driver.show(STEPS[0])
    time.sleep(0.3)
    return values(robot).get("map->odom") == text


@pytest.mark.parametrize("topic", ["mapping/followed_by", "beside/followed_by"])
def test_the_mapping_node_broadcasts_unless_somebody_follows(mapper, topic):
    """A publisher is all that it takes, whatever it says and even if it says nothing; the topic can be remapped."""
    robot = mapper(*([] if topic.startswith("mapping") else [f"mapping/followed_by:={topic}"]))
    until(lambda: says(robot, "broadcast here"), 20.0, "map->odom of the mapping node")
    assert corrections(robot.tf)
    follower = robot.node.create_publisher(String, f"{robot.namespace}/{topic}", LATCHED)
    until(lambda: says(robot, "handed over to a localization node"), 20.0, "the hand-over")
    time.sleep(0.5)  # what was sent before that
    robot.tf.clear()
    robot.corrections.clear()
    robot.driver.drive([STEPS[0]] * 10)
    until(lambda: len(robot.corrections) >= 3, 10.0, "its word, for the one who broadcasts")
    assert not corrections(robot.tf)
    robot.node.destroy_publisher(follower)
    until(lambda: says(robot, "broadcast here"), 20.0, "map->odom of the mapping node again")
    until(lambda: says(robot, "broadcast here") and corrections(robot.tf), 10.0)


@pytest.fixture
def beside(ros, wall_world):
    robots = []

    def start(*remaps: str, **others) -> Robot:
        model, map_file = wall_world
        given = {"map_file": str(map_file), "model_file": str(model), "autostart": True, "map_follow": True,
                 "odom_frame_id": "odom", "correction_timeout_s": 0.5, **others}  # fmt: skip
        robot = Robot(ros, given, *remaps)
        robots.append(robot)
        robot.tf = robot.listen(TFMessage, "tf", 100)
        robot.wait_active()
        return robot

    yield start
    for robot in robots:
        robot.close()


def followers(robot: Robot, mapper: str = "mapping") -> int:
    return int(robot.node.count_publishers(f"{robot.namespace}/{mapper}/followed_by"))


def test_a_localization_node_makes_itself_known_as_long_as_it_would_broadcast(beside):
    robot = beside()
    until(lambda: followers(robot) == 1, 20.0)
    late = robot.listen(String, "mapping/followed_by", LATCHED)
    until(lambda: late and late[0].data == robot.name, 10.0, "its name, also for those who come later")
    for name in ("map_follow", "tf_broadcast"):
        assert robot.set(name, False).successful
        until(lambda: followers(robot) == 0, 10.0, f"nobody, without {name}")
        assert robot.set(name, True).successful
        until(lambda: followers(robot) == 1, 10.0, f"somebody, with {name}")
    assert robot.transition("deactivate")
    until(lambda: followers(robot) == 0, 10.0, "nobody, once it is inactive")


@pytest.mark.parametrize("without", [{"map_follow": False}, {"tf_broadcast": False}, {"odom_frame_id": ""}])
def test_a_localization_node_that_would_not_broadcast_is_no_follower(beside, without):
    robot = beside(**without)
    robot.until_says("not localized", again=lambda: robot.show(noise_image()))  # it has had its time
    assert followers(robot) == 0


def test_it_broadcasts_what_the_mapping_node_says_of_the_version_in_use(beside, wall_world):
    """Of another version, or no pose at all, it says nothing; another node's name is remapped."""
    names = ("correction", "followed_by")
    robot = beside(*(f"mapping/{name}:=other/{name}" for name in names))
    until(lambda: followers(robot, "other") == 1, 20.0)
    assert followers(robot) == 0
    word = robot.publisher(PoseWithCovarianceStamped, "other/correction", 1)
    newest_ns = int(load_map(wall_world[1]).keyframe_stamps_ns.max())

    def tell(pose: Pose, version_ns: int) -> None:
        robot.show(noise_image())
        word.publish(pose_to_stamped_with_covariance(pose, SURE, "map", version_ns))
        time.sleep(0.1)

    until(word.get_subscription_count, 20.0)
    for _ in range(10):
        tell(MAP_FROM_ODOM, newest_ns + 1)
    broken = pose_to_stamped_with_covariance(MAP_FROM_ODOM, SURE, "map", newest_ns)
    broken.pose.pose.position.x = float("nan")
    until(lambda: word.publish(broken) or time.sleep(0.1) or "correction ignored" in robot.log, 10.0)
    assert not corrections(robot.tf)
    until(lambda: tell(MAP_FROM_ODOM, newest_ns) or corrections(robot.tf), 20.0, "map->odom by the mapping node's word")
    assert pose_error(corrections(robot.tf)[-1], MAP_FROM_ODOM)[0] < 1e-6
    assert not robot.poses  # which is no pose of an image
    for _ in range(10):
        tell(MAP_FROM_ODOM, newest_ns)
    stamps = [stamp_to_ns(item.header.stamp) for message in robot.tf for item in message.transforms]
    assert max(stamps) - min(stamps) > 0.5e9  # kept alive beyond correction_timeout_s
    assert "Traceback" not in robot.log
