"""Rendered rooms: what their views show, and how much of each other they see."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.training.data.pool import Pool
from hfnet_core.training.data.rooms import render_room


def test_views_of_a_room_overlap_in_all_degrees_and_repeat(pool: Pool) -> None:
    images, overlap = render_room(pool, np.random.default_rng(0), 8)
    assert 4 <= len(images) <= 8
    assert all(image.shape == (288, 384) and image.dtype == np.uint8 and image.std() > 3 for image in images)
    assert overlap.shape == (len(images), len(images))
    assert np.array_equal(overlap, overlap.T)
    assert np.array_equal(np.diag(overlap), np.ones(len(images)))
    others = overlap[~np.eye(len(images), dtype=bool)]
    assert ((others >= 0) & (others < 1)).all()
    assert others.max() > 0.3
    assert others.min() < 0.2
    again, same = render_room(pool, np.random.default_rng(0), 8)
    assert np.array_equal(overlap, same)
    assert all(np.array_equal(a, b) for a, b in zip(images, again, strict=True))
    other, _ = render_room(pool, np.random.default_rng(1), 8)
    assert not np.array_equal(images[0], other[0])


def test_views_that_overlap_much_look_more_alike(pool: Pool) -> None:
    """Gray histograms of small pictures suffice to tell: the overlap belongs to the pictures it is said of."""
    closest, furthest = [], []
    for seed in range(6):
        images, overlap = render_room(pool, np.random.default_rng(seed), 10)
        small = [np.histogram(image, 16, (0, 256), density=True)[0] for image in images]
        np.fill_diagonal(overlap, np.nan)
        for index, row in enumerate(overlap):
            distance = [float(np.abs(small[index] - other).sum()) for other in small]
            closest.append(distance[int(np.nanargmax(row))])
            furthest.append(distance[int(np.nanargmin(row))])
    assert np.mean(closest) < np.mean(furthest)
