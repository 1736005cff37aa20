"""Classical features with the extractor's interface, for comparison only: they have no global descriptor."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import ExtractorConfig
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.images.pixels import reduce_to, to_gray
from hfnet_core.types import Features, Float32

__all__ = ["OrbExtractor", "SiftExtractor"]


class _ClassicalExtractor(ABC):
    """Shared by the baselines: gray 8-bit, reduced as for our own models; `_describe` does the rest."""

    name: str
    dim: int

    def __init__(self, config: ExtractorConfig | None = None) -> None:
        self.config = ExtractorConfig() if config is None else config
        identity = hashlib.sha256(f"baseline {self.name} 1".encode()).hexdigest()
        spec = NetworkSpec(local_dim=self.dim, global_dim=0, clusters=0, corner_aligned=False)
        self.info = ModelInfo(self.name, cv2.__version__, identity, spec, "Apache-2.0", subpixel=True)

    def extract(self, image: NDArray[Any]) -> Features:
        """Features of an image; `global_descriptor` is empty [0]. Raises DatasetError as `Extractor.extract` does."""
        image = np.asarray(image)
        gray, pixel_map = reduce_to(to_gray(image), self.config.max_side_px)
        keypoints, descriptors = self._describe(np.round(gray).astype(np.uint8))
        scores = np.array([point.response for point in keypoints], dtype=np.float32)
        order = np.argsort(-scores, kind="stable")[: self.config.max_keypoints]
        pixels = np.array([point.pt for point in keypoints], dtype=np.float32).reshape(-1, 2)[order]
        return Features(
            pixel_map.to_original(pixels),
            scores[order],
            descriptors[order],
            np.zeros(0, dtype=np.float32),
            image.shape[1],
            image.shape[0],
        )

    @abstractmethod
    def _describe(self, gray: NDArray[np.uint8]) -> tuple[list[Any], Float32]:
        """cv2 keypoints and their unit descriptors [K, dim] of an image [H, W]."""


class SiftExtractor(_ClassicalExtractor):
    """OpenCV's SIFT with RootSIFT descriptors (Arandjelovic and Zisserman, CVPR 2012): square root of L1-normalised."""

    name, dim = "rootsift", 128

    def _describe(self, gray: NDArray[np.uint8]) -> tuple[list[Any], Float32]:
        sift = cv2.SIFT.create(nfeatures=self.config.max_keypoints)
        keypoints, raw = sift.detectAndCompute(gray, None)
        if raw is None:
            return [], np.zeros((0, self.dim), dtype=np.float32)
        sums = np.maximum(raw.sum(axis=1, keepdims=True), np.float32(1e-6))
        descriptors: Float32 = np.sqrt(raw / sums)
        return list(keypoints), descriptors


class OrbExtractor(_ClassicalExtractor):
    """OpenCV's ORB, each bit as +-1/16: unit vectors whose Euclidean distance orders as the Hamming distance."""

    name, dim = "orb", 256

    def _describe(self, gray: NDArray[np.uint8]) -> tuple[list[Any], Float32]:
        keypoints, packed = cv2.ORB.create(nfeatures=self.config.max_keypoints).detectAndCompute(gray, None)
        if packed is None:
            return [], np.zeros((0, self.dim), dtype=np.float32)
        bits = np.unpackbits(packed, axis=1).astype(np.float32)
        return list(keypoints), (2 * bits - 1) / np.float32(np.sqrt(self.dim))
