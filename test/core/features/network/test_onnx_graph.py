"""What the graph builder refuses, and what it writes into the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import TINY_SPEC, random_variables

from hfnet_core.errors import ModelError
from hfnet_core.features.network.architecture import NetworkSpec, variable_shapes
from hfnet_core.features.network.model_info import ModelInfo, hash_variables
from hfnet_core.features.network.onnx_graph import build_onnx, save_onnx

NAMES = {"name": "tiny", "version": "1.2", "licence": "CC0-1.0", "subpixel": True}


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {item.key: item.value for item in model.metadata_props}


def test_metadata_tells_everything() -> None:
    model = build_onnx(random_variables(), TINY_SPEC, **NAMES)
    info = ModelInfo.from_metadata(metadata(model), "tiny.onnx")
    assert info == ModelInfo("tiny", "1.2", hash_variables(random_variables(), TINY_SPEC), TINY_SPEC, "CC0-1.0", True)


def test_hash_depends_on_values_and_spec_only() -> None:
    variables = random_variables()
    again = {name: variables[name].astype(np.float64) for name in reversed(list(variables))}
    reference = hash_variables(variables, TINY_SPEC)
    assert hash_variables(again, TINY_SPEC) == reference
    corner_aligned = NetworkSpec(**{**TINY_SPEC.__dict__, "corner_aligned": True})
    assert hash_variables(variables, corner_aligned) != reference
    name = "local_head/detector/Conv_1/biases"
    changed = variables[name].copy()
    changed[3] = np.nextafter(changed[3], np.float32(9))
    assert hash_variables({**variables, name: changed}, TINY_SPEC) != reference


def test_same_input_gives_the_same_file() -> None:
    first, second = (
        build_onnx(random_variables(), TINY_SPEC, **NAMES).SerializeToString(deterministic=True) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("local_head/detector/Conv_1/biases", None, "missing"),
        ("local_head/detector/Conv_1/bias", np.zeros(65), "unknown"),
        ("local_head/detector/Conv_1/biases", np.zeros(64), r"\(64,\).*\(65,\)"),
        ("local_head/detector/Conv_1/biases", np.full(65, np.nan), "NaN"),
        ("MobilenetV2/Conv/BatchNorm/moving_variance", np.full(24, -1.0), "negative"),
    ],
)
def test_refuses_other_variables(name: str, value: np.ndarray | None, says: str) -> None:
    variables = random_variables()
    variables.pop(name, None)
    if value is not None:
        variables[name] = value.astype(np.float32)
    with pytest.raises(ModelError, match=says) as caught:
        build_onnx(variables, TINY_SPEC, **NAMES)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_a_checkpoint_without_the_global_head() -> None:
    names = variable_shapes(TINY_SPEC, global_head=False)
    variables = {name: value for name, value in random_variables().items() if name in names}
    with pytest.raises(ModelError, match=r"missing variable.* more"):
        build_onnx(variables, TINY_SPEC, **NAMES)


def test_static_shape_computes_the_same() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (1, 1, 40, 56)).astype(np.float32)
    results = []
    for shape in (None, (40, 56)):
        model = build_onnx(random_variables(), TINY_SPEC, static_shape=shape, with_logits=True, **NAMES)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(["scores", "descriptors", "global_descriptor", "logits"], {"image": image}))
        if shape:
            assert session.get_inputs()[0].shape == [1, 1, 40, 56]
            assert session.get_outputs()[1].shape == [1, 5, 7, TINY_SPEC.local_dim]
    for dynamic, static in zip(*results, strict=True):
        assert dynamic.shape == static.shape
        np.testing.assert_allclose(dynamic, static, rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match="multiples of 8"):
        build_onnx(random_variables(), TINY_SPEC, static_shape=(40, 50), **NAMES)


def test_scores_and_logits_agree() -> None:
    """Channel c of cell (i, j) is pixel (8 i + c // 8, 8 j + c % 8); the dustbin takes its share."""
    image = np.random.default_rng(1).uniform(0, 255, (1, 1, 16, 24)).astype(np.float32)
    model = build_onnx(random_variables(), TINY_SPEC, with_logits=True, **NAMES)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits, scores = session.run(["logits", "scores"], {"image": image})
    expected = np.exp(logits[0].astype(np.float64))
    expected /= expected.sum(axis=2, keepdims=True)
    for row, column in ((0, 0), (9, 3), (15, 23), (7, 16)):
        channel = row % 8 * 8 + column % 8
        assert scores[0, row, column] == pytest.approx(expected[row // 8, column // 8, channel], abs=1e-6)


def test_only_plain_operators() -> None:
    """No control flow and no shapes that depend on data, so that TensorRT can take the file."""
    model = build_onnx(random_variables(), TINY_SPEC, **NAMES)
    assert {node.op_type for node in model.graph.node} <= {
        "Add",
        "Clip",
        "Conv",
        "DepthToSpace",
        "Div",
        "Gemm",
        "MatMul",
        "Max",
        "Mul",
        "ReduceSum",
        "ReduceSumSquare",
        "Reshape",
        "Slice",
        "Softmax",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
    }


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    model = build_onnx(random_variables(), TINY_SPEC, **NAMES)
    (tmp_path / "taken.onnx").mkdir()
    with pytest.raises(ModelError, match=r"taken\.onnx"):
        save_onnx(model, tmp_path / "taken.onnx")
    with pytest.raises(ModelError, match="cannot write"):
        save_onnx(model, tmp_path / "no" / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.onnx"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hfnet.format", None),
        ("hfnet.format", "99"),
        ("hfnet.spec", "{"),
        ("hfnet.spec", json.dumps({"local_dim": 16})),
        ("hfnet.spec", json.dumps({**TINY_SPEC.__dict__, "local_dim": -1})),
        ("hfnet.spec", json.dumps({**TINY_SPEC.__dict__, "local_dim": True})),
        ("hfnet.spec", "[]"),
        ("hfnet.subpixel", "1"),
        ("hfnet.subpixel", None),
        ("hfnet.model_hash", "abc"),
        ("hfnet.normalisation", "none"),
        ("hfnet.sampling", "corner-aligned"),
    ],
)
def test_foreign_metadata_is_refused(key: str, value: str | None) -> None:
    values = metadata(build_onnx(random_variables(), TINY_SPEC, **NAMES))
    values.pop(key)
    if value is not None:
        values[key] = value
    with pytest.raises(ModelError, match=r"^tiny\.onnx: [^\n]*$"):
        ModelInfo.from_metadata(values, "tiny.onnx")
