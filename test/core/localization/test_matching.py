"""Matching with and without a pose."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.localization.matching import match_all, match_guided


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def landmarks(rng: np.random.Generator) -> np.ndarray:
    return unit(rng.normal(size=(200, 32)))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_finds_what_is_there_and_nothing_else(rng: np.random.Generator, landmarks: np.ndarray) -> None:
    truth = rng.permutation(200)[:80]
    noisy = unit(landmarks[truth] + 0.05 * rng.normal(size=(80, 32)))
    queries = np.vstack([noisy, unit(rng.normal(size=(40, 32)))])
    matches = match_all(queries, landmarks, np.arange(200, dtype=np.int32), ratio=0.8)
    correct = matches.keypoints < 80
    assert correct.sum() >= 76
    assert (matches.landmarks[correct] == truth[matches.keypoints[correct]]).all()
    assert (~correct).sum() <= 3
    assert len(set(matches.landmarks.tolist())) == len(matches)


def test_two_neighbours_of_the_same_landmark_agree(rng: np.random.Generator, landmarks: np.ndarray) -> None:
    """Several descriptors of one landmark must not fail the ratio test against each other."""
    rows = np.repeat(landmarks, 3, axis=0)
    rows = unit(rows + 0.01 * rng.normal(size=rows.shape))
    owners = np.repeat(np.arange(200, dtype=np.int32), 3)
    matches = match_all(landmarks[:50], rows, owners, ratio=0.5)
    assert (matches.landmarks == np.arange(50)).all()
    confused = match_all(landmarks[:50], rows, np.arange(600, dtype=np.int32), ratio=0.5)
    assert len(confused) < 25


def test_equal_landmarks_fail_the_ratio_test(landmarks: np.ndarray) -> None:
    twice = np.vstack([landmarks, landmarks])
    assert len(match_all(landmarks, twice, np.arange(400, dtype=np.int32), ratio=0.9)) == 0


def test_guided_matching_uses_place(rng: np.random.Generator, landmarks: np.ndarray) -> None:
    """Identical landmarks at different places are told apart by where they should be."""
    twice = np.vstack([landmarks, landmarks])
    projections = rng.uniform(0, 600, size=(400, 2))
    keypoints = (projections + rng.normal(0, 1.0, size=(400, 2))).astype(np.float32)
    matches = match_guided(
        keypoints, twice, projections, twice, np.arange(400, dtype=np.int32), radius_px=8.0, ratio=0.95
    )
    assert len(matches) > 380
    assert (matches.landmarks == matches.keypoints).mean() > 0.99


def test_each_landmark_is_searched_for_in_its_own_window(rng: np.random.Generator, landmarks: np.ndarray) -> None:
    projections = rng.uniform(0, 600, size=(200, 2))
    keypoints = np.add(projections, [10.0, 0.0]).astype(np.float32)
    radius_px = np.where(np.arange(200) < 100, 12.0, 8.0)
    matches = match_guided(
        keypoints, landmarks, projections, landmarks, np.arange(200, dtype=np.int32), radius_px, ratio=0.95
    )
    assert len(matches) > 90
    assert (matches.landmarks < 100).all()


def test_guided_matching_ignores_strangers_that_happen_to_be_near(rng: np.random.Generator) -> None:
    projections = rng.uniform(0, 600, size=(400, 2))
    matches = match_guided(
        projections.astype(np.float32), unit(rng.normal(size=(400, 32))), projections, unit(rng.normal(size=(400, 32))),
        np.arange(400, dtype=np.int32), radius_px=8.0, ratio=0.95,
    )  # fmt: skip
    assert len(matches) < 20


@pytest.mark.parametrize(("keypoints", "count"), [(0, 10), (10, 0), (0, 0), (1, 1)])
def test_nothing_and_one(rng: np.random.Generator, keypoints: int, count: int) -> None:
    descriptors, owned = np.ones((keypoints, 4), np.float32) / 2, np.ones((count, 4), np.float32) / 2
    landmarks = np.arange(count, dtype=np.int32)
    expected = min(keypoints, count)
    assert len(match_all(descriptors, owned, landmarks, ratio=0.9)) == expected
    places = np.zeros((keypoints, 2), np.float32)
    guided = match_guided(places, descriptors, np.zeros((count, 2)), owned, landmarks, radius_px=5.0, ratio=0.9)
    assert len(guided) == expected


def test_a_landmark_that_two_keypoints_resemble_alike_is_dropped() -> None:
    rng = np.random.default_rng(5)
    landmarks = rng.normal(size=(50, 64)).astype(np.float32)
    landmarks /= np.linalg.norm(landmarks, axis=1, keepdims=True)
    near = landmarks[:10] + 0.05 * rng.normal(size=(10, 64)).astype(np.float32)
    far = landmarks[:10] + 0.08 * rng.normal(size=(10, 64)).astype(np.float32)
    keypoints = np.vstack([near, near[:5], far[5:]])  # five exact doubles, five that are clearly worse
    keypoints /= np.linalg.norm(keypoints, axis=1, keepdims=True)
    owners = np.arange(50, dtype=np.int32)
    found = match_all(keypoints, landmarks, owners, ratio=0.9, mutual=False)
    assert found.keypoints.tolist() == [5, 6, 7, 8, 9]
    assert found.landmarks.tolist() == [5, 6, 7, 8, 9]
