# ruff: noqa: E402
"""Points triangulated in a drawn scene lie nearer the truth than where each photo shows them, and labels follow."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("pycolmap", reason="sequences are reconstructed by pycolmap")

from hfnet_core.errors import DatasetError
from hfnet_core.training.data.local_data import LocalBatches, LocalDataSettings, LocalSources
from hfnet_core.training.data.pair_matches import PairMatches
from hfnet_core.training.data.pool import Photo, Pool
from hfnet_core.training.data.teacher_keypoints import TeacherKeypoints, run_teacher
from hfnet_core.training.data.tracks import PhotoTracks, read_tracks, track_matches, triangulate

SIZE = (320, 240)
PHOTOS, POINTS, NOISE_PX = 6, 120, 0.5


def drawn_pool(folder: Path, photos: int = PHOTOS) -> Pool:
    entries = []
    for number in range(photos):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.full(SIZE[::-1], 100, np.uint8))
        entries.append(Photo(f"img/{number}.png", path, "street/one", "CC0-1.0"))
    return Pool(tuple(entries), ())


def true_pixels() -> np.ndarray:
    """Of random points in cameras side by side: [photos, points, 2]."""
    rng = np.random.default_rng(3)
    points = rng.uniform((-2, -1.5, 4), (2, 1.5, 8), (POINTS, 3))
    centres = np.stack([np.linspace(-1.2, 1.2, PHOTOS), rng.uniform(-0.3, 0.3, PHOTOS), np.zeros(PHOTOS)], axis=1)
    seen = points[None] - centres[:, None]
    return seen[..., :2] / seen[..., 2:] * 300 + (np.array(SIZE) - 1) / 2


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pool, np.ndarray, np.ndarray, Path]:
    """A pool, true places and what was seen of them, and the cache of its tracks."""
    folder = tmp_path_factory.mktemp("street")
    pool, truth = drawn_pool(folder), true_pixels()
    seen = (truth + np.random.default_rng(4).normal(0, NOISE_PX, truth.shape)).astype(np.float32)
    matches = [PairMatches((a, b), seen[a], seen[b]) for a, b in combinations(range(PHOTOS), 2)]
    matches.append(PairMatches((1, 0), seen[1], seen[0]))  # by another teacher
    triangulate(pool, matches, folder / "tracks")
    return pool, truth, seen, folder / "tracks"


def test_points_lie_nearer_the_truth_than_where_they_were_seen(
    street: tuple[Pool, np.ndarray, np.ndarray, Path],
) -> None:
    pool, truth, seen, cache = street
    tracks = read_tracks(pool, cache)
    assert sorted(tracks) == list(range(PHOTOS))
    before, after = [], []
    for photo, found in tracks.items():
        assert len(found.point) > 0.7 * POINTS
        assert len(np.unique(found.point)) == len(found.point)
        number = np.linalg.norm(found.seen[:, None] - seen[photo][None], axis=2).argmin(axis=1)
        np.testing.assert_array_equal(found.seen, seen[photo][number])
        before.append(np.linalg.norm(found.seen - truth[photo][number], axis=1))
        after.append(np.linalg.norm(found.place - truth[photo][number], axis=1))
    assert np.concatenate(after).mean() < 0.75 * np.concatenate(before).mean()


def test_pairs_of_photos_show_the_same_points_at_their_places(
    street: tuple[Pool, np.ndarray, np.ndarray, Path],
) -> None:
    pool, truth, _, cache = street
    pairs = track_matches(pool, read_tracks(pool, cache))
    assert len(pairs) >= 10
    for pair in pairs:
        one, other = (truth[photo] for photo in pair.photos)
        number = np.linalg.norm(pair.first[:, None] - one[None], axis=2).argmin(axis=1)
        assert np.median(np.linalg.norm(pair.second - other[number], axis=1)) < NOISE_PX


def test_what_is_triangulated_is_not_done_again(street: tuple[Pool, np.ndarray, np.ndarray, Path]) -> None:
    pool, _, seen, cache = street
    (file,) = cache.glob("*.npz")
    assert file.name == "street__one.npz"
    before = file.read_bytes()
    triangulate(pool, [PairMatches((0, 1), seen[0], seen[1])], cache)
    assert file.read_bytes() == before


def test_two_photos_give_no_track_and_damage_is_named(tmp_path: Path) -> None:
    pool, seen = drawn_pool(tmp_path, 2), true_pixels().astype(np.float32)
    told: list[tuple[int, int]] = []
    triangulate(pool, [PairMatches((0, 1), seen[0], seen[1])], tmp_path / "tracks", lambda *done: told.append(done))
    assert told == [(1, 1)]
    assert read_tracks(pool, tmp_path / "tracks") == {}
    (tmp_path / "tracks/street__one.npz").write_bytes(b"cut short")
    with pytest.raises(DatasetError, match=r"street__one\.npz is damaged .* repeat hfnet train"):
        read_tracks(pool, tmp_path / "tracks")


def test_labels_are_where_points_lie(tmp_path: Path) -> None:
    pool = drawn_pool(tmp_path, 1)
    xy = np.array([[50, 60], [100, 120], [200, 90]], np.float32)
    run_teacher(lambda: lambda _: TeacherKeypoints(xy, np.ones(3, np.float32)), pool, tmp_path / "teacher")
    seen = np.array([[100, 120], [130, 120]], np.float32)
    tracks = {0: PhotoTracks(np.array([7, 9]), seen, seen + 0.8)}
    sources = LocalSources(pool, tmp_path / "teacher", tracks=tracks)
    labels = LocalBatches(sources, LocalDataSettings(), seed=0, length=1).keypoints(0)
    np.testing.assert_allclose(labels, [[50, 60], [100.8, 120.8], [200, 90]], atol=1e-5)
