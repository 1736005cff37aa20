"""Localize one camera: `ros2 launch hfnet_ros localization.launch.py map:=kitchen.hfmap image:=/camera/image_raw`.

`camera_info` defaults to the topic beside the image, as image_transport has it. Every other parameter goes into a file
given as `params_file`. With `use_lifecycle_manager:=true` a nav2_lifecycle_manager brings the node up;
otherwise the node starts by itself unless `autostart:=false`.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("hfnet_ros")
NODE = "localization"

# argument -> (default, what it is); those in PARAMETERS override the parameters file when they are not empty
ARGUMENTS = {
    "map": ("", "map made by `hfnet map build`"),
    "model": ("", "network (ONNX) that made the map; empty for the one that ships"),
    "backend": ("", "what runs the network: auto, onnxruntime, tensorrt"),
    "image": ("image", "image topic"),
    "camera_info": ("", "calibration topic; empty for `camera_info` beside the image topic"),
    "image_transport": ("", "raw or compressed"),
    "global_frame_id": ("", "map frame; empty for the one named in the map"),
    "odom_frame_id": ("", "odometry frame, to broadcast map->odom; empty for none"),
    "base_frame_id": ("", "robot frame whose pose is published; empty for the camera's"),
    "namespace": ("", "namespace of the node"),
    "use_sim_time": ("false", "take time from /clock"),
    "autostart": ("true", "configure and activate at start"),
    "use_lifecycle_manager": ("false", "leave that to a nav2_lifecycle_manager, which is started beside"),
    "params_file": (PathJoinSubstitution([SHARE, "config", "localization.yaml"]), "parameters (YAML)"),
    "log_level": ("info", "debug, info, warn or error"),
    "rviz": ("false", "show map and pose in rviz2"),
}
SHOWN = ("map_cloud", "keyframes", "path", "pose", "pose_with_covariance", "frustum", "debug_image")  # in rviz
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
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=localization), OpaqueFunction(function=view)])


def localization(context):
    """The node and, if asked for, its manager."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    managed = given["use_lifecycle_manager"].lower() == "true"
    overrides = overridden(given)
    overrides["use_sim_time"] = given["use_sim_time"].lower() == "true"
    overrides["autostart"] = given["autostart"].lower() == "true" and not managed
    node = LifecycleNode(
        package="hfnet_ros",
        executable="localization_node",
        name=NODE,
        namespace=given["namespace"],
        parameters=[given["params_file"], overrides],
        arguments=["--ros-args", "--log-level", given["log_level"]],
        output="screen",
    )
    if not managed:
        return [node]
    manager = Node(
        package="nav2_lifecycle_manager",
        executable="lifecycle_manager",
        name=f"lifecycle_manager_{NODE}",
        namespace=given["namespace"],
        parameters=[{
            "use_sim_time": overrides["use_sim_time"],
            "autostart": given["autostart"].lower() == "true",
            "node_names": [NODE],
            "bond_timeout": 0.0,  # the node's signs of life were never tried against nav2
        }],
        output="screen",
    )  # fmt: skip
    return [node, manager]


def view(context):
    """rviz, if asked for. Its configuration names topics without a namespace; they are remapped into the node's."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if given["rviz"].lower() != "true":
        return []
    namespace = given["namespace"].strip("/")
    topics = [f"/{NODE}/{name}" for name in SHOWN] + ["/initialpose"]
    return [Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([SHARE, "config", "localization.rviz"])],
        parameters=[{"use_sim_time": given["use_sim_time"].lower() == "true"}],
        remappings=[(topic, f"/{namespace}{topic}") for topic in topics] if namespace else [],
    )]  # fmt: skip


def overridden(given):
    """Parameters set by arguments: only those that are not empty, so that the file keeps its say."""
    values = dict(given)
    if not values["camera_info"]:
        values["camera_info"] = values["image"].rpartition("/")[0] + "/camera_info" if "/" in values["image"] else ""
    return {parameter: values[name] for name, parameter in PARAMETERS.items() if values[name]}
