"""The mapping node as a robot sees it, over DDS: keyframes, versions of the map, the localization node beside it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install 'hfnet_ros[mapping]'")

from bags import odometry as write_odometry
from diagnostic_msgs.msg import DiagnosticStatus
from mapping_robot import CONFIG, STEPS, Driver, ask, odom_from_camera, parameters, values
from nav_msgs.msg import Path as PathMsg
from robot import LATCHED, Mapper, Robot, image_msg, until
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import SetBool
from visualization_msgs.msg import Marker
from wall import CAMERA, view

from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import pose_error
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.maps.storage import load_map
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_ros.conversions import pose_from_msg


@pytest.fixture
def mapper(ros, wall_world, tmp_path):
    robots = []

    def start(*remaps: str, **others) -> Mapper:
        robots.append(Mapper(ros, parameters(tmp_path, wall_world[0], **others), *remaps))
        robots[-1].driver = Driver(robots[-1])
        return robots[-1]

    yield start
    for robot in robots:
        robot.close()


def recorded(path: Path, model: Path, stamps: list[int]):
    """What `hfnet map build` makes of a recording of the same images and odometry."""
    with open_writer(path, "mcap") as writer:
        for stamp_ns, shift in zip(stamps, STEPS, strict=True):
            writer.camera_info(stamp_ns, CAMERA)
            writer.image(stamp_ns, view(shift))
            write_odometry(writer, "/odom", stamp_ns, "odom", "camera", odom_from_camera(shift))
    extractor = Extractor(open_backend(model, "onnxruntime"), CONFIG.extraction)
    return build_map([path], extractor, CONFIG)


def test_a_drive_over_topics_gives_the_map_of_its_recording(mapper, wall_world, tmp_path):
    """No image is lost here, so the bound is: the same map, number by number."""
    robot = mapper()
    cloud = robot.listen(PointCloud2, "mapping/map_cloud", LATCHED)
    keyframes = robot.listen(Marker, "mapping/keyframes", LATCHED)
    path = robot.listen(PathMsg, "mapping/path")
    status = robot.listen(DiagnosticStatus, "mapping/status", LATCHED)
    robot.driver.wait()
    until(lambda: status and {item.key: item.value for item in status[-1].values}["ready"] == "true", 20.0)
    robot.driver.drive()
    assert not (tmp_path / "wall.hfmap").exists()  # nobody has asked, and publish_every_s is 0
    answer = ask(robot, "finish")
    assert answer.success, answer.message
    live, offline = load_map(tmp_path / "wall.hfmap"), recorded(tmp_path / "wall", wall_world[0], robot.driver.stamps)
    assert f"{live.landmarks} landmarks of {live.keyframes} keyframes" in answer.message
    assert live.keyframes >= 10
    assert live.landmarks > 50
    assert live.keyframe_stamps_ns.tolist() == offline.keyframe_stamps_ns.tolist()
    for name in ("keyframe_poses", "landmarks_xyz", "observation_px", "observation_descriptors"):
        assert np.array_equal(getattr(live, name), getattr(offline, name)), name
    assert live.frame_id == "map"
    told = live.provenance["recordings"][0]
    assert (told["camera_frame"], told["image_topic"]) == ("camera", f"{robot.namespace}/image")
    assert (told["images"] > STEPS[-1] // 4 - 5, told["poses"]) == (True, "odom")
    until(lambda: cloud and cloud[-1].width == live.landmarks, 20.0, "the map for rviz")
    assert keyframes[-1].points
    until(lambda: path and len(path[-1].poses) == live.keyframes, 20.0, "where keyframes were taken")
    assert path[-1].header.frame_id == "odom"
    metres, _ = pose_error(pose_from_msg(path[-1].poses[-1].pose), odom_from_camera(STEPS[-1]))
    assert metres < 0.15
    until(lambda: values(robot).get("keyframes in map") == str(live.keyframes), 20.0)
    told = values(robot)
    assert told["keyframes not in map yet"] == "0"
    assert (told["map version"], told["landmarks in map"]) == ("1", str(live.landmarks))
    assert float(told["map version age [s]"]) >= 0
    assert float(told["share of a core, recording"]) > 0
    assert told["images dropped"] == told["images refused"] == "0"
    before = values(robot)["keyframes"]
    robot.driver.drive(range(0, 40, 4))  # the drive is over
    time.sleep(1.0)
    assert values(robot)["keyframes"] == before
    assert "Traceback" not in robot.log


def test_the_localization_node_beside_follows_every_version(mapper, ros, wall_world, tmp_path):
    """It waits for the first one, and goes on in each that follows."""
    robot = mapper(publish_every_s=1.0)
    beside = Robot(
        ros,
        {"map_file": str(tmp_path / "wall.hfmap"), "model_file": str(wall_world[0]), "autostart": True,
         "map_follow": True, "odom_frame_id": "odom", "odom_topic": "odom", "image_reliability": "reliable",
         "localizer.search_budget_ms": 1000.0, "localizer.min_confidence": 0.5, "localizer.min_inliers": 12},
        namespace=robot.namespace,
    )  # fmt: skip
    try:
        beside.until_says("waiting for the map", 20.0)
        assert beside.state() == "unconfigured"
        robot.driver.wait()
        robot.driver.drive()
        until((tmp_path / "wall.hfmap").exists, 60.0, "a first version")
        until(lambda: beside.state() == "active", 60.0, "the localization node")
        first = int(values(robot)["map version"])
        beside.driver = robot.driver
        until(
            lambda: robot.driver.show(48) and time.sleep(0.3) is None and beside.poses,
            30.0,
            "a pose in a map just made",
        )
        robot.driver.drive(reversed(STEPS))
        until(lambda: int(values(robot)["map version"]) > first, 60.0, "another version")
        until(lambda: "map_follow: now in a new version" in beside.log, 30.0, "the other version")
        before = len(beside.poses)
        until(lambda: robot.driver.show(144) and time.sleep(0.3) is None and len(beside.poses) > before, 30.0)
        pose = pose_from_msg(beside.poses[-1].pose)
        metres, degrees = pose_error(pose, odom_from_camera(144))
        assert metres < 0.1
        assert degrees < 3.0
        assert "Traceback" not in beside.log + robot.log
    finally:
        beside.close()


def test_save_map_makes_a_version_of_what_is_there(mapper, tmp_path):
    robot = mapper()
    robot.driver.wait()
    robot.driver.drive(STEPS[:2])
    answer = ask(robot, "save_map")
    assert not answer.success
    assert "no new version of the map" in answer.message
    assert "no keyframes yet" in answer.message
    robot.driver.drive(STEPS[2:])
    answer = ask(robot, "save_map")
    assert answer.success, answer.message
    first = load_map(tmp_path / "wall.hfmap").keyframes
    robot.driver.drive(reversed(STEPS))
    assert ask(robot, "save_map").success
    assert load_map(tmp_path / "wall.hfmap").keyframes > first


def test_pause_lets_images_pass_by(mapper):
    robot = mapper()
    robot.driver.wait()
    assert robot.call(SetBool, "mapping/pause", SetBool.Request(data=True)).success
    robot.until_says("paused by request", level=DiagnosticStatus.WARN)
    robot.driver.drive(STEPS, 0.05)
    until(lambda: int(values(robot)["images dropped"]) >= 10, 10.0)  # a busy node does not hear all of them
    assert values(robot)["keyframes"] == "0"
    assert robot.call(SetBool, "mapping/pause", SetBool.Request(data=False)).message == "running"
    robot.driver.drive(STEPS)
    until(lambda: int(values(robot)["keyframes"]) > 3, 20.0)


def test_deactivation_ends_the_drive_with_a_last_version(mapper, tmp_path):
    robot = mapper(autostart=False)
    assert not ask(robot, "save_map").success
    assert ask(robot, "finish").message == "not active"
    assert not robot.call(SetBool, "mapping/pause").success
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.driver.wait()
    robot.driver.drive()
    assert robot.transition("deactivate")
    until(lambda: robot.driver.images.get_subscription_count() == 0)
    until((tmp_path / "wall.hfmap").exists, 60.0, "the last version")
    until(lambda: values(robot).get("map version") == "1", 20.0)
    assert load_map(tmp_path / "wall.hfmap").keyframes == int(values(robot)["keyframes"])
    assert robot.transition("cleanup")
    assert robot.state() == "unconfigured"
    assert robot.transition("configure")  # and the drive may go on
    assert robot.transition("activate")
    robot.driver.wait()
    robot.driver.drive(STEPS[:12])
    assert ask(robot, "finish").success
    assert robot.end(signal.SIGINT)[0] == 0
    assert "Traceback" not in robot.log


def test_a_killed_node_goes_on_where_it_was(mapper, tmp_path):
    """All but the newest images is there again: a likely keyframe is written 0.2 s after it was taken."""
    robot = mapper()
    robot.driver.wait()
    robot.driver.drive(STEPS[:30])
    until(lambda: int(values(robot)["keyframes"]) >= 3, 20.0)
    robot.process.kill()
    robot.process.wait(10)
    folder = DriveFolder(tmp_path / "wall.hfdrive")
    kept = [item.keyframe.stamp_ns for item in folder.keyframes()]
    assert kept
    assert len([stamp for stamp in robot.driver.stamps if stamp > kept[-1]]) <= 16 + 5  # on a busy machine some wait
    again = mapper()
    until(lambda: f"which has {len(kept)}" in again.log, 30.0, "what it goes on from")
    again.driver.wait()
    again.driver.drive(STEPS[30:])
    answer = ask(again, "finish")
    assert answer.success, answer.message
    built = load_map(tmp_path / "wall.hfmap")
    assert set(kept) <= set(built.keyframe_stamps_ns.tolist())
    assert {name.partition("/")[0] for name in built.keyframe_names} <= {"0", "1"}


def test_without_the_solver_keyframes_are_recorded_for_another_computer(mapper, tmp_path):
    robot = mapper(solve="never")
    robot.driver.wait()
    robot.until_says("no map is made here: `hfnet map build", level=DiagnosticStatus.WARN)
    robot.driver.drive()
    assert not ask(robot, "save_map").success
    answer = ask(robot, "finish")
    assert answer.success
    assert f"hfnet map build {tmp_path / 'wall.hfdrive'} -o {tmp_path / 'wall.hfmap'}" in answer.message
    assert not (tmp_path / "wall.hfmap").exists()
    assert DriveFolder(tmp_path / "wall.hfdrive").count() >= 10


def test_images_without_odometry_are_refused_and_said(mapper):
    robot = mapper()
    robot.driver.wait()

    def show() -> None:
        robot.driver.infos.publish(robot.driver.info)  # each time, as drivers do: the node's subscription may lose one
        robot.driver.images.publish(image_msg(view(0), robot.stamp()))

    robot.until_says("no odometry", again=show)
    assert int(values(robot)["images refused"]) > 0


def test_time_that_goes_back_begins_another_stretch(mapper, tmp_path):
    robot = mapper()
    robot.driver.wait()
    robot.driver.drive()
    robot.stamp = lambda: time.time_ns() - 3_600 * 10**9
    robot.driver.drive()
    until(lambda: "what comes is another stretch of the drive" in robot.log, 20.0)
    answer = ask(robot, "finish")
    assert answer.success, answer.message
    assert {source.drive for source in DriveFolder(tmp_path / "wall.hfdrive").sources().values()} == {0, 1}


def refused(robot: Mapper, text: str) -> None:
    until(lambda: "cannot configure" in robot.log, 30.0, text)
    assert text in robot.log
    assert "Traceback" not in robot.log


def test_what_does_not_fit_is_refused_in_one_line(mapper, wall_world, tmp_path):
    other = tmp_path / "other.hfmap"
    other.write_bytes(wall_world[1].read_bytes())
    refused(mapper(map_file=str(other)), f"map_file: {other} exists and is not of {tmp_path / 'other.hfdrive'}")
    refused(mapper(map_file=""), "map_file: is empty")
    refused(mapper(map_file=str(tmp_path / "wall.map")), "a map's name ends in .hfmap")
    refused(mapper(odom_frame_id="", odom_topic=""), "odom_frame_id: is empty, and images alone show no scale")
    first = mapper(drive_folder=str(tmp_path / "elsewhere"))
    first.driver.wait()
    assert (tmp_path / "elsewhere/drive.json").is_file()
    refused(mapper(drive_folder=str(tmp_path / "elsewhere")), "another node records there")


def test_parameters_are_declared_ranged_and_fixed_while_configured(mapper):
    robot = mapper()
    robot.driver.wait()
    assert robot.get("publish_every_s") == 0.0
    assert robot.set("publish_every_s", 5.0).successful
    assert not robot.set("publish_every_s", -1.0).successful
    for name, value in (("map_file", "/tmp/x.hfmap"), ("build.keyframe_distance_m", 0.5), ("queue_images", 5)):
        result = robot.set(name, value)
        assert not result.successful
        assert "can only change while the node is unconfigured" in result.reason
    assert robot.transition("deactivate")
    assert robot.transition("cleanup")
    assert robot.set("build.keyframe_distance_m", 0.5).successful
    assert "needs odom_frame_id" in robot.set("odom_frame_id", "").reason
    assert "is no name of a frame" in robot.set("global_frame_id", "/map").reason
    assert robot.set("global_frame_id", "yard").successful
    assert not robot.set("solve", "sometimes").successful


def test_given_poses_keep_their_frame(mapper, tmp_path):
    """Poses of another localizer: the map is in its frame, and nothing drifts."""
    robot = mapper(**{"build.pose_mode": "given", "odom_frame_id": "odom"})
    robot.driver.wait()
    robot.driver.drive()
    assert ask(robot, "finish").success
    built = load_map(tmp_path / "wall.hfmap")
    assert built.frame_id == "odom"
    assert built.provenance["pose_mode"] == "given"
    metres, _ = pose_error(built.map_from_camera(built.keyframes - 1), odom_from_camera(STEPS[-1]))
    assert metres < 0.1
