"""ALIKED with LightGlue as a teacher of correspondence."""

from __future__ import annotations

from pathlib import Path

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

    def __init__(self, keypoints: int = 1024, weights: Path | None = None, least_score: float = 0.2) -> None:
        """weights: ALIKED's, if not those of the `peers` extra. least_score: of a match."""
        self._describe, self._matcher = aliked(keypoints, weights), LearnedMatcher("aliked")
        self._least = least_score
        self._known: dict[bytes, Features] = {}

    def __call__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[Float32, Float32]:
        one, other = self._features(first), self._features(second)
        pairs, scores = self._matcher(one, other)
        pairs = pairs[scores >= self._least]
        return one.keypoints_px[pairs[:, 0]], other.keypoints_px[pairs[:, 1]]

    def _features(self, image: NDArray[np.uint8]) -> Features:
        key = image.shape[1].to_bytes(4, "little") + image.tobytes()
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)))
            found: PeerFeatures = self._describe(image)
            height, width = image.shape
            self._known[key] = Features(
                found.xy, found.scores, found.descriptors, np.zeros(0, np.float32), width, height
            )
        return self._known[key]
