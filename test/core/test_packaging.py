"""What holds the package together: versions, import rules, no cycles into ROS or torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import hfnet_core

ROOT = Path(__file__).parents[2]
ROS = {"rclpy", "tf2_ros", "cv_bridge", "launch", "launch_ros", "ament_index_python", "rosidl_runtime_py"}


def imports(path: Path) -> Iterator[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_versions_agree() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    setup = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert package.findtext("version") == hfnet_core.__version__ == setup.stdout.split()[-1]
    assert package.findtext("name") == "hfnet_ros"
    assert package.findtext("license") == "Apache-2.0"


def test_the_core_never_imports_ros() -> None:
    for path in (ROOT / "hfnet_core").rglob("*.py"):
        for module in imports(path):
            top = module.split(".")[0]
            assert top not in ROS and not top.endswith("_msgs") and top != "hfnet_ros", f"{path} imports {module}"


def test_torch_stays_in_training() -> None:
    for path in [*(ROOT / "hfnet_core").rglob("*.py"), *(ROOT / "hfnet_ros").rglob("*.py")]:
        if "training" in path.relative_to(ROOT).parts:
            continue
        for module in imports(path):
            assert module.split(".")[0] not in {"torch", "kornia", "torchvision"}, f"{path} imports {module}"


def test_stages_do_not_import_each_other() -> None:
    stages = {"retrieval", "covisibility", "matching", "pose"}
    for stage in stages:
        used = {module.rsplit(".", 1)[-1] for module in imports(ROOT / "hfnet_core" / "localization" / f"{stage}.py")}
        assert not (used & stages - {stage}), f"{stage} imports {used & stages}"


def test_the_command_starts_without_torch_or_ros(tmp_path: Path) -> None:
    """A robot without the training extra, or a laptop without ROS, can still use the command line."""
    blocked = "\n".join(f"sys.modules[{name!r}] = None" for name in ("torch", "kornia", "rclpy"))
    code = f"import sys\n{blocked}\nfrom hfnet_core.cli.main import app\napp(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("map", "bag", "localize", "eval-bag", "train", "export"):
        assert command in done.stdout


@pytest.mark.parametrize("script", ["localization_node", "player", "evaluate", "build_map"])
def test_executables_for_ros2_run(script: str) -> None:
    path = ROOT / "hfnet_ros" / "executables" / script
    assert path.stat().st_mode & 0o111
    assert f"hfnet_ros.{script}" in set(imports(path))
