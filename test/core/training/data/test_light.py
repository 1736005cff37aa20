"""Other light: it looks different, and everything stays where it is."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from hfnet_core.training.data.light import exposed, headlights, lamps, other_light, overexposed, shadows

KINDS = (lamps, headlights, exposed, overexposed, shadows)
Change = Callable[[np.random.Generator, np.ndarray, float], np.ndarray]


def squares() -> np.ndarray:
    """A grid of dark and mid-gray squares of 16 px."""
    rows, columns = np.mgrid[:192, :256] // 16
    return np.where((rows + columns) % 2, 150, 60).astype(np.uint8)


@pytest.mark.parametrize("change", KINDS)
def test_no_strength_is_nearly_no_change(change: Change) -> None:
    """Noise of a good exposure and the gain of the sensor remain."""
    image = squares()
    found = change(np.random.default_rng(0), image, 0.0).astype(float)
    assert np.corrcoef(found.ravel(), image.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("change", KINDS)
def test_corners_stay_where_they_are(change: Change) -> None:
    """Exact correspondence: corners of the grid that can still be seen are at their places, noise to either side."""
    image = squares()
    x, y = np.meshgrid(np.arange(16, 256, 16) - 0.5, np.arange(16, 192, 16) - 0.5)
    truth = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)
    moved = []
    for seed in range(10):
        smooth = cv2.GaussianBlur(change(np.random.default_rng(seed), image, 1.0), (0, 0), 1.5)
        corners = truth.reshape(-1, 1, 2).copy()
        found = cv2.cornerSubPix(smooth, corners, (5, 5), (-1, -1), criteria)[:, 0]
        contrast = [smooth[round(v) - 6 : round(v) + 7, round(u) - 6 : round(u) + 7].std() for u, v in truth]
        moved.append((found - truth)[np.array(contrast) > 25])
    everywhere = np.concatenate(moved)
    assert len(everywhere) > 100
    assert np.abs(np.median(everywhere, axis=0)).max() < 0.1
    assert np.median(np.abs(everywhere)) < 0.7


def test_lamps_leave_the_rest_of_the_night_dark() -> None:
    image = np.full((240, 320), 180, np.uint8)
    found = np.stack([lamps(np.random.default_rng(seed), image, 1.0) for seed in range(12)]).astype(float)
    spread = [np.quantile(one, 0.95) / max(np.quantile(one, 0.05), 1.0) for one in found]
    assert np.median(spread) > 2.0


def test_too_much_light_is_white_and_too_little_is_noise() -> None:
    image = squares()
    assert (overexposed(np.random.default_rng(1), image, 1.0) == 255).mean() > 0.2
    noise = [exposed(np.random.default_rng(seed), np.full((64, 64), 120, np.uint8), 1.0).std() for seed in range(12)]
    assert max(noise) > 15
    assert min(noise) < 10


def test_shadows_darken_a_part_and_leave_the_rest_as_it_is() -> None:
    image = np.full((120, 160), 150, np.uint8)
    found = shadows(np.random.default_rng(2), image, 1.0)
    assert (found < 120).mean() > 0.02
    assert (np.abs(found.astype(int) - 150) <= 1).mean() > 0.02
    assert found.max() <= 151


def test_the_same_generator_gives_the_same_light_and_all_kinds_occur() -> None:
    image = squares()
    one, other = (other_light(np.random.default_rng(5), image) for _ in range(2))
    assert np.array_equal(one, other)
    assert one.dtype == np.uint8
    assert one.shape == image.shape
    means = {round(float(other_light(np.random.default_rng(seed), image).mean())) for seed in range(30)}
    assert len(means) > 15
