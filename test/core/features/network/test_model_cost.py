"""What a network would take is known before a runtime makes room for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import TINY_SPEC, random_variables
from onnx import helper, numpy_helper

from hfnet_core.errors import ModelError
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.features.engine_tools.quantization import activation_ranges, quantize
from hfnet_core.features.network.model_cost import _RULES, _Walk, check_cost
from hfnet_core.features.network.model_file import OPERATORS, parse_file
from hfnet_core.features.network.onnx_graph import build_onnx

NAMES = {"name": "tiny", "version": "0", "licence": "Apache-2.0", "subpixel": True}


def built(**changes: object) -> onnx.ModelProto:
    spec = replace(TINY_SPEC, **changes)
    return build_onnx(random_variables(spec), spec, **NAMES, static_shape=(64, 96))


def quantized(**changes: object) -> onnx.ModelProto:
    model = built(**changes)
    return quantize(model, activation_ranges(model, [np.full((64, 96), 100.0, np.float32)]))


@pytest.mark.parametrize("make", [built, quantized])
@pytest.mark.parametrize("pool_local", [False, True])
def test_shapes_are_those_that_the_runtime_finds(make: Callable[..., onnx.ModelProto], pool_local: bool) -> None:
    model = make(pool_local=pool_local)
    walk = _Walk(parse_file(model.SerializeToString(), "m"))
    walk.run()
    names = [output for node in model.graph.node for output in node.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in walk.model.outputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(names, {"image": np.zeros((1, 1, 64, 96), np.float32)})
    for name, value in zip(names, found, strict=True):
        assert walk.shapes[name] == value.shape, name


def test_the_shipped_model_takes_what_the_model_card_says() -> None:
    walk = _Walk(parse_file(DEFAULT_MODEL.read_bytes(), "m"))
    walk.run()
    assert walk.products / walk.pixels * 640 * 480 == pytest.approx(1.98e9, rel=0.01)


def test_every_operator_has_a_rule() -> None:
    assert set(_RULES) == OPERATORS


def column_times_row(model: onnx.ModelProto) -> None:
    """The square of the number of pixels, from two reshapes."""
    for name, shape in (("column", [-1, 1]), ("row", [1, -1])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}/shape"))
        model.graph.node.append(helper.make_node("Reshape", ["image", f"{name}/shape"], [name]))
    model.graph.node.append(helper.make_node("MatMul", ["column", "row"], ["square"]))


def broadcast(model: onnx.ModelProto) -> None:
    for name, shape in (("a", (30_000, 1)), ("b", (1, 30_000))):
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
    model.graph.node.append(helper.make_node("Add", ["a", "b"], ["large"]))


def many_products(model: onnx.ModelProto) -> None:
    for name in ("a", "b"):
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((900, 900), np.float32), name))
    for index in range(1500):
        model.graph.node.append(helper.make_node("MatMul", ["a", "b"], [f"c{index}"]))


def impossible_reshape(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([7, -1], np.int64), "shape"))
    model.graph.node.append(helper.make_node("Reshape", ["image", "shape"], ["x"]))


def shape_from_the_image(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Reshape", ["image", "image"], ["x"]))


def backwards(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Sqrt", ["later"], ["x"]))
    model.graph.node.append(helper.make_node("Sqrt", ["x"], ["later"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (column_times_row, "'square' of .* numbers is too large"), (broadcast, "'large' of 9e[+]08 numbers"),
        (many_products, "products for an image are too many"), (impossible_reshape, "a reshape of"),
        (shape_from_the_image, "is no constant of whole numbers"), (backwards, "which nothing makes before"),
    ],
)  # fmt: skip
def test_what_is_out_of_proportion_or_cannot_be_followed_is_refused(
    change: Callable[[onnx.ModelProto], None], said: str, tmp_path: Path
) -> None:
    model = build_onnx(random_variables(), TINY_SPEC, **NAMES)
    change(model)
    with pytest.raises(ModelError, match=said) as caught:
        check_cost(parse_file(model.SerializeToString(), "m.onnx"), "m.onnx")
    assert str(caught.value).startswith("m.onnx: ")
