"""Who matches the features of two images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError
from hfnet_core.front_ends.registry import torch_module
from hfnet_core.localization.matching import match_all
from hfnet_core.mapping.pairing.pair_matching import match_descriptors
from hfnet_core.types import Features, Float32

__all__ = ["MATCHERS", "Matcher", "matcher", "mutual_neighbours"]

Matcher = Callable[[Features, Features], tuple[NDArray[np.int32], Float32]]
"""Features of two images -> pairs of keypoints [N, 2] and how sure of each, [N], 0..1."""

MATCHERS = ("nn", "nn-ratio", "lightglue", "lighterglue")
_RATIO = 0.8  # of the distances to the nearest and the second nearest, as hloc's NN-ratio
_LEARNED_FOR = {"lightglue": ("aliked", "disk"), "lighterglue": ("xfeat",)}


def mutual_neighbours(first: Features, second: Features) -> tuple[NDArray[np.int32], Float32]:
    """Keypoints that are each other's nearest, by their descriptors."""
    numbers = np.arange(len(second), dtype=np.int32)
    found = match_all(first.descriptors, second.descriptors, numbers, ratio=np.inf)
    return _scored(np.stack([found.keypoints, found.landmarks], axis=1).astype(np.int32), first, second)


def ratio_neighbours(first: Features, second: Features) -> tuple[NDArray[np.int32], Float32]:
    """The same where the second nearest is clearly further away, on both sides."""
    return _scored(match_descriptors(first.descriptors, second.descriptors, _RATIO), first, second)


def _scored(pairs: NDArray[np.int32], first: Features, second: Features) -> tuple[NDArray[np.int32], Float32]:
    """Pairs with (1 + cosine) / 2 as their score, as hloc scores them."""
    cosines = np.einsum("nd,nd->n", first.descriptors[pairs[:, 0]], second.descriptors[pairs[:, 1]])
    return pairs, np.clip((1 + cosines) / 2, 0, 1).astype(np.float32)


def matcher(name: str, features: str) -> Matcher:
    """The matcher of that name for features of that name.

    Raises ConfigError for a name that is not in MATCHERS or was not trained for these features, MissingExtraError.
    """
    if name == "nn":
        return mutual_neighbours
    if name == "nn-ratio":
        return ratio_neighbours
    if name not in MATCHERS:
        raise ConfigError(f"matcher {name!r} is not known; choose {', '.join(MATCHERS)}")
    if features not in _LEARNED_FOR[name]:
        raise ConfigError(f"matcher {name} was trained for {' and '.join(_LEARNED_FOR[name])}, not for {features}")
    return _learned(features)


def _learned(features: str) -> Matcher:
    made: Matcher = torch_module("matchers").LearnedMatcher(features)
    return made
