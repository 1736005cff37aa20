"""The active node over real DDS: what it publishes for images, and what it says when it cannot."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseStamped
from helpers import shared_data
from nav_msgs.msg import Path
from nav_msgs.srv import LoadMap
from rclpy.qos import qos_profile_sensor_data
from robot import LATCHED, Robot, assert_at, stamp_of, transforms, until
from sensor_msgs.msg import CameraInfo, Image, NavSatFix, PointCloud2
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker
from wall import SHIFTS, doubled, map_from_camera, noise_image, view, wall_image

from hfnet_core.config import LocalizerConfig
from hfnet_core.georeference.datum import Georeference
from hfnet_core.georeference.earth import Geodetic
from hfnet_core.maps.storage import load_map, save_map
from hfnet_ros.conversions import pose_from_msg, pose_from_transform

SHIFT = 64


@pytest.fixture(scope="module")
def robot(ros, wall_world):
    """A node that knows the wall, active."""
    model, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True, "path_length": 5})
    try:
        robot.tf = robot.listen(TFMessage, "tf")
        robot.wait_active()
        yield robot
    finally:
        robot.close()


@pytest.fixture(autouse=True)
def no_prior(request):
    """Every test of the shared node starts without a past."""
    if "robot" in request.fixturenames:
        assert request.getfixturevalue("robot").call(Trigger, "localization/relocalize").success


def published(robot) -> int:
    """How many poses came, once all their messages did."""

    def counts():
        return {len(robot.poses), len(robot.with_covariance), len(transforms(robot.tf, "camera"))}

    return until(lambda: counts() if len(counts()) == 1 else None).pop()


def test_readiness_is_told_to_those_who_ask_later(robot):
    """Once the node knows who sends images and calibration, none of them is lost to discovery."""
    told = robot.listen(DiagnosticStatus, "localization/status", LATCHED)
    until(lambda: told and {item.key: item.value for item in told[-1].values} == {"state": "active", "ready": "true"})
    assert told[-1].message == "active"


def test_known_image_gives_pose_covariance_tf_and_diagnostics(robot):
    pose = robot.pose_of(view(SHIFT))
    assert pose.header.frame_id == "map"
    assert_at(pose_from_msg(pose.pose), SHIFT)
    stamp = stamp_of(pose)
    with_covariance = until(lambda: next((m for m in robot.with_covariance if stamp_of(m) == stamp), None))
    assert_at(pose_from_msg(with_covariance.pose.pose), SHIFT)
    covariance = with_covariance.pose.covariance.reshape(6, 6)
    assert np.allclose(covariance, covariance.T)
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    transform = until(lambda: next((t for t in transforms(robot.tf, "camera") if stamp_of(t) == stamp), None))
    assert transform.header.frame_id == "map"
    assert_at(pose_from_transform(transform.transform), SHIFT)
    status = robot.until_says("localized (", again=lambda: robot.show(view(SHIFT)))
    values = {item.key: item.value for item in status.values}
    assert status.level == DiagnosticStatus.OK
    assert values["state"] == "active"
    assert values["localized"] == "true"
    assert int(values["inliers"]) >= 20
    assert values["backend"].startswith("ONNX Runtime")
    assert len(values["model hash"]) == 64
    assert float(values["latency total p50/p95 [ms]"].split("/")[0]) > 0


def test_noise_is_not_answered(robot):
    robot.pose_of(view(SHIFT))
    before = published(robot)
    # On a busy machine "the camera is silent", an error, may come first; then this is a warning of its own.
    status = robot.until_says("not localized: ", again=lambda: robot.show(noise_image()), level=DiagnosticStatus.WARN)
    values = {item.key: item.value for item in status.values}
    assert values["localized"] == "false"
    assert values["reason code"]
    time.sleep(0.3)
    assert published(robot) == before
    robot.pose_of(view(SHIFT))  # and it finds back


def test_colour_and_16_bit_images(robot):
    gray = view(SHIFT)
    colour = np.repeat(gray[:, :, None], 3, axis=2)
    assert_at(pose_from_msg(robot.pose_of(colour, encoding="bgr8").pose), SHIFT)
    assert_at(pose_from_msg(robot.pose_of(gray.astype(np.uint16) * 4, encoding="mono16").pose), SHIFT)  # 10 bits
    assert_at(pose_from_msg(robot.pose_of(gray.astype(np.uint16) * 257, encoding="mono16").pose), SHIFT)


def test_parameters_are_refused_with_a_reason_or_apply(robot):
    refused = robot.set("localizer.min_inliers", 3)
    assert not refused.successful
    assert "min_inliers" in refused.reason
    assert robot.get("localizer.min_inliers") == LocalizerConfig().min_inliers
    late = robot.set("map_file", "other.hfmap")
    assert not late.successful
    assert "unconfigured" in late.reason
    assert not robot.set("autostart", False).successful
    assert robot.set("localizer.min_inliers", 10000).successful
    try:
        robot.until_says("not localized", again=lambda: robot.show(view(SHIFT)))
    finally:
        assert robot.set("localizer.min_inliers", LocalizerConfig().min_inliers).successful
    robot.pose_of(view(SHIFT))


def test_relocalize_forgets_the_prior(robot):
    # Each image is waited for: one on its way would take the global search, and the next would track already.
    until(lambda: robot.pose_of(view(SHIFT)) and "(tracking)" in robot.said())
    known = len(robot.statuses())
    assert robot.call(Trigger, "localization/relocalize").success
    assert robot.pose_of(view(SHIFT))  # one image
    robot.until_says("localized (global)", 3.0, since=known)


def test_pause_and_resume(robot):
    robot.pose_of(view(SHIFT))
    assert robot.call(SetBool, "localization/pause", SetBool.Request(data=True)).success
    before = len(robot.poses)
    robot.until_says("paused", again=lambda: robot.show(view(SHIFT)))
    time.sleep(0.3)
    assert len(robot.poses) == before
    assert robot.call(SetBool, "localization/pause", SetBool.Request(data=False)).success
    robot.pose_of(view(SHIFT))


def test_latched_map_for_late_viewers_and_path(robot, wall_world):
    landmark_map = load_map(wall_world[1])
    clouds = robot.listen(PointCloud2, "localization/map_cloud", LATCHED)
    keyframes = robot.listen(Marker, "localization/keyframes", LATCHED)
    paths = robot.listen(Path, "localization/path")
    cloud = until(lambda: clouds and clouds[0])
    assert cloud.header.frame_id == "map"
    points = np.frombuffer(cloud.data, np.float32).reshape(-1, 4)
    assert np.array_equal(points[:, :3], landmark_map.landmarks_xyz)
    assert len(until(lambda: keyframes and keyframes[0]).points) == 16 * len(SHIFTS)
    until(lambda: robot.pose_of(view(SHIFT)) and paths, 10)
    assert 1 <= len(paths[-1].poses) <= 5


def test_the_place_of_a_map_on_earth_is_latched(robot, wall_world, tmp_path):
    place = Georeference(Geodetic(48.1, 11.5, 520.0), np.eye(3), residual_m=0.2, fixes=9, source="/fix")
    there = replace(load_map(wall_world[1]), provenance={"georeference": place.as_dict()})
    save_map(there, tmp_path / "there.hfmap")
    response = robot.call(LoadMap, "localization/load_map", LoadMap.Request(map_url=str(tmp_path / "there.hfmap")))
    assert response.result == LoadMap.Response.RESULT_SUCCESS
    fixes = robot.listen(NavSatFix, "localization/datum", LATCHED)
    fix = until(lambda: fixes and fixes[0])
    assert (fix.latitude, fix.longitude, fix.altitude, fix.header.frame_id) == (48.1, 11.5, 520.0, "map")
    assert fix.position_covariance[0] == pytest.approx(0.02)
    status = robot.until_says("localized (", again=lambda: robot.show(view(SHIFT)))
    facts = {item.key: item.value for item in status.values}
    assert facts["map on Earth"] == "48.10000000 N 11.50000000 E, 520.00 m, x axis 0.00 deg from east to north"


def test_debug_image_for_those_who_look(robot):
    pictures = robot.listen(Image, "localization/debug_image", qos_profile_sensor_data)
    until(lambda: robot.pose_of(view(SHIFT)) and pictures, 10)
    picture = pictures[-1]
    assert (picture.width, picture.height, picture.encoding) == (320, 240, "rgb8")
    pixels = np.frombuffer(picture.data, np.uint8).reshape(240, 320, 3)
    assert ((pixels == (40, 220, 60)).all(axis=2)).sum() > 100  # inliers in green
    robot.until_says("not localized", again=lambda: robot.show(noise_image()))
    time.sleep(0.5)  # pictures of before
    del pictures[:]
    until(lambda: robot.show(noise_image()) and time.sleep(0.2) is None and pictures)
    pixels = np.frombuffer(pictures[-1].data, np.uint8).reshape(240, 320, 3)
    assert not (pixels == (40, 220, 60)).all(axis=2).any()


def test_load_map_keeps_the_old_one_until_the_new_is_ready(robot, wall_world, tmp_path):
    robot.pose_of(view(SHIFT))
    broken = tmp_path / "broken.hfmap"
    broken.write_bytes(wall_world[1].read_bytes()[:1000])
    for path in (broken, tmp_path / "missing.hfmap"):
        response = robot.call(LoadMap, "localization/load_map", LoadMap.Request(map_url=str(path)))
        missing = path.name == "missing.hfmap"
        code = LoadMap.Response.RESULT_MAP_DOES_NOT_EXIST if missing else LoadMap.Response.RESULT_INVALID_MAP_DATA
        assert response.result == code
        assert path.name in robot.until_says("load_map failed").message
        robot.pose_of(view(SHIFT))
    copy = tmp_path / "copy.hfmap"
    copy.write_bytes(wall_world[1].read_bytes())
    response = robot.call(LoadMap, "localization/load_map", LoadMap.Request(map_url=str(copy)))
    assert response.result == LoadMap.Response.RESULT_SUCCESS
    status = robot.until_says("localized (", again=lambda: robot.show(view(SHIFT)))
    assert {item.key: item.value for item in status.values}["map"] == str(copy)


def test_a_map_of_unspeakable_names_is_refused_in_one_line(robot, wall_world):
    """Half a character fits into no message: the refusal itself must be told without it."""
    robot.pose_of(view(SHIFT))
    hostile = shared_data("cases", "hostile", "maps", "surrogate_frame_id.hfmap")
    lines = len(robot.log.splitlines())
    response = robot.call(LoadMap, "localization/load_map", LoadMap.Request(map_url=str(hostile)))
    assert response.result == LoadMap.Response.RESULT_INVALID_MAP_DATA
    assert hostile.name in robot.until_says("load_map failed").message
    said = until(lambda: [line for line in robot.log.splitlines()[lines:] if "load_map failed" in line])
    assert len(said) == 1
    assert "Traceback" not in robot.log
    robot.pose_of(view(SHIFT))
    request = LoadMap.Request(map_url=str(wall_world[1]))
    assert robot.call(LoadMap, "localization/load_map", request).result == LoadMap.Response.RESULT_SUCCESS


def test_two_nodes_of_one_name_are_told(robot, ros):
    twin = rclpy.create_node("localization", namespace=robot.namespace, context=ros.context)
    try:
        robot.until_says("several nodes are called", again=lambda: robot.show(view(SHIFT)))
    finally:
        twin.destroy_node()
    robot.until_says("localized (", 20.0, lambda: robot.show(view(SHIFT)), level=DiagnosticStatus.OK)


def test_other_walls_are_not_mistaken_for_this_one(robot):
    before = len(robot.poses)
    for seed in (7, 8):
        robot.until_says("not localized", again=lambda seed=seed: robot.show(view(SHIFT, wall_image(seed))))
        robot.call(Trigger, "localization/relocalize")
    assert len(robot.poses) == before


def test_frustum_while_it_knows_where_it_is(robot):
    markers = robot.listen(Marker, "localization/frustum")
    until(lambda: robot.pose_of(view(SHIFT)) and markers, 10)
    assert markers[-1].action == Marker.ADD
    apex = markers[-1].points[0]
    assert np.allclose([apex.x, apex.y, apex.z], map_from_camera(SHIFT).translation, atol=0.01)
    robot.until_says("not localized", again=lambda: robot.show(noise_image()))
    until(lambda: markers[-1].action == Marker.DELETE)


def test_candidates_are_shown_while_two_places_look_alike(ros, wall_world, tmp_path):
    """Two walls of one kind, five metres apart; then something else."""
    model, map_file = wall_world
    twice = tmp_path / "twice.hfmap"
    save_map(doubled(load_map(map_file), 5.0), twice)
    robot = Robot(ros, {"map_file": str(twice), "model_file": str(model), "autostart": True})
    try:
        robot.wait_active()
        arrays = robot.listen(PoseArray, "localization/candidates")
        robot.until_says("two places explain", again=lambda: robot.show(view(96)))
        until(lambda: arrays, 10)
        assert arrays[-1].header.frame_id == load_map(map_file).frame_id
        x, y, z = map_from_camera(96).translation
        found = sorted((pose.position.x, pose.position.y, pose.position.z) for pose in arrays[-1].poses)
        assert np.allclose(found, [(x, y, z), (x + 5.0, y, z)], atol=0.02)
        assert not robot.poses
        robot.call(Trigger, "localization/relocalize")  # forgets where it may be, not what it has shown
        until(lambda: robot.show(noise_image()) and not arrays[-1].poses, 10)
    finally:
        robot.close()


def test_names_can_be_remapped(ros, wall_world):
    """Namespace, node name, inputs and outputs, as a robot with several of them does it."""
    model, map_file = wall_world
    rules = ["__node:=front", "image:=front/image_raw", "camera_info:=front/info", "~/pose:=found"]
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True}, *rules)
    try:
        robot.images = robot.publisher(Image, "front/image_raw", qos_profile_sensor_data)
        robot.infos = robot.publisher(CameraInfo, "front/info", qos_profile_sensor_data)
        robot.poses = robot.listen(PoseStamped, "found")
        robot.name = f"{robot.namespace}/front"
        robot.wait_active()
        assert_at(pose_from_msg(robot.pose_of(view(SHIFT)).pose), SHIFT)
        robot.until_says("localized (", again=lambda: robot.show(view(SHIFT)))
        names = [name for name, _ in ros.node.get_topic_names_and_types() if name.startswith(robot.namespace)]
        assert f"{robot.namespace}/front/pose_with_covariance" in names
        assert robot.call(Trigger, "front/relocalize").success
    finally:
        robot.close()
