"""Keypoints chosen by TensorRT, over the stand-in runtime: the host's, and a map of descriptors that stays there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import textured_image, tiny_model

from hfnet_core.config import EngineConfig, ExtractorConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.protocol import DenseOutputs, SelectedOutputs
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
from hfnet_core.features.backends.tensorrt.device_maps import MOST_MAPS
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.types import Features

VERSIONS = ["8.6.1", "10.3.0", "10.13.3.9", "11.4.0.106"]
SPEC = NetworkSpec(local_dim=16, global_dim=256, clusters=8, corner_aligned=False)


def gray() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (48, 64)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path, spec=SPEC)


@pytest.fixture
def backend(gpu: Any, model: Path) -> TensorRTBackend:
    return TensorRTBackend(model, EngineConfig(precision="fp32"))


def features_same(ours: Features, theirs: Features) -> None:
    assert len(ours) == len(theirs) > 20
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    first, second = (np.lexsort(np.round(one.keypoints_px, 2).T) for one in (ours, theirs))
    np.testing.assert_allclose(ours.keypoints_px[first], theirs.keypoints_px[second], atol=1e-3)
    np.testing.assert_allclose(ours.descriptors[first], theirs.descriptors[second], atol=1e-5)
    np.testing.assert_allclose(ours.global_descriptor, theirs.global_descriptor, atol=1e-5)


@pytest.mark.parametrize("gpu", VERSIONS, indirect=True)
def test_keypoints_of_the_gpu_are_those_of_the_host(gpu: Any, model: Path) -> None:
    image = textured_image(134, 98)
    for config in (ExtractorConfig(), ExtractorConfig(100, 0.02, subpixel=False), ExtractorConfig(5)):
        reference = Extractor(OnnxRuntimeBackend(model), config)
        features_of = Extractor(TensorRTBackend(model, EngineConfig(precision="fp32"), config), config)
        ours, theirs = features_of.extract(image), reference.extract(image)
        assert ours.scores.min() >= config.detection_threshold
        if len(theirs) > 20:
            features_same(ours, theirs)
        assert len(ours) == len(theirs)


def test_only_keypoints_come_back(backend: TensorRTBackend, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = Extractor(backend)
    extractor.extract(textured_image(64, 48))
    copied: list[int] = []
    copy = gpu.driver.memcpy_dtoh_async
    monkeypatch.setattr(
        gpu.driver, "memcpy_dtoh_async", lambda dest, *rest: (copied.append(dest.nbytes), copy(dest, *rest))[1]
    )
    features = extractor.extract(textured_image(64, 48))
    room = backend.selection(48, 64).kept
    assert sum(copied) == 4 * (room * (2 + 1 + SPEC.local_dim) + SPEC.global_dim)
    assert 0 < len(features) < room


def test_other_limits_are_served_by_the_host(backend: TensorRTBackend, model: Path) -> None:
    image, wide = textured_image(134, 98), ExtractorConfig(nms_radius_px=6)
    features_same(Extractor(backend, wide).extract(image), Extractor(OnnxRuntimeBackend(model), wide).extract(image))
    assert isinstance(backend.detect(gray(), wide), DenseOutputs)
    assert isinstance(backend.detect(gray(), ExtractorConfig(500)), SelectedOutputs)


def test_the_map_is_the_one_of_its_image(backend: TensorRTBackend, model: Path) -> None:
    """However many images came since, and after the engine is gone."""
    images = [textured_image(64, 48, seed) for seed in range(MOST_MAPS + 4)]
    reference = Extractor(OnnxRuntimeBackend(model))
    found = [Extractor(backend).extract(image) for image in images]
    places = np.random.default_rng(0).uniform(0, 47, (30, 2)).astype(np.float32)

    def check(index: int) -> None:
        dense, expected = found[index].dense, reference.extract(images[index]).dense
        assert dense is not None and expected is not None
        np.testing.assert_allclose(dense.sample(places), expected.sample(places), atol=1e-5)
        np.testing.assert_allclose(dense.sample(places), expected.sample(places), atol=1e-5)

    for index in (0, 7, len(images) - 1):
        check(index)
    backend.close()
    for index in range(len(images)):
        check(index)


def test_maps_that_nobody_wants_take_no_memory(backend: TensorRTBackend, gpu: Any) -> None:
    extractor = Extractor(backend)
    kept = [extractor.extract(textured_image(64, 48, seed)) for seed in range(2 * MOST_MAPS)]
    most = gpu.driver.allocated_bytes()
    for seed in range(30):
        extractor.extract(textured_image(64, 48, seed))
    del kept
    for seed in range(30):
        extractor.extract(textured_image(64, 48, seed)).without_dense()
    assert gpu.driver.allocated_bytes() <= most + 6 * 8 * SPEC.local_dim * 4


def test_a_map_that_the_gpu_took_along_is_said(backend: TensorRTBackend, gpu: Any) -> None:
    dense = Extractor(backend).extract(textured_image(64, 48)).dense
    assert dense is not None
    gpu.driver.faults["memcpy_dtoh"] = gpu.driver.LaunchError("illegal memory access")
    for _ in range(2):
        with pytest.raises(BackendError, match=r"^the descriptors of an earlier image are lost: .*illegal"):
            dense.sample(np.zeros((1, 2), np.float32))
    gpu.driver.faults.clear()
