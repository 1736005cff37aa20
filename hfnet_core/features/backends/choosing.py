"""Keypoints and their descriptors from the network's dense outputs, on the host."""

from __future__ import annotations

import numpy as np

from hfnet_core.config import ExtractorConfig
from hfnet_core.features.backends.protocol import DenseOutputs, SelectedOutputs
from hfnet_core.features.detection import detect, gather, refine
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.features.sampling import sample_descriptors

__all__ = ["choose"]


def choose(dense: DenseOutputs, info: ModelInfo, config: ExtractorConfig) -> SelectedOutputs:
    """The strongest keypoints, as `config` limits them; of equal scores, the first in row-major order."""
    ranked = gather(dense.scores) if info.subpixel else dense.scores
    pixels, scores = detect(ranked, config.nms_radius_px, config.detection_threshold, config.max_keypoints)
    exact = config.subpixel and info.subpixel
    keypoints = refine(dense.scores, pixels) if exact else pixels.astype(np.float32)
    descriptors = sample_descriptors(dense.descriptors, keypoints, info.spec.corner_aligned)
    whole = dense.descriptors  # and not `dense`, whose scores nobody needs any more
    return SelectedOutputs(keypoints, scores, descriptors, dense.global_descriptor, lambda: whole)
