"""Light and noise of the paper's recipe: within its numbers, repeatable, geometry untouched."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.training.data.streaming import paper_augmentation as steps

FLAT = np.full((480, 640), 100, np.float32)


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_the_result_repeats_and_stays_an_image() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (48, 64)).astype(np.float32)
    found = [steps.augmented(rng, image) for rng in rngs(40)]
    again = [steps.augmented(rng, image) for rng in rngs(40)]
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert all(a.shape == (48, 64) and a.dtype == np.float32 for a in found)
    assert min(a.min() for a in found) == 0
    assert max(a.max() for a in found) == 255
    assert len({float(a.mean()) for a in found}) == 40


def test_brightness_contrast_and_noise_have_the_papers_ranges() -> None:
    brightness = [float(steps._brightness(rng, FLAT[:8, :8])[0, 0]) for rng in rngs(300)]
    assert 70 <= min(brightness) < 75
    assert 135 < max(brightness) <= 140
    two = np.array([[50, 150]], np.float32)
    contrast = [float(np.ptp(steps._contrast(rng, two)) / 100) for rng in rngs(300)]
    assert 0.3 <= min(contrast) < 0.35
    assert 1.15 < max(contrast) <= 1.2
    noise = [float(steps._noise(rng, FLAT[:100, :100]).std()) for rng in rngs(100)]
    assert min(noise) < 0.5
    assert 9 < max(noise) < 10.3


def test_every_second_image_is_shaded_within_half_of_its_light() -> None:
    small = FLAT[:96, :128]
    found = [steps._shade(rng, small) for rng in rngs(200)]
    shaded = [image for image in found if image is not small]
    assert 75 < len(shaded) < 125
    assert all(image.min() > 49.9 and image.max() < 150.1 for image in shaded)
    assert any(image.min() < 80 for image in shaded)
    assert any(image.max() > 120 for image in shaded)


def test_a_tenth_is_blurred_along_one_direction() -> None:
    dot = np.zeros((480, 640), np.float32)
    dot[240, 320] = 1000
    found = [image for rng in rngs(100) if (image := steps._motion(rng, dot)) is not dot]
    assert 3 <= len(found) <= 20
    for image in found:
        rows, columns = np.nonzero(image > 1e-6)
        assert 13 <= len(rows) <= 21
        assert len(rows) % 2 == 1
        assert image.sum() == pytest.approx(1000, rel=1e-4)
        assert image.max() == image[240, 320]
        down, along = (set(np.diff(places)) for places in (rows, columns))
        assert down <= {0, 1}
        assert along in ({0}, {1}, {-1})
