"""ALIKED with LightGlue as a teacher of correspondence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.training.peers.features import PeerFeatures, aliked
from hfnet_core.training.peers.matchers import LearnedMatcher
from hfnet_core.types import Features, Float32

__all__ = ["LightGlueTeacher"]

_REMEMBERED = 24  # photos whose features stay in memory; pairs are listed by group


class LightGlueTeacher:
    """Corresponding pixels of two images. Raises MissingExtraError, ModelError.

    Source: Lindenberger et al., "LightGlue", ICCV 2023 (Apache-2.0), on ALIKED (BSD-3-Clause).
    """

    def __init__(
        self, keypoints: int = 1024, side_px: int = 640, weights: Path | None = None, least_score: float = 0.2
    ) -> None:
        """side_px: images with a longer one are reduced to it; pixels stay the original's. weights: ALIKED's, if not
        those of the `peers` extra. least_score: of a match."""
        self._describe, self._matcher = aliked(keypoints, weights), LearnedMatcher("aliked")
        self._side_px, self._least = side_px, least_score
        self._known: dict[bytes, Features] = {}

    def __call__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[Float32, Float32]:
        one, other = self._features(first), self._features(second)
        pairs, scores = self._matcher(one, other)
        pairs = pairs[scores >= self._least]
        sides = ((one, pairs[:, 0], first), (other, pairs[:, 1], second))
        a, b = (_in_original(features.keypoints_px[rows], features, image) for features, rows, image in sides)
        return a, b

    def _features(self, image: NDArray[np.uint8]) -> Features:
        key = image.shape[1].to_bytes(4, "little") + image.tobytes()
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)))
            smaller = _reduced(image, self._side_px)
            found: PeerFeatures = self._describe(smaller)
            height, width = smaller.shape
            self._known[key] = Features(
                found.xy, found.scores, found.descriptors, np.zeros(0, np.float32), width, height
            )
        return self._known[key]


def _reduced(image: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    share = side_px / max(image.shape)
    if share >= 1:
        return image
    height, width = (max(round(side * share), 1) for side in image.shape)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _in_original(xy: Float32, features: Features, image: NDArray[np.uint8]) -> Float32:
    """Pixels [N, 2] of the image that features were found in as pixels of the original."""
    scale = np.array(image.shape[::-1]) / [features.width, features.height]
    return ((xy + 0.5) * scale - 0.5).astype(np.float32)
