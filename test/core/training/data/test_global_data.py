# ruff: noqa: E402
"""Views of two photos overlap where verified matches say so, and repel nowhere else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from helpers import textured_image

from hfnet_core.training.data.global_data import GlobalBatches, GlobalDataSettings
from hfnet_core.training.data.pair_matches import PairMatches
from hfnet_core.training.data.pool import Photo, Pool

SHIFT = np.array([30.0, 10.0], np.float32)
SETTINGS = GlobalDataSettings(places=2, views=4, sizes=((160, 120),), real_pairs=1.0, points=40)


def two_photos(folder: Path) -> Pool:
    """Of one wall, the second moved by SHIFT."""
    wall = textured_image(300, 220, seed=2)
    x, y = SHIFT.astype(int)
    photos = []
    for name, image in (("a", wall[y : y + 200, x : x + 260]), ("b", wall[:200, :260])):
        cv2.imwrite(str(folder / f"{name}.png"), image)
        photos.append(Photo(f"{name}.png", folder / f"{name}.png", "wall", "CC0-1.0"))
    return Pool(tuple(photos), ((0, 1),))


def matches(left: float, right: float) -> PairMatches:
    """Of the whole height between two columns of the first photo."""
    x, y = np.meshgrid(np.arange(left, right, 4), np.arange(4, 190, 4))
    first = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    return PairMatches((0, 1), first, first + SHIFT)


def test_views_of_a_pair_have_in_common_what_its_matches_cover(tmp_path: Path) -> None:
    pool = two_photos(tmp_path)

    def overlap(right: float) -> np.ndarray:
        batches = GlobalBatches(pool, SETTINGS, 1, 6, [matches(0, right)])
        return np.stack([batches[step].overlap[:2, 2:4].numpy() for step in range(6)])

    whole, part, little = overlap(225), overlap(80), overlap(15)
    assert (whole > 0.7).all()
    assert (part <= whole).all()
    assert part.mean() < 0.7
    assert np.isnan(little).any()  # unknown, and no negative
    assert not (little < 0.25).any()


def test_points_of_a_pair_correspond(tmp_path: Path) -> None:
    batch = GlobalBatches(two_photos(tmp_path), SETTINGS, 1, 1, [matches(0, 225)])[0]
    across = ((batch.a_view < 2) & (batch.b_view >= 2) & (batch.b_view < 4)).numpy()
    assert across.sum() >= 40
    for a, b in ((0, 2), (1, 3)):
        rows = ((batch.a_view == a) & (batch.b_view == b)).numpy()
        _, inlier = cv2.findHomography(batch.a_xy.numpy()[rows], batch.b_xy.numpy()[rows], cv2.RANSAC, 0.5)
        assert inlier.all()  # one wall, two views of it: everything fits one homography


def test_without_verified_pairs_places_are_single_photos(tmp_path: Path) -> None:
    batch = GlobalBatches(two_photos(tmp_path), SETTINGS, 1, 1)[0]
    assert not np.isnan(batch.overlap[:4, :4].numpy()).any()
