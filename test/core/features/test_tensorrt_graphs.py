"""The graphs given to TensorRT mean what the model means: checked with ONNX Runtime, no GPU needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import TINY_SPEC, random_variables, textured_image, tiny_model
from onnx import TensorProto, helper, numpy_helper

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import DatasetError, ModelError
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.features.backends.protocol import DenseOutputs
from hfnet_core.features.backends.tensorrt.building.graphs import (
    convolutions,
    fix_shape,
    half_nodes,
    is_quantized,
    mixed_precision,
    parse_model,
)
from hfnet_core.features.backends.tensorrt.checking import agreement, probe_images
from hfnet_core.features.detection import detect
from hfnet_core.features.engine_tools.quantization import activation_ranges, quantize
from hfnet_core.features.engine_tools.roofline import Chip, Cost, cost_of
from hfnet_core.features.network.architecture import variable_shapes
from hfnet_core.features.network.onnx_graph import build_onnx

NAMES = ["scores", "descriptors", "global_descriptor"]


def run(model: onnx.ModelProto, image: np.ndarray) -> DenseOutputs:
    """With ONNX Runtime as is: without optimisation, it keeps the casts and their rounding."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return DenseOutputs(*(value[0] for value in session.run(NAMES, {"image": image[None, None]})))


def model_of(path: Path) -> onnx.ModelProto:
    return parse_model(path.read_bytes(), str(path))


@pytest.fixture(scope="module")
def shipped() -> onnx.ModelProto:
    return model_of(DEFAULT_MODEL)


@pytest.mark.parametrize("size", [(8, 8), (40, 56), (120, 168), (72, 200)])  # odd feature sizes among them
def test_a_fixed_size_changes_nothing(tmp_path: Path, size: tuple[int, int]) -> None:
    model = model_of(tiny_model(tmp_path))
    fixed = fix_shape(model, *size)
    assert [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim] == [1, 1, *size]
    for value in [*fixed.graph.output, *fixed.graph.value_info]:
        dimensions = value.type.tensor_type.shape.dim
        assert all(d.HasField("dim_value") and d.dim_value > 0 for d in dimensions), value.name
    assert not [n.name for n in fixed.graph.node for a in n.attribute if a.name == "auto_pad"]
    image = np.random.default_rng(0).uniform(0, 255, size).astype(np.float32)
    for ours, theirs in zip(vars(run(fixed, image)).values(), vars(run(model, image)).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="636x480: both sides must be positive multiples of 8"):
        fix_shape(model_of(tiny_model(tmp_path)), 480, 636)
    with pytest.raises(ModelError, match="not 64x32"):
        fix_shape(model_of(tiny_model(tmp_path, static_shape=(32, 48))), 32, 64)


def test_foreign_files_are_refused() -> None:
    with pytest.raises(ModelError, match=r"^x: not a readable ONNX model[^\n]*$"):
        parse_model(b"this is no model", "x")
    with pytest.raises(ModelError, match="no HF-Net"):
        parse_model(b"", "x")


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {v.name: v.type.tensor_type.elem_type for v in [*inferred.value_info, *inferred.input, *inferred.output]}
    return found | {constant.name: constant.data_type for constant in inferred.initializer}


def test_only_the_convolutions_are_half(shipped: onnx.ModelProto) -> None:
    mixed = mixed_precision(fix_shape(shipped, 48, 64))
    types = types_of(mixed)
    half = {node.name for node in mixed.graph.node if types[node.output[0]] == TensorProto.FLOAT16}
    operators = {node.op_type for node in mixed.graph.node if node.name in half}
    assert operators == {"Cast", "Conv", "Clip", "Add"}
    assert half_nodes(shipped) <= half
    full = {node.op_type for node in mixed.graph.node if types[node.output[0]] == TensorProto.FLOAT}
    assert {"Softmax", "ReduceSumSquare", "Sqrt", "Div", "Max", "MatMul", "Gemm"} <= full
    assert types["local_head/detector/Conv_1"] == TensorProto.FLOAT
    assert not [name for name in half if name.startswith("global_head/")]
    casts = [node for node in mixed.graph.node if node.op_type == "Cast"]
    own = [node for node in shipped.graph.node if node.op_type == "Cast"]
    assert 3 <= len(casts) - len(own) <= 4  # in, and out to each head that leaves the convolutions
    for value in [*mixed.graph.input, *mixed.graph.output]:
        assert types[value.name] == TensorProto.FLOAT
    assert [p.key for p in mixed.metadata_props] == [p.key for p in shipped.metadata_props]


def keypoints(outputs: DenseOutputs) -> set[tuple[int, int]]:
    config = ExtractorConfig()
    pixels, _ = detect(outputs.scores, config.nms_radius_px, config.detection_threshold, config.max_keypoints)
    return {(int(x), int(y)) for x, y in pixels}


@pytest.mark.parametrize("index", range(6), ids=["black", "gray", "white", "ramp", "noise", "boxes"])
def test_half_precision_is_accurate_on_the_shipped_model(shipped: onnx.ModelProto, index: int) -> None:
    """The bars of a GPU in FP16, met by the graph itself; blank images are where others saw NaN."""
    image = probe_images(240, 320)[index]
    exact, rounded = run(shipped, image), run(mixed_precision(fix_shape(shipped, 240, 320)), image)
    assert all(np.isfinite(value).all() for value in vars(rounded).values())
    np.testing.assert_allclose(np.linalg.norm(rounded.descriptors, axis=2), 1, atol=1e-4)
    found = agreement(rounded, exact)
    assert found.local_cosine >= 0.999
    assert found.global_cosine >= 0.999
    assert found.score_difference > 0, "nothing was rounded: the test tests nothing"
    if index >= 4:  # blank images have no keypoints worth the name
        ours, theirs = keypoints(rounded), keypoints(exact)
        assert len(ours & theirs) >= 0.97 * len(ours | theirs)


