"""Sources of features to compare with, behind the extractor's interface, all through the same localizer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError
from hfnet_core.features.baselines import OrbExtractor, SiftExtractor
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.features.sources import BorrowedRetrieval, FeatureSource
from hfnet_core.images.pixels import reduce_to, to_gray
from hfnet_core.types import Features

__all__ = ["NAMES", "AlikedExtractor", "front_end"]

NAMES = ("hfnet", "sift", "orb", "aliked")


class AlikedExtractor:
    """ALIKED-n16 with the extractor's interface; it has no global descriptor. Needs the `train` extra (torch)."""

    def __init__(self, weights: Path, config: ExtractorConfig | None = None) -> None:
        """weights: aliked-n16.pth. Raises ModelError when they are not, ConfigError when torch is not installed."""
        try:
            from hfnet_core.training.teachers.aliked import Aliked
        except ImportError as error:
            raise ConfigError("ALIKED needs torch and kornia: pip install 'hfnet_ros[train]'") from error

        self.config = ExtractorConfig() if config is None else config
        self._network = Aliked(weights, self.config.max_keypoints)
        identity = hashlib.sha256(weights.read_bytes()).hexdigest()
        spec = NetworkSpec(local_dim=128, global_dim=0, clusters=0, corner_aligned=False)
        self.info = ModelInfo("aliked-n16", "1", identity, spec, "BSD-3-Clause", subpixel=True)

    def extract(self, image: NDArray[Any]) -> Features:
        """Features of an image; `global_descriptor` is empty [0]. Raises DatasetError as `Extractor.extract` does."""
        image = np.asarray(image)
        gray, pixel_map = reduce_to(to_gray(image), self.config.max_side_px)
        found, descriptors = self._network.describe(np.round(gray).astype(np.uint8))
        order = np.argsort(-found.scores, kind="stable")[: self.config.max_keypoints]
        return Features(
            pixel_map.to_original(found.xy[order]),
            found.scores[order],
            descriptors[order],
            np.zeros(0, dtype=np.float32),
            image.shape[1],
            image.shape[0],
        )


def front_end(name: str, network: FeatureSource, config: ExtractorConfig, aliked: Path | None = None) -> FeatureSource:
    """The source of that name; all but our own network borrow its global descriptor to retrieve with.

    aliked: its weights. Raises ConfigError for a name that is not in NAMES, or ALIKED without weights.
    """
    if name == "hfnet":
        return network
    if name == "aliked" and aliked is None:
        raise ConfigError("front end aliked needs its weights: give --aliked aliked-n16.pth")
    makers: dict[str, Callable[[], FeatureSource]] = {
        "sift": lambda: SiftExtractor(config),
        "orb": lambda: OrbExtractor(config),
        "aliked": lambda: AlikedExtractor(aliked or Path(), config),
    }
    if name not in makers:
        raise ConfigError(f"front end {name!r} is not known; choose {', '.join(NAMES)}")
    return BorrowedRetrieval(makers[name](), network)
