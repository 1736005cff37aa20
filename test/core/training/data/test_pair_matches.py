# ruff: noqa: E402
"""Overlapping photos: the teacher's matches are verified, cached, and end up as corresponding points of two crops."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.errors import DatasetError
from hfnet_core.training.data.local_data import LocalBatches, LocalDataSettings, LocalSources
from hfnet_core.training.data.pair_matches import PairMatches, match_pairs, read_pair_matches
from hfnet_core.training.data.pool import Photo, Pool
from hfnet_core.training.data.teacher_keypoints import TeacherKeypoints, run_teacher

SHIFT = np.array([23.0, 7.0], np.float32)


class MarkedTeacher:
    """Finds bright dots; a dot's gray value tells which it is, and that is its descriptor."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: np.ndarray) -> TeacherKeypoints:
        return self.describe(image)[0]

    def describe(self, image: np.ndarray) -> tuple[TeacherKeypoints, np.ndarray]:
        self.calls += 1
        y, x = np.nonzero(image > 100)
        angle = (image[y, x].astype(np.float32) - 100) * np.float32(0.04)
        xy = np.stack([x, y], axis=1).astype(np.float32)
        return TeacherKeypoints(xy, np.ones(len(xy), np.float32)), np.stack([np.cos(angle), np.sin(angle)], axis=1)


def shifted_pool(folder: Path) -> Pool:
    """Two photos of the same dots, SHIFT apart, a third of other dots, and pairs of all of them."""
    rng = np.random.default_rng(0)
    dots = rng.permutation([(x, y) for x in range(40, 160, 12) for y in range(40, 160, 12)])[:80]
    others = rng.permutation([(x, y) for x in range(40, 160, 9) for y in range(40, 160, 9)])[:80]
    photos = []
    for name, places in (("a", dots), ("b", dots + SHIFT.astype(int)), ("c", others)):
        image = np.full((200, 220), 20, np.uint8)
        for number, (x, y) in enumerate(places):
            image[y, x] = 110 + number
        cv2.imwrite(str(folder / f"{name}.png"), image)
        photos.append(Photo(f"{name}.png", folder / f"{name}.png", "g", "CC0-1.0"))
    return Pool(tuple(photos), ((0, 1), (0, 2)))


def test_matches_are_verified_cached_and_read(tmp_path: Path) -> None:
    pool, teacher = shifted_pool(tmp_path), MarkedTeacher()
    with pytest.raises(DatasetError, match=r"a\.png--b\.png\.npz is missing"):
        read_pair_matches(pool, tmp_path / "matches")
    match_pairs(lambda: teacher, pool, tmp_path / "matches")
    assert teacher.calls == 3
    match_pairs(lambda: pytest.fail("asked again"), pool, tmp_path / "matches")

    (found,) = read_pair_matches(pool, tmp_path / "matches")  # the photos without common dots are of no use
    assert found.photos == (0, 1)
    assert len(found.first) > 60
    np.testing.assert_allclose(found.second - found.first, np.tile(SHIFT, (len(found.first), 1)))

    (tmp_path / "matches/a.png--c.png.npz").write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match="is damaged"):
        read_pair_matches(pool, tmp_path / "matches")


def test_a_teacher_without_descriptors_gives_no_pairs(pool: Pool, tmp_path: Path) -> None:
    match_pairs(lambda: MarkedTeacher().__call__, pool, tmp_path / "matches")
    assert read_pair_matches(pool, tmp_path / "matches") == []


def test_crops_of_two_photos_show_the_same_points(tmp_path: Path) -> None:
    pool = shifted_pool(tmp_path)
    run_teacher(MarkedTeacher, pool, tmp_path / "teacher")
    rng = np.random.default_rng(1)
    first = rng.uniform(45, 155, (90, 2)).astype(np.float32)
    settings = LocalDataSettings(pairs=4, crop_px=96, overlapping=1.0, clean=1.0, min_score=0.0)
    sources = LocalSources(pool, tmp_path / "teacher", [PairMatches((0, 1), first, first + SHIFT)])
    batches = LocalBatches(sources, settings, 0, 8)
    seen = 0
    for step in range(4):
        batch = batches[step]
        for number in range(settings.pairs):
            rows = batch.pair == number
            seen += int(rows.sum())
            if rows.sum() < 8:
                continue
            source, target = batch.first[rows].numpy(), batch.second[rows].numpy()
            # Both photos are one plane, so the two crops are related by a homography.
            homography, _ = cv2.findHomography(source, target, 0)
            moved = cv2.perspectiveTransform(source[:, None].astype(np.float64), homography)[:, 0]
            assert np.abs(moved - target).max() < 0.05
    assert seen > 100
