"""Features of one image in one `.npz`, under the keys of the original HF-Net repository.

keypoints [K, 2] (x, y) in pixels of the network's input, scores [K], local_descriptors [K, D] or, dense,
local_descriptor_map [h, w, D], global_descriptor [G], input_shape [3] (height, width, channels of the input).

Ours add `image_size` (width, height of the original image), `pixel_offset` (see PixelMap: 0 as in that repository) and
`model_hash`; files without them are read as that repository made them: original = keypoint * original / input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.features.exchange.checking import RawFeatures
from hfnet_core.features.exchange.npz_arrays import read_arrays
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.features.sampling import DescriptorMap, sample_descriptors
from hfnet_core.files import whole_file
from hfnet_core.images.pixels import PixelMap
from hfnet_core.types import Features

__all__ = ["NpzFeatures", "read_npz", "write_npz"]

_KEYS = (
    "keypoints",
    "scores",
    "local_descriptors",
    "local_descriptor_map",
    "global_descriptor",
    "input_shape",
    "image_size",
    "pixel_offset",
    "model_hash",
    "corner_aligned",
)
_HASH_LETTERS = 64
_LARGEST_SIDE = 10**6


@dataclass(frozen=True, eq=False)
class NpzFeatures:
    """What a file holds, by key."""

    path: Path
    arrays: Mapping[str, NDArray[Any]]

    @property
    def model_hash(self) -> str:
        """Of the network that made them, "" where the file does not tell."""
        stored = self.arrays.get("model_hash")
        text = str(stored) if stored is not None and stored.dtype.kind == "U" and stored.ndim == 0 else ""
        return text if len(text) == _HASH_LETTERS else ""

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) of the original image, None where the file does not tell."""
        stored = self.arrays.get("image_size")
        return None if stored is None else _sides(stored, self.path, "image_size")

    def raw(self, size: tuple[int, int], most: int) -> RawFeatures:
        """Arrays in pixels of the original image of (width, height). Raises DatasetError for what does not fit."""
        keypoints = self._needed("keypoints", 2).astype(np.float32)
        scores = self.arrays.get("scores")
        if "input_shape" in self.arrays:
            height, width = _sides(self.arrays["input_shape"], self.path, "input_shape")
        else:
            width, height = size
        offset = self.arrays.get("pixel_offset", np.zeros(()))
        pixel_map = PixelMap((size[0] / width, size[1] / height), 0.5 if offset.size == 1 and offset == 0.5 else 0.0)
        if "local_descriptors" in self.arrays:
            descriptors = self._needed("local_descriptors", 2)
        else:
            descriptors, keypoints, scores = self._sampled(keypoints, scores, most)
        everywhere = self.arrays.get("global_descriptor")
        return RawFeatures(pixel_map.to_original(keypoints), scores, descriptors, everywhere)

    def _sampled(self, keypoints: Any, scores: Any, most: int) -> tuple[Any, Any, Any]:
        """Descriptors read from the dense map, at the strongest keypoints only: such files may list every pixel."""
        dense = self._needed("local_descriptor_map", 3).astype(np.float32)
        if scores is not None and scores.shape == (len(keypoints),):
            order = np.argsort(-scores.astype(np.float32), kind="stable")[:most]
            keypoints, scores = keypoints[order], scores[order]
        aligned = self.arrays.get("corner_aligned")
        corner = bool(aligned) if aligned is not None and aligned.size == 1 else True
        if not np.isfinite(keypoints).all():
            raise DatasetError(f"{self.path}: keypoints hold NaN or infinite numbers; make the file again")
        return sample_descriptors(dense, keypoints, corner), keypoints, scores

    def _needed(self, key: str, dimensions: int) -> NDArray[Any]:
        found = self.arrays.get(key)
        if found is None or found.ndim != dimensions or found.dtype.kind not in "fiu" or 0 in found.shape[1:]:
            has = "none" if found is None else f"{found.dtype} {list(found.shape)}"
            raise DatasetError(f"{self.path}: {key} of {dimensions} dimensions are wanted, it has {has}")
        return found


def write_npz(path: Path, features: Features, info: ModelInfo, *, dense: bool = False) -> None:
    """Write features of an image. dense: the map of descriptors instead of those at keypoints.

    Raises DatasetError where the file cannot be written, or `dense` is asked of features without such a map.
    """
    everywhere = features.dense
    known = everywhere if isinstance(everywhere, DescriptorMap) else None
    if dense and known is None:
        raise DatasetError(f"{path}: features of {info.name} have no map of descriptors; export them without --dense")
    pixel_map = known.pixel_map if known is not None else PixelMap((1.0, 1.0), 0.5)
    width, height = (round(side / scale) for side, scale in zip(_size(features), pixel_map.scale, strict=True))
    arrays: dict[str, NDArray[Any]] = {
        "keypoints": pixel_map.from_original(features.keypoints_px),
        "scores": features.scores,
        "global_descriptor": features.global_descriptor,
        "input_shape": np.array([height, width, 1], np.int32),
        "image_size": np.array(_size(features), np.int32),
        "pixel_offset": np.array(pixel_map.offset, np.float32),
        "model_hash": np.array(info.model_hash),
    }
    if dense and known is not None:
        arrays["local_descriptor_map"] = known.read()
        arrays["corner_aligned"] = np.array(known.corner_aligned, np.uint8)
    else:
        arrays["local_descriptors"] = features.descriptors
    if not len(features.global_descriptor):
        del arrays["global_descriptor"]
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _size(features: Features) -> tuple[int, int]:
    return features.width, features.height


def read_npz(path: Path) -> NpzFeatures:
    """The arrays of a file that we know. Nothing is allocated that the file does not hold; objects are not unpacked.

    Raises DatasetError naming the file where it is missing, damaged or larger than the limit.
    """
    found = read_arrays(path, _KEYS, "features in an .npz")
    if "keypoints" not in found and "global_descriptor" not in found:
        raise DatasetError(f"{path}: holds neither keypoints nor global_descriptor; is it a file of features?")
    return NpzFeatures(path, found)


def _sides(values: NDArray[Any], path: Path, name: str) -> tuple[int, int]:
    """The first two numbers of an array."""
    flat = values.reshape(-1)
    if flat.dtype.kind not in "iu" or len(flat) < 2 or not all(1 <= int(side) <= _LARGEST_SIDE for side in flat[:2]):
        raise DatasetError(f"{path}: {name} is no size of an image")
    return int(flat[0]), int(flat[1])
