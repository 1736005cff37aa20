"""Localize: `ros2 launch hfnet_ros localization.launch.py map:=kitchen.hfmap image:=/camera/image_raw`.

An argument that is not given leaves its parameter to `params_file`, to a `SetParameter` of an including file, and to
the node's default, in this order. With `use_lifecycle_manager:=true` a nav2_lifecycle_manager brings the node up;
otherwise the node starts by itself unless it is told `autostart:=false` in one of these places.

With `mode:=mapping` a mapping node beside it makes that map while the robot drives, and the localizer follows it.
"""

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("hfnet_ros")
NODE, MAPPER = "localization", "mapping"

# argument -> (default, what it is); those in PARAMETERS override the parameters file when they are not empty
ARGUMENTS = {
    "mode": ("localization", "localization in a map, or mapping: the map is made meanwhile"),
    "map": ("", "map made by `hfnet map build`; the map that is made, with mode:=mapping"),
    "model": ("", "network (ONNX) that made the map; empty for the one that ships"),
    "backend": ("", "what runs the network: auto, onnxruntime, openvino, tensorrt"),
    "image": ("", "image topic"),
    "camera_info": ("", "calibration topic; empty for `camera_info` beside the image topic"),
    "image_transport": ("", "raw or compressed"),
    "global_frame_id": ("", "map frame; empty for the one named in the map"),
    "odom_frame_id": ("", "odometry frame, to broadcast map->odom; empty for none"),
    "base_frame_id": ("", "robot frame whose pose is published; empty for the camera's"),
    "namespace": ("", "namespace of the node"),
    "use_sim_time": ("", "take time from /clock: true or false"),
    "autostart": ("", "configure and activate at start: true or false"),
    "use_lifecycle_manager": ("false", "leave that to a nav2_lifecycle_manager, which is started beside"),
    "bond_timeout": ("0.0", "seconds of silence after which that manager calls the node dead (nav2: 4.0); 0 for never"),
    "params_file": (PathJoinSubstitution([SHARE, "config", "localization.yaml"]), "parameters (YAML)"),
    "mapping_params_file": (PathJoinSubstitution([SHARE, "config", "mapping.yaml"]), "parameters of mapping (YAML)"),
    "log_level": ("", "debug, info, warn or error"),
    "rviz": ("false", "show map and pose in rviz2"),
}
SHOWN = (
    "map_cloud",
    "keyframes",
    "path",
    "pose",
    "pose_with_covariance",
    "candidates",
    "frustum",
    "debug_image",
)  # in rviz
PARAMETERS = {
    "map": "map_file",
    "model": "model_file",
    "backend": "backend",
    "image": "image_topic",
    "camera_info": "camera_info_topic",
    "image_transport": "image_transport",
    "global_frame_id": "global_frame_id",
    "odom_frame_id": "odom_frame_id",
    "base_frame_id": "base_frame_id",
    "use_sim_time": "use_sim_time",
    "autostart": "autostart",
}
MODES = ("localization", "mapping")
SWITCHES = ("use_sim_time", "autostart", "use_lifecycle_manager", "rviz")


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=localization)])


def localization(context):
    """The node, and what was asked for beside it. Nothing is started when something of that is missing."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    for name in SWITCHES:
        given[name] = switched(name, given[name])
    if given["mode"] not in MODES:
        raise RuntimeError(f"mode:={given['mode']}: is neither {' nor '.join(MODES)}")
    beside = []
    if given["mode"] == "mapping":
        if given["use_lifecycle_manager"]:
            raise RuntimeError(
                "mode:=mapping: its nodes start by themselves, use_lifecycle_manager is for localization"
            )
        beside.append(mapper(given))
    if given["use_lifecycle_manager"]:
        require("nav2_lifecycle_manager", "use_lifecycle_manager")
        beside.append(manager(given))
    if given["rviz"]:
        require("rviz2", "rviz")
        beside.append(view(given))
    return [node(given), *beside]


def switched(name, text):
    """True, False, or an empty text where nothing was given."""
    values = {"": "", "true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise RuntimeError(f"{name}:={text}: is neither true nor false")
    return values[text.lower()]


def require(package, argument):
    """Raises RuntimeError when a package is not installed."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        raise RuntimeError(f"{argument}:=true needs the package {package}, which is not installed") from None


def node(given):
    """The localizer. It starts by itself unless a file, an including file or an argument says otherwise."""
    follows = {"map_follow": True} if given["mode"] == "mapping" else {}
    return lifecycle_node(given, NODE, given["params_file"], {**overridden(given), **follows})


def mapper(given):
    """The node that makes the map; it hears what the localizer hears."""
    return lifecycle_node(given, MAPPER, given["mapping_params_file"], overridden(given))


def lifecycle_node(given, name, params_file, parameters):
    # What stands in `arguments` comes before everything that launch_ros adds, so anything overrules it.
    arguments = ["--ros-args", "-p", "autostart:=true"]
    if given["log_level"]:
        arguments += ["--log-level", given["log_level"]]
    return LifecycleNode(
        package="hfnet_ros",
        executable=f"{name}_node",
        name=name,
        namespace=given["namespace"],
        parameters=[params_file, parameters],
        arguments=arguments,
        output="screen",
    )


def overridden(given):
    """Parameters set by arguments: only those that were given, so that the file keeps its say."""
    values = {parameter: given[name] for name, parameter in PARAMETERS.items() if given[name] != ""}
    if given["use_lifecycle_manager"]:
        values["autostart"] = False
    return values


def time_source(given):
    return {} if given["use_sim_time"] == "" else {"use_sim_time": given["use_sim_time"]}


def manager(given):
    """nav2's, which then configures and activates the node."""
    autostart = given["autostart"] != False  # noqa: E712  empty is not False
    own = {"autostart": autostart, "node_names": [NODE], "bond_timeout": float(given["bond_timeout"])}
    return Node(
        package="nav2_lifecycle_manager",
        executable="lifecycle_manager",
        name=f"lifecycle_manager_{NODE}",
        namespace=given["namespace"],
        parameters=[{**own, **time_source(given)}],
        output="screen",
    )


def view(given):
    """rviz. Its configuration names topics without a namespace; they are remapped into the node's."""
    namespace = given["namespace"].strip("/")
    topics = [f"/{NODE}/{name}" for name in SHOWN] + ["/initialpose"]
    arguments = ["-d", PathJoinSubstitution([SHARE, "config", "localization.rviz"])]
    if given["global_frame_id"]:
        arguments += ["-f", given["global_frame_id"]]
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=arguments,
        parameters=[time_source(given)] if time_source(given) else [],
        remappings=[(topic, f"/{namespace}{topic}") for topic in topics] if namespace else [],
    )
