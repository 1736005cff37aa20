"""Parameters of the mapping node: of the same home as those of the localization node and of `hfnet map build`."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from hfnet_core.config import EngineConfig, LiveConfig, MapBuildConfig, NodeConfig, from_mapping, settings_of
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose
from hfnet_ros.live.parameters import MAPPING, MappingConfigs
from hfnet_ros.live.session import MappingSession
from hfnet_ros.parameters import example_yaml, parameter_names

CONFIG = Path(__file__).resolve().parents[3] / "config/mapping.yaml"


def configs(live=None, node=None, build=None) -> MappingConfigs:
    return MappingConfigs(
        from_mapping(LiveConfig, {"map_file": "/maps/yard.hfmap", **(live or {})}),
        from_mapping(NodeConfig, node or {}),
        EngineConfig(),
        from_mapping(MapBuildConfig, build or {}),
    )


def test_names_are_one_of_a_kind_and_known_elsewhere():
    names = [name for name, _, _ in parameter_names(MAPPING)]
    assert len(names) == len(set(names))
    assert {item.name for item in settings_of(LiveConfig)} <= set(names)
    for group in MAPPING.groups:
        known = {item.name for item in settings_of(group.settings)}
        assert set(group.only) <= known
    assert {"odom_frame_id", "image_rotation", "build.keyframe_distance_m", "engine.precision"} <= set(names)
    assert not {"two_d_mode", "initial_pose.x", "build.known_distance"} & set(names)


def test_yaml_is_generated_and_equals_the_defaults():
    text = CONFIG.read_text()
    assert text == example_yaml(MAPPING), "run `python -m hfnet_ros.live.parameters > config/mapping.yaml`"
    assert yaml.safe_load(text)["/**"]["ros__parameters"] == {"parameters_of": "hfnet_ros"}
    uncommented = "\n".join(line.replace("    # ", "    ", 1) for line in text.splitlines() if not line.startswith("#"))
    values = yaml.safe_load(uncommented)["/**"]["ros__parameters"]
    for name, _, item in parameter_names(MAPPING):
        group, _, leaf = name.rpartition(".")
        assert item.check((values[group] if group else values)[leaf]) == item.default


def test_poses_come_from_the_best_there_is():
    assert configs().mode == "images"
    assert configs(node={"odom_frame_id": "odom"}).mode == "drifting"
    assert configs(node={"odom_frame_id": "odom"}, build={"pose_mode": "images"}).mode == "images"
    given = configs(node={"odom_frame_id": "mocap"}, build={"pose_mode": "given"})
    assert (given.mode, given.map_frame) == ("given", "mocap")
    assert configs(node={"odom_frame_id": "odom"}).map_frame == "map"
    assert configs(live={"global_frame_id": "yard"}).map_frame == "yard"


def test_the_drive_folder_is_beside_the_map():
    assert configs().drive_folder == "/maps/yard.hfdrive"
    assert configs(live={"drive_folder": "~/drives/a"}).drive_folder == str(Path("~/drives/a").expanduser())
    with pytest.raises(ConfigError, match="map_file: is empty"):
        _ = configs(live={"map_file": ""}).drive_folder


@pytest.mark.parametrize(
    ("given", "refusal"),
    [({"build": {"pose_mode": "drifting"}}, r"build\.pose_mode: drifting needs odom_frame_id"),
     ({"build": {"pose_mode": "given"}}, r"build\.pose_mode: given needs odom_frame_id"),
     ({"live": {"global_frame_id": ""}}, "global_frame_id: '' is no name of a frame"),
     ({"node": {"odom_topic": "odom"}}, "odom_topic: 'odom' needs odom_frame_id"),
     ({"node": {"cameras": ["left", "right"]}}, "cameras: several need base_frame_id")],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(given, refusal):
    with pytest.raises(ConfigError, match=refusal):
        MAPPING.check(configs(**given))


def test_the_path_is_as_long_as_it_is_asked_to_be_by_now():
    session = MappingSession.__new__(MappingSession)
    node = SimpleNamespace(path_length=2, odom_frame_id="odom")
    session._configs = SimpleNamespace(node=node, mode="given")
    session._settings = SimpleNamespace(configs=session._configs)
    session._condition, session._path, session._path_is_new = threading.Condition(), deque(), False
    taken = [SimpleNamespace(map_from_camera=Pose(), stamp_ns=number) for number in range(5)]
    session._lengthen(taken[:3])
    assert [message.header.stamp.nanosec for message in session.new_path()] == [1, 2]
    node.path_length = 0
    session._lengthen(taken[3:])
    assert not session._path
    assert not session.new_path()
