"""The classical extractors keep the same contract, apart from the global descriptor they lack."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers import textured_image

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.baselines import OrbExtractor, SiftExtractor

EXTRACTORS = pytest.mark.parametrize("kind", [SiftExtractor, OrbExtractor])


@EXTRACTORS
def test_features(kind: type[SiftExtractor] | type[OrbExtractor]) -> None:
    image = textured_image(320, 240)
    extractor = kind(ExtractorConfig(max_keypoints=100))
    features = extractor.extract(image)
    assert 50 < len(features) <= 100
    assert features.keypoints_px.shape == (len(features), 2)
    assert features.descriptors.shape == (len(features), extractor.info.spec.local_dim)
    assert features.global_descriptor.shape == (0,)
    assert (features.width, features.height) == (320, 240)
    assert (np.diff(features.scores) <= 0).all()
    for value in (features.keypoints_px, features.scores, features.descriptors):
        assert value.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-4)


@EXTRACTORS
def test_keypoints_follow_the_image_through_reduction(kind: type[SiftExtractor] | type[OrbExtractor]) -> None:
    image = cv2.GaussianBlur(textured_image(640, 480), (0, 0), 2)
    full = kind().extract(image)
    reduced = kind(ExtractorConfig(max_side_px=320)).extract(image)
    assert reduced.keypoints_px[:, 0].max() > 320
    distances = np.linalg.norm(full.keypoints_px[:, None] - reduced.keypoints_px[None], axis=2).min(axis=0)
    assert np.median(distances) < 2


@EXTRACTORS
def test_nothing_to_see(kind: type[SiftExtractor] | type[OrbExtractor]) -> None:
    extractor = kind()
    features = extractor.extract(np.full((64, 64, 3), 90, np.uint8))
    assert len(features) == 0
    assert features.descriptors.shape == (0, extractor.info.spec.local_dim)
    with pytest.raises(DatasetError, match="empty"):
        extractor.extract(np.zeros((0, 0), np.uint8))


def test_orb_distances_are_hamming_distances() -> None:
    image = textured_image(320, 240)
    features = OrbExtractor(ExtractorConfig(max_keypoints=40)).extract(image)
    bits = features.descriptors > 0
    hamming = (bits[:, None] != bits[None]).sum(axis=2)
    squared = ((features.descriptors[:, None] - features.descriptors[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared, hamming * 4 / 256, atol=1e-4)


def test_maps_of_different_extractors_cannot_be_mixed() -> None:
    assert SiftExtractor().info.model_hash != OrbExtractor().info.model_hash
