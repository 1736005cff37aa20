"""Parameters of a node in this process: complete, described, ranged, and equal to the one home of defaults."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

import rclpy
from rclpy.parameter import Parameter

from hfnet_core.config import BACKENDS, EngineConfig, ExtractorConfig, LocalizerConfig, NodeConfig, settings_of
from hfnet_ros.parameters import ANYTIME, LOCALIZATION, Parameters, example_yaml, parameter_names

CONFIG = Path(__file__).resolve().parents[2] / "config/localization.yaml"


class Owner:
    """A node with our parameters."""

    def __init__(self, ros) -> None:
        self.unconfigured, self.applied = True, []
        self.node = rclpy.create_node(f"p{uuid.uuid4().hex[:8]}", context=ros.context)
        self.parameters = Parameters(self.node, lambda: self.unconfigured, self.applied.append, LOCALIZATION)

    def set(self, name, value):
        return self.node.set_parameters([Parameter(name, value=value)])[0]


@pytest.fixture
def owner(ros):
    owner = Owner(ros)
    yield owner
    owner.node.destroy_node()


def test_every_setting_is_a_described_parameter_with_its_default(owner):
    names = [name for name, _, _ in parameter_names()]
    classes = (NodeConfig, EngineConfig, ExtractorConfig, LocalizerConfig)
    assert len(names) == len(set(names)) == sum(len(list(settings_of(cls))) for cls in classes)
    assert set(names) >= ANYTIME
    for name, _, item in parameter_names():
        descriptor = owner.node.describe_parameter(name)
        assert owner.node.get_parameter(name).value == item.default
        assert item.help in descriptor.description
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert bool(ranges) == (item.minimum is not None or item.maximum is not None)
        if item.minimum is not None:
            assert ranges[0].from_value == item.minimum
        if item.maximum is not None:
            assert ranges[0].to_value == item.maximum
        for choice in item.choices:
            assert choice in descriptor.additional_constraints
    assert owner.parameters.configs.node == NodeConfig()


def test_backends_are_those_of_the_library():
    (backend,) = (item for name, _, item in parameter_names() if name == "backend")
    assert backend.choices == BACKENDS


def test_amcl_names():
    amcl = {"global_frame_id", "odom_frame_id", "base_frame_id", "tf_broadcast", "transform_tolerance",
            "set_initial_pose", "initial_pose.x", "initial_pose.y", "initial_pose.z", "initial_pose.yaw"}  # fmt: skip
    assert amcl <= {name for name, _, _ in parameter_names()}


@pytest.mark.parametrize(
    ("name", "value"),
    [("localizer.min_inliers", 5), ("localizer.ratio", 1.5), ("extractor.max_keypoints", 0), ("threads", -1),
     ("backend", "abacus"), ("image_transport", "theora"), ("transform_tolerance", -0.1), ("base_from_camera", "1 2"),
     ("odom_topic", "odom"), ("image_topic", "my image"), ("image_topic", ""), ("base_frame_id", "/base"),
     ("set_initial_pose", True), ("localizer.ratio", float("nan")), ("autostart", True),
     ("cameras", ["left", "right"]), ("cameras", ["left", "left"]), ("cameras", ["left", ""]), ("cameras", ["my eye"]),
     ("cameras", list("abcde")), ("camera_mode", "both"), ("rig_tolerance_s", -0.1),
     ("two_d_mode", True), ("correction_timeout_s", -2.0),
     ("image_rotation", "45"), ("image_rotation", "auto"), ("image_rotation", "0; 90"), ("mask_file", "/none.png")],
)  # fmt: skip
def test_refused_with_the_name_and_nothing_applied(owner, name, value):
    before = owner.node.get_parameter(name).value
    result = owner.set(name, value)
    assert not result.successful
    assert name.rpartition(".")[2] in result.reason or "read-only" in result.reason
    assert owner.node.get_parameter(name).value == before
    assert not owner.applied


def test_accepted_ones_are_applied_once(owner):
    assert owner.set("localizer.min_inliers", 30).successful
    assert [configs.localizer.min_inliers for configs in owner.applied] == [30]
    assert owner.set("localizer.min_inliers", 30).successful
    assert len(owner.applied) == 1
    assert owner.set("initial_pose.yaw", 1.0).successful
    assert owner.parameters.configs.node.initial_pose_yaw == 1.0


def test_what_configure_fixes_stays_until_cleanup(owner):
    owner.unconfigured = False
    assert not owner.set("engine.device", 1).successful
    result = owner.set("image_topic", "other")
    assert not result.successful
    assert "image_topic" in result.reason
    assert "unconfigured" in result.reason
    assert owner.set("transform_tolerance", 0.2).successful
    owner.unconfigured = True
    assert owner.set("image_topic", "other").successful


def test_atomic_sets_are_judged_together(owner):
    both = [Parameter("odom_topic", value="odom"), Parameter("odom_frame_id", value="odom")]
    assert owner.node.set_parameters_atomically(both).successful
    assert owner.parameters.configs.node.odom_topic == "odom"


def test_several_cameras_share_a_base_and_have_a_place_on_it_each(owner):
    together = [Parameter("cameras", value=["left", "right"]), Parameter("base_frame_id", value="base")]
    assert owner.node.set_parameters_atomically(together).successful
    assert owner.parameters.configs.node.cameras == ("left", "right")
    result = owner.set("base_from_camera", "0 0 0 0 0 0 1")
    assert not result.successful
    assert "has 1 poses for 2 cameras" in result.reason
    assert owner.set("base_from_camera", "0 0 0 0 0 0 1; 1 0 0 0 0 0 1").successful


def test_yaml_is_generated_and_equals_the_defaults():
    text = CONFIG.read_text()
    assert text == example_yaml(), "run `python -m hfnet_ros.parameters > config/localization.yaml`"
    only_overrides = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert only_overrides == {"parameters_of": "hfnet_ros"}
    assert "parameters_of" not in {name for name, _, _ in parameter_names()}
    uncommented = "\n".join(line.replace("    # ", "    ", 1) for line in text.splitlines() if not line.startswith("#"))
    values = yaml.safe_load(uncommented)["/**"]["ros__parameters"]
    for name, _, item in parameter_names():
        group, _, leaf = name.rpartition(".")
        assert item.check((values[group] if group else values)[leaf]) == item.default
