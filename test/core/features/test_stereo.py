"""Keypoints of a rectified pair tell how far away they are."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.features.stereo import stereo_ranges
from hfnet_core.types import Features

FOCAL_PX, BASELINE_M = 400.0, 0.1


def pair(depths: np.ndarray, noise_px: float = 0.0) -> tuple[Features, Features]:
    """Points at these depths as two cameras see them; the right one in another order."""
    rng = np.random.default_rng(0)
    count = len(depths)
    left = rng.uniform((60, 20), (620, 460), (count, 2))
    right = left - np.column_stack([FOCAL_PX * BASELINE_M / depths, np.zeros(count)])
    descriptors = rng.normal(size=(count, 32))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    order = rng.permutation(count)

    def features(pixels: np.ndarray, rows: np.ndarray) -> Features:
        noisy = pixels[rows] + rng.normal(0, noise_px, (count, 2))
        scores, place = np.ones(count, np.float32), np.zeros(4, np.float32)
        return Features(noisy.astype(np.float32), scores, descriptors[rows].astype(np.float32), place, 640, 480)

    return features(left, np.arange(count)), features(right, order)


def test_distances_follow_from_disparities_and_say_how_well_they_are_known() -> None:
    depths = np.linspace(1.0, 8.0, 200)
    found = stereo_ranges(*pair(depths, noise_px=0.4), FOCAL_PX, BASELINE_M)
    known = np.isfinite(found.metres)
    assert known.mean() > 0.9
    errors = (found.metres - depths)[known] / found.sigma_m[known]
    assert 0.5 < errors.std() < 1.5
    near, far = found.sigma_m[known][0], found.sigma_m[known][-1]
    assert far / near == pytest.approx(64, rel=0.3)


def test_what_is_in_another_row_or_too_far_away_tells_nothing() -> None:
    left, right = pair(np.full(50, 3.0))
    moved = Features(
        right.keypoints_px + np.float32([0, 6]), right.scores, right.descriptors, right.global_descriptor, 640, 480
    )
    assert np.isnan(stereo_ranges(left, moved, FOCAL_PX, BASELINE_M).metres).all()
    assert np.isnan(stereo_ranges(*pair(np.full(50, 30.0)), FOCAL_PX, BASELINE_M).metres).all()


def test_things_that_repeat_along_the_row_are_left_out() -> None:
    left, right = pair(np.full(40, 3.0))
    twice = Features(
        np.concatenate([right.keypoints_px, right.keypoints_px - np.float32([20, 0])]), np.ones(80, np.float32),
        np.concatenate([right.descriptors, right.descriptors]), right.global_descriptor, 640, 480,
    )  # fmt: skip
    assert np.isnan(stereo_ranges(left, twice, FOCAL_PX, BASELINE_M).metres).all()


def test_images_without_keypoints_are_answered() -> None:
    left, right = pair(np.full(5, 3.0))
    empty = (np.zeros(shape, np.float32) for shape in ((0, 2), 0, (0, 32), 4))
    nothing = Features(*empty, 640, 480)
    assert len(stereo_ranges(nothing, right, FOCAL_PX, BASELINE_M).metres) == 0
    assert np.isnan(stereo_ranges(left, nothing, FOCAL_PX, BASELINE_M).metres).all()
