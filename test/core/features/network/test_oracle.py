"""The exported network and the extractor against what the released graph computes from the same weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from helpers import shared_data

from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.architecture import NetworkSpec, variable_shapes
from hfnet_core.features.network.onnx_graph import build_onnx, save_onnx
from hfnet_core.features.sampling import map_coordinates

Oracle = dict[str, np.ndarray]

pytestmark = pytest.mark.xdist_group("oracle")  # the 130 MB models are built once


@pytest.fixture(scope="module", params=[0, 1])
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Oracle, Path]:
    folder = shared_data("reference", "hfnet_oracle")
    module_spec = importlib.util.spec_from_file_location("reference_weights", folder / "reference_weights.py")
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    assert module.variable_shapes() == variable_shapes(NetworkSpec())
    model = build_onnx(
        module.reference_weights(request.param),
        NetworkSpec(),
        name="reference",
        version="0",
        licence="Apache-2.0",
        subpixel=False,
        with_logits=True,
    )
    path = tmp_path_factory.mktemp("oracle") / "reference.onnx"
    save_onnx(model, path)
    with np.load(folder / f"oracle_seed{request.param}.npz") as stored:
        return dict(stored), path


def test_dense_outputs(oracle: tuple[Oracle, Path]) -> None:
    expected, path = oracle
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = expected["image"].astype(np.float32)
    height, width = (side // 8 * 8 for side in image.shape)
    names = {
        "logits": "logits",
        "scores": "scores_dense",
        "descriptors": "local_descriptor_map",
        "global_descriptor": "global_descriptor",
    }
    values = session.run(list(names), {"image": np.ascontiguousarray(image[None, None, :height, :width])})
    for (ours, theirs), value in zip(names.items(), values, strict=True):
        tolerance = {"logits": 1e-3, "scores": 1e-4}.get(ours, 1e-5)
        assert value.shape == expected[theirs].shape
        np.testing.assert_allclose(value, expected[theirs], rtol=0, atol=tolerance, err_msg=ours)


def test_extractor(oracle: tuple[Oracle, Path]) -> None:
    expected, path = oracle
    backend = open_backend(path, threads=1)
    features = Extractor(backend).extract(expected["image"])  # the defaults are those of the released model
    keypoints, scores = expected["keypoints"][0], expected["scores"][0]
    assert len(features) == len(keypoints)
    np.testing.assert_allclose(features.scores, scores, rtol=0, atol=1e-4)
    assert (np.diff(features.scores) <= 0).all()
    rows = _rows(features.keypoints_px, keypoints, scores)
    np.testing.assert_allclose(features.descriptors, expected["local_descriptors"][0][rows], rtol=0, atol=1e-4)
    np.testing.assert_allclose(features.global_descriptor, expected["global_descriptor"][0], rtol=0, atol=1e-5)


def test_sampling_coordinates(oracle: tuple[Oracle, Path]) -> None:
    expected, _ = oracle
    shape = expected["local_descriptor_map"].shape[1:3]
    ours = map_coordinates(expected["keypoints"][0].astype(np.float32), shape, corner_aligned=True)
    np.testing.assert_allclose(ours, expected["sample_xy"][0], rtol=0, atol=1e-6)


def _rows(ours: np.ndarray, theirs: np.ndarray, their_scores: np.ndarray) -> list[int]:
    """Where our keypoints are among theirs; only those tied with the last accepted score may be absent."""
    index = {tuple(point): row for row, point in enumerate(theirs.tolist())}
    rows = []
    for place, point in enumerate(ours.astype(int).tolist()):
        assert tuple(point) in index, f"keypoint {point} is not among the expected ones"
        row = index[tuple(point)]
        assert abs(float(their_scores[row]) - float(their_scores[place])) < 1e-5, "order differs by more than a tie"
        rows.append(row)
    return rows
