"""Play a recording to the localizer and judge the poses it publishes against the recording's own:
`ros2 launch hfnet_ros replay.launch.py bag:=/data/query map:=kitchen.hfmap image:=/camera/image_raw`.

Numbers and picture come into the folder given as `output`. Everything ends with the recording, or as soon as one of the
processes fails: then with exit status 1.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("hfnet_ros")
# for the node to have loaded its map, and for everybody to know of each other
WAIT = ("--wait-for-subscriber", "60", "--wait-for-localizer", "/localization", "--wait-for-evaluation")

ARGUMENTS = {
    "bag": (None, "recording with images, calibration and true poses (rosbag1, sqlite3 or mcap)"),
    "map": (None, "map made by `hfnet map build`"),
    "image": (None, "image topic in the recording, without `/compressed`"),
    "image_transport": ("raw", "raw or compressed"),
    "rate": ("1.0", "speed of playing (1.0 as recorded)"),
    "output": ("evaluation", "folder for numbers and picture"),
    "model": ("", "network (ONNX) that made the map; empty for the one that ships"),
    "params_file": (PathJoinSubstitution([SHARE, "config", "localization.yaml"]), "parameters of the node (YAML)"),
    "rviz": ("false", "show map and pose in rviz2"),
}
PASSED = ("map", "image", "image_transport", "model", "params_file", "rviz")  # to localization.launch.py


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()
    ]
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    localization = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "localization.launch.py"])),
        launch_arguments=[(name, given[name]) for name in PASSED],
    )
    player = Node(
        package="hfnet_ros",
        executable="player",
        arguments=[given["bag"], "--now", "--rate", given["rate"], *WAIT],
        output="screen",
    )
    evaluation = Node(
        package="hfnet_ros",
        executable="evaluate",
        arguments=["--bag", given["bag"], "--output", given["output"]],
        output="screen",
        on_exit=Shutdown(reason="the recording was evaluated"),
    )
    failure = RegisterEventHandler(OnProcessExit(on_exit=failed))
    return LaunchDescription([*declared, failure, localization, evaluation, player])


def failed(event, context):
    """Launch ends with status 1 when something raises; a process that fails by itself is not enough for it."""
    if event.returncode != 0 and not context.is_shutdown:
        raise RuntimeError(f"{event.process_name} ended with status {event.returncode}")
