# ruff: noqa: E402
"""Views of two photos overlap where verified matches say so, and repel nowhere else."""

from __future__ import annotations

import dataclasses
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


def test_places_of_rendered_rooms_overlap_exactly_and_belong_to_no_other(tmp_path: Path) -> None:
    """And a batch that is higher than wide has photos only: rooms are rendered wider than high."""
    pool = two_photos(tmp_path)
    rooms = dataclasses.replace(SETTINGS, rooms=1.0, views=2)
    batch = GlobalBatches(pool, rooms, 3, 1)[0]
    assert batch.images.shape == (4, 1, 120, 160)
    assert len(set(batch.group.tolist()) & {0, 1}) == 0 and len(batch.group.unique()) == 2
    overlap = batch.overlap.numpy()
    np.testing.assert_array_equal(overlap, overlap.T)
    np.testing.assert_array_equal(overlap[:2, 2:], 0.0)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    assert len(batch.a_view) == 0
    upright = GlobalBatches(pool, dataclasses.replace(rooms, sizes=((120, 160),)), 3, 1)[0]
    assert set(upright.group.tolist()) <= {0, 1}


def test_other_light_changes_how_views_look_and_nothing_else(tmp_path: Path) -> None:
    pool = two_photos(tmp_path)
    day, other = (
        GlobalBatches(pool, dataclasses.replace(SETTINGS, places=1, clean=1.0, other_light=share), 1, 1, [])[0]
        for share in (0.0, 1.0)
    )
    assert float((day.images.float() - other.images.float()).abs().mean()) > 10
    assert torch.equal(day.group, other.group)
