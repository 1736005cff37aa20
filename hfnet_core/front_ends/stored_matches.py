"""Matches that were made elsewhere, for features from hloc's files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_core.features.exchange.checking import Entered
from hfnet_core.features.exchange.hloc_files import HlocFile
from hfnet_core.features.exchange.stored import StoredFeatures
from hfnet_core.types import Features

__all__ = ["StoredMatches"]

_log = logging.getLogger(__name__)


class StoredMatches:
    """Pairs of keypoints of two images of a file of features, by their numbers in `Features`."""

    def __init__(self, path: Path, features: StoredFeatures) -> None:
        """Raises DatasetError for a file that is none, MissingExtraError without h5py."""
        self._file, self._features = HlocFile(path), features
        self._entered: dict[str, Entered] = {}
        self._absent = 0

    def __call__(self, first: tuple[str, Features], second: tuple[str, Features]) -> NDArray[np.int32]:
        """None at all for a pair that is not in the file. Raises DatasetError for matches of other features."""
        one, other = self.entered(*first), self.entered(*second)
        found = self._file.matches(first[0], second[0], (one.stored, other.stored))
        if found is None:
            self._absent += 1
            if self._absent == 1:
                _log.warning("%s: no matches of %s and %s, taken as none", self._file.path, first[0], second[0])
            return np.zeros((0, 2), np.int32)
        places = np.stack([_inverse(one)[found[:, 0]], _inverse(other)[found[:, 1]]], axis=1)
        kept: NDArray[np.int32] = places[(places >= 0).all(axis=1)].astype(np.int32)
        return kept

    def entered(self, name: str, features: Features) -> Entered:
        """An image's features as the file has them, with their order in it."""
        if name not in self._entered:
            found = self._features.entered(name, (features.width, features.height))
            self._entered[name] = found
        return self._entered[name]


def _inverse(entered: Entered) -> NDArray[np.int64]:
    """Number in `Features` of each keypoint of the file, -1 for those that were left out."""
    out = np.full(entered.stored, -1, np.int64)
    out[entered.order] = np.arange(len(entered.order))
    return out
