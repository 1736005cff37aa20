"""What a satellite receiver said during a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array

__all__ = ["GpsTrack"]


@dataclass(frozen=True, eq=False)
class GpsTrack:
    """Usable fixes of one topic, in order of time.

    stamps_ns: [N] int64. places: [N, 3] latitude, longitude (degrees), altitude (metres, NaN where unknown). sigmas_m:
    [N, 2] standard deviation, horizontal and vertical. antennas: [N, 3] where the antenna is in the camera's frame,
    metres. dropped: what could not be used, by reason. antenna_known: /tf tells where it is; if not, it is taken to be
    at the camera.
    """

    topic: str
    stamps_ns: NDArray[np.int64]
    places: Array
    sigmas_m: Array
    antennas: Array
    dropped: Mapping[str, int] = field(default_factory=dict)
    antenna_known: bool = True

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def in_words(self) -> str:
        """For people: how many fixes, and what was left out."""
        left = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
        return f"{self.topic} ({len(self)} fixes{f'; left out: {left}' if left else ''})"
