"""How far away keypoints are by a second camera beside the first, both rectified."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.types import Features, Ranges

__all__ = ["stereo_ranges"]

# At 640 px width: how far rows of a rectified pair may differ, and the standard deviation of a disparity.
_ROW_PX, _DISPARITY_PX = 2.0, 0.7
_RATIO = 0.9  # of descriptor distances, best to second best along the row
_SIMILAR = 0.5  # least similarity, where nothing else in the row resembles a keypoint
_FURTHEST = 0.3  # relative standard deviation of a distance that still tells something


def stereo_ranges(left: Features, right: Features, focal_px: float, baseline_m: float) -> Ranges:
    """Of the left image's keypoints, by the keypoints of the right image in the same rows.

    focal_px: of both. A match is the most similar keypoint for both sides, clearly more so than any other in the row.
    """
    scale = left.width / 640
    count = len(left)
    metres, sigma = np.full(count, np.nan), np.full(count, np.nan)
    if count and len(right):
        similarity = _in_rows(left, right, _ROW_PX * scale)
        best = similarity.argmax(axis=1)
        rows = np.arange(count)
        mutual = (similarity[rows, best] >= _SIMILAR) & (similarity.argmax(axis=0)[best] == rows)
        chosen = rows[mutual & _is_clear(similarity, best)]
        disparity = left.keypoints_px[chosen, 0].astype(np.float64) - right.keypoints_px[best[chosen], 0]
        far = focal_px * baseline_m / disparity
        noise = far / disparity * _DISPARITY_PX * scale
        usable = noise <= _FURTHEST * far
        metres[chosen[usable]], sigma[chosen[usable]] = far[usable], noise[usable]
    return Ranges(metres.astype(np.float32), sigma.astype(np.float32))


def _in_rows(left: Features, right: Features, row_px: float) -> NDArray[Any]:
    """[K, L] similarity of descriptors, minus infinity where a pair cannot be one point."""
    across = left.keypoints_px[:, None] - right.keypoints_px[None]
    possible = (np.abs(across[:, :, 1]) <= row_px) & (across[:, :, 0] > 0)
    return np.where(possible, left.descriptors @ right.descriptors.T, -np.inf)


def _is_clear(similarity: np.ndarray, best: np.ndarray) -> NDArray[Any]:
    """[K] whether the best match passes the ratio test."""
    rows = np.arange(len(best))
    first = np.sqrt(np.maximum(2 - 2 * similarity[rows, best], 0.0))
    others = similarity.copy()
    others[rows, best] = -np.inf
    second = np.sqrt(np.maximum(2 - 2 * np.maximum(others.max(axis=1), -1.0), 0.0))
    return np.asarray(first < _RATIO * second)
