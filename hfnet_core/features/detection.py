"""Keypoints from dense scores: non-maximum suppression, the strongest k, refinement below the pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.types import Float32

__all__ = ["detect", "gather", "refine", "suppress"]

_ROUNDS = 2  # of adding maxima that appear once the neighbours of the first ones are removed, as released
_REFINE_RADIUS = 2


def suppress(scores: Float32, radius: int) -> NDArray[np.bool_]:
    """Where finite scores [H, W] survive non-maximum suppression in a square window of +-radius pixels.

    The approximate scheme of the released graph: window maxima, then twice the maxima of what the windows around
    those leave. Equal neighbours do not suppress each other; outside the image counts as lower than everything.
    """
    if radius == 0:
        return np.ones(scores.shape, dtype=np.bool_)
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), dtype=np.uint8)
    keep: NDArray[np.bool_] = scores == cv2.dilate(scores, kernel)
    for _ in range(_ROUNDS):
        free = ~cv2.dilate(keep.view(np.uint8), kernel).view(np.bool_)
        rest = scores * free
        keep |= (rest == cv2.dilate(rest, kernel)) & free
    return keep


def gather(scores: Float32) -> Float32:
    """Scores [H, W] with those of the neighbours added by half, so that a keypoint between pixels counts in full.

    Networks trained on sub-pixel labels split each keypoint over the four pixels around it.
    """
    kernel = np.array([0.5, 1.0, 0.5], np.float32)
    return np.asarray(cv2.sepFilter2D(scores, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT), np.float32)


def detect(scores: Float32, radius: int, threshold: float, count: int) -> tuple[NDArray[np.int32], Float32]:
    """The `count` strongest keypoints of scores [H, W]: pixels [K, 2] as (x, y), and scores [K], descending.

    Of equal scores, the first in row-major order comes first. Keypoints have at least `threshold`.
    """
    width = scores.shape[1]
    found = np.flatnonzero((scores >= np.float32(threshold)) & suppress(scores, radius))
    values = scores.reshape(-1)[found]
    if len(found) > count:
        lowest = np.partition(values, -count)[-count]
        chosen = values > lowest
        chosen[np.flatnonzero(values == lowest)[: count - np.count_nonzero(chosen)]] = True
        found, values = found[chosen], values[chosen]
    order = np.argsort(-values, kind="stable")
    rows, columns = np.divmod(found[order], width)
    return np.stack([columns, rows], axis=1).astype(np.int32), values[order]


def refine(scores: Float32, pixels: NDArray[np.int32]) -> Float32:
    """Keypoints [K, 2] moved to the score-weighted centre of the 5x5 pixels around them, at most 2 px away.

    This is the soft-argmax of the log scores. Pixels outside the image have no weight.
    """
    side = 2 * _REFINE_RADIUS + 1
    padded = np.pad(scores, _REFINE_RADIUS)
    stride = padded.shape[1]
    offsets = np.arange(side)[:, None] * stride + np.arange(
        side
    )  # top-left of the window is the pixel itself, unpadded
    first = pixels[:, 1].astype(np.intp) * stride + pixels[:, 0]
    weights = padded.reshape(-1)[first[:, None] + offsets.reshape(-1)].reshape(-1, side, side)
    steps = np.arange(-_REFINE_RADIUS, _REFINE_RADIUS + 1, dtype=np.float32)
    total = np.maximum(weights.sum((1, 2)), np.finfo(np.float32).tiny)
    shift = np.stack([weights.sum(1) @ steps, weights.sum(2) @ steps], axis=1) / total[:, None]
    refined: Float32 = (pixels + shift).astype(np.float32)
    return refined
