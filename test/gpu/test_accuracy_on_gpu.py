"""The shipped model on the GPU against ONNX Runtime: the bars of the issue."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import textured_image

from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
from hfnet_core.features.backends.tensorrt.checking import agreement, probe_images
from hfnet_core.features.engine_tools.bench import HostChoice
from hfnet_core.features.extractor import Extractor
from hfnet_core.types import Features

pytestmark = pytest.mark.timeout(1800)
SIZE = (480, 640)


def shared(ours: Features, theirs: Features) -> float:
    """Share of keypoints that the other has too, to half a pixel; the lower of both ways."""
    distances = np.linalg.norm(ours.keypoints_px[:, None] - theirs.keypoints_px[None], axis=2)
    return float(min((distances.min(axis=1) < 0.5).mean(), (distances.min(axis=0) < 0.5).mean()))


@pytest.mark.parametrize(("precision", "cosine", "share"), [("fp32", 0.9999, 0.99), ("fp16", 0.999, 0.97)])
def test_descriptors_and_keypoints(settings: Any, precision: str, cosine: float, share: float) -> None:
    gpu, cpu = TensorRTBackend(DEFAULT_MODEL, settings(precision=precision)), OnnxRuntimeBackend(DEFAULT_MODEL)
    blank_and_noise = probe_images(*SIZE)
    textured = [textured_image(SIZE[1], SIZE[0], seed).astype(np.float32) for seed in range(5)]
    for index, image in enumerate([*blank_and_noise, *textured]):
        ours, theirs = gpu.infer(image), cpu.infer(image)
        np.testing.assert_allclose(np.linalg.norm(ours.descriptors, axis=2), 1, atol=1e-4)
        assert np.linalg.norm(ours.global_descriptor) == pytest.approx(1, abs=1e-4)
        found = agreement(ours, theirs)
        assert min(found.local_cosine, found.global_cosine) >= cosine, f"image {index}: {found}"
        if index >= 4:  # blank images have no keypoints worth the name
            of_gpu, of_cpu = (Extractor(backend).extract(image) for backend in (gpu, cpu))
            assert shared(of_gpu, of_cpu) >= share, f"image {index}"
            of_host = Extractor(HostChoice(gpu)).extract(image)
            assert shared(of_gpu, of_host) >= 0.99, f"image {index}: chosen on the GPU and here"
            assert of_gpu.dense is not None
            found = of_gpu.dense.sample(of_gpu.keypoints_px)
            np.testing.assert_allclose(found, of_gpu.descriptors, atol=1e-4)
    assert gpu.build(*SIZE)["precision"] == precision, "the check after building fell back to FP32"
    gpu.close()


def test_a_cuda_graph_computes_the_same(settings: Any) -> None:
    plain = TensorRTBackend(DEFAULT_MODEL, settings(precision="fp16"))
    graph = TensorRTBackend(DEFAULT_MODEL, settings(precision="fp16", cuda_graph=True))
    for seed in range(3):
        image = textured_image(SIZE[1], SIZE[0], seed).astype(np.float32)
        a, b = plain.infer(image), graph.infer(image)
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.descriptors, b.descriptors)
    plain.close()
    graph.close()
