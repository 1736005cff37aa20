"""What happens to an image before the network and is undone in its features: turning it upright, hiding parts of it.

Keypoints come back in pixels of the image as it was taken. So calibrations, poses and maps know nothing of this, and
maps and queries may be turned differently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError, first_line
from hfnet_core.images.reading import read_image
from hfnet_core.types import DenseSampler, Features, Float32

__all__ = ["AUTO", "ROTATIONS", "Preparation", "read_mask", "rotation_by_up"]

ROTATIONS = (0, 90, 180, 270)
AUTO = "auto"
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_MARGIN_PX = 8  # of what is hidden: keypoints on its edge are of the edge
_STEEP = 0.35  # of up lies in the image plane: below, the camera looks up or down and upright means nothing
_LEAST_SEEN = 0.05  # of an image: a mask that leaves less is probably upside down, black for white
_POLYGONS = (".json", ".yaml", ".yml")


class _Extractor(Protocol):
    def extract(self, image: NDArray[Any]) -> Features: ...


@dataclass(frozen=True, eq=False)
class Preparation:
    """rotation: by which images are turned clockwise to be upright, degrees: 0, 90, 180 or 270. mask: [H, W] bool of
    the image as it is taken, False where the camera sees the robot itself; None hides nothing.
    """

    rotation: int = 0
    mask: NDArray[np.bool_] | None = None

    def turned(self, rotation: int) -> Preparation:
        """The same with another rotation."""
        return self if rotation == self.rotation else replace(self, rotation=rotation)

    def extract(self, extractor: _Extractor, image: NDArray[Any]) -> Features:
        """Features of an image, [H, W] or [H, W, 3], in its own pixels. Raises what the extractor raises."""
        return self.after(extractor.extract(self.before(image)))

    def before(self, image: NDArray[Any]) -> NDArray[Any]:
        """What the network is given. Hidden parts have the mean of what is seen. Raises DatasetError for a mask of
        another size."""
        if self.mask is not None:
            if self.mask.shape != image.shape[:2]:
                sizes = (f"{width}x{height}" for height, width in (self.mask.shape, image.shape[:2]))
                raise DatasetError("the mask is {}, the image {}".format(*sizes))
            image = image.copy()
            image[~self.mask] = image[self.mask].mean(axis=0).astype(image.dtype)
        return np.asarray(cv2.rotate(image, _TURNS[self.rotation])) if self.rotation else image

    def after(self, features: Features) -> Features:
        """Features of what `before` gave, in pixels of the image as it was taken; none where it is hidden."""
        if self.rotation:
            width, height = features.width, features.height
            size = (height, width) if self.rotation in (90, 270) else (width, height)
            features = replace(
                features,
                keypoints_px=_turned_back(features.keypoints_px, self.rotation, size),
                width=size[0],
                height=size[1],
                dense=None if features.dense is None else _Turned(features.dense, self.rotation, size),
                rotation=self.rotation,
            )
        if self._far_from_hidden is None:
            return features
        x, y = np.rint(features.keypoints_px).astype(np.intp).T
        rows, columns = self._far_from_hidden.shape
        kept = self._far_from_hidden[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
        return features.where(kept)

    @cached_property
    def _far_from_hidden(self) -> NDArray[np.bool_] | None:
        if self.mask is None:
            return None
        window = np.ones((2 * _MARGIN_PX + 1, 2 * _MARGIN_PX + 1), np.uint8)
        return np.asarray(cv2.erode(self.mask.astype(np.uint8), window, borderValue=1) > 0)


@dataclass(frozen=True, eq=False)
class _Turned:
    """A `DenseSampler` of the image as it was taken, from that of the turned one. size: width and height as taken."""

    inner: DenseSampler
    rotation: int
    size: tuple[int, int]

    def sample(self, xy_px: Float32) -> Float32:
        return self.inner.sample(_turned(xy_px, self.rotation, self.size))


def _turned(xy_px: Float32, rotation: int, size: tuple[int, int]) -> Float32:
    """Where pixels [N, 2] of an image of (width, height) are when it is turned clockwise."""
    x, y, (width, height) = xy_px[:, 0], xy_px[:, 1], size
    pairs = {90: (height - 1 - y, x), 180: (width - 1 - x, height - 1 - y), 270: (y, width - 1 - x)}
    return np.stack(pairs[rotation], axis=1).astype(np.float32)


def _turned_back(xy_px: Float32, rotation: int, size: tuple[int, int]) -> Float32:
    """The inverse of `_turned`; size is still that of the image as it was taken."""
    x, y, (width, height) = xy_px[:, 0], xy_px[:, 1], size
    pairs = {90: (y, height - 1 - x), 180: (width - 1 - x, height - 1 - y), 270: (width - 1 - y, x)}
    return np.stack(pairs[rotation], axis=1).astype(np.float32)


def rotation_by_up(up: NDArray[np.float64]) -> int | None:
    """The rotation that makes an image upright whose camera (x right, y down) has this unit vector [3] upwards.

    None where the camera looks up or down.
    """
    if np.hypot(up[0], up[1]) < _STEEP:
        return None
    return round(float(np.degrees(np.arctan2(-up[0], -up[1]))) / 90) % 4 * 90


def read_mask(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask [H, W] for images of (width, height): True where something is to be seen.

    An image whose black parts hide (COLMAP's convention), or JSON or YAML with polygons that hide: a list of them, or
    `hide: [[[x, y], ...], ...]`, in pixels. Raises DatasetError naming the file.
    """
    width, height = size
    if path.suffix.lower() in _POLYGONS:
        mask = np.ones((height, width), np.uint8)
        cv2.fillPoly(mask, [np.rint(polygon).astype(np.int32) for polygon in _polygons(path)], 0)
    else:
        image = read_image(path, size)
        if image.shape[1::-1] != size:
            raise DatasetError(
                f"{path}: the mask is {image.shape[1]}x{image.shape[0]}, the images are {width}x{height}"
            )
        gray = image if image.ndim == 2 else image.max(axis=2)
        mask = (gray > np.iinfo(gray.dtype).max // 2).astype(np.uint8)
    if mask.mean() < _LEAST_SEEN:
        raise DatasetError(
            f"{path}: hides {1 - mask.mean():.0%} of the image; what is black or inside polygons is hidden"
        )
    return mask > 0


def _polygons(path: Path) -> list[NDArray[np.float64]]:
    try:
        text = path.read_text(encoding="utf-8")
        content: Any = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
        raise DatasetError(f"{path}: mask cannot be read ({first_line(error)})") from error
    listed = content.get("hide") if isinstance(content, Mapping) else content
    try:
        polygons = [np.array(polygon, dtype=np.float64) for polygon in listed] if isinstance(listed, Sequence) else []
    except (TypeError, ValueError):
        polygons = []
    good = all(item.ndim == 2 and item.shape[1] == 2 and len(item) > 2 and np.isfinite(item).all() for item in polygons)
    if not polygons or not good or any(np.abs(item).max() > _FAR_PX for item in polygons):
        raise DatasetError(f"{path}: is no list of polygons [[x, y], [x, y], [x, y], ...] in pixels")
    return polygons


_FAR_PX = 1e5  # from the corner of an image, beyond any image
