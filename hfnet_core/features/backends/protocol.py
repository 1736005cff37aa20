"""What every inference backend offers, and what its inputs and outputs must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.types import Float32

__all__ = ["Backend", "DenseOutputs", "DetectingBackend", "SelectedOutputs", "check_dense", "check_gray"]


@dataclass(frozen=True, eq=False)
class DenseOutputs:
    """What the network computes from one gray image [H, W].

    scores: [H, W] keypoint probability of each pixel. descriptors: [H/8, W/8, D], unit length, of the cell whose
    centre is pixel (8 x + 3.5, 8 y + 3.5). global_descriptor: [G], unit length. All float32 and finite.
    """

    scores: Float32
    descriptors: Float32
    global_descriptor: Float32


@dataclass(frozen=True, eq=False)
class SelectedOutputs:
    """The keypoints chosen among the network's outputs for one image.

    keypoints: [K, 2] in pixels of the network's input. scores: [K], descending. descriptors: [K, D] and
    global_descriptor: [G], unit length. All float32. read_map: brings the map of descriptors (see DenseOutputs) from
    wherever it is; raises BackendError when it is lost.
    """

    keypoints: Float32
    scores: Float32
    descriptors: Float32
    global_descriptor: Float32
    read_map: Callable[[], Float32]

    def above(self, threshold: float, most: int) -> SelectedOutputs:
        """The strongest ones. Raises BackendError when what is left is not finite."""
        count = min(int(np.count_nonzero(self.scores >= np.float32(threshold))), most)
        cut = replace(
            self,
            keypoints=self.keypoints[:count],
            scores=self.scores[:count],
            descriptors=self.descriptors[:count],
        )
        for name in ("keypoints", "descriptors", "global_descriptor"):
            if not np.isfinite(getattr(cut, name)).all():
                raise BackendError(f"the network's {name} are not finite; the model or the image is damaged")
        return cut


class Backend(Protocol):
    """A loaded network. `infer` may be called from several threads at once."""

    @property
    def info(self) -> ModelInfo:
        """The network: name, version, sizes, and the hash that maps are bound to."""

    @property
    def description(self) -> str:
        """Runtime, processor and precision, for people."""

    @property
    def images_at_once(self) -> int:
        """How many images of one time it had better be given at once, each in a thread of its own."""

    def infer(self, gray: Float32) -> DenseOutputs:
        """Run on gray [H, W] float32, 0..255, both sides positive multiples of 8.

        Raises BackendError for another shape or type, when the runtime fails, when its outputs are not finite, and
        after `close`.
        """

    def close(self) -> None:
        """Free the network; calling it again does nothing."""


@runtime_checkable
class DetectingBackend(Backend, Protocol):
    """A Backend that can choose keypoints where the network runs, so that less has to be copied and computed here."""

    def detect(self, gray: Float32, config: ExtractorConfig) -> SelectedOutputs | DenseOutputs:
        """Run as `infer` does. Dense outputs come back where it cannot choose within these limits."""


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
