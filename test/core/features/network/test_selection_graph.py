"""Keypoints chosen inside the graph are those that the host chooses: checked with ONNX Runtime, no GPU needed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import TINY_SPEC, shared_data, textured_image, tiny_model
from onnx import TensorProto, helper, numpy_helper

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ModelError
from hfnet_core.features.backends.choosing import choose
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.features.backends.protocol import DenseOutputs, SelectedOutputs
from hfnet_core.features.backends.tensorrt.building.graphs import fix_shape, mixed_precision
from hfnet_core.features.backends.tensorrt.checking import probe_images
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.features.network.selection import MAX_COUNT, Selection
from hfnet_core.features.network.selection_graph import with_selection
from hfnet_core.images.reading import read_image

NAMES = ["keypoints", "keypoint_scores", "keypoint_descriptors", "global_descriptor", "scores", "descriptors"]


def info_of(model: onnx.ModelProto) -> ModelInfo:
    return ModelInfo.from_metadata({item.key: item.value for item in model.metadata_props}, "test")


def run(model: onnx.ModelProto, image: np.ndarray) -> tuple[SelectedOutputs, DenseOutputs]:
    """What the graph chooses, and what it chose from. Without optimisation, so that casts keep their rounding."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    keypoints, values, local, whole, scores, dense = session.run(NAMES, {"image": image[None, None]})
    chosen = SelectedOutputs(keypoints, values, local, whole[0], lambda: dense[0])
    return chosen, DenseOutputs(scores[0], dense[0], whole[0])


def in_order(found: SelectedOutputs) -> SelectedOutputs:
    """By position, as equal scores have no order of their own."""
    order = np.lexsort(np.round(found.keypoints, 2).T)
    return dataclasses.replace(
        found, keypoints=found.keypoints[order], scores=found.scores[order], descriptors=found.descriptors[order]
    )


def assert_same(ours: SelectedOutputs, theirs: SelectedOutputs) -> None:
    assert len(ours.keypoints) == len(theirs.keypoints)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
    first, second = in_order(ours), in_order(theirs)
    np.testing.assert_allclose(first.keypoints, second.keypoints, atol=1e-3)
    np.testing.assert_allclose(first.descriptors, second.descriptors, atol=1e-5)


def check(model: onnx.ModelProto, image: np.ndarray, config: ExtractorConfig) -> int:
    """Compare with the host's choice from the same outputs; returns the number of keypoints."""
    info = info_of(model)
    chosen, dense = run(with_selection(model, info, Selection.of(config, info, *image.shape)), image)
    expected = choose(dense, info, config)
    assert_same(chosen.above(config.detection_threshold, config.max_keypoints), expected)
    return len(expected.keypoints)


@pytest.fixture(scope="module")
def shipped() -> onnx.ModelProto:
    return onnx.load(str(DEFAULT_MODEL))


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 6, 8, 12])
def test_every_radius(tmp_path: Path, radius: int) -> None:
    model = onnx.load(str(tiny_model(tmp_path)))
    image = textured_image(96, 72).astype(np.float32)
    for count in (5, 3000):
        assert check(model, image, ExtractorConfig(count, 0.001, radius)) > 0


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (72, 200)])
@pytest.mark.parametrize("subpixel", [True, False])
@pytest.mark.parametrize("corner_aligned", [True, False])
def test_every_kind_of_model(tmp_path: Path, size: tuple[int, int], subpixel: bool, corner_aligned: bool) -> None:
    spec = dataclasses.replace(TINY_SPEC, corner_aligned=corner_aligned)
    model = onnx.load(str(tiny_model(tmp_path, spec=spec, subpixel=subpixel)))
    image = textured_image(size[1], size[0]).astype(np.float32)
    check(model, image, ExtractorConfig(500, 0.0))


def test_refinement_can_be_left_out(tmp_path: Path) -> None:
    model = onnx.load(str(tiny_model(tmp_path)))
    config, image = ExtractorConfig(300, 0.001, subpixel=False), textured_image(96, 72).astype(np.float32)
    assert check(model, image, config) > 20
    selection = Selection.of(config, info_of(model), 72, 96)
    chosen, _ = run(with_selection(model, info_of(model), selection), image)
    np.testing.assert_array_equal(chosen.keypoints, np.round(chosen.keypoints))


