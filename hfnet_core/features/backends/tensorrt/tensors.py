"""What goes in and out of an engine, by name."""

from __future__ import annotations

from collections.abc import Mapping

from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.features.network.selection import Selection

__all__ = ["DENSE", "SELECTED", "Shape", "tensor_shapes"]

Shape = tuple[int, ...]
DENSE = ("scores", "descriptors", "global_descriptor")  # in the order of DenseOutputs
SELECTED = ("keypoints", "keypoint_scores", "keypoint_descriptors", "global_descriptor")  # of SelectedOutputs


def tensor_shapes(info: ModelInfo, selection: Selection) -> Mapping[str, Shape]:
    """All tensors of an engine, the input `image` first; all float32."""
    height, width, dim = selection.height, selection.width, info.spec.local_dim
    return {
        "image": (1, 1, height, width),
        "scores": (1, height, width),
        "descriptors": (1, height // DETECTOR_CELL, width // DETECTOR_CELL, dim),
        "global_descriptor": (1, info.spec.global_dim),
        "keypoints": (selection.kept, 2),
        "keypoint_scores": (selection.kept,),
        "keypoint_descriptors": (selection.kept, dim),
    }
