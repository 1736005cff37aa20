"""16-bit images whose sensor delivers fewer bits, in the low ones: 10 or 12 bits look black at full range.

How many bits a camera has does not change, so it is told once for a recording, from several of its images, and all are
scaled alike. A few hot pixels say nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FULL_BITS", "RunningBits", "at_full_range", "sample_of", "significant_bits"]

Image = NDArray[Any]

FULL_BITS = 16
_BITS = (8, 10, 12, 14, FULL_BITS)  # of sensors
_HOT = 0.001  # share of pixels that may be brighter than what the bits hold
_SAMPLES = 8  # images that tell
_THINNED = 200_000  # pixels of an image that are looked at, about


def significant_bits(images: Iterable[Image]) -> int:
    """The bits that the values of these images need, 8 to 16; 16 where none is a 16-bit image with a picture in it."""
    tops = [_top(image) for image in images if image.dtype == np.uint16]
    top = max(tops, default=0)
    return next(bits for bits in _BITS if top < 1 << bits) if top else FULL_BITS


def at_full_range(image: Image, bits: int) -> Image:
    """A 16-bit image of so many bits at full range, 65535 white; any other image as it is."""
    if image.dtype != np.uint16 or bits >= FULL_BITS:
        return image
    return _table(bits)[image]


def sample_of(count: int) -> tuple[int, ...]:
    """Which of `count` images of a recording to look at."""
    return tuple(sorted({int(index) for index in np.linspace(0, max(count - 1, 0), min(count, _SAMPLES))}))


class RunningBits:
    """The same where images come one by one: what they need together so far, so that it settles and never shrinks."""

    def __init__(self) -> None:
        self._bits = 0

    def apply(self, image: Image) -> Image:
        """The image at full range."""
        if image.dtype != np.uint16:
            return image
        if self._bits < FULL_BITS and _top(image):
            self._bits = max(self._bits, significant_bits([image]))
        return at_full_range(image, self._bits or FULL_BITS)


def _top(image: Image) -> int:
    """The brightest value, hot pixels aside."""
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / _THINNED)))
    values = image[::step, ::step].reshape(-1)
    hottest = int(_HOT * values.size)
    return int(np.partition(values, values.size - 1 - hottest)[values.size - 1 - hottest])


@lru_cache(maxsize=len(_BITS))
def _table(bits: int) -> NDArray[np.uint16]:
    """[65536] value to value at full range."""
    white = (1 << bits) - 1
    values = np.minimum(np.arange(1 << FULL_BITS, dtype=np.uint32), white)
    table: NDArray[np.uint16] = ((values * 65535 + white // 2) // white).astype(np.uint16)
    table.setflags(write=False)
    return table
