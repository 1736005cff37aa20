"""Other people's networks with the extractor's interface. They have no global descriptor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.exchange.checking import RawFeatures, checked_features
from hfnet_core.features.extractor import MAX_PIXELS, MIN_SIDE_PX
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.images.pixels import PixelMap, reduce_to, to_gray
from hfnet_core.types import Features

__all__ = ["ImageNetwork", "NetworkSource", "Peer", "prepared_image"]

ImageNetwork = Callable[[NDArray[np.uint8]], Any]
"""An image [H, W] or [H, W, 3] RGB, uint8 -> (xy [K, 2], scores [K], descriptors [K, D])."""


@dataclass(frozen=True)
class Peer:
    """What is known of a network. colour: it wants RGB. licence: of its weights."""

    name: str
    dim: int
    licence: str
    colour: bool = False


class NetworkSource:
    """A `FeatureSource` from a network that gives keypoints with descriptors."""

    def __init__(self, peer: Peer, network: ImageNetwork, config: ExtractorConfig | None = None) -> None:
        self.config = ExtractorConfig() if config is None else config
        self._peer, self._network = peer, network
        spec = NetworkSpec(local_dim=peer.dim, global_dim=0, clusters=0, corner_aligned=False)
        identity = hashlib.sha256(f"peer {peer.name} {peer.dim} 1".encode()).hexdigest()
        self.info = ModelInfo(peer.name, "1", identity, spec, peer.licence, subpixel=True)

    def extract(self, image: NDArray[Any]) -> Features:
        """Features of an image; `global_descriptor` is empty [0]. Raises DatasetError as `Extractor.extract` does, and
        where the network gives what are no features."""
        image = np.asarray(image)
        pixels, pixel_map = prepared_image(image, self.config.max_side_px, self._peer.colour)
        xy, scores, descriptors = self._network(pixels)
        raw = RawFeatures(pixel_map.to_original(xy), scores, descriptors, None)
        size = (image.shape[1], image.shape[0])
        return checked_features(raw, size, f"network {self._peer.name}", self.config.max_keypoints).features


def prepared_image(image: NDArray[Any], max_side_px: int, colour: bool) -> tuple[NDArray[np.uint8], PixelMap]:
    """An image as a network is given it: gray [H, W] or RGB [H, W, 3], uint8, reduced as for our own.

    Raises DatasetError for an image that cannot be used, as `Extractor.prepare` does.
    """
    gray, pixel_map = reduce_to(to_gray(image), max_side_px)
    height, width = gray.shape
    if min(height, width) < MIN_SIDE_PX or height * width > MAX_PIXELS:
        raise DatasetError(
            f"image is {width}x{height} px as the network sees it; {MIN_SIDE_PX} px a side and {MAX_PIXELS} pixels are "
            "its limits: set max_side_px"
        )
    if not colour:
        return np.round(gray).astype(np.uint8), pixel_map
    return _reduced_rgb(image, (width, height)), pixel_map


def _reduced_rgb(image: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    channels = image.reshape(*image.shape[:2], -1)
    rgb = np.repeat(channels[:, :, :1], 3, axis=2) if channels.shape[2] == 1 else channels[:, :, :3]
    rgb = np.ascontiguousarray(rgb)
    if rgb.shape[1::-1] != size:
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.clip(np.round(rgb), 0, 255).astype(np.uint8)
