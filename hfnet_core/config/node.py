"""Settings of the ROS node."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config.features import BACKENDS
from hfnet_core.config.settings import Checked, setting

__all__ = ["NodeConfig"]


@dataclass(frozen=True)
class NodeConfig(Checked):
    """The ROS node: what it loads, listens to and publishes. Names that nav2_amcl has mean the same here."""

    map_file: str = setting("", "map made by `hfnet map build`, or a folder of maps: floors, buildings")
    maps_in_memory: int = setting(8, "of a folder of maps, most that are loaded at a time", minimum=1, maximum=1000)
    map_memory_mib: int = setting(
        512,
        "maps up to this size are read into memory; larger ones stay mapped from "
        "their file, which must not be overwritten in place then",
        unit="MiB",
        minimum=0,
        maximum=1048576,
    )
    map_verify_mib: int = setting(
        256,
        "maps up to this size are compared with their checksums before they are used; larger ones in the background, "
        "and no pose is published any more once damage is found",
        unit="MiB",
        minimum=0,
        maximum=1048576,
    )
    map_follow: bool = setting(
        False,
        "load the map again whenever its file is replaced, as a mapping node does; with autostart, wait for a map that "
        "does not exist yet",
    )
    model_file: str = setting("", "network (ONNX); empty for the one that ships")
    backend: str = setting(
        "auto",
        "what runs the network; auto is tensorrt where a GPU works, else what was measured to be fastest here, else "
        "onnxruntime",
        choices=BACKENDS,
    )
    threads: int = setting(0, "CPU threads of the network; 0 for one per core", minimum=0, maximum=256)
    autostart: bool = setting(False, "configure and activate at start, without a lifecycle manager")
    bond_heartbeat_period: float = setting(
        0.1,
        "time between two signs of life for nav2_lifecycle_manager; 0 for none",
        unit="s",
        minimum=0.0,
        maximum=10.0,
    )
    image_topic: str = setting("image", "image topic; with compressed transport `/compressed` is appended")
    image_transport: str = setting("raw", "sensor_msgs/Image or CompressedImage", choices=("raw", "compressed"))
    image_reliability: str = setting(
        "best_effort",
        "quality of service of the image subscription; reliable loses no large images but waits for them",
        choices=("best_effort", "reliable"),
    )
    camera_info_topic: str = setting("", "calibration topic; empty for `camera_info` beside the image topic")
    cameras: tuple[str, ...] = setting(("",), "names of one to four cameras; NAME/ comes before the topics of each")
    camera_mode: str = setting(
        "rig",
        "several cameras: images of one time solved together, or each image alone",
        choices=("rig", "independent"),
    )
    rig_tolerance_s: float = setting(
        0.01, "images whose stamps differ by no more are of one time", unit="s", minimum=0.0, maximum=1.0
    )
    rig_timeout_s: float = setting(
        0.05, "after this time a rig goes on without the images that are missing", unit="s", minimum=0.005, maximum=10.0
    )
    depth_topic: str = setting(
        "",
        "depth registered to the images (16UC1 in mm, 32FC1 in m, or compressedDepth), which poses must explain too; "
        "auto finds it by the layout of RealSense, OAK-D, ZED and Kinect drivers; empty for none",
    )
    depth_camera_info_topic: str = setting(
        "", "calibration of depth that is not registered to the images; TF tells where its camera is"
    )
    image_rectified: bool = setting(False, "images are rectified: the calibration is P without distortion")
    trust_calibration: bool = setting(False, "take calibrations whose numbers cannot be true all the same")
    image_timeout_s: float = setting(
        1.0, "diagnostics report a silent camera after this time", unit="s", minimum=0.1, maximum=3600.0
    )
    max_image_lead_s: float = setting(
        1.0, "images stamped further ahead of the node's clock are refused", unit="s", minimum=0.0, maximum=3600.0
    )
    image_time_offset_s: float = setting(
        0.0,
        "added to the stamps of images: when they were taken, by odometry's clock",
        unit="s",
        minimum=-10.0,
        maximum=10.0,
    )
    global_frame_id: str = setting("", "frame of the poses; empty for the frame named in the map")
    base_frame_id: str = setting("", "robot frame whose pose is published; empty publishes the camera's optical frame")
    odom_frame_id: str = setting("", "odometry frame; when set, TF is map->odom and odometry bridges between images")
    odom_topic: str = setting("", "nav_msgs/Odometry topic from odom_frame_id to base_frame_id; empty takes it from TF")
    odom_timeout_s: float = setting(
        0.1,
        "longest wait for odometry at an image's stamp, beyond the time of extraction",
        unit="s",
        minimum=0.0,
        maximum=5.0,
    )
    base_from_camera: str = setting(
        "",
        "camera's optical frame in base_frame_id as `x y z qx qy qz qw`; of several "
        "cameras all, with ; between them; empty takes it from TF",
    )
    image_rotation: str = setting(
        "0",
        "images are upright after this clockwise turn: 0, 90, 180, 270, or auto by the camera's mounting on "
        "base_frame_id; of several cameras all, with ; between them",
        unit="deg",
    )
    mask_file: str = setting(
        "",
        "what of the image counts: a picture whose black parts hide, or JSON/YAML with polygons; of several cameras "
        "all, with ; between them",
    )
    tf_broadcast: bool = setting(True, "broadcast the transform from global_frame_id")
    transform_tolerance: float = setting(
        0.5, "map->odom is post-dated by this time to bridge to the next image", unit="s", minimum=0.0, maximum=10.0
    )
    correction_timeout_s: float = setting(
        2.0,
        "map->odom is repeated this long after the last pose, then frozen and reported; negative repeats it for ever",
        unit="s",
        minimum=-1.0,
        maximum=60.0,
    )
    two_d_mode: bool = setting(False, "the robot moves on a plane: z, roll and pitch of base_frame_id are zero")
    set_initial_pose: bool = setting(False, "start from the initial_pose parameters")
    initial_pose_x: float = setting(0.0, "initial position of base_frame_id", unit="m")
    initial_pose_y: float = setting(0.0, "initial position of base_frame_id", unit="m")
    initial_pose_z: float = setting(0.0, "initial position of base_frame_id", unit="m")
    initial_pose_yaw: float = setting(0.0, "initial heading of base_frame_id", unit="rad")
    publish_map_cloud: bool = setting(True, "publish the map's landmarks and keyframes for rviz, latched")
    datum_service: str = setting(
        "",
        "navsat_transform's service (robot_localization/SetDatum, usually `/datum`) that is told where on Earth the "
        "map is; empty for none",
    )
    record_weak: bool = setting(
        False, "keep images of stretches where localization was weak or failed, for `hfnet map update`"
    )
    record_weak_folder: str = setting("~/.ros/hfnet_weak", "folder where these images are kept")
    record_weak_mib: int = setting(
        512, "size of that folder; the oldest images go first", unit="MiB", minimum=1, maximum=1048576
    )
    path_length: int = setting(1000, "poses kept in the published path; 0 for no path", minimum=0, maximum=100000)
    diagnostics_period_s: float = setting(
        1.0, "time between two diagnostics without news", unit="s", minimum=0.1, maximum=60.0
    )
