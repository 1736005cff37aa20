"""Launch files: run by `launch` where it is installed, inspected with stand-ins elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from hfnet_ros.parameters import parameter_names

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH = REPOSITORY / "launch/localization.launch.py"
NAMES = {name for name, _, _ in parameter_names()}


class Recorded:
    """Whatever a launch file builds: its class name and arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs


class LaunchConfiguration(Recorded):
    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


@pytest.fixture
def stand_ins(monkeypatch):
    """Recording stand-ins for launch and launch_ros."""
    provided = {
        "launch": ("LaunchDescription",),
        "launch.actions": ("DeclareLaunchArgument", "IncludeLaunchDescription", "OpaqueFunction", "Shutdown"),
        "launch.launch_description_sources": ("PythonLaunchDescriptionSource",),
        "launch.substitutions": ("PathJoinSubstitution",),
        "launch_ros": (),
        "launch_ros.actions": ("LifecycleNode", "Node"),
        "launch_ros.substitutions": ("FindPackageShare",),
    }
    for name, classes in provided.items():
        module = ModuleType(name)
        for item in classes:
            setattr(module, item, type(item, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = LaunchConfiguration


@pytest.fixture
def launch_file(stand_ins):
    """The launch file's names."""
    return runpy.run_path(str(LAUNCH))


def started(launch_file: dict[str, Any], **given: str) -> list[Any]:
    defaults = {name: value for name, (value, _) in launch_file["ARGUMENTS"].items()}
    return launch_file["localization"]({**defaults, "params_file": "params.yaml", **given})


def test_every_argument_is_declared_with_a_description(launch_file):
    entities = launch_file["generate_launch_description"]().args[0]
    declared = [entity for entity in entities if type(entity).__name__ == "DeclareLaunchArgument"]
    assert [entity.args[0] for entity in declared] == list(launch_file["ARGUMENTS"])
    assert all(entity.kwargs["description"] for entity in declared)
    assert set(launch_file["PARAMETERS"]) <= set(launch_file["ARGUMENTS"])
    assert set(launch_file["PARAMETERS"].values()) <= NAMES


def test_node_starts_by_itself_with_the_arguments_that_were_given(launch_file):
    (node,) = started(launch_file, map="kitchen.hfmap", image="/front/image_raw", namespace="robot1")
    assert node.kwargs["executable"] == "localization_node"
    assert (REPOSITORY / "hfnet_ros/executables/localization_node").exists()
    assert node.kwargs["namespace"] == "robot1"
    file, overrides = node.kwargs["parameters"]
    assert file == "params.yaml"
    assert overrides == {
        "map_file": "kitchen.hfmap", "image_topic": "/front/image_raw", "camera_info_topic": "/front/camera_info",
        "use_sim_time": False, "autostart": True,
    }  # fmt: skip


def test_a_lifecycle_manager_takes_over(launch_file):
    node, manager = started(launch_file, map="kitchen.hfmap", use_lifecycle_manager="true", use_sim_time="true")
    assert node.kwargs["parameters"][1]["autostart"] is False
    assert manager.kwargs["package"] == "nav2_lifecycle_manager"
    (parameters,) = manager.kwargs["parameters"]
    assert parameters["node_names"] == [node.kwargs["name"]]
    assert parameters["bond_timeout"] == 0.0
    assert parameters["use_sim_time"] is True


def test_replay_starts_all_three_and_passes_only_arguments_that_exist(stand_ins, launch_file):
    replay = runpy.run_path(str(LAUNCH.with_name("replay.launch.py")))
    entities = replay["generate_launch_description"]().args[0]
    declared = {entity.args[0]: entity for entity in entities if type(entity).__name__ == "DeclareLaunchArgument"}
    assert set(declared) == set(replay["ARGUMENTS"])
    (include,) = (entity for entity in entities if type(entity).__name__ == "IncludeLaunchDescription")
    assert {name for name, _ in include.kwargs["launch_arguments"]} <= set(launch_file["ARGUMENTS"])
    nodes = {entity.kwargs["executable"]: entity for entity in entities if type(entity).__name__ == "Node"}
    assert set(nodes) == {"player", "evaluate"}
    assert type(nodes["evaluate"].kwargs["on_exit"]).__name__ == "Shutdown"
    for name, node in nodes.items():
        assert (REPOSITORY / "hfnet_ros/executables" / name).exists()
        parser = importlib.import_module(f"hfnet_ros.{name}")._parser()
        parser.parse_args([argument if isinstance(argument, str) else "1" for argument in node.kwargs["arguments"]])


@pytest.mark.parametrize("path", sorted(LAUNCH.parent.glob("*.launch.py")), ids=lambda path: path.name)
def test_loads_with_launch(path):
    if importlib.util.find_spec("launch_ros") is None:
        pytest.skip("launch_ros is not installed")
    from launch import LaunchDescription

    assert isinstance(runpy.run_path(str(path))["generate_launch_description"](), LaunchDescription)


def test_rviz_shows_topics_that_the_node_publishes(launch_file):
    config = yaml.safe_load((REPOSITORY / "config/localization.rviz").read_text())["Visualization Manager"]
    shown = {entry["Topic"]["Value"] for entry in config["Displays"] if "Topic" in entry and entry["Enabled"]}
    sources = "".join(path.read_text() for path in (REPOSITORY / "hfnet_ros").rglob("*.py"))
    published = {f"/localization/{name}" for name in re.findall(r'"~/(\w+)"', sources)}
    assert shown <= published
    assert shown == {f"/localization/{name}" for name in launch_file["SHOWN"]}


def test_rviz_follows_the_node_into_its_namespace(launch_file):
    defaults = {name: value for name, (value, _) in launch_file["ARGUMENTS"].items()}
    assert launch_file["view"](defaults) == []
    (plain,) = launch_file["view"]({**defaults, "rviz": "true"})
    assert plain.kwargs["remappings"] == []
    (node,) = launch_file["view"]({**defaults, "rviz": "true", "namespace": "robot1"})
    remapped = dict(node.kwargs["remappings"])
    assert remapped["/localization/pose"] == "/robot1/localization/pose"
    assert remapped["/initialpose"] == "/robot1/initialpose"
    assert len(remapped) == len(launch_file["SHOWN"]) + 1
