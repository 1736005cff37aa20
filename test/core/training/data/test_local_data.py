# ruff: noqa: E402
"""Pairs of crops: how one follows from the other, and crops that no warp has blurred."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.training.data.augmentation import CropRange, crop_pair, cut_out
from hfnet_core.training.data.local_data import LocalBatches, LocalDataSettings, LocalSources
from hfnet_core.training.data.pair_matches import PairMatches
from hfnet_core.training.data.pool import Pool, read_gray

SETTINGS = LocalDataSettings(pairs=2, crop_px=96, clean=1.0, min_score=0.0, overlapping=0.0)


def test_the_homography_of_a_pair_moves_its_common_points(pool: Pool, teacher_folder: Path) -> None:
    batches = LocalBatches(LocalSources(pool, teacher_folder), SETTINGS, seed=2, length=6)
    for step in range(6):
        batch = batches[step]
        assert len(batch.pair) > 8
        for pair, homography in enumerate(batch.second_from_first.numpy()):
            rows = batch.pair == pair
            if not rows.any():
                continue
            moved = cv2.perspectiveTransform(batch.first[rows].numpy()[:, None], homography)[:, 0]
            np.testing.assert_allclose(moved, batch.second[rows].numpy(), atol=0.05)


def test_crops_of_two_photos_have_no_homography(pool: Pool, teacher_folder: Path) -> None:
    points = np.random.default_rng(0).uniform(20, 140, (40, 2)).astype(np.float32)
    sources = LocalSources(pool, teacher_folder, [PairMatches((0, 1), points, points)])
    batch = LocalBatches(sources, replace(SETTINGS, overlapping=1.0), seed=0, length=1)[0]
    assert torch.isnan(batch.second_from_first).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_crop_has_the_photos_own_pixels_and_shows_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    photo = cv2.GaussianBlur(rng.uniform(0, 255, (240, 320)).astype(np.float32), (0, 0), 2).astype(np.uint8)
    size = (96, 96)
    warped, _ = crop_pair(rng, (320, 240), size, CropRange(), shift=0.0)
    homography = cut_out(warped, (320, 240), size)
    crop = cv2.warpPerspective(photo, homography, size, flags=cv2.INTER_LINEAR)
    left, top = (int(-homography[axis, 2]) for axis in (0, 1))

    assert np.array_equal(crop, photo[top : top + 96, left : left + 96])
    assert crop.shape == (96, 96)
    middle = cv2.perspectiveTransform(np.array([[[47.5, 47.5]]]), np.linalg.inv(warped))[0, 0]
    inside = np.clip(middle, 47.5, np.array([320, 240]) - 48.5)
    assert np.abs(np.array([left, top]) + 47.5 - inside).max() <= 0.5


def test_some_first_crops_are_cut_out(pool: Pool, teacher_folder: Path) -> None:
    """Of photos larger than the crop, an unwarped one is found in its photo to the last gray value."""

    def cut(share: float) -> int:
        chosen = replace(SETTINGS, unwarped=share)
        batches = LocalBatches(LocalSources(pool, teacher_folder), chosen, seed=0, length=6)
        photos = [read_gray(photo.path) for photo in pool.photos]
        firsts = [batches[step].images[0::2, 0].numpy() for step in range(6)]
        return sum(any(_holds(photo, crop) for photo in photos) for crops in firsts for crop in crops)

    assert cut(0.0) == 0
    assert cut(1.0) == 12
    assert 0 < cut(0.5) < 12


def _holds(photo: np.ndarray, crop: np.ndarray) -> bool:
    left, top = cv2.minMaxLoc(cv2.matchTemplate(photo, crop, cv2.TM_SQDIFF))[2]
    return np.array_equal(photo[top : top + crop.shape[0], left : left + crop.shape[1]], crop)
