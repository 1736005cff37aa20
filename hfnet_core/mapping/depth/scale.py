"""How long a metre is: distances in a scene beside those that depth images measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array
from hfnet_core.types import Ranges

__all__ = ["DepthComparison", "Seen", "compare", "report"]

Seen = tuple[NDArray[np.int64], Array]
"""Keypoints [N] of an image, and how far away [N] a scene has them along its axis."""

_log = logging.getLogger(__name__)
_MIN_POINTS, _MIN_IMAGES = 20, 3
_NORMAL = 1.4826  # of the median deviation, for a normal law
_NOTABLE = 0.05  # relative difference from which scales are said to disagree; sensors are wrong by 2 % at most


@dataclass(frozen=True)
class DepthComparison:
    """ratio: measured metres in one unit of the scene. spread: relative standard deviation of what one image says.
    images: how many said something."""

    ratio: float
    spread: float
    images: int


def compare(seen: Sequence[Seen], ranges: Sequence[Ranges | None]) -> DepthComparison | None:
    """What depth images say of a scene's scale; None where they are few.

    Each image has a say, the median over its points: they err together. Points count as exactly as they are measured.
    """
    logs = [
        found for own, measured in zip(seen, ranges, strict=True) if (found := _of_image(own, measured)) is not None
    ]
    if len(logs) < _MIN_IMAGES:
        return None
    middle = float(np.median(logs))
    spread = _NORMAL * float(np.median(np.abs(np.array(logs) - middle)))
    return DepthComparison(float(np.exp(middle)), spread, len(logs))


def _of_image(seen: Seen, ranges: Ranges | None) -> float | None:
    """Logarithm of the ratio, None where the image says too little."""
    if ranges is None:
        return None
    keypoints, far = seen
    measured, sigma = ranges.metres[keypoints].astype(np.float64), ranges.sigma_m[keypoints].astype(np.float64)
    usable = np.isfinite(measured) & (far > 0)
    if usable.sum() < _MIN_POINTS:
        return None
    logs, weights = np.log(measured[usable] / far[usable]), measured[usable] / sigma[usable]
    order = np.argsort(logs, kind="stable")
    total = np.cumsum(weights[order])
    return float(logs[order][np.searchsorted(total, total[-1] / 2)])


def report(found: DepthComparison | None, what: str) -> dict[str, Any]:
    """What a map's provenance keeps of the comparison. Logs where the scales disagree. what: decided on the scale."""
    if found is None:
        return {}
    if abs(np.log(found.ratio)) > _NOTABLE:
        _log.warning(
            "%s and depth images disagree about distances by %.0f %%: one of them is wrong, or the calibration of the "
            "images; for images alone with the scale of the depth pass --pose-mode images and no poses",
            what,
            100 * abs(found.ratio - 1),
        )
    rounded = {"ratio": round(found.ratio, 4), "spread": round(found.spread, 4), "images": found.images}
    return {"depth": rounded}
