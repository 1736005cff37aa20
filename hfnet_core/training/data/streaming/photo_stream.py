"""Photos from plain folders, streamed in an order that never changes: what the paper's recipe trains on.

Batch number k is a pure function of the photos, the settings and k. Nothing is kept in memory but the names.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hfnet_core.errors import DatasetError
from hfnet_core.images.reading import IMAGE_SUFFIXES, read_image
from hfnet_core.progress import Progress, silent
from hfnet_core.training.data.streaming.paper_augmentation import augmented

__all__ = ["PhotoBatch", "PhotoBatches", "PhotoView", "Photos", "find_photos", "read_rgb", "resized"]

_log = logging.getLogger(__name__)
_LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)
_VALIDATION_SHARE = 5  # at most one photo in so many
_REPLACEMENTS = 20  # photos tried in place of one that cannot be read


@dataclass(frozen=True, eq=False)
class Photos:
    """Files, those for validation first, in the order in which they are used."""

    paths: tuple[str, ...]
    validation: int

    @property
    def training(self) -> int:
        """How many are trained on."""
        return len(self.paths) - self.validation

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of names, order and split."""
        return hashlib.sha256(
            "\n".join([str(self.validation), *self.paths]).encode(errors="surrogateescape")
        ).hexdigest()


def find_photos(folders: Sequence[Path], validation: int, seed: int, progress: Progress = silent) -> Photos:
    """All images in the folders and below: sorted by name, folder after folder, then shuffled once.

    validation: how many are kept apart, at most a fifth of all. Raises DatasetError where a folder is missing or holds
    no image.
    """
    paths: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder of images")
        found = []
        for parent, _, names in os.walk(folder, onerror=_left_out):
            found += [f"{parent}/{name}" for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
            progress("images found", len(paths) + len(found), 0)
        if not found:
            raise DatasetError(f"{folder}: no image in this folder or below")
        paths += sorted(found)
    paths = list({os.path.realpath(path): path for path in reversed(paths)}.values())[::-1]  # folders may overlap
    order = np.random.default_rng(seed).permutation(len(paths))
    return Photos(tuple(paths[index] for index in order), min(validation, len(paths) // _VALIDATION_SHARE))


def _left_out(error: OSError) -> None:
    _log.warning("%s: left out (%s)", error.filename, error.strerror)


@dataclass(frozen=True)
class PhotoView:
    """How photos are shown: size (width, height) in pixels; augment: whether the student sees light and noise."""

    size: tuple[int, int]
    batch_size: int
    augment: bool
    seed: int


class PhotoBatch(NamedTuple):
    """images: [N, 1, H, W] float32 gray 0..255, for the student; clean: [N, 3, H, W] uint8 RGB, for teachers; broken:
    [M] photos that could not be read, each replaced by another one."""

    images: Tensor
    clean: Tensor
    broken: Tensor


class PhotoBatches(Dataset[PhotoBatch]):
    """Map-style dataset of whole batches of the photos to train on, again and again in the same order; index = step."""

    def __init__(self, photos: Photos, view: PhotoView, length: int) -> None:
        self.photos, self.view, self.length = photos, view, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> PhotoBatch:
        cv2.setNumThreads(1)
        images, clean, broken = [], [], []
        for place in range(step * self.view.batch_size, (step + 1) * self.view.batch_size):
            rng = np.random.default_rng((self.view.seed, 11, place))
            rgb, unreadable = self._readable(rng, place)
            broken += unreadable
            if rgb is not None:
                gray = rgb @ _LUMA
                images.append(augmented(rng, gray) if self.view.augment else gray)
                clean.append(np.rint(rgb).astype(np.uint8).transpose(2, 0, 1))
        width, height = self.view.size
        return PhotoBatch(
            torch.from_numpy(np.array(images, np.float32).reshape(-1, 1, height, width)),
            torch.from_numpy(np.array(clean, np.uint8).reshape(-1, 3, height, width)),
            torch.tensor(broken, dtype=torch.int64),
        )

    def _readable(self, rng: np.random.Generator, place: int) -> tuple[NDArray[np.float32] | None, list[int]]:
        """The photo of a place in the stream, or one drawn instead of it, and those that could not be read."""
        first, count = self.photos.validation, self.photos.training
        photo = first + place % count
        broken: list[int] = []
        for _ in range(1 + _REPLACEMENTS):
            try:
                return read_rgb(self.photos.paths[photo], self.view.size), broken
            except DatasetError:
                broken.append(photo)  # said by the trainer: workers' logs are nobody's
            photo = first + int(rng.integers(count))
        return None, broken


def read_rgb(path: str, size: tuple[int, int]) -> NDArray[np.float32]:
    """A photo as RGB [H, W, 3] float32, 0..255, resized to (width, height). Raises DatasetError."""
    image = read_image(Path(path))
    pixels: NDArray[np.uint8] = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image.astype(np.uint8)
    rgb = np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels
    return resized(rgb, size)


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """[H, W, C] in another size (width, height), as TensorFlow 1 resizes bilinearly: pixel x of the result lies at
    x * (old width / new width) of the image, without a shift of half a pixel and without smoothing."""
    width, height = size
    top, bottom, down = _between(image.shape[0], height)
    left, right, along = _between(image.shape[1], width)
    along, down = along[None, :, None], down[:, None, None]
    rows = []
    for row in (top, bottom):
        first, second = (image[row[:, None], column[None, :]].astype(np.float32) for column in (left, right))
        rows.append(first + (second - first) * along)
    result: NDArray[np.float32] = rows[0] + (rows[1] - rows[0]) * down
    return result


def _between(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The pixels before and behind each new pixel along one side, and how far behind the first it lies."""
    place = np.arange(new, dtype=np.float32) * np.float32(old / new)
    before = np.minimum(place.astype(np.int64), old - 1)
    return before, np.minimum(before + 1, old - 1), place - before.astype(np.float32)
