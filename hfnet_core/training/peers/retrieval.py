"""NetVLAD's global descriptor with the interface of a source of features."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.training.teachers.teachers_external import NetVlad
from hfnet_core.types import Features

__all__ = ["NetVladSource"]

_DIM = 4096


class NetVladSource:
    """No keypoints, only a global descriptor [4096]. weights: see `NetVlad`, which raises ModelError."""

    def __init__(self, weights: Path) -> None:
        self._network = NetVlad(weights)
        spec = NetworkSpec(local_dim=1, global_dim=_DIM, clusters=64, corner_aligned=False)
        identity = hashlib.sha256(b"netvlad 1").hexdigest()
        self.info = ModelInfo("netvlad", "1", identity, spec, "unknown", subpixel=False)

    def extract(self, image: NDArray[Any]) -> Features:
        """Raises DatasetError for an image that is too small."""
        image = np.asarray(image)
        rgb = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image[:, :, :3]
        if rgb.dtype == np.uint16:
            rgb = (rgb >> 8).astype(np.uint8)
        none = np.zeros((0, 1), np.float32)
        found = self._network(np.ascontiguousarray(rgb))
        return Features(np.zeros((0, 2), np.float32), none[:, 0], none, found, image.shape[1], image.shape[0])
