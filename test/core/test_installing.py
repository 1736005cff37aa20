"""That robots can install it: colcon's ways, and wheels of every requirement for aarch64.

colcon is asked of the Python in HFNET_COLCON, else of this one; the wheels are asked of the package index.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASK = (sys.executable, "-m", "pip", "index", "versions", "--no-color")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def python_with_colcon() -> str:
    """An interpreter that has colcon, or a skip that says how to get one."""
    named = os.environ.get("HFNET_COLCON")
    if named is None and importlib.util.find_spec("colcon_core") is None:
        pytest.skip(
            "colcon is not installed: pip install colcon-common-extensions into a venv, HFNET_COLCON=its python"
        )
    return named or sys.executable


def a_copy_of_the_package(folder: Path) -> Path:
    """What colcon and setuptools need of it, where they may write."""
    package = folder / "src" / "hfnet_ros"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in ("hfnet_core", "hfnet_ros", "launch", "config", "maps", "resource"):
        shutil.copytree(ROOT / part, package / part, ignore=ignored)
    for part in ("setup.py", "setup.cfg", "package.xml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, package / part)
    return package


@pytest.mark.parametrize("way", [(), ("--symlink-install",)], ids=lambda way: "".join(way) or "copied")
def test_colcon_builds_a_workspace(tmp_path: Path, way: tuple[str, ...]) -> None:
    python = python_with_colcon()
    package = a_copy_of_the_package(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-m", "colcon", "build", *way, "--packages-select", "hfnet_ros"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    installed = tmp_path / "install" / "hfnet_ros"
    share = installed / "share" / "hfnet_ros"
    for name in ("localization.launch.py", "replay.launch.py"):
        assert (share / "launch" / name).read_text() == (package / "launch" / name).read_text()
    assert (share / "package.xml").is_file()
    assert (share / "config" / "localization.yaml").is_file()
    assert (installed / "share/ament_index/resource_index/packages/hfnet_ros").exists()
    for name in ("localization_node", "player", "evaluate", "build_map", "hfnet"):
        executable = installed / "lib" / "hfnet_ros" / name
        assert os.access(executable, os.X_OK)
        assert executable.read_text().splitlines()[0] == f"#!{python}"  # that of the workspace, whatever PATH says
    where = f". {installed}/share/hfnet_ros/package.sh && {python} -c 'import hfnet_core; print(hfnet_core.__file__)'"
    environment["COLCON_CURRENT_PREFIX"] = str(installed)
    found = subprocess.run(["sh", "-c", where], cwd="/", env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(tmp_path))


def run_time_requirements() -> list[str]:
    code = "import setuptools; setuptools.setup = lambda **words: print(*words['install_requires']); import setup"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.timeout(600)  # an index may be slow
@pytest.mark.parametrize("requirement", run_time_requirements())
@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_every_requirement_of_the_run_time_has_a_wheel_for_aarch64(requirement: str, python: str) -> None:
    name, least = requirement.split(">=")
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    if (trouble := trouble_with_the_index()) is not None:
        pytest.skip(f"the package index cannot be asked: {trouble}")
    command = [*ASK, name, "--only-binary", ":all:", "--python-version", python, *platforms]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = next(line for line in done.stdout.splitlines() if line.startswith("Available versions:"))
    versions = [version.strip() for version in listed.partition(":")[2].split(",")]
    assert any(parsed(version) >= parsed(least) for version in versions), versions
    if name == "opencv-python-headless":  # where numpy 1 has to stay
        assert any(version.startswith("4.") and parsed(version) >= parsed(least) for version in versions), versions


@cache
def trouble_with_the_index() -> str | None:
    reached = subprocess.run([*ASK, "typer"], capture_output=True, text=True, check=False)
    return None if reached.returncode == 0 else reached.stderr.strip().rpartition("\n")[2]


def parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
