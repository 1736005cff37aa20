"""What a learned matcher proposes, and what geometry leaves of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: pip install 'hfnet_ros[train]'")

from hfnet_core.training.data.correspondences import match_correspondences, verified, with_second_neighbours
from hfnet_core.training.data.pair_matches import read_pair_matches
from hfnet_core.training.data.pool import Pool

PLANE = np.array([[0.8, -0.2, 40.0], [0.15, 0.9, -10.0], [1e-4, -5e-5, 1.0]])


def scene(count: int, seed: int = 0, flat: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of points seen by two cameras a metre apart; flat: on one plane."""
    rng = np.random.default_rng(seed)
    first = rng.uniform([0, 0], [640, 480], (count, 2))
    if flat:
        return first.astype(np.float32), cv2.perspectiveTransform(first[None], PLANE)[0].astype(np.float32)
    depth = rng.uniform(2, 8, count)
    points = np.c_[(first - [320, 240]) / 500 * depth[:, None], depth]
    angle = 0.1
    turned = points @ np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    moved = turned - [1.0, 0.1, 0.2]
    return first.astype(np.float32), (moved[:, :2] / moved[:, 2:] * 500 + [320, 240]).astype(np.float32)


def test_right_matches_stay_and_wrong_ones_go() -> None:
    first, second = scene(200)
    wrong = np.arange(200) >= 140
    second[wrong] = np.random.default_rng(3).uniform([0, 0], [640, 480], (60, 2))
    a, b = verified(first, second, 640)
    kept = {tuple(point) for point in a.tolist()}
    right = {tuple(point) for point in first[~wrong].tolist()}
    assert len(kept & right) >= 130
    assert len(kept - right) <= 6
    assert len(a) == len(b)


def test_on_a_plane_the_plane_decides_where_epipolar_lines_would_let_wrong_matches_pass() -> None:
    first, second = scene(200, flat=True)
    # Wrong along one direction, as on repeated windows: some epipolar geometry always explains these.
    second[150:, 0] += np.random.default_rng(1).uniform(20, 60, 50).astype(np.float32)
    a, b = verified(first, second, 640)
    errors = np.linalg.norm(cv2.perspectiveTransform(a[None].astype(float), PLANE)[0] - b, axis=1)
    assert len(a) >= 140
    assert errors.max() < 5.0


@pytest.mark.parametrize("case", ["few", "noise", "static"])
def test_what_teaches_nothing_is_left_out(case: str) -> None:
    first, second = scene(100)
    if case == "few":
        first, second = first[:20], second[:20]
    if case == "noise":
        second = np.random.default_rng(2).uniform([0, 0], [640, 480], (100, 2)).astype(np.float32)
    if case == "static":
        second = first + np.float32(0.5)
    a, b = verified(first, second, 640)
    assert len(a) == len(b) == 0


def test_pairs_through_a_third_photo_are_added_once(pool: Pool) -> None:
    chain = Pool(pool.photos, ((0, 1), (1, 2), (2, 3)))
    assert set(with_second_neighbours(chain).pairs) == {(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)}
    assert with_second_neighbours(pool).pairs == pool.pairs


def test_a_pass_over_the_pairs_is_kept_and_not_repeated(pool: Pool, tmp_path: Path) -> None:
    asked: list[int] = []

    def matcher(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(one))
        return scene(80)

    for _ in range(2):
        match_correspondences(lambda: matcher, pool, tmp_path / "found")
    (found,) = read_pair_matches(pool, tmp_path / "found")
    assert len(asked) == 1
    assert found.photos == (0, 1)
    assert len(found.first) > 70
