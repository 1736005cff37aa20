"""Suppression, selection and refinement against plain re-implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hfnet_core.features.detection import detect, gather, refine, suppress

# Few distinct values, so that ties and plateaus are common.
SCORES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=18),
    elements=st.integers(0, 12).map(lambda value: value / np.float32(16)),
)


def naive_max(values: np.ndarray, radius: int) -> np.ndarray:
    out = np.empty_like(values)
    for y, x in np.ndindex(values.shape):
        out[y, x] = values[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1].max()
    return out


def naive_suppress(scores: np.ndarray, radius: int) -> np.ndarray:
    mask = scores == naive_max(scores, radius)
    for _ in range(2):
        covered = naive_max(mask.astype(np.float32), radius) > 0
        rest = np.where(covered, np.float32(0), scores)
        mask = mask | ((rest == naive_max(rest, radius)) & ~covered)
    return mask


@given(SCORES, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_suppress_is_the_plain_algorithm(scores: np.ndarray, radius: int) -> None:
    np.testing.assert_array_equal(suppress(scores, radius), naive_suppress(scores, radius))


@given(SCORES, st.integers(0, 4), st.integers(1, 40), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_detect_is_a_stable_sort(scores: np.ndarray, radius: int, count: int, threshold: float) -> None:
    keep = naive_suppress(scores, radius)
    points = [(x, y) for y, x in np.ndindex(scores.shape) if keep[y, x] and scores[y, x] >= threshold]
    points.sort(key=lambda point: -scores[point[1], point[0]])  # Python's sort keeps row-major order among ties
    pixels, values = detect(scores, radius, threshold, count)
    assert [tuple(point) for point in pixels.tolist()] == points[:count]
    assert values.tolist() == [scores[y, x] for x, y in points[:count]]
    assert pixels.dtype == np.int32
    assert pixels.shape == (len(values), 2)


def test_a_second_maximum_hidden_by_a_suppressed_neighbour_is_found() -> None:
    """The middle value is no maximum, so once the left one removed it, the right one counts."""
    scores = np.zeros((1, 12), np.float32)
    scores[0, [2, 5, 8]] = 0.9, 0.8, 0.7
    pixels, _ = detect(scores, 4, 0.01, 10)
    assert pixels[:, 0].tolist() == [2, 8]


def test_nothing_above_the_threshold() -> None:
    pixels, values = detect(np.zeros((16, 16), np.float32), 4, 0.005, 100)
    assert pixels.shape == (0, 2)
    assert values.shape == (0,)
    assert refine(np.zeros((16, 16), np.float32), pixels).shape == (0, 2)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.45, 0.4)])
def test_refine_finds_the_centre_of_a_blob(shift: tuple[float, float]) -> None:
    rows, columns = np.mgrid[:32, :40]
    x, y = 17 + shift[0], 12 + shift[1]
    scores = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 0.7**2)).astype(np.float32)
    pixels, _ = detect(scores, 4, 0.005, 1)
    assert pixels.tolist() == [[17, 12]]
    np.testing.assert_allclose(refine(scores, pixels), [[x, y]], atol=0.03)


def test_refine_at_corners_uses_the_pixels_inside() -> None:
    scores = np.zeros((8, 10), np.float32)
    scores[0, :2] = 0.6, 0.2
    scores[7, 9] = 0.5
    pixels = np.array([[0, 0], [9, 7]], np.int32)
    np.testing.assert_allclose(refine(scores, pixels), [[0.25, 0], [9, 7]], atol=1e-6)


@given(arrays(np.float32, (9, 9), elements=st.floats(0, 1, width=32)))
@settings(max_examples=40, deadline=None)
def test_refine_stays_close_and_inside(scores: np.ndarray) -> None:
    pixels = np.stack(np.meshgrid(np.arange(9), np.arange(9)), axis=-1).reshape(-1, 2).astype(np.int32)
    refined = refine(scores, pixels)
    assert np.isfinite(refined).all()
    assert np.abs(refined - pixels).max() <= 2 + 1e-5
    assert refined.min() >= -1e-5
    assert refined.max() <= 8 + 1e-5


def test_a_keypoint_between_pixels_outranks_a_weaker_one_on_a_pixel():
    scores = np.zeros((16, 24), np.float32)
    scores[4:6, 4:6] = [[0.22, 0.2], [0.2, 0.2]]  # one keypoint of 0.82, between four pixels
    scores[10, 18] = 0.4
    pixels, values = detect(gather(scores), 2, 0.005, 2)
    assert values[0] == pytest.approx(0.22 + 0.2 * (0.5 + 0.5 + 0.25))
    assert values[1] == pytest.approx(0.4)
    np.testing.assert_allclose(refine(scores, pixels), [[4.5, 4.5], [18, 10]], atol=0.02)
