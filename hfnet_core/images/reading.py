"""Images from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.files import read_file
from hfnet_core.images.orientation import decode_photo
from hfnet_core.images.sixteen_bit import FULL_BITS, sample_of, significant_bits
from hfnet_core.limits import IMAGE_FILE

__all__ = ["IMAGE_SUFFIXES", "read_image", "significant_bits_of"]


IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp"}


def read_image(path: Path, calibrated: tuple[int, int] | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """[H, W] gray or [H, W, 3] RGB, 8 or 16 bit, upright by its EXIF orientation.

    calibrated: (width, height) of its calibration; an image that has this size as it is stored is not turned. Raises
    DatasetError when the file is missing or damaged, of another format, or has more pixels than the limit.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such image")
    encoded = np.frombuffer(read_file(path, IMAGE_FILE), np.uint8)
    try:
        image = decode_photo(encoded, calibrated)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    if image is None:
        raise DatasetError(f"{path}: not an image that can be read, or damaged")
    if image.dtype not in (np.uint8, np.uint16):
        raise DatasetError(f"{path}: pixels of type {image.dtype}; give 8 or 16 bit")
    ordered: NDArray[np.uint8] | NDArray[np.uint16] = (
        image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    )
    return ordered


def significant_bits_of(files: Sequence[Path]) -> int:
    """What 16-bit images of one camera hold, by some of them; damaged ones are passed over."""
    samples = []
    for path in (files[index] for index in sample_of(len(files))):
        try:
            image = read_image(path)
        except DatasetError:
            continue  # told when its turn comes
        if image.dtype != np.uint16:
            return FULL_BITS
        samples.append(image)
    return significant_bits(samples)


def _image_files(source: Path) -> list[Path]:
    if not source.exists():
        raise DatasetError(f"{source}: no such file or folder")
    if source.is_file():
        return [source]
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DatasetError(f"{source}: no image in this folder")
    return files
