"""Descriptors at keypoints, or anywhere else, read from the map of descriptors between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.images.pixels import PixelMap
from hfnet_core.types import Float32

__all__ = ["DescriptorMap", "map_coordinates", "sample_descriptors"]

_AT_ONCE = 256  # points, whose cells fit into a processor's cache
_NORM_FLOOR = 1e-12  # of the squared norm, as in tf.nn.l2_normalize


def map_coordinates(pixels: Float32, map_shape: tuple[int, int], corner_aligned: bool) -> Float32:
    """Where pixels [K, 2] of the network's input lie in its descriptor map [h, w]: (column, row), [K, 2].

    corner_aligned: as the released model does, the corner pixels on the corner cells. Otherwise at the cells' true
    centres (8 x + 3.5), the outer half cell taking the border's descriptor.
    """
    rows, columns = map_shape
    cells = np.array([columns, rows], dtype=np.float64)
    if corner_aligned:
        factor = (cells - 1) / (cells * DETECTOR_CELL - 1)
        return pixels.astype(np.float32) * factor.astype(np.float32)
    centre = (DETECTOR_CELL - 1) / 2
    return np.clip((pixels - centre) / DETECTOR_CELL, 0, cells - 1).astype(np.float32)


def sample_descriptors(descriptor_map: Float32, pixels: Float32, corner_aligned: bool) -> Float32:
    """Unit descriptors [K, D] of a map [h, w, D] at pixels [K, 2] of the network's input. Bilinear."""
    rows, columns, dim = descriptor_map.shape
    xy = map_coordinates(pixels, (rows, columns), corner_aligned)
    first = np.floor(xy)
    upper = xy - first
    last = np.array([columns - 1, rows - 1], np.int32)
    corners, weights = [], []
    for offset, beside in ((0, 1 - upper), (1, upper)):
        cell = first.astype(np.int32) + np.int32(offset)
        corners.append(np.clip(cell, 0, last))
        weights.append(beside * (corners[-1] == cell))  # cells outside the map count as zero
    index = np.stack([y[:, 1] * columns + x[:, 0] for y in corners for x in corners], axis=1)
    weight = np.stack([x[:, 0] * y[:, 1] for y in weights for x in weights], axis=1)
    flat = descriptor_map.reshape(-1, dim)
    sampled = np.empty((len(pixels), dim), dtype=np.float32)
    for start in range(0, len(pixels), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        np.einsum("kcd,kc->kd", flat.take(index[part], axis=0), weight[part], out=sampled[part])
    squares = np.einsum("kd,kd->k", sampled, sampled)
    sampled *= (1 / np.sqrt(np.maximum(squares, np.float32(_NORM_FLOOR))))[:, None]
    return sampled


@dataclass(frozen=True, eq=False)
class DescriptorMap:
    """The `DenseSampler` of an image.

    read: brings the map of descriptors [h, w, D]; called with every use, so that it may lie where the network runs
    until then. pixel_map: from the network's input to the original image. corner_aligned: see `map_coordinates`.
    """

    read: Callable[[], Float32]
    pixel_map: PixelMap
    corner_aligned: bool

    def sample(self, xy_px: Float32) -> Float32:
        descriptors = self.read()
        rows, columns = descriptors.shape[:2]
        last = np.array([columns * DETECTOR_CELL - 1, rows * DETECTOR_CELL - 1], np.float32)
        pixels = np.clip(self.pixel_map.from_original(np.asarray(xy_px, np.float32)), 0, last)
        return sample_descriptors(descriptors, pixels, self.corner_aligned)
