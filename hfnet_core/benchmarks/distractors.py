"""Images of other places by the ten thousand: photos as they are, then crops and warps of them, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.images.pixels import to_gray
from hfnet_core.images.reading import read_image
from hfnet_core.training.data.augmentation import CropRange, random_homography, warp_image

__all__ = ["photos_and_crops"]

_SIZE = (320, 240)
_RANGE = CropRange(scale=(0.5, 1.6), rotation_deg=20.0, perspective=0.12, tilt=1.6)
_AT_ONCE = 4  # crops of a photo that is read


def photos_and_crops(paths: Sequence[Path], count: int, seed: int = 0) -> Iterator[NDArray[Any]]:
    """So many images: first the photos, then gray crops of 320x240, half of them mirrored; none is kept.

    Raises DatasetError for a photo that cannot be read.
    """
    for path in paths[:count]:
        yield read_image(path)
    left = count - len(paths)
    if left <= 0 or not paths:
        return
    rng = np.random.default_rng(seed)
    while True:
        for number in rng.permutation(len(paths)):
            photo = to_gray(read_image(paths[number]))
            for _ in range(min(_AT_ONCE, left)):
                yield _crop(rng, np.asarray(photo, np.uint8))
            left -= _AT_ONCE
            if left <= 0:
                return


def _crop(rng: np.random.Generator, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    x, y = rng.uniform(0.25, 0.75, 2) * photo.shape[::-1]
    homography = random_homography(rng, (float(x), float(y)), _SIZE, _RANGE)
    crop, _ = warp_image(photo, homography, _SIZE, border=int(rng.integers(256)))
    return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop
