# ruff: noqa: E402
"""Pairs of crops that differ far in scale and angle: exact where they say they are, and as far apart as asked."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'hfnet_ros[train]'")

from pathlib import Path

from hfnet_core.errors import ConfigError
from hfnet_core.training.data.augmentation import warp_image, warp_points
from hfnet_core.training.data.local_data import LocalBatches, LocalDataSettings, LocalSources
from hfnet_core.training.data.pool import Pool
from hfnet_core.training.data.wide import WideSettings, reduced, strongest, wide_pair

SIZE, PHOTO = (128, 128), (640, 480)


def similarity(homography: np.ndarray) -> tuple[float, float]:
    """Scale and angle (degrees) in the middle of the crop."""
    middle = np.linalg.inv(homography) @ [63.5, 63.5, 1]
    points = middle[:2] / middle[2] + np.array([[0, 0], [0.5, 0], [0, 0.5]])
    there = warp_points(homography, points.astype(np.float32)).astype(float)
    right, down = (there[1] - there[0]) / 0.5, (there[2] - there[0]) / 0.5
    return float(np.sqrt(abs(right[0] * down[1] - right[1] * down[0]))), float(
        np.degrees(np.arctan2(right[1], right[0]))
    )


def pairs(ratio: float, turn_deg: float, count: int = 200) -> list[tuple[np.ndarray, np.ndarray]]:
    return [wide_pair(np.random.default_rng(seed), PHOTO, SIZE, ratio, turn_deg) for seed in range(count)]


def test_scales_differ_by_up_to_the_ratio_either_way() -> None:
    ratios = np.array([similarity(a)[0] / similarity(b)[0] for a, b in pairs(2.8, 0.0)])
    assert 2.3 < ratios.max() < 2.8 * 1.35  # the tilt of each crop adds a little
    assert 1 / (2.8 * 1.35) < ratios.min() < 1 / 2.3


def test_angles_fill_the_whole_circle_when_they_are_asked_to() -> None:
    turns = np.array([similarity(a)[1] - similarity(b)[1] for a, b in pairs(1.5, 180.0)])
    turns = (turns + 180) % 360 - 180
    assert (np.histogram(turns, bins=8, range=(-180, 180))[0] > 8).all()
    gentle = np.array([similarity(a)[1] - similarity(b)[1] for a, b in pairs(1.5, 0.0)])
    assert np.abs((gentle + 180) % 360 - 180).max() < 45


def test_the_range_grows_with_the_batches_and_then_stays() -> None:
    settings = WideSettings(ratio=2.8, first_ratio=1.5, turn_deg=180.0, first_turn_deg=40.0, batches=100)
    assert settings.at(0) == pytest.approx((1.5, 40.0))
    assert settings.at(50) == pytest.approx((np.sqrt(1.5 * 2.8), 110.0))
    assert settings.at(100) == settings.at(5000) == pytest.approx((2.8, 180.0))
    for wrong in ({"first_ratio": 3.0}, {"turn_deg": 200.0}, {"batches": 0}, {"first_ratio": 0.5}):
        with pytest.raises(ConfigError):
            WideSettings(**wrong)


@pytest.mark.parametrize("seed", range(6))
def test_a_mark_in_the_photo_is_where_the_homographies_say(seed: int) -> None:
    """Exact correspondence through averaging, warping and turning: the centre of a disc, in both crops."""
    homographies = wide_pair(np.random.default_rng(seed), PHOTO, SIZE, 2.8, 180.0)
    for homography in homographies:
        inside = np.linalg.inv(homography) @ [70.0, 55.0, 1.0]
        x, y = inside[:2] / inside[2]
        photo = np.zeros(PHOTO[::-1], np.uint8)
        cv2.circle(photo, (round(x * 16), round(y * 16)), 7 * 16, 255, -1, cv2.LINE_AA, 4)
        crop, _ = warp_image(*reduced(photo, homography, SIZE), SIZE, border=0)
        rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
        weight = crop.astype(float) / crop.sum()
        found = [(columns * weight).sum(), (rows * weight).sum()]
        expected = warp_points(homography, np.array([[x, y]], np.float32))[0]
        assert np.linalg.norm(found - expected) < 0.35, (found, expected)


def test_small_views_average_what_linear_sampling_would_skip() -> None:
    photo = np.zeros((480, 640), np.uint8)
    photo[::2] = 255  # gray from afar
    homography = np.array([[0.25, 0, 0], [0, 0.25, 0], [0, 0, 1.0]])
    crop, _ = warp_image(*reduced(photo, homography, SIZE), SIZE, border=0)
    assert np.abs(crop[5:105, 5:123].astype(int) - 127).max() < 40
    image, same = reduced(photo, np.eye(3), SIZE)
    assert image is photo
    assert np.array_equal(same, np.eye(3))


def test_a_small_view_is_labelled_with_the_strongest_keypoints_alone() -> None:
    keypoints = np.arange(200, dtype=np.float32).reshape(100, 2)
    half = np.diag([0.35, 0.35, 1.0])
    assert np.array_equal(strongest(keypoints, half, SIZE), keypoints[:25])
    assert len(strongest(keypoints, np.diag([2.0, 2.0, 1.0]), SIZE)) == 100


def test_batches_with_wide_pairs_and_other_light_repeat_and_correspond(pool: Pool, teacher_folder: Path) -> None:
    settings = LocalDataSettings(
        pairs=4, crop_px=64, overlapping=0.0, other_light=1.0, clean=1.0, wide=WideSettings(share=1.0, batches=10)
    )
    batches = LocalBatches(LocalSources(pool, teacher_folder), settings, seed=1, length=20)
    one, again, later = batches[3], batches[3], batches[12]
    for a, b in zip(one, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.images, later.images)
    assert len(one.pair)
    assert ((one.first >= 0) & (one.first < 64)).all()
    assert ((one.second >= 0) & (one.second < 64)).all()
