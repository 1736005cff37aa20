"""Play a recording to the localizer and judge the poses it publishes against the recording's own:
`ros2 launch hfnet_ros replay.launch.py bag:=/data/query map:=kitchen.hfmap image:=/camera/image_raw`.

Numbers and picture come into the folder given as `output`; everything ends with the recording.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("hfnet_ros")
WAIT_S = "60"  # for the node to have loaded its map

ARGUMENTS = {
    "bag": (None, "recording with images, calibration and true poses (rosbag1, sqlite3 or mcap)"),
    "map": (None, "map made by `hfnet map build`"),
    "image": (None, "image topic in the recording, without `/compressed`"),
    "image_transport": ("raw", "raw or compressed"),
    "rate": ("1.0", "speed of playing (1.0 as recorded)"),
    "output": ("evaluation", "folder for numbers and picture"),
    "rviz": ("false", "show map and pose in rviz2"),
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()
    ]
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    localization = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "localization.launch.py"])),
        launch_arguments=[(name, given[name]) for name in ("map", "image", "image_transport", "rviz")],
    )
    player = Node(
        package="hfnet_ros",
        executable="player",
        arguments=[given["bag"], "--now", "--rate", given["rate"], "--wait-for-subscriber", WAIT_S],
        output="screen",
    )
    evaluation = Node(
        package="hfnet_ros",
        executable="evaluate",
        arguments=["--bag", given["bag"], "--output", given["output"]],
        output="screen",
        on_exit=Shutdown(reason="the recording was evaluated"),
    )
    return LaunchDescription([*declared, localization, evaluation, player])