def test_half_precision_agrees_on_keypoints(shipped: onnx.ModelProto) -> None:
    image = textured_image(320, 240).astype(np.float32)
    ours = keypoints(run(mixed_precision(fix_shape(shipped, 240, 320)), image))
    theirs = keypoints(run(shipped, image))
    assert len(theirs) > 100
    assert len(ours & theirs) >= 0.97 * len(theirs)


def test_a_norm_in_half_precision_would_be_nan() -> None:
    """Why norms stay in FP32: the same graph with everything in FP16 divides zero by zero."""
    zero = np.float16(0)
    with np.errstate(invalid="ignore"):
        assert np.isnan(zero / np.sqrt(np.maximum(zero * zero, np.float16(1e-12))))
    assert 0 / np.sqrt(np.maximum(0.0, np.float32(1e-12))) == 0


def test_weights_beyond_half_precision_are_refused() -> None:
    variables = random_variables()
    variables["MobilenetV2/Conv/BatchNorm/gamma"] = variables["MobilenetV2/Conv/BatchNorm/gamma"] * np.float32(1e9)
    model = build_onnx(variables, TINY_SPEC, name="big", version="0", licence="x", subpixel=True)
    with pytest.raises(ModelError, match=r"weight 'MobilenetV2/Conv/kernel' reaches .*--precision fp32"):
        mixed_precision(fix_shape(model, 32, 32))


def test_a_foreign_graph_with_half_outputs_is_refused(tmp_path: Path) -> None:
    model = model_of(tiny_model(tmp_path))
    model.graph.output.append(helper.make_tensor_value_info("MobilenetV2/Conv/relu6", TensorProto.FLOAT, None))
    with pytest.raises(ModelError, match="MobilenetV2/Conv/relu6 would be FP16"):
        mixed_precision(model)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [textured_image(160, 120, seed).astype(np.float32) for seed in range(4)]


class TestQuantization:
    def test_ranges_cover_the_images(self, shipped: onnx.ModelProto, images: list[np.ndarray]) -> None:
        ranges = activation_ranges(shipped, images)
        assert set(ranges) == {node.input[0] for node in convolutions(shipped)[3:]}
        relu = [value for name, value in ranges.items() if name.endswith("relu6")]
        assert all(0 < value <= 6 for value in relu)
        few = activation_ranges(shipped, images[:1])
        assert all(few[name] <= ranges[name] for name in ranges)

    def test_no_images(self, shipped: onnx.ModelProto) -> None:
        with pytest.raises(DatasetError, match="needs images"):
            activation_ranges(shipped, [])

    def test_the_copy_is_int8_where_it_should_be_and_close(
        self, shipped: onnx.ModelProto, images: list[np.ndarray]
    ) -> None:
        copy = quantize(shipped, activation_ranges(shipped, images))
        assert is_quantized(copy)
        assert not is_quantized(shipped)
        fed = {node.name: node.input[:2] for node in copy.graph.node if node.op_type == "Conv"}
        assert {n for n, inputs in fed.items() if all(i.endswith("/dequantized") for i in inputs)} == {
            node.name for node in convolutions(shipped)[3:]
        }
        zeros = [numpy_helper.to_array(c) for c in copy.graph.initializer if c.name.endswith("/zero")]
        assert zeros and all(value.dtype == np.int8 and not value.any() for value in zeros)  # symmetric
        image = textured_image(160, 120, 9).astype(np.float32)
        ours, theirs = run(copy, image), run(shipped, image)
        cosines = (ours.descriptors * theirs.descriptors).sum(axis=2)
        assert cosines.mean() > 0.98
        assert ours.global_descriptor @ theirs.global_descriptor > 0.9  # points between two words change sides
        fixed = fix_shape(copy, 120, 160)
        np.testing.assert_allclose(run(fixed, image).descriptors, ours.descriptors, atol=1e-6)

    def test_not_twice(self, shipped: onnx.ModelProto, images: list[np.ndarray]) -> None:
        ranges = activation_ranges(shipped, images[:1])
        with pytest.raises(ModelError, match="quantized already"):
            quantize(quantize(shipped, ranges), ranges)


def test_cost_counts_the_released_network() -> None:
    """3.597 G multiply-adds at 640x480 (specification, 1.6)."""
    from hfnet_core.features.network.architecture import NetworkSpec

    spec = NetworkSpec()
    variables = {name: np.zeros(shape, np.float32) for name, shape in variable_shapes(spec).items()}
    model = build_onnx(variables, spec, name="zero", version="0", licence="x", subpixel=False)
    cost = cost_of(model, 480, 640, "fp32")
    assert cost.half_macs == 0
    assert cost.full_macs == pytest.approx(3.597e9, rel=0.003)
    mixed = cost_of(model, 480, 640, "fp16")
    assert mixed.half_macs + mixed.full_macs == cost.full_macs
    assert mixed.half_macs > 0.95 * cost.full_macs
    assert mixed.bytes < cost.bytes


def test_the_floor_is_the_slower_of_operations_and_bytes() -> None:
    cost = Cost(half_macs=4_000_000_000, full_macs=0, bytes=8_000_000)
    assert Chip(4e12, 1e12, 1e12).floor_ms(cost) == pytest.approx(1.0)
    assert Chip(4e15, 1e12, 1e9).floor_ms(cost) == pytest.approx(8.0)
    assert Chip(None, 1e12, 1e9).floor_ms(cost) is None
