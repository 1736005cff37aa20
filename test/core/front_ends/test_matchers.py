"""Matchers by name: nearest neighbours where both sides agree, learned ones only for what they were trained on."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hfnet_core.errors import ConfigError
from hfnet_core.front_ends.matchers import matcher
from hfnet_core.types import Features


def features(descriptors: list[list[float]]) -> Features:
    rows = np.array(descriptors, np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    count = len(rows)
    return Features(np.zeros((count, 2), np.float32), np.ones(count, np.float32), rows, np.zeros(0, np.float32), 64, 48)


FIRST = features([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
SECOND = features([[0, 1, 0.1], [1, 0.05, 0], [1, 0.06, 0]])


def test_nearest_neighbours_must_be_mutual() -> None:
    pairs, scores = matcher("nn", "hfnet")(FIRST, SECOND)
    assert pairs.tolist() == [[0, 1], [1, 0]]
    assert np.allclose(scores, [0.999, 0.998], atol=1e-3)


def test_the_ratio_drops_what_has_a_double() -> None:
    pairs, _ = matcher("nn-ratio", "hfnet")(FIRST, SECOND)
    assert pairs.tolist() == [[1, 0]]


def test_no_features_have_no_matches() -> None:
    rows = (np.zeros(shape, np.float32) for shape in ((0, 2), 0, (0, 3), 0))
    none = Features(*rows, 64, 48)
    for name in ("nn", "nn-ratio"):
        pairs, scores = matcher(name, "hfnet")(none, SECOND)
        assert pairs.shape == (0, 2)
        assert scores.shape == (0,)


@pytest.mark.parametrize(
    ("name", "front_end", "said"),
    [
        ("superglue", "hfnet", "matcher 'superglue' is not known; choose nn, nn-ratio, lightglue, lighterglue"),
        ("lightglue", "hfnet", "lightglue was trained for aliked and disk, not for hfnet"),
        ("lighterglue", "aliked", "lighterglue was trained for xfeat, not for aliked"),
    ],
)
def test_a_matcher_for_other_features_is_refused(name: str, front_end: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        matcher(name, front_end)
