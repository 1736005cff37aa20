"""A folder of maps as map_file, over real DDS: the node says which one it is in."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseArray
from nav_msgs.srv import LoadMap
from robot import LATCHED, Robot, assert_at, until
from std_msgs.msg import String
from wall import doubled, view, wall_image, wall_map

from hfnet_core.maps.storage import load_map, save_map
from hfnet_ros.conversions import pose_from_msg

SHIFT = 64


@pytest.fixture(scope="module")
def building(wall_world, tmp_path_factory):
    """(model, folder) of two floors, each with a wall of its own and a frame of its own."""
    model, _ = wall_world
    folder = tmp_path_factory.mktemp("building")
    for seed, name in enumerate(("ground", "upper")):
        save_map(replace(wall_map(model, seed), frame_id=f"{name}_floor"), folder / f"{name}.hfmap")
    return model, folder


def test_the_node_says_which_of_several_maps_it_is_in_and_follows_to_another(ros, building):
    model, folder = building
    robot = Robot(ros, {"map_file": str(folder), "model_file": str(model), "autostart": True, "maps_in_memory": 1})
    try:
        current = robot.listen(String, "localization/current_map", LATCHED)
        robot.wait_active()
        # of one map in memory beside the current one: to leave it, the other was asked last whether it says the same
        for seed, name, held in ((1, "upper", "upper"), (0, "ground", "ground, upper")):
            wall = wall_image(seed)
            pose = robot.pose_of(view(SHIFT, wall), timeout_s=40.0)
            assert pose.header.frame_id == f"{name}_floor"
            assert_at(pose_from_msg(pose.pose), SHIFT)
            until(lambda name=name: current and current[-1].data == name, 10, f"current_map {name}")
            status = robot.until_says("localized (", again=lambda wall=wall: robot.show(view(SHIFT, wall)))
            values = {item.key: item.value for item in status.values}
            assert values["map"] == str(folder / f"{name}.hfmap")
            assert values["maps"] == f"2 in {folder}, in memory: {held}"
    finally:
        robot.close()


def test_one_damaged_map_is_named_and_the_others_serve(ros, building, tmp_path):
    model, folder = building
    shutil.copy(folder / "ground.hfmap", tmp_path)
    (tmp_path / "upper.hfmap").write_bytes((folder / "upper.hfmap").read_bytes()[:5000])
    robot = Robot(ros, {"map_file": str(tmp_path), "model_file": str(model), "autostart": True})
    try:
        robot.wait_active()
        assert robot.pose_of(view(SHIFT, wall_image(0)), timeout_s=40.0).header.frame_id == "ground_floor"
        robot.until_says(f"map upper is passed over: {tmp_path / 'upper.hfmap'}", level=DiagnosticStatus.WARN)
    finally:
        robot.close()


def test_load_map_takes_a_folder_and_a_file_again(ros, building, wall_world):
    model, folder = building
    _, map_file = wall_world
    robot = Robot(ros, {"map_file": str(map_file), "model_file": str(model), "autostart": True})
    try:
        robot.wait_active()
        assert robot.pose_of(view(SHIFT)).header.frame_id == "map"
        request = LoadMap.Request(map_url=str(folder))
        assert robot.call(LoadMap, "localization/load_map", request).result == LoadMap.Response.RESULT_SUCCESS
        wall = wall_image(1)
        assert robot.pose_of(view(SHIFT, wall), timeout_s=40.0).header.frame_id == "upper_floor"
        request = LoadMap.Request(map_url=str(map_file))
        assert robot.call(LoadMap, "localization/load_map", request).result == LoadMap.Response.RESULT_SUCCESS
        until(lambda: robot.pose_of(view(SHIFT)).header.frame_id == "map", 30)
    finally:
        robot.close()


def test_candidates_are_in_the_frame_of_their_map_and_cleared_in_another(ros, building, tmp_path):
    """Two walls of one kind in the map that is not the first; then the wall of the first."""
    model, folder = building
    shutil.copy(folder / "ground.hfmap", tmp_path)
    save_map(doubled(load_map(folder / "upper.hfmap"), 5.0), tmp_path / "upper.hfmap")
    robot = Robot(ros, {"map_file": str(tmp_path), "model_file": str(model), "autostart": True})
    try:
        robot.wait_active()
        arrays = robot.listen(PoseArray, "localization/candidates")
        robot.until_says("two places explain", again=lambda: robot.show(view(SHIFT, wall_image(1))))
        until(lambda: arrays, 10)
        assert arrays[-1].header.frame_id == "upper_floor"
        assert len(arrays[-1].poses) == 2
        assert robot.pose_of(view(SHIFT, wall_image(0)), timeout_s=40.0).header.frame_id == "ground_floor"
        until(lambda: not arrays[-1].poses, 10)
    finally:
        robot.close()


def test_an_empty_folder_is_refused_at_configure(ros, wall_world, tmp_path):
    model, _ = wall_world
    robot = Robot(ros, {"map_file": str(tmp_path), "model_file": str(model)})
    try:
        assert not robot.transition("configure")
        until(lambda: "no map (.hfmap) in this folder" in robot.log, 10)
    finally:
        robot.close()
