"""The launch files run by launch itself, where it is installed: what starts, with which parameters, and how it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
if importlib.util.find_spec("launch_ros") is None:
    pytest.skip("launch_ros is not installed", allow_module_level=True)

from rcl_interfaces.srv import GetParameters
from rclpy.parameter import Parameter
from robot import REPOSITORY
from wall import wall_bag

RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import SetParameter

path, settings, *given = sys.argv[1:]
outer = [SetParameter(*pair.split("=")) for pair in settings.split() if pair]
arguments = [tuple(item.split(":=")) for item in given]
included = IncludeLaunchDescription(PythonLaunchDescriptionSource(path), launch_arguments=arguments)
service = LaunchService()
service.include_launch_description(LaunchDescription([*outer, included]))
sys.exit(service.run())
"""
SHIFTS = (0, 32, 64, 96, 128)


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """This checkout as an installed package."""
    prefix = tmp_path_factory.mktemp("prefix")
    index, share = prefix / "share/ament_index/resource_index/packages", prefix / "share/hfnet_ros"
    for folder in (index, share, prefix / "lib"):
        folder.mkdir(parents=True)
    (index / "hfnet_ros").touch()
    for name in ("launch", "config", "package.xml"):
        (share / name).symlink_to(REPOSITORY / name)
    (prefix / "lib/hfnet_ros").symlink_to(REPOSITORY / "hfnet_ros/executables")
    paths = {
        "PYTHONPATH": [str(REPOSITORY), os.environ.get("PYTHONPATH", "")],
        "AMENT_PREFIX_PATH": [str(prefix), os.environ["AMENT_PREFIX_PATH"]],
        "PATH": [str(Path(sys.executable).parent), os.environ["PATH"]],
    }
    joined = {name: os.pathsep.join(filter(None, parts)) for name, parts in paths.items()}
    return {**os.environ, **joined, "OMP_NUM_THREADS": "1", "ROS_LOG_DIR": str(prefix / "log")}


@pytest.fixture
def launch(environment) -> Iterator:
    """Start a launch file; it is ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def launch(name: str, settings: str = "", **given: object) -> subprocess.Popen[str]:
        path = REPOSITORY / f"launch/{name}.launch.py"
        arguments = [f"{key}:={value}" for key, value in given.items()]
        command = [sys.executable, "-c", RUN, str(path), settings, *arguments]
        running.append(
            subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
        return running[-1]

    yield launch
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def values(ros, namespace: str, *names: str) -> dict[str, object]:
    """Parameters of the node that was started."""
    request = GetParameters.Request(names=list(names))
    found = ros.call(GetParameters, f"/{namespace}/localization/get_parameters", request, 30.0).values
    return {
        name: Parameter.from_parameter_msg(type("P", (), {"name": name, "value": value})).value
        for name, value in zip(names, found, strict=True)
    }


def namespace() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def parameters_file(tmp_path) -> Path:
    path = tmp_path / "own.yaml"
    own = {"autostart": False, "image_topic": "front/image_raw", "use_sim_time": True, "path_length": 7}
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": own}}))
    return path


def test_a_parameters_file_has_its_say_where_no_argument_is_given(ros, launch, parameters_file):
    own = namespace()
    launch("localization", params_file=parameters_file, namespace=own)
    expected = {"autostart": False, "image_topic": "front/image_raw", "use_sim_time": True, "path_length": 7}
    assert values(ros, own, *expected) == expected


def test_an_argument_overrules_the_parameters_file(ros, launch, parameters_file):
    own = namespace()
    launch("localization", params_file=parameters_file, namespace=own, image="rear/image", use_sim_time="false")
    expected = {"autostart": False, "image_topic": "rear/image", "use_sim_time": False}
    assert values(ros, own, *expected) == expected


def test_an_including_file_sets_parameters(ros, launch):
    own = namespace()
    launch("localization", "use_sim_time=true autostart=false path_length=9", namespace=own)
    expected = {"use_sim_time": True, "autostart": False, "path_length": 9}
    assert values(ros, own, *expected) == expected


def test_the_node_starts_by_itself(ros, launch):
    own = namespace()
    launch("localization", namespace=own)
    assert values(ros, own, "autostart", "use_sim_time") == {"autostart": True, "use_sim_time": False}


@pytest.mark.skipif(importlib.util.find_spec("rviz2") is not None, reason="rviz2 is installed")
def test_nothing_is_left_behind_when_a_package_is_missing(launch):
    process = launch("localization", rviz="true")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "needs the package rviz2" in printed
    assert "process started" not in printed


def replay(launch, tmp_path, wall_world, **given: object) -> tuple[int, str]:
    model, map_file = wall_world
    arguments = {"bag": tmp_path / "wall", "map": map_file, "image": "/camera/image_raw", "model": model}
    process = launch("replay", output=tmp_path / "out", **{**arguments, **given})
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def test_a_replay_ends_with_the_recording(launch, tmp_path, wall_world):
    wall_bag(tmp_path / "wall", SHIFTS, rate_hz=4.0)
    status, printed = replay(launch, tmp_path, wall_world)
    assert status == 0, printed
    verdicts = [item["verdict"] for item in json.loads((tmp_path / "out/evaluation.json").read_text())["images"]]
    assert verdicts.count("right") >= len(SHIFTS) - 1
    assert "wrong" not in verdicts


def test_a_replay_ends_when_the_node_cannot_start(launch, tmp_path, wall_world):
    wall_bag(tmp_path / "wall", SHIFTS, rate_hz=4.0)
    status, printed = replay(launch, tmp_path, wall_world, map=tmp_path / "missing.hfmap")
    assert status == 1
    assert "missing.hfmap" in printed


def test_a_replay_ends_when_the_player_fails(launch, tmp_path, wall_world):
    wall_bag(tmp_path / "wall", SHIFTS, rate_hz=4.0)
    status, printed = replay(launch, tmp_path, wall_world, rate="-1")
    assert status == 1
    assert "player" in printed
