"""Keypoints described at other sizes of their image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hfnet_core.config import ExtractorConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.scales import MultiScale
from hfnet_core.types import Features


def picture(width: int = 160, height: int = 120) -> np.ndarray:
    """Smooth random blobs: something to see at every scale."""
    noise = np.random.default_rng(3).uniform(0, 255, (height // 4, width // 4)).astype(np.float32)
    return np.clip(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(open_backend(kind="onnxruntime", threads=1), ExtractorConfig(max_keypoints=60))


def described(features: Features) -> np.ndarray:
    assert features.scaled is not None
    return features.scaled.descriptors.astype(np.float32)


def test_at_its_own_size_an_image_looks_as_it_does(extractor: Extractor) -> None:
    image = picture()
    features = MultiScale(extractor, (1.0,)).extract(image)
    assert np.array_equal(features.keypoints_px, extractor.extract(image).keypoints_px)
    assert np.abs(described(features)[0] - features.descriptors).max() < 2e-3


def test_twice_the_size_is_what_an_image_twice_as_large_says_there(extractor: Extractor) -> None:
    image = picture()
    features = MultiScale(extractor, (0.5, 2.0)).extract(image)
    enlarged = extractor.extract(cv2.resize(image.astype(np.float32), (320, 240), interpolation=cv2.INTER_LINEAR))
    assert enlarged.dense is not None
    expected = enlarged.dense.sample((features.keypoints_px + 0.5) * 2 - 0.5)
    assert described(features).shape == (2, len(features), features.descriptors.shape[1])
    assert np.abs(described(features)[1] - expected).max() < 2e-3
    assert np.linalg.norm(described(features), axis=2) == pytest.approx(1.0, abs=2e-3)


def test_a_nearer_view_resembles_the_enlarged_image_more_than_the_image(extractor: Extractor) -> None:
    """What the descriptors are for: the middle of the image, seen from half the distance."""
    image = picture(320, 240)
    near = cv2.resize(image[60:180, 80:240], (320, 240), interpolation=cv2.INTER_LINEAR)
    features = MultiScale(extractor, (2.0,)).extract(image)
    inside = (np.abs(features.keypoints_px - [159.5, 119.5]) < [70, 50]).all(axis=1)
    seen = extractor.extract(near)
    assert seen.dense is not None
    there = seen.dense.sample(((features.keypoints_px - [80, 60] + 0.5) * 2 - 0.5).astype(np.float32)[inside])
    alike = np.einsum("kd,kd->k", described(features)[0][inside], there)
    assert inside.sum() > 5
    assert alike.mean() > np.einsum("kd,kd->k", features.descriptors[inside], there).mean() + 0.1


def test_an_image_beyond_the_largest_size_is_described_as_the_network_sees_it(extractor: Extractor) -> None:
    limited = Extractor(extractor.backend, ExtractorConfig(max_keypoints=60, max_side_px=80))
    features = MultiScale(limited, (1.0,)).extract(picture())
    assert np.abs(described(features)[0] - features.descriptors).max() < 2e-3


def test_what_remembers_features_tells_scales_apart(extractor: Extractor) -> None:
    assert MultiScale(extractor).config != MultiScale(extractor, (0.5,)).config != extractor.config
    assert MultiScale(extractor).info == extractor.info
