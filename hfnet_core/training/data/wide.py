"""Pairs of crops of one photo that differ in scale and angle as far as cameras do that come nearer and roll.

The range grows with the batches, a curriculum: a network that is asked for everything at once learns little of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError
from hfnet_core.training.data.augmentation import CropRange, random_homography

__all__ = ["WideSettings", "reduced", "strongest", "wide_pair"]

Generator = np.random.Generator
Matrix = NDArray[np.float64]

_COARSE, _FINEST = (0.42, 0.8), 1.9  # crop pixels per photo pixel; enlarged further, a photo shows nothing new
_SHIFT = 0.3  # of the finer crop's middle from the other's, in sides of what the finer one shows
_ENOUGH = 0.7  # crop pixels per photo pixel, below which pixels are averaged first: linear sampling would skip some


@dataclass(frozen=True)
class WideSettings:
    """share: of a stage's pairs of one photo. ratio: largest ratio of the two scales, either way; turn_deg: largest
    angle between them, uniformly either way. first_ratio, first_turn_deg: the same at the first batch; batches: after
    which the whole range is reached.
    """

    share: float = 0.5
    ratio: float = 2.8
    turn_deg: float = 180.0
    first_ratio: float = 1.5
    first_turn_deg: float = 40.0
    batches: int = 600

    def __post_init__(self) -> None:
        if not 1.0 <= self.first_ratio <= self.ratio or not 0.0 <= self.first_turn_deg <= self.turn_deg <= 180.0:
            raise ConfigError(f"{self}: ranges must grow, ratios from at least 1, turns to at most 180 degrees")
        if self.batches < 1:
            raise ConfigError(f"{self}: the range grows over at least one batch")

    def grown(self, step: int) -> float:
        """Share of the curriculum that is done at a batch, 0..1."""
        return min(step / self.batches, 1.0)

    def at(self, step: int) -> tuple[float, float]:
        """Largest ratio and angle (degrees) of a batch."""
        grown = self.grown(step)
        ratio = self.first_ratio * (self.ratio / self.first_ratio) ** grown
        return float(ratio), self.first_turn_deg + grown * (self.turn_deg - self.first_turn_deg)


def wide_pair(
    rng: Generator, image_size: tuple[int, int], size: tuple[int, int], ratio: float, turn_deg: float
) -> tuple[Matrix, Matrix]:
    """Two homographies photo -> crop whose scales differ by up to `ratio` and whose angles by up to `turn_deg`.

    image_size, size: (width, height) of photo and crop. Both are slightly tilted as well; which is the finer is chance.
    """
    coarse = float(np.exp(rng.uniform(*np.log(_COARSE))))
    fine = min(coarse * float(np.exp(rng.uniform(0.0, np.log(ratio)))), _FINEST)
    reach = 0.5 * np.array(size) / fine
    half = np.array(image_size) / 2
    middle = half + rng.uniform(-1, 1, 2) * np.maximum(half - reach, 0.0) - 0.5
    other = np.clip(middle + rng.uniform(-_SHIFT, _SHIFT, 2) * 2 * reach, 0, np.array(image_size) - 1.0)
    both = [
        (_turned(0.0, size) @ _view(rng, middle, size, fine)),
        (_turned(float(rng.uniform(-turn_deg, turn_deg)), size) @ _view(rng, other, size, coarse)),
    ]
    first = int(rng.integers(2))
    return both[first], both[1 - first]


def _view(rng: Generator, middle: NDArray[np.float64], size: tuple[int, int], scale: float) -> Matrix:
    limits = CropRange(scale=(scale, scale), rotation_deg=10.0, perspective=0.05, tilt=1.3)
    return random_homography(rng, (float(middle[0]), float(middle[1])), size, limits)


def _turned(degrees: float, size: tuple[int, int]) -> Matrix:
    """A crop turned about its middle."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    x, y = (size[0] - 1) / 2, (size[1] - 1) / 2
    return np.array([[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y], [0.0, 0.0, 1.0]])


def reduced(image: NDArray[np.uint8], homography: Matrix, size: tuple[int, int]) -> tuple[NDArray[np.uint8], Matrix]:
    """The photo with pixels averaged, where the crop (width, height) shows it much smaller, and its homography.

    A camera averages over what one of its pixels sees; so must a crop.
    """
    scale = _scale_at_middle(homography, size)
    if scale >= _ENOUGH:
        return image, homography
    height, width = image.shape
    new = tuple(max(round(side * scale / _ENOUGH), 8) for side in (width, height))
    smaller = np.asarray(cv2.resize(image, new, interpolation=cv2.INTER_AREA), np.uint8)
    x, y = new[0] / width, new[1] / height
    reduced_from_photo = np.array([[x, 0.0, 0.5 * (x - 1)], [0.0, y, 0.5 * (y - 1)], [0.0, 0.0, 1.0]])
    return smaller, homography @ np.linalg.inv(reduced_from_photo)


def strongest(keypoints: NDArray[np.float32], homography: Matrix, size: tuple[int, int]) -> NDArray[np.float32]:
    """As many of a photo's keypoints [K, 2], best first, as make the crop no denser than one of usual scale is."""
    share = min((_scale_at_middle(homography, size) / _ENOUGH) ** 2, 1.0)
    return keypoints[: max(round(share * len(keypoints)), 1)]


def _scale_at_middle(homography: Matrix, size: tuple[int, int]) -> float:
    """Crop pixels per photo pixel in the middle of the crop."""
    back = np.linalg.inv(homography)
    middle = back @ [(size[0] - 1) / 2, (size[1] - 1) / 2, 1.0]
    return float(abs(middle[2] / np.cbrt(np.linalg.det(back))) ** 1.5)
