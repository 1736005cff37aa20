"""OpenVINO computes what ONNX Runtime does, exactly or, where asked to, in bfloat16."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import shared_data, textured_image, tiny_model

from hfnet_core.config import EngineConfig, ExtractorConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.backends.protocol import Backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.images.pixels import to_gray
from hfnet_core.images.reading import read_image

EXACT = EngineConfig(precision="fp32")


@pytest.fixture(autouse=True)
def openvino() -> object:
    return pytest.importorskip("openvino", reason="openvino is not installed: pip install 'hfnet_ros[openvino]'")


@pytest.fixture(scope="module")
def reference() -> Backend:
    return open_backend(None, "onnxruntime", threads=1)


def agreement(image: np.ndarray, ours: Backend, reference: Backend) -> tuple[float, float, float]:
    """Lowest cosine of local descriptors, cosine of the global ones, share of keypoints within a pixel."""
    a, b = (Extractor(backend, ExtractorConfig(max_keypoints=500)).extract(image) for backend in (ours, reference))
    dense = [backend.infer(image.astype(np.float32)).descriptors for backend in (ours, reference)]
    local = float(np.einsum("ijk,ijk->ij", *dense).min())
    apart = np.linalg.norm(a.keypoints_px[:, None] - b.keypoints_px[None], axis=2).min(axis=1)
    return local, float(a.global_descriptor @ b.global_descriptor), float((apart < 1.0).mean())


def test_fp32_is_the_same(reference: Backend) -> None:
    ours = open_backend(None, "openvino", 1, EXACT)
    assert ours.description.endswith("1 threads, f32")
    for size in ((160, 120), (120, 160)):
        local, overall, keypoints = agreement(textured_image(*size), ours, reference)
        assert min(local, overall) > 0.99999
        assert keypoints > 0.99


def test_half_precision_is_close(reference: Backend, openvino: object) -> None:
    ours = open_backend(None, "openvino", 1)
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # type: ignore[attr-defined]
    assert ours.description.endswith("bf16" if able else "f32")
    image = to_gray(read_image(shared_data("data", "redkitchen", "images", "000100.jpg")))
    local, overall, keypoints = agreement(image, ours, reference)
    assert local > 0.9
    assert overall > 0.97
    assert keypoints > 0.9


def test_networks_of_sizes_are_dropped_and_made_again(tmp_path: Path) -> None:
    ours = open_backend(tiny_model(tmp_path), "openvino", 1, EngineConfig(precision="fp32", max_engines=2))
    images = [np.random.default_rng(side).uniform(0, 255, (side, 32)).astype(np.float32) for side in (16, 24, 32)]
    first = [ours.infer(image).scores for image in images]
    assert len(ours._sizes) == 2  # type: ignore[attr-defined]
    for image, scores in zip(images, first, strict=True):
        np.testing.assert_array_equal(ours.infer(image).scores, scores)


def test_results_are_not_overwritten_by_the_next(tmp_path: Path) -> None:
    ours = open_backend(tiny_model(tmp_path), "openvino", 1)
    image = np.random.default_rng(0).uniform(0, 255, (32, 32)).astype(np.float32)
    found = ours.infer(image)
    kept = found.scores.copy()
    ours.infer(image[::-1].copy())
    np.testing.assert_array_equal(found.scores, kept)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hfnet_core.features.backends.openvino_backend", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r"hfnet_ros\[openvino\]"):
        open_backend(tiny_model(tmp_path), "openvino")
