"""Images of every kind through the extractor, and back to the original pixels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY_SPEC, textured_image, tiny_model

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.backends.protocol import DenseOutputs
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.types import Features


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    return Extractor(open_backend(tiny_model(tmp_path_factory.mktemp("model")), threads=1))


def check(features: Features, width: int, height: int, spec: NetworkSpec = TINY_SPEC) -> None:
    count = len(features)
    assert features.keypoints_px.shape == (count, 2)
    assert features.scores.shape == (count,)
    assert features.descriptors.shape == (count, spec.local_dim)
    assert features.global_descriptor.shape == (spec.global_dim,)
    assert (features.width, features.height) == (width, height)
    for value in (features.keypoints_px, features.scores, features.descriptors, features.global_descriptor):
        assert value.dtype == np.float32
        assert np.isfinite(value).all()
    assert (np.diff(features.scores) <= 0).all()
    assert (features.keypoints_px >= -0.5).all()
    assert (features.keypoints_px <= np.array([width, height]) - 0.5).all()
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-4)


def same(first: Features, second: Features, atol: float = 0.0) -> None:
    np.testing.assert_allclose(first.keypoints_px, second.keypoints_px, rtol=0, atol=atol)
    np.testing.assert_allclose(first.descriptors, second.descriptors, rtol=0, atol=atol)
    np.testing.assert_allclose(first.global_descriptor, second.global_descriptor, rtol=0, atol=atol)


@pytest.mark.parametrize(("width", "height"), [(160, 120), (161, 127), (17, 16), (16, 31), (16, 200), (239, 101)])
def test_all_sizes(extractor: Extractor, width: int, height: int) -> None:
    features = extractor.extract(textured_image(width, height))
    check(features, width, height)
    assert len(features) > 0


def test_what_is_cropped_does_not_matter(extractor: Extractor) -> None:
    image = textured_image(167, 127)
    cropped = extractor.extract(image[:120, :160])
    full = extractor.extract(image)
    assert (full.width, full.height) == (167, 127)
    same(full, cropped)


def test_the_same_picture_in_every_type(extractor: Extractor) -> None:
    image = textured_image()
    expected = extractor.extract(image)
    alpha = np.full((*image.shape, 1), 7, np.uint8)
    for other in (
        image[:, :, None],
        np.repeat(image[:, :, None], 3, axis=2),
        np.concatenate([np.repeat(image[:, :, None], 3, axis=2), alpha], axis=2),
        image.astype(np.float32),
        image.astype(np.float64),
        np.asfortranarray(image),
        np.stack([image, image], axis=2)[:, :, 0],  # not contiguous
    ):
        same(extractor.extract(other), expected)
    wide = extractor.extract(image.astype(np.uint16) * 257)
    np.testing.assert_allclose(wide.global_descriptor, expected.global_descriptor, atol=1e-4)


def test_the_image_is_not_changed(extractor: Extractor) -> None:
    for image in (textured_image().astype(np.float32), textured_image()):
        image.flags.writeable = False
        extractor.extract(image)


def test_constant_images(extractor: Extractor) -> None:
    for value in (0, 128, 255):
        check(extractor.extract(np.full((40, 48), value, np.uint8)), 48, 40)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((0, 0), np.uint8), "empty"),
        (np.zeros((0, 64, 3), np.uint8), "empty"),
        (np.zeros((15, 64), np.uint8), "64x15"),
        (np.zeros((64, 8), np.uint8), "8x64"),
        (np.zeros((32, 32, 2), np.uint8), "shape"),
        (np.zeros(100, np.uint8), "shape"),
        (np.full((32, 32), np.nan, np.float32), "NaN"),
        (np.zeros((32, 32), np.int32), "int32"),
    ],
)
def test_unusable_images(extractor: Extractor, image: np.ndarray, says: str) -> None:
    with pytest.raises(DatasetError, match=says) as caught:
        extractor.extract(image)
    assert "\n" not in str(caught.value)


def test_an_image_reduced_to_nothing_is_refused(extractor: Extractor) -> None:
    small = Extractor(extractor.backend, ExtractorConfig(max_side_px=64))
    with pytest.raises(DatasetError, match="64x3 px as the network sees it"):
        small.extract(np.zeros((32, 640), np.uint8))


class Spot:
    """A backend whose only keypoint is the brightest pixel of what it is given."""

    def __init__(self, spec: NetworkSpec = TINY_SPEC, subpixel: bool = False) -> None:
        self.info = ModelInfo("spot", "0", "0" * 64, spec, "CC0-1.0", subpixel)

    def infer(self, gray: np.ndarray) -> DenseOutputs:
        rows, columns = (side // 8 for side in gray.shape)
        descriptors = np.zeros((rows, columns, self.info.spec.local_dim), np.float32)
        descriptors[..., 0] = 1
        scores = (gray / max(gray.max(), 1)).astype(np.float32)
        return DenseOutputs(scores, descriptors, np.zeros(self.info.spec.global_dim, np.float32))

    def close(self) -> None: ...


@pytest.mark.parametrize(("width", "height"), [(640, 480), (503, 241)])
def test_keypoints_return_to_the_original_pixels(width: int, height: int) -> None:
    """A blob's centre is found where it is, also through reduction and cropping; half a pixel of the reduced image
    forgotten would be 1.5 px here."""
    centre = np.array([301.7, 150.4])
    rows, columns = np.mgrid[:height, :width]
    squares = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2
    for max_side, sigma, tolerance in ((0, 0.8, 0.1), (width, 0.8, 0.1), (width // 4, 4.0, 0.4)):
        image = (255 * np.exp(-squares / (2 * sigma**2))).astype(np.float32)
        config = ExtractorConfig(max_side_px=max_side, detection_threshold=0.5, max_keypoints=1)
        features = Extractor(Spot(subpixel=True), config).extract(image)
        assert (features.width, features.height) == (width, height)
        np.testing.assert_allclose(features.keypoints_px, [centre], atol=tolerance)


def test_released_models_map_without_an_offset() -> None:
    """Their code resizes at x * original / resized, so pixel 0 is pixel 0 and 20 of 160 is 80 of 640."""
    spec = dataclasses.replace(TINY_SPEC, corner_aligned=True)
    image = np.zeros((480, 640), np.uint8)
    image[0, 0] = 255
    image[240, 80] = 250
    config = ExtractorConfig(max_side_px=160, detection_threshold=0.5)
    features = Extractor(Spot(spec), config).extract(image)
    np.testing.assert_array_equal(features.keypoints_px, [[0, 0], [80, 240]])


def test_refinement_needs_a_model_that_allows_it(tmp_path: Path) -> None:
    image = textured_image()
    exact = Extractor(open_backend(tiny_model(tmp_path, subpixel=False), threads=1)).extract(image)
    backend = open_backend(tiny_model(tmp_path, subpixel=True), threads=1)
    refused = Extractor(backend, ExtractorConfig(subpixel=False)).extract(image)
    refined = Extractor(backend).extract(image)
    for whole in (exact, refused):
        np.testing.assert_array_equal(whole.keypoints_px, np.round(whole.keypoints_px))
    assert 0 < np.abs(refined.keypoints_px - refused.keypoints_px).max() <= 2
    np.testing.assert_array_equal(refined.scores, refused.scores)


def test_number_and_threshold(extractor: Extractor) -> None:
    image = textured_image()
    everything = extractor.extract(image)
    few = Extractor(extractor.backend, ExtractorConfig(max_keypoints=7)).extract(image)
    np.testing.assert_array_equal(few.keypoints_px, everything.keypoints_px[:7])
    threshold = float(everything.scores[20])
    strong = Extractor(extractor.backend, ExtractorConfig(detection_threshold=threshold)).extract(image)
    np.testing.assert_array_equal(strong.scores, everything.scores[everything.scores >= np.float32(threshold)])
    nothing = Extractor(extractor.backend, ExtractorConfig(detection_threshold=1.0)).extract(image)
    check(nothing, 160, 120)
    assert len(nothing) == 0


@pytest.mark.parametrize("max_side", [0, 100])
def test_the_dense_map_says_at_a_keypoint_what_the_keypoint_says(extractor: Extractor, max_side: int) -> None:
    image = textured_image(167, 127)
    features = Extractor(extractor.backend, ExtractorConfig(max_side_px=max_side)).extract(image)
    assert features.dense is not None
    np.testing.assert_allclose(features.dense.sample(features.keypoints_px), features.descriptors, atol=1e-5)
    later = extractor.extract(np.zeros_like(image))  # another image must not change what is held
    assert later.dense is not features.dense
    np.testing.assert_allclose(features.dense.sample(features.keypoints_px), features.descriptors, atol=1e-5)


def test_features_that_are_kept_drop_the_dense_map(extractor: Extractor) -> None:
    features = extractor.extract(textured_image())
    kept = features.without_dense()
    assert kept.dense is None
    assert kept.descriptors is features.descriptors
    assert kept.without_dense() is kept
