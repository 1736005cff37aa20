"""The contract of every backend, and what loading refuses."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import TINY_SPEC, random_variables, tiny_model

from hfnet_core.config import BACKENDS
from hfnet_core.errors import BackendError, ConfigError, ModelError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.backends.protocol import Backend
from hfnet_core.features.network.model_info import hash_variables
from hfnet_core.features.network.onnx_graph import build_onnx
from hfnet_core.threads import side_by_side

SPEC = TINY_SPEC


@pytest.fixture(params=[kind for kind in BACKENDS if kind != "tensorrt"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed: pip install 'hfnet_ros[openvino]'")
    return open_backend(tiny_model(tmp_path), request.param, threads=1)


def gray(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (40, 16), (120, 168)])
def test_outputs_have_the_promised_form(backend: Backend, shape: tuple[int, int]) -> None:
    outputs = backend.infer(gray(*shape))
    assert outputs.scores.shape == shape
    assert outputs.descriptors.shape == (shape[0] // 8, shape[1] // 8, SPEC.local_dim)
    assert outputs.global_descriptor.shape == (SPEC.global_dim,)
    for value in (outputs.scores, outputs.descriptors, outputs.global_descriptor):
        assert value.dtype == np.float32
        assert np.isfinite(value).all()
    assert outputs.scores.min() >= 0
    assert outputs.scores.reshape(shape[0] // 8, 8, -1, 8).sum(axis=(1, 3)).max() <= 1 + 1e-5
    np.testing.assert_allclose(np.linalg.norm(outputs.descriptors, axis=2), 1, atol=1e-5)
    assert np.linalg.norm(outputs.global_descriptor) == pytest.approx(1, abs=1e-5)


def test_info_comes_from_the_file(backend: Backend) -> None:
    assert backend.info.spec == SPEC
    assert backend.info.model_hash == hash_variables(random_variables(), SPEC)
    assert (backend.info.name, backend.info.licence, backend.info.subpixel) == ("tiny", "Apache-2.0", True)


def test_result_does_not_depend_on_what_came_before(backend: Backend) -> None:
    image = gray(48, 64)
    first = backend.infer(image)
    backend.infer(gray(64, 48, seed=1))
    again = backend.infer(image.copy(order="F"))
    np.testing.assert_array_equal(first.scores, again.scores)
    np.testing.assert_array_equal(first.descriptors, again.descriptors)


def test_images_of_one_time_give_what_each_gives_alone(backend: Backend) -> None:
    images = [gray(48, 64, seed) for seed in range(5)]
    alone = [backend.infer(image) for image in images]
    together = side_by_side(backend.infer, images, backend.images_at_once)
    for ours, theirs in zip(together, alone, strict=True):
        for name in ("scores", "descriptors", "global_descriptor"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_several_threads_at_once(backend: Backend) -> None:
    images = [gray(48, 64, seed) for seed in range(4)]
    expected = [backend.infer(image).scores for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: backend.infer(image).scores, images * 5))
    for index, scores in enumerate(found):
        np.testing.assert_array_equal(scores, expected[index % 4])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 8), np.float32),
        np.zeros((0, 0), np.float32),
        np.zeros((12, 16), np.float32),
        np.zeros((16, 16), np.uint8),
        np.zeros((16, 16), np.float64),
        np.zeros((16, 16, 1), np.float32),
    ],
    ids=lambda image: f"{image.dtype}{list(image.shape)}",
)
def test_other_images_are_refused(backend: Backend, image: np.ndarray) -> None:
    with pytest.raises(BackendError, match="multiples of 8") as caught:
        backend.infer(image)
    assert str(list(image.shape)) in str(caught.value)


def test_outputs_that_are_not_finite_are_refused(backend: Backend) -> None:
    image = gray(32, 32)
    image[4, 4] = np.nan
    with pytest.raises(BackendError, match="not finite"):
        backend.infer(image)


def test_closed(backend: Backend) -> None:
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer(gray(16, 16))


def test_a_fixed_size_model_refuses_other_sizes_in_one_line(tmp_path: Path) -> None:
    backend = open_backend(tiny_model(tmp_path, static_shape=(32, 48)), threads=1)
    assert backend.infer(gray(32, 48)).scores.shape == (32, 48)
    with pytest.raises(BackendError, match=r"64x32 image: [^\n]+$"):
        backend.infer(gray(32, 64))


def test_running_a_model_needs_only_the_runtime() -> None:
    """onnx and torch are for building and training models; a robot has neither."""
    code = (
        "import sys, hfnet_core.features.extractor, hfnet_core.features.backends.onnxruntime_backend\n"
        "sys.exit(', '.join({'onnx', 'torch'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'cuda' is not one of auto"):
        open_backend(tiny_model(tmp_path), "cuda")
    with pytest.raises(ConfigError, match="-1"):
        open_backend(tiny_model(tmp_path), threads=-1)


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, share: float) -> None:
    content = tiny_model(tmp_path).read_bytes()
    path = damaged(tmp_path / "cut.onnx", content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"cut\.onnx: [^\n]+$"):
        open_backend(path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: no such model file"):
        open_backend(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="no such model file"):
        open_backend(tmp_path)
    with pytest.raises(ModelError, match=r"text\.onnx: not a readable ONNX model"):
        open_backend(damaged(tmp_path / "text.onnx", b"this is no model" * 100))
    model = onnx.load(tiny_model(tmp_path))
    del model.metadata_props[:]
    with pytest.raises(ModelError, match=r"bare\.onnx: not an HF-Net model"):
        open_backend(damaged(tmp_path / "bare.onnx", model.SerializeToString()))


def test_metadata_of_another_graph_is_refused(tmp_path: Path) -> None:
    """Our metadata around a graph with other outputs, and around one with other sizes."""
    model = onnx.load(tiny_model(tmp_path))
    for node in model.graph.node:
        node.output[:] = ["heat" if name == "scores" else name for name in node.output]
    next(output for output in model.graph.output if output.name == "scores").name = "heat"
    with pytest.raises(ModelError, match="heat"):
        open_backend(damaged(tmp_path / "renamed.onnx", model.SerializeToString()))
    other = build_onnx(random_variables(), SPEC, name="a", version="0", licence="b", subpixel=True)
    for item in other.metadata_props:
        item.value = item.value.replace('"local_dim": 16', '"local_dim": 24')
    with pytest.raises(ModelError, match="descriptors has size 16, its metadata says 24"):
        open_backend(damaged(tmp_path / "sizes.onnx", other.SerializeToString()))
