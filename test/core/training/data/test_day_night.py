"""Rooms by day and by night: the same points, whatever the light."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: pip install 'hfnet_ros[train]'")
pytest.importorskip("pycolmap", reason="rooms need pycolmap")

from hfnet_core.training.data import day_night
from hfnet_core.training.data.day_night import DayNight, render_day_night, with_rooms
from hfnet_core.training.data.pair_matches import read_pair_matches
from hfnet_core.training.data.pool import Pool, read_gray


def rendered(pool: Pool, seed: int) -> DayNight:
    for attempt in range(5):
        found = render_day_night(pool, np.random.default_rng((seed, attempt)))
        if found is not None:
            return found
    raise AssertionError("no room with two views that share something")


def test_night_is_dark_and_points_stay(pool: Pool) -> None:
    found = rendered(pool, 0)
    assert found.day.shape == found.night.shape == (384, 512)
    assert found.night.mean() < 0.8 * found.day.mean()
    assert len(found.first) == len(found.second) >= 30
    assert (found.second >= 0).all()
    assert (found.second <= [511, 383]).all()


def test_correspondences_are_exact(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In equal light the two views show the same gray where they say that they see the same point, and only there."""
    monkeypatch.setattr(day_night, "bake", lambda quads, lighting, seed: quads)
    found = rendered(pool, 1)
    one = found.day[found.first[:, 1].astype(int), found.first[:, 0].astype(int)].astype(float)

    def differing(dx: float, dy: float) -> float:
        x, y = np.ascontiguousarray((found.second + np.float32([dx, dy])).T)
        other = cv2.remap(found.night, x[:, None], y[:, None], cv2.INTER_LINEAR).ravel().astype(float)
        return float(np.mean(np.abs(one - other)))

    beside = [differing(dx, dy) for dx in (-2, 0, 2) for dy in (-2, 0, 2) if dx or dy]
    assert differing(0, 0) < 0.75 * min(beside)


def test_rooms_join_the_pool_and_are_rendered_once(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 100, (80, 2)).astype(np.float32)
    image = rng.integers(0, 255, (96, 128), dtype=np.uint8)
    asked: list[int] = []

    def quick(_: Pool, __: np.random.Generator) -> DayNight | None:
        asked.append(1)
        return None if len(asked) == 2 else DayNight(image, image, pixels, pixels + 1)

    monkeypatch.setattr(day_night, "render_day_night", quick)
    for _ in range(2):
        larger = with_rooms(pool, tmp_path / "rooms", 3, seed=0)
    assert len(asked) == 3
    assert len(larger.photos) == len(pool.photos) + 4  # the second room had nothing to share
    assert larger.pairs[len(pool.pairs) :] == ((4, 5), (6, 7))
    found = read_pair_matches(Pool(larger.photos, larger.pairs[len(pool.pairs) :]), tmp_path / "rooms")
    assert [item.photos for item in found] == [(4, 5), (6, 7)]
    assert np.array_equal(found[0].second, pixels + 1)
    assert np.array_equal(read_gray(larger.photos[5].path), image)
