"""Settings of localization and tracking."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config.settings import Checked, setting

__all__ = ["UNHURRIED_MS", "LocalizerConfig"]

UNHURRIED_MS = 1000.0  # search budget where nobody waits: the answer does not depend on how busy the machine is


@dataclass(frozen=True)
class LocalizerConfig(Checked):
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
        0.999, "lowest probability of being right of an accepted pose", minimum=0.5, maximum=0.999999
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
    turns: str = setting(
        "search",
        "for cameras that roll: images are turned by quarters before the network, as the last pose or gravity tells "
        "(follow), and by trying as well, of images that are refused (search), or never (off)",
        choices=("search", "follow", "off"),
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
    guided_landmarks: int = setting(500, "most landmarks matched around a known pose", minimum=50, maximum=100000)
    global_check_every: int = setting(30, "tracked frames between two global checks; 0 for never", minimum=0)
