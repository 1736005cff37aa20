"""Settings of evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config.settings import Checked, setting

__all__ = ["EvaluationConfig"]


@dataclass(frozen=True)
class EvaluationConfig(Checked):
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
