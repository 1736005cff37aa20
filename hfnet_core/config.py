"""Every setting of the product: its default, range, unit and help text, in one place.

The command line, the ROS node and the documentation read these; nothing else may hold a default. Settings are frozen
dataclasses made with `setting(...)`; construction validates ranges and raises ConfigError naming setting, value and
what is allowed. `load(path)` reads overrides from YAML; unknown names are refused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar, cast, get_type_hints

from hfnet_core.errors import ConfigError

__all__ = [
    "BACKENDS",
    "EngineConfig",
    "EvaluationConfig",
    "ExtractorConfig",
    "LocalizerConfig",
    "MapBuildConfig",
    "MapCareConfig",
    "NodeConfig",
    "Setting",
    "Settings",
    "TrainConfig",
    "from_mapping",
    "setting",
    "settings_of",
]

BACKENDS = ("auto", "onnxruntime", "openvino", "tensorrt")  # what runs the network; see features/backends/opening.py


@dataclass(frozen=True)
class Setting:
    """What is known of one setting. `minimum` and `maximum` are inclusive; `unit` is "" for pure numbers."""

    name: str
    type: type
    default: Any
    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> Any:
        """The value, converted from int to float where that is exact. Raises ConfigError."""
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.type == tuple[str, ...]:
            value = tuple(value) if isinstance(value, list | tuple) else value
            if not isinstance(value, tuple) or not all(isinstance(word, str) for word in value):
                raise ConfigError(f"{self.name}: {value!r} is not a list of texts")
        elif type(value) is not self.type:
            raise ConfigError(f"{self.name}: {value!r} is not of type {self.type.__name__}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{self.name}: {value!r} is not one of {', '.join(self.choices)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{self.name}: {value!r} is not a finite number")
        low: Any = self.minimum
        high: Any = self.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise ConfigError(
                f"{self.name}: {value!r} is outside {low if low is not None else '-inf'}"
                f"..{high if high is not None else 'inf'} {self.unit}".rstrip()
            )
        return value


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its documentation and range."""
    known = {"help": help, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata=known)


