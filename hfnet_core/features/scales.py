"""Features whose keypoints are described at several sizes of the image: as from nearer and from further away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.features.extractor import MIN_SIDE_PX, Extractor
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.images.pixels import reduce_to, to_gray
from hfnet_core.types import Features, Float32, Scaled

__all__ = ["FACTORS", "MultiScale"]

# Descriptors still match at 1.5 times the distance; these two factors leave no gap from a third to three times.
FACTORS = (0.5, 2.0)


@dataclass(frozen=True)
class MultiScale:
    """An extractor that also describes its keypoints in the image resized by each factor, for maps.

    factors: of the size the network sees without.
    """

    extractor: Extractor
    factors: tuple[float, ...] = FACTORS

    @property
    def info(self) -> ModelInfo:
        return self.extractor.info

    @property
    def config(self) -> object:
        """What beside `info` decides about the features, for whoever remembers them."""
        return self.extractor.config, self.factors

    def extract(self, image: NDArray[Any]) -> Features:
        """As `Extractor.extract`, with `scaled`. Raises what it raises."""
        features = self.extractor.extract(image)
        gray, _ = reduce_to(to_gray(np.asarray(image)), self.extractor.config.max_side_px)
        described = [self._described(gray, features, factor).astype(np.float16) for factor in self.factors]
        return replace(features, scaled=Scaled(self.factors, np.stack(described)))

    def _described(self, gray: Float32, features: Features, factor: float) -> Float32:
        """[K, D] of the keypoints in the resized image."""
        width, height = (max(round(side * factor), MIN_SIDE_PX) for side in gray.shape[::-1])
        how = cv2.INTER_AREA if factor < 1.0 else cv2.INTER_LINEAR  # neither overshoots
        resized = np.asarray(cv2.resize(gray, (width, height), interpolation=how), np.float32)
        unlimited = Extractor(self.extractor.backend, replace(self.extractor.config, max_side_px=0))
        found = unlimited.extract(resized)
        assert found.dense is not None
        ratio = np.array([width / features.width, height / features.height])
        return found.dense.sample(((features.keypoints_px + 0.5) * ratio - 0.5).astype(np.float32))
