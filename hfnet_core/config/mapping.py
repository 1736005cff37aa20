"""Settings of maps: building them, and what comes after."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config.features import ExtractorConfig
from hfnet_core.config.settings import Checked, setting

__all__ = ["MapBuildConfig", "MapCareConfig"]


@dataclass(frozen=True)
class MapBuildConfig(Checked):
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
    depth_landmarks: int = setting(
        200,
        "where depth was recorded, keyframes with fewer landmarks get some by depth, up to so many; 0 for none",
        minimum=0,
        maximum=20000,
    )
    adjust_depth: bool = setting(True, "bundle adjustment also holds points where depth images measured them")
    refine_poses: bool = setting(True, "refine poses by bundle adjustment with the given poses as priors")
    refine_intrinsics: bool = setting(True, "and with them focal length and radial distortion, near the calibration")
    pose_prior_sigma_m: float = setting(0.05, "trust in given positions (standard deviation)", unit="m", minimum=1e-4)
    pose_prior_sigma_deg: float = setting(
        1.0, "trust in given orientations (standard deviation)", unit="deg", minimum=1e-3, maximum=180.0
    )
    descriptor_dtype: str = setting("int8", "how local descriptors are stored", choices=("int8", "float16"))
    multi_scale: bool = setting(
        False, "landmarks also keep what they look like from half and from twice the distance, for queries from there"
    )
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
class MapCareConfig(Checked):
    """Aligning, pruning and upgrading maps."""

    align_error_m: float = setting(
        0.1, "a known position further off than this is taken for wrong", unit="m", minimum=1e-3, maximum=1000.0
    )
    floor_error_m: float = setting(
        0.03, "landmarks this close to the floor lie on it", unit="m", minimum=1e-3, maximum=10.0
    )
    min_per_keyframe: int = setting(100, "landmarks that pruning leaves to each keyframe", minimum=20, maximum=10000)
    min_landmark_weight: float = setting(
        0.3,
        "updating: a landmark that a smaller share of the visits found again is forgotten",
        minimum=0.0,
        maximum=1.0,
    )
    max_missing: float = setting(
        0.1,
        "upgrading: share of the keyframes whose images may be missing from the recordings",
        minimum=0.0,
        maximum=1.0,
    )