class Settings(Protocol):
    """Any of the frozen dataclasses below."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


S = TypeVar("S", bound=Settings)


def settings_of(cls: type[Settings]) -> Iterator[Setting]:
    """The settings of a configuration class, in order of declaration."""
    types = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        yield Setting(item.name, types[item.name], item.default, **item.metadata)


def from_mapping(cls: type[S], values: Mapping[str, Any]) -> S:
    """Build settings from a mapping of overrides. Raises ConfigError for an unknown name or a refused value."""
    known = {item.name for item in settings_of(cls)}
    for name in values:
        if name not in known:
            raise ConfigError(f"{name}: no such setting of {cls.__name__}; known are {', '.join(sorted(known))}")
    return cls(**values)


class _Checked:
    def __post_init__(self) -> None:
        for item in settings_of(cast("type[Settings]", type(self))):
            object.__setattr__(self, item.name, item.check(getattr(self, item.name)))


@dataclass(frozen=True)
class ExtractorConfig(_Checked):
    """From image to features."""

    max_keypoints: int = setting(1000, "strongest keypoints kept per image", minimum=1, maximum=20000)
    detection_threshold: float = setting(0.005, "lowest keypoint probability", minimum=0.0, maximum=1.0)
    nms_radius_px: int = setting(4, "radius of non-maximum suppression", unit="px", minimum=0, maximum=32)
    max_side_px: int = setting(
        1600, "images with a longer side are reduced to it, as in maps; 0 keeps the size", unit="px", minimum=0
    )
    subpixel: bool = setting(True, "refine keypoints below the pixel (ignored by models that must reproduce integers)")


@dataclass(frozen=True)
class EngineConfig(_Checked):
    """The network on an NVIDIA GPU through TensorRT; with OpenVINO, `precision` and `max_engines` count as well."""

    precision: str = setting(
        "fp16",
        "arithmetic of the convolutions; norms and softmax are always fp32; with openvino, fp16 is bfloat16 on "
        "processors that compute with it, else fp32",
        choices=("fp32", "fp16"),
    )
    device: int = setting(0, "number of the GPU", minimum=0, maximum=63)
    cache_dir: str = setting("", "folder of built engines; empty for ~/.cache/hfnet_ros/engines")
    workspace_mib: int = setting(
        1024, "most GPU memory used to build an engine", unit="MiB", minimum=16, maximum=1048576
    )
    max_engines: int = setting(4, "image sizes kept compiled at once", minimum=1, maximum=64)
    build_after_images: int = setting(
        10,
        "backend auto builds an engine once this many images of one size came; 0 "
        "only uses what `hfnet engine build` made",
        minimum=0,
    )
    cuda_graph: bool = setting(False, "replay each image's kernels as one CUDA graph")
    tune_after_s: float = setting(
        60.0,
        "with backend auto, a node measures the installed runtimes this long after its start, once per machine, and "
        "takes the fastest from the next start on; 0 never measures",
        unit="s",
        minimum=0.0,
        maximum=86400.0,
    )


@dataclass(frozen=True)
class LocalizerConfig(_Checked):
    """From features to a pose that can be trusted."""

    retrieved: int = setting(10, "map images retrieved per query", minimum=1, maximum=1000)
    max_clusters: int = setting(3, "covisibility clusters tried per query", minimum=1, maximum=100)
    cluster_size: int = setting(
        12, "map images per cluster after growing it along covisibility", minimum=1, maximum=1000
    )
    ratio: float = setting(0.9, "ratio test between different landmarks (distance)", minimum=0.1, maximum=1.0)
    reprojection_error_px: float = setting(
        6.0,
        "largest reprojection error of an inlier at 640 px width, scaled with the image",
        unit="px",
        minimum=0.5,
        maximum=50.0,
    )
    ransac_iterations: int = setting(5000, "most RANSAC iterations", minimum=10, maximum=1000000)
    min_confidence: float = setting(
        0.98, "lowest probability of being right of an accepted pose", minimum=0.5, maximum=0.999999
    )
    search_budget_ms: float = setting(
        40.0, "no further look at the map after so much processor time", unit="ms", minimum=1.0, maximum=1e6
    )
    min_inliers: int = setting(12, "expert: fewest inliers of an accepted pose", minimum=6, maximum=10000)
    min_inlier_ratio: float = setting(0.0, "expert: lowest share of inliers", minimum=0.0, maximum=1.0)
    min_coverage: float = setting(0.0, "expert: lowest share of 8x6 image cells with one", minimum=0.0, maximum=1.0)
    ambiguity_ratio: float = setting(
        0.7, "refuse when another place has this share of the best one's inliers", minimum=0.1, maximum=1.0
    )
    tracking: bool = setting(True, "use the last pose as a prior for the next image")
    tracking_radius_px: float = setting(
        24.0, "search radius around a projected landmark at 640 px width", unit="px", minimum=2.0, maximum=400.0
    )
    tracking_max_gap_s: float = setting(
        1.0, "longest time a prior stays useful without odometry", unit="s", minimum=0.0, maximum=60.0
    )
    gate_chi2: float = setting(
        22.5,
        "largest squared Mahalanobis distance of a pose from its prediction; one true pose in 1,000 lies beyond 22.5",
        minimum=1.0,
        maximum=1e6,
    )
    gate_images: int = setting(
        2, "images that must agree on a pose beyond that before it is believed; 1 for no gate", minimum=1, maximum=100
    )
    odom_sigma: float = setting(
        0.05, "drift of odometry (standard deviation): share of the way and of the angle", minimum=0.0, maximum=10.0
    )
    odom_sigma_deg_per_m: float = setting(
        1.0, "drift of its heading with the way", unit="deg/m", minimum=0.0, maximum=360.0
    )
    odom_sigma_m_per_s: float = setting(0.01, "drift of its position with time", unit="m/s", minimum=0.0, maximum=100.0)
    odom_sigma_deg_per_s: float = setting(
        0.1, "drift of its orientation with time", unit="deg/s", minimum=0.0, maximum=360.0
    )
    max_speed_m_per_s: float = setting(
        25.0, "without odometry: the fastest motion from one image to the next", unit="m/s", minimum=0.1, maximum=200.0
    )
    max_turn_deg_per_s: float = setting(
        180.0, "without odometry: the fastest turn", unit="deg/s", minimum=1.0, maximum=3600.0
    )
    acceleration_m_per_s2: float = setting(
        4.0, "without odometry: how quickly a known velocity changes", unit="m/s^2", minimum=0.0, maximum=200.0
    )
    acceleration_rad_per_s2: float = setting(
        20.0, "without odometry: how quickly a known turn rate changes", unit="rad/s^2", minimum=0.0, maximum=1000.0
    )
    guided_landmarks: int = setting(600, "most landmarks matched around a known pose", minimum=50, maximum=100000)
    global_check_every: int = setting(30, "tracked frames between two global checks; 0 for never", minimum=0)


@dataclass(frozen=True)
class MapBuildConfig(_Checked):
    """From a recording to a map."""

    keyframe_distance_m: float = setting(0.1, "a new keyframe after this motion", unit="m", minimum=0.0, maximum=100.0)
    keyframe_angle_deg: float = setting(7.0, "or after this rotation", unit="deg", minimum=0.0, maximum=180.0)
    keyframe_motion: float = setting(
        0.1,
        "without poses, a new keyframe after the image moved by this share of its width",
        minimum=0.005,
        maximum=1.0,
    )
    pose_mode: str = setting(
        "auto",
        "where poses come from: given, odometry that drifts, or images alone; auto takes the best there is",
        choices=("auto", "given", "drifting", "images"),
    )
    known_distance: str = setting(
        "",
        "images alone: distance between the cameras of two images, `A B METRES`; A and B "
        "are image numbers, from 0, or RECORDING/NUMBER",
    )
    scale_free: bool = setting(False, "images alone: accept a map whose metres are arbitrary")
    unknown_cameras: str = setting(
        "auto",
        "without a calibration: one camera took all images of a recording, or each has its own; auto says each "
        "where image sizes differ, upright or on their side",
        choices=("auto", "shared", "each"),
    )
    max_keypoints: int = setting(2000, "strongest keypoints kept per keyframe", minimum=50, maximum=20000)
    max_side_px: int = setting(
        ExtractorConfig.max_side_px,
        "images with a longer side are reduced to it for features; 0 keeps the size",
        unit="px",
        minimum=0,
    )
    pairs_per_keyframe: int = setting(20, "most keyframes each one is matched with", minimum=1, maximum=1000)
    match_ratio: float = setting(
        0.9, "ratio test between keyframes (distance), after the mutual check", minimum=0.1, maximum=1.0
    )
    epipolar_error_px: float = setting(
        4.0, "largest distance to the epipolar line at 640 px width", unit="px", minimum=0.5, maximum=50.0
    )
    min_triangulation_angle_deg: float = setting(
        1.5, "smallest angle between two rays of a landmark", unit="deg", minimum=0.1, maximum=30.0
    )
    max_reprojection_error_px: float = setting(
        4.0, "largest reprojection error of an observation at 640 px width", unit="px", minimum=0.5, maximum=50.0
    )
    refine_poses: bool = setting(True, "refine poses by bundle adjustment with the given poses as priors")
    refine_intrinsics: bool = setting(True, "and with them focal length and radial distortion, near the calibration")
    pose_prior_sigma_m: float = setting(0.05, "trust in given positions (standard deviation)", unit="m", minimum=1e-4)
    pose_prior_sigma_deg: float = setting(
        1.0, "trust in given orientations (standard deviation)", unit="deg", minimum=1e-3, maximum=180.0
    )
    descriptor_dtype: str = setting("int8", "how local descriptors are stored", choices=("int8", "float16"))
    odometry_sigma_ratio: float = setting(
        0.03, "drift of odometry by the distance driven (standard deviation)", minimum=1e-4, maximum=1.0
    )
    odometry_sigma_deg_per_m: float = setting(
        1.0, "turn of odometry by the distance driven (standard deviation)", unit="deg/m", minimum=1e-3, maximum=90.0
    )
    max_pose_gap_s: float = setting(
        0.25, "poses further apart than this are not interpolated between", unit="s", minimum=0.0, maximum=60.0
    )

    @property
    def extraction(self) -> ExtractorConfig:
        """How keyframes are described."""
        return ExtractorConfig(self.max_keypoints, max_side_px=self.max_side_px)


@dataclass(frozen=True)
class MapCareConfig(_Checked):
    """Aligning and pruning maps."""

    align_error_m: float = setting(
        0.1, "a known position further off than this is taken for wrong", unit="m", minimum=1e-3, maximum=1000.0
    )
    floor_error_m: float = setting(
        0.03, "landmarks this close to the floor lie on it", unit="m", minimum=1e-3, maximum=10.0
    )
    min_per_keyframe: int = setting(100, "landmarks that pruning leaves to each keyframe", minimum=20, maximum=10000)


@dataclass(frozen=True)
class NodeConfig(_Checked):
    """The ROS node: what it loads, listens to and publishes. Names that nav2_amcl has mean the same here."""

    map_file: str = setting("", "map made by `hfnet map build`")
    map_memory_mib: int = setting(
        512,
        "maps up to this size are read into memory; larger ones stay mapped from "
        "their file, which must not be overwritten in place then",
        unit="MiB",
        minimum=0,
        maximum=1048576,
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
    image_rectified: bool = setting(False, "images are rectified: the calibration is P without distortion")
    trust_calibration: bool = setting(False, "take calibrations whose numbers cannot be true all the same")
    image_timeout_s: float = setting(
        1.0, "diagnostics report a silent camera after this time", unit="s", minimum=0.1, maximum=3600.0
    )
    max_image_lead_s: float = setting(
        1.0, "images stamped further ahead of the node's clock are refused", unit="s", minimum=0.0, maximum=3600.0
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
    path_length: int = setting(1000, "poses kept in the published path; 0 for no path", minimum=0, maximum=100000)
    diagnostics_period_s: float = setting(
        1.0, "time between two diagnostics without news", unit="s", minimum=0.1, maximum=60.0
    )


@dataclass(frozen=True)
class TrainConfig(_Checked):
    """From a pool of photos to weights; the defaults are how the shipped model was trained."""

    global_head: str = setting(
        "local",
        "what the global descriptor pools: the local descriptors, fitted in minutes; or layer 18, trained as well",
        choices=("local", "layer_18"),
    )
    local_minutes: float = setting(45.0, "training time of layers 1-7 and the local heads", unit="min", minimum=0.01)
    polish_minutes: float = setting(
        60.0,
        "training time of the same with overlapping photos and learned weights of the losses",
        unit="min",
        minimum=0.01,
    )
    finish_minutes: float = setting(
        80.0, "training time of the same once more, from a lower rate", unit="min", minimum=0.01
    )
    turn_minutes: float = setting(
        65.0, "training time of the same with crops turned much further", unit="min", minimum=0.01
    )
    warmup_minutes: float = setting(
        3.0, "layer_18: training time of layers 8-18 before the VLAD clusters are placed", unit="min", minimum=0.01
    )
    global_minutes: float = setting(
        30.0, "layer_18: contrastive training time of layers 8-18 and the global head", unit="min", minimum=0.01
    )
    imitation_minutes: float = setting(
        15.0, "layer_18: training time of the same to imitate a VLAD of the local descriptors", unit="min", minimum=0.01
    )
    local_learning_rate: float = setting(3e-3, "peak learning rate of the local stage", minimum=1e-6, maximum=1.0)
    polish_learning_rate: float = setting(1.5e-3, "peak learning rate of the polish stage", minimum=1e-6, maximum=1.0)
    finish_learning_rate: float = setting(1.2e-3, "peak learning rate of the finish stage", minimum=1e-6, maximum=1.0)
    turn_learning_rate: float = setting(1.2e-3, "peak learning rate of the turn stage", minimum=1e-6, maximum=1.0)
    global_learning_rate: float = setting(2e-3, "peak learning rate of the global stage", minimum=1e-6, maximum=1.0)
    imitation_learning_rate: float = setting(1e-3, "peak learning rate of the imitation", minimum=1e-6, maximum=1.0)
    crop_px: int = setting(256, "side of the local stage's crops, a multiple of 8", unit="px", minimum=32, maximum=1024)
    pairs: int = setting(8, "photos per batch of the local stage, two crops each", minimum=1, maximum=1024)
    regression_batches: int = setting(
        40, "batches the final layer is fitted to the imitated descriptors on, before training it", minimum=1
    )
    view_px: int = setting(336, "width of the global stage's views", unit="px", minimum=64, maximum=2048)
    places: int = setting(10, "places per batch of the global stage", minimum=2, maximum=1024)
    views: int = setting(4, "views per place, an even number", minimum=2, maximum=64)
    local_dim: int = setting(128, "channels of the local descriptor", minimum=1)
    global_dim: int = setting(1024, "size of the global descriptor", minimum=1)
    words: int = setting(64, "local: VLAD words", minimum=1)
    word_dim: int = setting(32, "local: channels of the descriptors' projection before VLAD", minimum=1)
    clusters: int = setting(32, "layer_18: VLAD clusters", minimum=1)
    rooms: int = setting(180, "rendered rooms whose views show what changes with the viewpoint", minimum=0)
    intermediate_dim: int = setting(64, "layer_18: channels of the projection before VLAD; 0 for none", minimum=0)
    seed: int = setting(0, "seed of weights, crops and noise", minimum=0)
    threads: int = setting(0, "CPU threads of the trainer; 0 leaves it to torch", minimum=0, maximum=256)
    workers: int = setting(1, "processes that prepare batches", minimum=0, maximum=64)
    device: str = setting("cpu", "where to train", choices=("cpu", "cuda"))


@dataclass(frozen=True)
class EvaluationConfig(_Checked):
    """How poses are judged against ground truth."""

    recall_levels: str = setting(
        "near",
        "bounds of recall: near for 5, 10, 25 cm within 5 degrees; far for 25 cm/2, 50 cm/5, 5 m/10 degrees",
        choices=("near", "far"),
    )
    wrong_distance_m: float = setting(0.5, "a published pose further off than this is wrong", unit="m", minimum=0.0)
    wrong_angle_deg: float = setting(10.0, "or turned by more than this", unit="deg", minimum=0.0, maximum=180.0)
    max_stamp_gap_s: float = setting(
        0.001, "an estimate belongs to the image whose stamp is this close", unit="s", minimum=0.0, maximum=1.0
    )
    start_timeout_s: float = setting(
        30.0, "longest wait for the node to become active", unit="s", minimum=1.0, maximum=3600.0
    )
    settle_s: float = setting(2.0, "wait for late poses after the last image", unit="s", minimum=0.0, maximum=60.0)
