"""From an image to its features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import BackendError, DatasetError
from hfnet_core.features.backends.choosing import choose
from hfnet_core.features.backends.protocol import Backend, DenseOutputs, DetectingBackend, SelectedOutputs
from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.features.sampling import DescriptorMap
from hfnet_core.images.pixels import PixelMap, reduce_to, to_gray
from hfnet_core.types import Features, Float32

__all__ = ["MAX_PIXELS", "MIN_SIDE_PX", "Extractor"]

MAX_PIXELS = 2**24  # the network takes 200 MB of memory for a million of them
MIN_SIDE_PX = 16  # two cells: below this there is nothing to interpolate descriptors between


class Extractor:
    """Gray, network, keypoints, descriptors. Holds no state of an image; as thread-safe as its backend."""

    def __init__(self, backend: Backend, config: ExtractorConfig | None = None) -> None:
        self.backend = backend
        self.config = ExtractorConfig() if config is None else config

    @property
    def info(self) -> ModelInfo:
        """The network: name, version, sizes, and the hash that maps are bound to."""
        return self.backend.info

    def extract(self, image: NDArray[Any]) -> Features:
        """Features of an image (see `to_gray` for the kinds taken), keypoints in its own pixels, `dense` included.

        Raises DatasetError when the image cannot be used (empty, NaN, wrong dimensions or type, a side below
        MIN_SIDE_PX, more than MAX_PIXELS), BackendError when the network fails.
        """
        image = np.asarray(image)
        gray, pixel_map = self.prepare(image)
        height, width = image.shape[:2]
        if isinstance(self.backend, DetectingBackend):
            found = self.backend.detect(gray, self.config)
            if isinstance(found, SelectedOutputs):
                return self._features(found, pixel_map, width, height)
            return self.select(found, pixel_map, width, height)
        return self.select(self.backend.infer(gray), pixel_map, width, height)

    def prepare(self, image: NDArray[Any]) -> tuple[Float32, PixelMap]:
        """The network's input: gray, reduced, cropped at the right and bottom to multiples of 8."""
        gray, pixel_map = reduce_to(to_gray(image), self.config.max_side_px, self.info.spec.corner_aligned)
        height, width = gray.shape
        if min(height, width) < MIN_SIDE_PX:
            raise DatasetError(
                f"image is {width}x{height} px as the network sees it; both sides must be at least {MIN_SIDE_PX} px"
            )
        if height * width > MAX_PIXELS:
            raise DatasetError(
                f"image is {width}x{height} px as the network sees it, more than {MAX_PIXELS} pixels: set max_side_px"
            )
        height, width = (side - side % DETECTOR_CELL for side in (height, width))
        return np.ascontiguousarray(gray[:height, :width]), pixel_map

    def select(self, dense: DenseOutputs, pixel_map: PixelMap, width: int, height: int) -> Features:
        """The strongest keypoints of the network's outputs, for an original image of `width` x `height`."""
        return self._features(choose(dense, self.info, self.config), pixel_map, width, height)

    def _features(self, found: SelectedOutputs, pixel_map: PixelMap, width: int, height: int) -> Features:
        if not (np.isfinite(found.descriptors).all() and np.isfinite(found.global_descriptor).all()):
            raise BackendError("the network's descriptors are not finite numbers: is the model damaged?")
        everywhere = DescriptorMap(found.read_map, pixel_map, self.info.spec.corner_aligned)
        keypoints = pixel_map.to_original(found.keypoints)
        return Features(keypoints, found.scores, found.descriptors, found.global_descriptor, width, height, everywhere)
