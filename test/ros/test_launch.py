"""Launch files: run by `launch` where it is installed, inspected with stand-ins elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from hfnet_ros.live.parameters import MAPPING
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
        "launch.actions": (
            "DeclareLaunchArgument",
            "IncludeLaunchDescription",
            "OpaqueFunction",
            "RegisterEventHandler",
            "Shutdown",
        ),
        "launch.event_handlers": ("OnProcessExit",),
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


@pytest.fixture
def installed(launch_file, monkeypatch):
    """Every package is."""
    names = launch_file["localization"].__globals__
    monkeypatch.setitem(names, "get_package_prefix", lambda package: f"/opt/{package}")


def test_every_argument_is_declared_with_a_description(launch_file):
    entities = launch_file["generate_launch_description"]().args[0]
    declared = [entity for entity in entities if type(entity).__name__ == "DeclareLaunchArgument"]
    assert [entity.args[0] for entity in declared] == list(launch_file["ARGUMENTS"])
    assert all(entity.kwargs["description"] for entity in declared)
    assert set(launch_file["PARAMETERS"]) <= set(launch_file["ARGUMENTS"])
    assert set(launch_file["PARAMETERS"].values()) <= NAMES | {"use_sim_time"}


def test_only_what_was_given_overrides_the_parameters_file(launch_file):
    (node,) = started(launch_file)
    assert node.kwargs["parameters"] == ["params.yaml", {}]
    assert node.kwargs["executable"] == "localization_node"
    assert (REPOSITORY / "hfnet_ros/executables/localization_node").exists()
    (node,) = started(launch_file, map="kitchen.hfmap", image="/front/image_raw", namespace="robot1", autostart="FALSE")
    assert node.kwargs["namespace"] == "robot1"
    overrides = {"map_file": "kitchen.hfmap", "image_topic": "/front/image_raw", "autostart": False}
    assert node.kwargs["parameters"] == ["params.yaml", overrides]


def test_mapping_starts_a_second_node_that_the_first_one_follows(launch_file):
    node, mapper = started(
        launch_file,
        mode="mapping",
        map="yard.hfmap",
        image="/front",
        odom_frame_id="odom",
        mapping_params_file="m.yaml",
    )
    overrides = {"map_file": "yard.hfmap", "image_topic": "/front", "odom_frame_id": "odom"}
    assert node.kwargs["parameters"] == ["params.yaml", {**overrides, "map_follow": True}]
    assert mapper.kwargs["parameters"] == ["m.yaml", overrides]
    assert (mapper.kwargs["executable"], mapper.kwargs["name"]) == ("mapping_node", "mapping")
    assert mapper.kwargs["arguments"] == ["--ros-args", "-p", "autostart:=true"]
    assert (REPOSITORY / "hfnet_ros/executables/mapping_node").exists()
    assert set(launch_file["PARAMETERS"].values()) <= {name for name, _, _ in parameter_names(MAPPING)} | {
        "use_sim_time"
    }
    with pytest.raises(RuntimeError, match="mode:=slam: is neither localization nor mapping"):
        started(launch_file, mode="slam")


def test_mapping_is_not_for_a_lifecycle_manager(launch_file, installed):
    with pytest.raises(RuntimeError, match="mode:=mapping: its nodes start by themselves"):
        started(launch_file, mode="mapping", use_lifecycle_manager="true")


def test_the_node_starts_by_itself_where_nobody_says_otherwise(launch_file):
    """As the first of all arguments: launch_ros puts what including files set behind them, then the parameters."""
    (node,) = started(launch_file)
    assert node.kwargs["arguments"] == ["--ros-args", "-p", "autostart:=true"]
    (node,) = started(launch_file, log_level="debug")
    assert node.kwargs["arguments"][-2:] == ["--log-level", "debug"]


def test_a_switch_is_true_or_false(launch_file):
    with pytest.raises(RuntimeError, match="use_sim_time:=soon"):
        started(launch_file, use_sim_time="soon")


def test_a_lifecycle_manager_takes_over(launch_file, installed):
    node, manager = started(launch_file, map="kitchen.hfmap", use_lifecycle_manager="true", use_sim_time="true")
    assert node.kwargs["parameters"][1]["autostart"] is False
    assert manager.kwargs["package"] == "nav2_lifecycle_manager"
    (parameters,) = manager.kwargs["parameters"]
    assert parameters == {
        "node_names": [node.kwargs["name"]],
        "autostart": True,
        "bond_timeout": 0.0,
        "use_sim_time": True,
    }
    _, manager = started(launch_file, use_lifecycle_manager="true", bond_timeout="4", autostart="false")
    (parameters,) = manager.kwargs["parameters"]
    assert parameters == {"node_names": ["localization"], "autostart": False, "bond_timeout": 4.0}


@pytest.mark.parametrize(
    ("argument", "package"), [("rviz", "rviz2"), ("use_lifecycle_manager", "nav2_lifecycle_manager")]
)
def test_nothing_starts_when_a_package_is_missing(launch_file, argument, package):
    with pytest.raises(RuntimeError, match=f"{argument}:=true needs the package {package}, which is not installed"):
        started(launch_file, **{argument: "true"})


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
    (handler,) = (entity for entity in entities if type(entity).__name__ == "RegisterEventHandler")
    failed = handler.args[0].kwargs["on_exit"]
    running, ending = SimpleNamespace(is_shutdown=False), SimpleNamespace(is_shutdown=True)
    lost, well = (SimpleNamespace(process_name="player-3", returncode=code) for code in (2, 0))
    assert failed(well, running) is None
    assert failed(lost, ending) is None  # launch itself ended it
    with pytest.raises(RuntimeError, match="player-3 ended with status 2"):
        failed(lost, running)
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


def test_rviz_follows_the_node_into_its_namespace(launch_file, installed):
    _, plain = started(launch_file, rviz="true")
    assert plain.kwargs["remappings"] == []
    assert plain.kwargs["parameters"] == []
    _, view = started(launch_file, rviz="true", namespace="robot1", use_sim_time="true")
    remapped = dict(view.kwargs["remappings"])
    assert remapped["/localization/pose"] == "/robot1/localization/pose"
    assert remapped["/initialpose"] == "/robot1/initialpose"
    assert len(remapped) == len(launch_file["SHOWN"]) + 1
    assert view.kwargs["parameters"] == [{"use_sim_time": True}]


def test_rviz_shows_the_map_frame_that_the_node_was_given(launch_file, installed):
    _, plain = started(launch_file, rviz="true")
    assert "-f" not in plain.kwargs["arguments"]
    _, view = started(launch_file, rviz="true", global_frame_id="hall")
    assert view.kwargs["arguments"][-2:] == ["-f", "hall"]
