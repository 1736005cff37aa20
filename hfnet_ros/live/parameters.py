"""Parameters of the mapping node: what it hears as the localization node does, how it builds as `hfnet map build`."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config import EngineConfig, LiveConfig, MapBuildConfig, NodeConfig
from hfnet_core.errors import ConfigError
from hfnet_core.files import home_path
from hfnet_core.mapping.live.drive_folder import SUFFIX
from hfnet_core.mapping.pose_modes import DRIFTING, IMAGES
from hfnet_ros.parameters import ANYTIME, Group, Table, check_inputs, example_yaml

__all__ = ["MAPPING", "MappingConfigs"]

_LIKE_LOCALIZATION = (
    "model_file",
    "backend",
    "threads",
    "autostart",
    "bond_heartbeat_period",
    "image_topic",
    "image_transport",
    "image_reliability",
    "camera_info_topic",
    "cameras",
    "camera_mode",
    "rig_tolerance_s",
    "rig_timeout_s",
    "image_rectified",
    "depth_topic",
    "depth_camera_info_topic",
    "trust_calibration",
    "image_timeout_s",
    "max_image_lead_s",
    "image_time_offset_s",
    "base_frame_id",
    "odom_frame_id",
    "odom_topic",
    "odom_timeout_s",
    "base_from_camera",
    "tf_broadcast",
    "transform_tolerance",
    "correction_timeout_s",
    "image_rotation",
    "mask_file",
    "publish_map_cloud",
    "path_length",
    "diagnostics_period_s",
)
_LIKE_BUILD = (
    "keyframe_distance_m",
    "keyframe_angle_deg",
    "keyframe_motion",
    "pose_mode",
    "scale_free",
    "max_keypoints",
    "max_side_px",
    "pairs_per_keyframe",
    "match_ratio",
    "epipolar_error_px",
    "min_triangulation_angle_deg",
    "max_reprojection_error_px",
    "refine_poses",
    "refine_intrinsics",
    "pose_prior_sigma_m",
    "pose_prior_sigma_deg",
    "descriptor_dtype",
    "depth_landmarks",
    "adjust_depth",
    "multi_scale",
    "odometry_sigma_ratio",
    "odometry_sigma_deg_per_m",
)


@dataclass(frozen=True)
class MappingConfigs:
    """One consistent set of settings. node: of what is heard; its other fields are at their defaults."""

    live: LiveConfig
    node: NodeConfig
    engine: EngineConfig
    build: MapBuildConfig

    @property
    def mode(self) -> str:
        """Where poses come from: the best there is, or as asked for."""
        if self.build.pose_mode != "auto":
            return self.build.pose_mode
        return DRIFTING if self.node.odom_frame_id else IMAGES

    @property
    def map_frame(self) -> str:
        """Frame of the map. Odometry that is freed of its drift is no longer what it was; given poses keep theirs."""
        return self.node.odom_frame_id if self.mode == "given" else self.live.global_frame_id

    @property
    def map_file(self) -> str:
        """Raises ConfigError where none is named."""
        if not self.live.map_file:
            raise ConfigError("map_file: is empty; name the map that shall be written, NAME.hfmap")
        return str(home_path(self.live.map_file))

    @property
    def drive_folder(self) -> str:
        """Raises ConfigError as `map_file`."""
        if self.live.drive_folder:
            return str(home_path(self.live.drive_folder))
        return self.map_file.removesuffix(".hfmap") + SUFFIX


def _check(configs: MappingConfigs) -> None:
    """Raises ConfigError."""
    check_inputs(configs.node)
    if configs.live.global_frame_id.startswith("/") or not configs.live.global_frame_id:
        raise ConfigError(f"global_frame_id: {configs.live.global_frame_id!r} is no name of a frame")
    if configs.build.pose_mode in ("given", "drifting") and not configs.node.odom_frame_id:
        raise ConfigError(f"build.pose_mode: {configs.build.pose_mode} needs odom_frame_id, the frame of those poses")


MAPPING = Table(
    (
        Group("", LiveConfig),
        Group("", NodeConfig, _LIKE_LOCALIZATION),
        Group("engine.", EngineConfig, tuple(name for name in EngineConfig.__dataclass_fields__ if name[:4] != "tune")),
        Group("build.", MapBuildConfig, _LIKE_BUILD),
    ),
    MappingConfigs,
    _check,
    ANYTIME | {"publish_every_s"},
    "hfnet_ros.live.parameters",
)

if __name__ == "__main__":
    print(example_yaml(MAPPING), end="")
