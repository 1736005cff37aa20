"""The settings of hfnet_core.config as ROS parameters: declared, described, ranged, validated before they apply.

Node settings keep their names (`initial_pose_x` becomes `initial_pose.x`, as nav2_amcl has it); the stages' settings
are prefixed: `engine.precision`, `extractor.max_keypoints`, `localizer.min_inliers`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name

from hfnet_core.config import (
    EngineConfig,
    ExtractorConfig,
    LocalizerConfig,
    NodeConfig,
    Setting,
    from_mapping,
    settings_of,
)
from hfnet_core.errors import ConfigError, first_line
from hfnet_core.files import home_path
from hfnet_core.images.preparation import AUTO, ROTATIONS
from hfnet_ros.conversions import poses_from_text, texts_per_camera, topic_of

__all__ = ["ANYTIME", "GROUPS", "Configs", "Parameters", "describe", "example_yaml", "parameter_names"]

GROUPS: dict[str, type[Any]] = {
    "": NodeConfig,
    "engine.": EngineConfig,
    "extractor.": ExtractorConfig,
    "localizer.": LocalizerConfig,
}
_STAGES = ("extractor.", "localizer.")  # may change at any time
ANYTIME = frozenset(
    {
        "image_timeout_s",
        "max_image_lead_s",
        "odom_timeout_s",
        "tf_broadcast",
        "transform_tolerance",
        "correction_timeout_s",
        "two_d_mode",
        "path_length",
        "diagnostics_period_s",
    }
)  # the node settings that may change while it is configured; those of the stages always may
MAX_CAMERAS = 4
_READ_ONLY = frozenset({"autostart"})
_INT64 = 2**63 - 1
_DOUBLE = 1.7976931348623157e308


@dataclasses.dataclass(frozen=True)
class Configs:
    """One consistent set of settings."""

    node: NodeConfig
    engine: EngineConfig
    extractor: ExtractorConfig
    localizer: LocalizerConfig


def parameter_names() -> Iterator[tuple[str, str, Setting]]:
    """(ROS name, group prefix, setting) of every parameter."""
    for prefix, cls in GROUPS.items():
        for item in settings_of(cls):
            name = item.name.replace("initial_pose_", "initial_pose.") if item.name[:4] != "set_" else item.name
            yield prefix + name, prefix, item


def describe(item: Setting, prefix: str = "") -> ParameterDescriptor:
    """Description, range and choices of a setting for `ros2 param describe`."""
    unit = f" [{item.unit}]" if item.unit else ""
    fixed = "" if prefix in _STAGES or item.name in ANYTIME | _READ_ONLY else " (fixed at configure)"
    descriptor = ParameterDescriptor(
        name=item.name, description=f"{item.help}{unit}{fixed}", read_only=not prefix and item.name in _READ_ONLY
    )
    if item.choices:
        descriptor.additional_constraints = "one of " + ", ".join(item.choices)
    if item.minimum is not None or item.maximum is not None:
        bound = _INT64 if item.type is int else _DOUBLE
        low = item.type(item.minimum if item.minimum is not None else -bound)
        high = item.type(item.maximum if item.maximum is not None else bound)
        if item.type is int:
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    return descriptor


class Parameters:
    """Declares everything, keeps `configs` current, and asks before and tells after a change.

    is_unconfigured: whether settings that are fixed by configure may change now. apply: called with the new settings
    after a change at run time. Raises ConfigError when the values given at start do not fit together.
    """

    def __init__(self, node: Node, is_unconfigured: Callable[[], bool], apply: Callable[[Configs], None]) -> None:
        self._node, self._is_unconfigured, self._apply = node, is_unconfigured, apply
        self._known = {name: (prefix, item) for name, prefix, item in parameter_names()}
        values = {
            name: node.declare_parameter(name, item.default, describe(item, prefix)).value
            for name, (prefix, item) in self._known.items()
        }
        self.configs = self._build(values)
        node.add_on_set_parameters_callback(self._validate)
        if hasattr(node, "add_post_set_parameters_callback"):
            node.add_post_set_parameters_callback(self._changed)

    def _build(self, values: dict[str, Any]) -> Configs:
        """Settings from ROS values. Raises ConfigError naming the parameter."""
        grouped: dict[str, dict[str, Any]] = {prefix: {} for prefix in GROUPS}
        for name, value in values.items():
            prefix, item = self._known[name]
            grouped[prefix][item.name] = value
        configs = Configs(*(_from_group(prefix, values) for prefix, values in grouped.items()))
        _check_together(configs.node)
        return configs

    def _with(self, parameters: Iterable[Parameter]) -> Configs:
        values = {name: self._node.get_parameter(name).value for name in self._known}
        values.update({p.name: p.value for p in parameters if p.name in self._known})
        return self._build(values)

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        late = [] if self._is_unconfigured() else [p.name for p in parameters if self._is_fixed(p)]
        if late:
            reason = f"{', '.join(late)}: can only change while the node is unconfigured; clean it up first"
            return SetParametersResult(successful=False, reason=reason)
        try:
            configs = self._with(parameters)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if not hasattr(self._node, "add_post_set_parameters_callback"):  # before ROS Iron
            self._take(configs)
        return SetParametersResult(successful=True)

    def _is_fixed(self, parameter: Parameter) -> bool:
        """Whether this would change what configure has fixed."""
        prefix, item = self._known.get(parameter.name, ("", None))
        fixed = item is not None and prefix not in _STAGES and item.name not in ANYTIME
        return fixed and parameter.value != self._node.get_parameter(parameter.name).value

    def _changed(self, parameters: list[Parameter]) -> None:
        if any(parameter.name in self._known for parameter in parameters):
            self._take(self._with(()))

    def _take(self, configs: Configs) -> None:
        if configs != self.configs:
            self.configs = configs
            self._apply(configs)


def _from_group(prefix: str, values: dict[str, Any]) -> Any:
    try:
        return from_mapping(GROUPS[prefix], values)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None


def _check_topic(name: str, topic: str) -> None:
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        raise ConfigError(f"{name}: {topic!r} is no topic name ({first_line(error)})") from None


def _check_together(config: NodeConfig) -> None:
    """What single ranges cannot say. Raises ConfigError."""
    _check_cameras(config)
    if config.odom_topic:
        _check_topic("odom_topic", config.odom_topic)
    for name in ("global_frame_id", "odom_frame_id", "base_frame_id"):
        if getattr(config, name).startswith("/"):
            raise ConfigError(f"{name}: {getattr(config, name)!r} begins with a slash, which TF does not know")
    if config.odom_topic and not config.odom_frame_id:
        raise ConfigError(f"odom_topic: {config.odom_topic!r} needs odom_frame_id, the frame of that odometry")
    if config.base_from_camera.strip() and not config.base_frame_id:
        raise ConfigError("base_from_camera: needs base_frame_id, the frame it is measured in")
    if config.two_d_mode and not config.base_frame_id:
        raise ConfigError("two_d_mode: needs base_frame_id, the robot's frame that stays on the plane")
    if config.set_initial_pose and not config.base_frame_id:
        raise ConfigError("set_initial_pose: needs base_frame_id, the frame whose pose is given")


def _check_cameras(config: NodeConfig) -> None:
    """Raises ConfigError."""
    names = config.cameras
    if not 1 <= len(names) <= MAX_CAMERAS or len(set(names)) < len(names) or (len(names) > 1 and "" in names):
        raise ConfigError(f"cameras: {list(names)} are not 1 to {MAX_CAMERAS} different names")
    for name in names:
        if name:
            _check_topic("cameras", name)
        _check_topic("image_topic", topic_of(name, config.image_topic))
        if config.camera_info_topic:
            _check_topic("camera_info_topic", topic_of(name, config.camera_info_topic))
        if config.depth_topic:
            _check_topic("depth_topic", topic_of(name, config.depth_topic))
    if len(names) > 1 and not config.base_frame_id:
        raise ConfigError("cameras: several need base_frame_id, the frame that they have in common")
    poses_from_text(config.base_from_camera, len(names), "base_from_camera")
    rotations = texts_per_camera(config.image_rotation, len(names), "image_rotation")
    for rotation in rotations:
        if rotation not in (*map(str, ROTATIONS), AUTO):
            raise ConfigError(f"image_rotation: {rotation!r} is not one of 0, 90, 180, 270 and auto")
    if AUTO in rotations and not config.base_frame_id:
        raise ConfigError("image_rotation: auto needs base_frame_id, the frame that the camera is mounted on")
    for path in texts_per_camera(config.mask_file, len(names), "mask_file"):
        if path and not home_path(path).is_file():
            raise ConfigError(f"mask_file: {path}: no such file")


def example_yaml() -> str:
    """config/localization.yaml: every parameter with its default, explained and commented out."""
    lines = ["# Made by `python -m hfnet_ros.parameters`. Defaults are commented out: uncomment what you change."]
    lines += ["/**:", "  ros__parameters:"]
    lines.append("    parameters_of: hfnet_ros  # ROS refuses a file without any value; this one changes nothing")
    lines.append("    # use_sim_time: false  # take time from /clock")
    group = ""
    for name, prefix, item in parameter_names():
        indent = "    # "
        if prefix != group:
            lines += ["", f"    # {prefix[:-1]}:"]
            group = prefix
        if prefix or name.startswith("initial_pose."):
            indent += "  "
        if name == "initial_pose.x":
            lines.append("    # initial_pose:")
        descriptor = describe(item, prefix)
        limits = f", {descriptor.additional_constraints}" if item.choices else _limits(item)
        value = json.dumps(item.default)
        lines.append(f"{indent}{name.rpartition('.')[2]}: {value}  # {descriptor.description}{limits}")
    return "\n".join(lines) + "\n"


def _limits(item: Setting) -> str:
    if item.minimum is None and item.maximum is None:
        return ""
    return f", {item.minimum if item.minimum is not None else ''}..{item.maximum if item.maximum is not None else ''}"


if __name__ == "__main__":
    print(example_yaml(), end="")
