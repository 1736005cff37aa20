"""What every inference backend offers, and what its inputs and outputs must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hfnet_core.errors import BackendError
from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.types import Float32

__all__ = ["Backend", "DenseOutputs", "check_dense", "check_gray"]


@dataclass(frozen=True, eq=False)
class DenseOutputs:
    """What the network computes from one gray image [H, W].

    scores: [H, W] keypoint probability of each pixel. descriptors: [H/8, W/8, D], unit length, of the cell whose
    centre is pixel (8 x + 3.5, 8 y + 3.5). global_descriptor: [G], unit length. All float32 and finite.
    """

    scores: Float32
    descriptors: Float32
    global_descriptor: Float32


class Backend(Protocol):
    """A loaded network. `infer` may be called from several threads at once."""

    @property
    def info(self) -> ModelInfo: ...

    def infer(self, gray: Float32) -> DenseOutputs:
        """Run on gray [H, W] float32, 0..255, both sides positive multiples of 8.

        Raises BackendError for another shape or type, when the runtime fails, when its outputs are not finite, and
        after `close`.
        """

    def close(self) -> None:
        """Free the network; calling it again does nothing."""


def check_gray(gray: Float32) -> None:
    """Raise BackendError unless `gray` is an image that `Backend.infer` takes."""
    fits = gray.ndim == 2 and all(side > 0 and side % DETECTOR_CELL == 0 for side in gray.shape)
    if not fits or gray.dtype != np.float32:
        raise BackendError(
            f"the network got {gray.dtype} {list(gray.shape)}; it takes float32 [H, W] with "
            f"sides that are multiples of {DETECTOR_CELL}, crop the image"
        )


def check_dense(outputs: DenseOutputs, gray: Float32, info: ModelInfo) -> None:
    """Raise BackendError unless the outputs have the promised shapes and are finite."""
    height, width = gray.shape
    promised = {
        "scores": (height, width),
        "descriptors": (height // DETECTOR_CELL, width // DETECTOR_CELL, info.spec.local_dim),
        "global_descriptor": (info.spec.global_dim,),
    }
    for name, shape in promised.items():
        value: Float32 = getattr(outputs, name)
        if value.shape != shape:
            raise BackendError(
                f"model {info.name}: output {name} has shape {value.shape}, expected {shape}; export it again"
            )
        # A sum is NaN or infinite exactly when an element is (values here are at most 1), and makes no copy.
        if not np.isfinite(value.sum()):
            raise BackendError(f"model {info.name}: output {name} is not finite; the model or the image is damaged")