@pytest.mark.parametrize("index", range(6), ids=["black", "gray", "white", "ramp", "noise", "boxes"])
def test_the_shipped_model_on_blank_noisy_and_busy_images(shipped: onnx.ModelProto, index: int) -> None:
    image = probe_images(120, 160)[index]
    assert check(shipped, image, ExtractorConfig()) > (50 if index >= 4 else -1)


def test_the_shipped_model_on_a_photo(shipped: onnx.ModelProto) -> None:
    folder = shared_data("data", "redkitchen", "images")
    image = read_image(sorted(folder.iterdir())[0])
    gray = np.ascontiguousarray((image if image.ndim == 2 else image.mean(axis=2)), dtype=np.float32)
    assert check(shipped, gray, ExtractorConfig()) > 300


@pytest.mark.parametrize("index", range(6), ids=["black", "gray", "white", "ramp", "noise", "boxes"])
def test_in_half_precision_the_choice_stays_exact(shipped: onnx.ModelProto, index: int) -> None:
    """The convolutions round; what is chosen from their scores is chosen, refined and sampled in FP32."""
    image, config, info = probe_images(120, 160)[index], ExtractorConfig(), info_of(shipped)
    exact = with_selection(shipped, info, Selection.of(config, info, *image.shape))
    mixed = mixed_precision(fix_shape(exact, *image.shape))
    types = onnx.shape_inference.infer_shapes(mixed, strict_mode=True).graph
    half = {value.name for value in types.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    assert half and not [name for name in half if name.startswith(("selection/", "keypoint"))]
    chosen, dense = run(mixed, image)
    assert_same(chosen.above(config.detection_threshold, config.max_keypoints), choose(dense, info, config))
    full, _ = run(exact, image)
    if index >= 4:
        ours, theirs = chosen.above(0.005, 1000), full.above(0.005, 1000)
        distances = np.linalg.norm(ours.keypoints[:, None] - theirs.keypoints[None], axis=2)
        assert (distances.min(axis=0) < 0.5).mean() >= 0.95


def test_an_image_that_is_not_finite_points_nowhere_outside(shipped: onnx.ModelProto) -> None:
    info = info_of(shipped)
    graph = with_selection(shipped, info, Selection.of(ExtractorConfig(), info, 40, 56))
    chosen, _ = run(graph, np.full((40, 56), np.nan, np.float32))
    assert not np.isfinite(chosen.global_descriptor).all()  # which `above` refuses


def test_what_does_not_fit_is_refused(shipped: onnx.ModelProto) -> None:
    info = info_of(shipped)
    for selection, reason in (
        (Selection(40, 56, MAX_COUNT + 1, 4, True), "3840 keypoints cannot be chosen"),
        (Selection(41, 56, 10, 4, True), "engine size 56x41: both sides must be positive multiples of 8"),
    ):
        with pytest.raises(ModelError, match=reason):
            with_selection(shipped, info, selection)


@pytest.mark.parametrize("size", [(8, 8), (8, 640), (16, 24), (48, 64), (480, 640)])
def test_no_more_are_wanted_than_an_image_has_room_for(tmp_path: Path, size: tuple[int, int]) -> None:
    """TensorRT does not build otherwise."""
    model = onnx.load(str(tiny_model(tmp_path)))
    for radius in (0, 1, 2, 3, 4, 6, 7, 8, 12):
        selection = Selection.of(ExtractorConfig(MAX_COUNT, nms_radius_px=radius), info_of(model), *size)
        graph = fix_shape(with_selection(model, info_of(model), selection), *size).graph
        top = next(node for node in graph.node if node.op_type == "TopK")
        there = next(value for value in graph.value_info if value.name == top.input[0]).type.tensor_type.shape
        wanted = next(numpy_helper.to_array(known) for known in graph.initializer if known.name == top.input[1])
        assert 0 < wanted[0] == selection.kept <= there.dim[-1].dim_value


def test_a_selection_serves_what_asks_for_less() -> None:
    info = OnnxRuntimeBackend(DEFAULT_MODEL, 1).info
    selection = Selection.of(ExtractorConfig(1000), info, 480, 640)
    for config, serves in (
        (ExtractorConfig(1000), True),
        (ExtractorConfig(10, 0.5), True),
        (ExtractorConfig(1001), False),
        (ExtractorConfig(nms_radius_px=5), False),
        (ExtractorConfig(subpixel=False), False),
    ):
        assert selection.serves(config, info) == serves
    assert not Selection.of(ExtractorConfig(20000), info, 480, 640).serves(ExtractorConfig(20000), info)


# The types that the ONNX parsers of TensorRT take, by operator: read from the tables that NVIDIA publishes with each
# (docs/operators.md of onnx-tensorrt, branches 8.5-GA, 8.6-GA and 10.1-GA, the newest there).
SUPPORT = json.loads((Path(__file__).with_name("tensorrt_operators.json")).read_text())
_KINDS = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT32",  # as TensorRT 8 reads it
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT8: "INT8",
}


