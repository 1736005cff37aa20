"""Soft labels: exact positions, exact mass, across cell borders and through homographies."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training package needs torch")

from hfnet_core.training.data.augmentation import CropRange, crop_pair, warp_image, warp_points
from hfnet_core.training.data.labels import cell_validity, soft_labels

SIZE = (64, 48)


def heatmap(target: np.ndarray) -> np.ndarray:
    """[65, h, w] -> [8h, 8w] by the specification: channel c goes to row 8i + c // 8, column 8j + c % 8."""
    result = np.zeros((target.shape[1] * 8, target.shape[2] * 8), np.float32)
    for channel in range(64):
        result[channel // 8 :: 8, channel % 8 :: 8] = target[channel]
    return result


def test_a_keypoint_is_split_over_its_four_pixels() -> None:
    image = heatmap(soft_labels(np.array([[20.25, 10.5]], np.float32), SIZE))
    assert image[10, 20] == pytest.approx(0.375)
    assert image[11, 20] == pytest.approx(0.375)
    assert image[10, 21] == pytest.approx(0.125)
    assert image[11, 21] == pytest.approx(0.125)
    assert image.sum() == pytest.approx(1.0)


def test_a_keypoint_on_a_cell_corner_goes_to_four_cells() -> None:
    target = soft_labels(np.array([[15.5, 7.5]], np.float32), SIZE)
    assert heatmap(target)[7:9, 15:17] == pytest.approx(np.full((2, 2), 0.25))
    assert target[-1, :2, 1:3] == pytest.approx(np.full((2, 2), 0.75))


def test_every_cell_is_a_distribution() -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(-5, 70, (200, 2)).astype(np.float32)
    xy[0] = np.nan
    target = soft_labels(xy, SIZE)
    assert target.min() >= 0
    np.testing.assert_allclose(target.sum(axis=0), 1.0, atol=1e-5)
    empty = soft_labels(np.zeros((0, 2), np.float32), SIZE)
    assert (empty[-1] == 1).all() and (empty[:-1] == 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_labels_follow_the_image_through_homographies(seed: int) -> None:
    """A Gaussian spot's centre of mass in the warped image is where its label is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:240, :320]
    spot = np.array([[160.3, 121.8]], np.float32)
    image = (255 * np.exp(-((x - spot[0, 0]) ** 2 + (y - spot[0, 1]) ** 2) / 18)).astype(np.uint8)
    size = (256, 256)
    for homography in crop_pair(rng, (320, 240), size, CropRange(), shift=0.1):
        crop, inside = warp_image(image, homography, size, border=0)
        weights = np.where(inside, crop, 0).astype(np.float64)
        rows, columns = np.mgrid[:256, :256]
        centre = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
        labels = heatmap(soft_labels(warp_points(homography, spot), size)).astype(np.float64)
        label = np.array([(labels * columns).sum(), (labels * rows).sum()]) / labels.sum()
        if label.min() > 20 and label.max() < 235:
            np.testing.assert_allclose(label, centre, atol=0.15)


def test_cells_that_do_not_show_the_photo_are_invalid() -> None:
    inside = np.ones((48, 64), bool)
    inside[5, 17] = False
    valid = cell_validity(inside)
    assert valid.shape == (6, 8)
    assert not valid[0, 2]
    assert valid.sum() == 47
