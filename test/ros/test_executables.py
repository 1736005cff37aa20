"""What `ros2 run hfnet_ros ...` starts, as processes with the arguments that launch files append."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from robot import REPOSITORY
from wall import wall_bag

from hfnet_core.maps.storage import load_map

ROS_ARGUMENTS = ["--ros-args", "-r", "__node:=tool"]


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(REPOSITORY / "hfnet_ros/executables" / name), *map(str, arguments), *ROS_ARGUMENTS]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", ["build_map", "evaluate", "player"])
def test_helps_and_refuses_in_one_line(name: str, tmp_path: Path) -> None:
    assert run(name, "--help").returncode == 0
    missing = tmp_path / "missing.mcap"
    arguments = {
        "build_map": [missing, "-o", tmp_path / "x.hfmap"],
        "evaluate": ["--bag", missing],
        "player": [missing],
    }
    done = run(name, *arguments[name])
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "missing.mcap" in done.stderr


def test_build_map_builds_a_map(wall_world, tmp_path: Path) -> None:
    bag, output = tmp_path / "wall.mcap", tmp_path / "wall.hfmap"
    wall_bag(bag, range(0, 161, 16))
    done = run("build_map", bag, "-o", output, "--model", wall_world[0], "--no-refine")
    assert done.returncode == 0, done.stderr
    assert load_map(output).landmarks > 50