# Inputs that say how, not what: the tables tell of the others.
_PARAMETERS: dict[str, Callable[[onnx.NodeProto], set[str]]] = {
    **dict.fromkeys(("TopK", "Reshape", "ReduceSum", "Slice", "Squeeze", "Pad", "Gather"), lambda n: set(n.input[1:])),
    "Where": lambda node: {node.input[0]},  # a condition is BOOL everywhere
}


@pytest.mark.parametrize("version", sorted(SUPPORT))
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_operator_is_one_that_tensorrt_publishes(shipped: onnx.ModelProto, version: str, precision: str) -> None:
    info = info_of(shipped)
    graph = with_selection(shipped, info, Selection.of(ExtractorConfig(), info, 48, 64))
    graph = fix_shape(graph, 48, 64)
    graph = mixed_precision(graph) if precision == "fp16" else graph
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    types |= {value.name: value.type.tensor_type.elem_type for value in [*inferred.input, *inferred.output]}
    types |= {constant.name: constant.data_type for constant in inferred.initializer}
    for node in graph.graph.node:
        taken = SUPPORT[version].get(node.op_type)
        assert taken is not None, f"TensorRT {version} has no {node.op_type}"
        computed = {name for name in node.input if name} - _PARAMETERS.get(node.op_type, lambda _: set())(node)
        kinds = {_KINDS[types[name]] for name in computed}
        assert kinds <= set(taken), f"TensorRT {version}, {node.op_type} {node.name}: {kinds} of {taken}"


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def test_attributes_keep_to_the_notes_of_the_tables(shipped: onnx.ModelProto) -> None:
    """What the notes restrict: constants where a tensor might be computed, few keypoints, no index outputs."""
    info = info_of(shipped)
    graph = fix_shape(with_selection(shipped, info, Selection.of(ExtractorConfig(), info, 48, 64)), 48, 64).graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    seen = set()
    for node in graph.node:
        seen.add(node.op_type)
        given = attributes(node)
        if node.op_type == "TopK":
            assert int(constants[node.input[1]][0]) <= MAX_COUNT
            assert given == {"axis": 1, "largest": 1, "sorted": 1}
        elif node.op_type == "MaxPool":
            assert len(node.output) == 1
            assert set(given) == {"kernel_shape", "pads", "strides"}
        elif node.op_type in ("Reshape", "Pad", "ReduceSum", "Slice", "Squeeze"):
            assert all(name in constants for name in node.input[1:]), node.name
        elif node.op_type == "ArgMax":
            assert set(given) == {"axis", "keepdims"}
        elif node.op_type == "SpaceToDepth":
            assert set(given) == {"blocksize"}
        elif node.op_type == "Conv":
            assert "auto_pad" not in given
    assert {"TopK", "MaxPool", "Pad", "ArgMax", "SpaceToDepth", "Gather", "Where"} <= seen
    assert not seen & {"NonZero", "NonMaxSuppression", "Loop", "If", "Mod", "GridSample", "GatherND"}
