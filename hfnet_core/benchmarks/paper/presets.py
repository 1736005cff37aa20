"""Settings of evaluations on datasets: those of the paper's own, and ours.

Source of the paper's: the evaluations of github.com/ethz-asl/hfnet (Sarlin et al., CVPR 2019). Reprojection errors
there count in pixels of the original image, ours at 640 pixels of width: the datasets' image widths translate. The
paper has no judgement beyond a number of inliers, so that its presets accept the likeliest pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hfnet_core.config import UNHURRIED_MS, ExtractorConfig, LocalizerConfig, MapBuildConfig
from hfnet_core.errors import ConfigError

__all__ = ["PRESETS", "Preset", "preset_of"]

_REFERENCE_WIDTH = 640


@dataclass(frozen=True)
class Preset:
    """building: of maps. extraction: of queries."""

    name: str
    building: MapBuildConfig = field(default_factory=lambda: MapBuildConfig(max_keypoints=3000))
    extraction: ExtractorConfig = field(default_factory=lambda: ExtractorConfig(max_keypoints=2000))
    localizer: LocalizerConfig = field(
        default_factory=lambda: LocalizerConfig(tracking=False, search_budget_ms=UNHURRIED_MS)
    )


def _paper(name: str, max_side_px: int, error_px: float, width_px: int, min_inliers: int) -> Preset:
    return Preset(
        name,
        MapBuildConfig(max_keypoints=3000, max_side_px=max_side_px),
        ExtractorConfig(max_keypoints=2000, nms_radius_px=4, max_side_px=max_side_px),
        LocalizerConfig(
            retrieved=10,
            max_clusters=10,
            ratio=0.9,
            reprojection_error_px=error_px * _REFERENCE_WIDTH / width_px,
            ransac_iterations=5000,
            min_inliers=min_inliers,
            min_confidence=0.5,
            ambiguity_ratio=1.0,
            tracking=False,
            search_budget_ms=UNHURRIED_MS,
        ),
    )


PRESETS: Mapping[str, Preset] = {
    "paper-aachen": _paper("paper-aachen", 960, 10.0, 1600, 12),
    "paper-robotcar": _paper("paper-robotcar", 960, 12.0, 1024, 15),
    "paper-cmu": _paper("paper-cmu", 1024, 5.0, 1024, 12),
    "ours": Preset("ours"),
}
_OF = {
    "aachen": "paper-aachen",
    "aachen-v1.1": "paper-aachen",
    "robotcar": "paper-robotcar",
    "robotcar-v2": "paper-robotcar",
    "cmu": "paper-cmu",
    "cmu-extended": "paper-cmu",
}


def preset_of(dataset: str, wanted: str = "auto") -> Preset:
    """auto: the paper's where it evaluated a dataset, ours elsewhere. Raises ConfigError for a name not in PRESETS."""
    name = _OF.get(dataset, "ours") if wanted == "auto" else wanted
    if name not in PRESETS:
        raise ConfigError(f"preset {wanted!r} is not known; choose auto, {', '.join(PRESETS)}")
    return PRESETS[name]
