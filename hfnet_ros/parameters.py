"""The settings of hfnet_core.config as ROS parameters: declared, described, ranged, validated before they apply.

Node settings keep their names (`initial_pose_x` becomes `initial_pose.x`, as nav2_amcl has it); the stages' settings
are prefixed: `engine.precision`, `extractor.max_keypoints`, `localizer.min_inliers`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

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

__all__ = [
    "ANYTIME",
    "LOCALIZATION",
    "Configs",
    "Group",
    "Parameters",
    "Table",
    "check_inputs",
    "describe",
    "example_yaml",
    "parameter_names",
]

C = TypeVar("C")
ANYTIME = frozenset(
    {
        "image_timeout_s",
        "max_image_lead_s",
        "odom_timeout_s",
        "map_follow",
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


@dataclasses.dataclass(frozen=True)
class Group:
    """Settings of a class as parameters. only: some of them, all others stay at their defaults; empty for all.

    changes: all of them may change at any time.
    """

    prefix: str
    settings: type[Any]
    only: tuple[str, ...] = ()
    changes: bool = False

    def names(self) -> Iterator[tuple[str, Setting]]:
        """(ROS name, setting) of every parameter."""
        for item in settings_of(self.settings):
            if not self.only or item.name in self.only:
                name = item.name.replace("initial_pose_", "initial_pose.") if item.name[:4] != "set_" else item.name
                yield self.prefix + name, item

    def build(self, values: dict[str, Any]) -> Any:
        """Settings from values by name. Raises ConfigError naming the parameter."""
        try:
            return from_mapping(self.settings, values)
        except ConfigError as error:
            raise ConfigError(f"{self.prefix}{error}") from None


@dataclasses.dataclass(frozen=True)
class Table(Generic[C]):
    """The parameters of a node.

    configs: makes one consistent set of settings of those of each group. check: raises ConfigError for what single
    ranges cannot say. anytime: settings outside of changing groups that may change while it is configured. module:
    prints the example file.
    """

    groups: tuple[Group, ...]
    configs: Callable[..., C]
    check: Callable[[C], None]
    anytime: frozenset[str]
    module: str

    def changes(self, group: Group, item: Setting) -> bool:
        """Whether a setting may change while the node is configured."""
        return group.changes or item.name in self.anytime


LOCALIZATION = Table(
    (
        Group("", NodeConfig),
        Group("engine.", EngineConfig),
        Group("extractor.", ExtractorConfig, changes=True),
        Group("localizer.", LocalizerConfig, changes=True),
    ),
    Configs,
    lambda configs: _check_together(configs.node),
    ANYTIME,
    "hfnet_ros.parameters",
)


def parameter_names(table: Table[Any] = LOCALIZATION) -> Iterator[tuple[str, str, Setting]]:
    """(ROS name, group prefix, setting) of every parameter."""
    for group in table.groups:
        for name, item in group.names():
            yield name, group.prefix, item


def describe(item: Setting, *, changes: bool = False) -> ParameterDescriptor:
    """Description, range and choices of a setting for `ros2 param describe`. changes: at any time."""
    unit = f" [{item.unit}]" if item.unit else ""
    fixed = "" if changes or item.name in _READ_ONLY else " (fixed at configure)"
    descriptor = ParameterDescriptor(
        name=item.name, description=f"{item.help}{unit}{fixed}", read_only=item.name in _READ_ONLY
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


class Parameters(Generic[C]):
    """Declares everything, keeps `configs` current, and asks before and tells after a change.

    is_unconfigured: whether settings that are fixed by configure may change now. apply: called with the new settings
    after a change at run time. Raises ConfigError when the values given at start do not fit together.
    """

    def __init__(
        self, node: Node, is_unconfigured: Callable[[], bool], apply: Callable[[C], None], table: Table[C]
    ) -> None:
        self._node, self._is_unconfigured, self._apply, self._table = node, is_unconfigured, apply, table
        self._known = {name: (group, item) for group in table.groups for name, item in group.names()}
        values = {
            name: node.declare_parameter(name, item.default, describe(item, changes=table.changes(group, item))).value
            for name, (group, item) in self._known.items()
        }
        self.configs = self._build(values)
        node.add_on_set_parameters_callback(self._validate)
        if hasattr(node, "add_post_set_parameters_callback"):
            node.add_post_set_parameters_callback(self._changed)

    def _build(self, values: dict[str, Any]) -> C:
        """Settings from ROS values. Raises ConfigError naming the parameter."""
        built = (group.build({item.name: values[name] for name, item in group.names()}) for group in self._table.groups)
        configs = self._table.configs(*built)
        self._table.check(configs)
        return configs

    def _with(self, parameters: Iterable[Parameter]) -> C:
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
        known = self._known.get(parameter.name)
        fixed = known is not None and not self._table.changes(*known)
        return fixed and parameter.value != self._node.get_parameter(parameter.name).value

    def _changed(self, parameters: list[Parameter]) -> None:
        if any(parameter.name in self._known for parameter in parameters):
            self._take(self._with(()))

    def _take(self, configs: C) -> None:
        if configs != self.configs:
            self.configs = configs
            self._apply(configs)


def _check_topic(name: str, topic: str) -> None:
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        raise ConfigError(f"{name}: {topic!r} is no topic name ({first_line(error)})") from None


def _check_together(config: NodeConfig) -> None:
    """What single ranges cannot say. Raises ConfigError."""
    check_inputs(config)
    if config.two_d_mode and not config.base_frame_id:
        raise ConfigError("two_d_mode: needs base_frame_id, the robot's frame that stays on the plane")
    if config.set_initial_pose and not config.base_frame_id:
        raise ConfigError("set_initial_pose: needs base_frame_id, the frame whose pose is given")


def check_inputs(config: NodeConfig) -> None:
    """Whether what is said of cameras and odometry fits together. Raises ConfigError."""
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
        if config.depth_camera_info_topic:
            _check_topic("depth_camera_info_topic", topic_of(name, config.depth_camera_info_topic))
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


def example_yaml(table: Table[Any] = LOCALIZATION) -> str:
    """config/*.yaml: every parameter with its default, explained and commented out."""
    lines = [f"# Made by `python -m {table.module}`. Defaults are commented out: uncomment what you change."]
    lines += ["/**:", "  ros__parameters:"]
    lines.append("    parameters_of: hfnet_ros  # ROS refuses a file without any value; this one changes nothing")
    lines.append("    # use_sim_time: false  # take time from /clock")
    before = ""
    for group in table.groups:
        if group.prefix != before:
            lines += ["", f"    # {group.prefix[:-1]}:"]
            before = group.prefix
        for name, item in group.names():
            if name == "initial_pose.x":
                lines.append("    # initial_pose:")
            indent = "    #   " if group.prefix or name.startswith("initial_pose.") else "    # "
            descriptor = describe(item, changes=table.changes(group, item))
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
