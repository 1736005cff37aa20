"""Model files of strangers: looked at by ourselves before a runtime gets them."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import tiny_model
from onnx import TensorProto, helper, numpy_helper

from hfnet_core.errors import ModelError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.features.network.model_file import DIGEST, OPERATORS, parse_file
from hfnet_core.features.network.onnx_graph import save_onnx


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(tiny_model(tmp_path))


def opened(model: onnx.ModelProto, folder: Path) -> OnnxRuntimeBackend:
    path = folder / "strange.onnx"
    path.write_bytes(model.SerializeToString())
    return OnnxRuntimeBackend(path, threads=1)


def test_the_parts_are_those_that_onnx_finds(model: onnx.ModelProto) -> None:
    found = parse_file(model.SerializeToString(), "m")
    assert found.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert [node.operator for node in found.nodes] == [node.op_type for node in model.graph.node]
    assert [node.inputs for node in found.nodes] == [tuple(node.input) for node in model.graph.node]
    for tensor in model.graph.initializer:
        assert found.constants[tensor.name].data == numpy_helper.to_array(tensor).tobytes()
        assert found.constants[tensor.name].shape == tuple(tensor.dims)
    assert found.inputs == {"image": (1, 1, "height", "width")}
    assert found.outputs["descriptors"] == (1, "rows", "columns", 16)


def test_the_shipped_model_tells_the_digest_of_its_weights() -> None:
    assert parse_file(DEFAULT_MODEL.read_bytes(), "shipped").check_digest("shipped")


def test_changed_weights_are_noticed(model: onnx.ModelProto, tmp_path: Path) -> None:
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "MobilenetV2/Conv/kernel")
    kernel.raw_data = kernel.raw_data[:-1] + bytes([kernel.raw_data[-1] ^ 1])
    with pytest.raises(ModelError, match=r"strange\.onnx: its weights are not those it was written with"):
        opened(model, tmp_path)


def test_a_changed_attribute_is_noticed(model: onnx.ModelProto, tmp_path: Path) -> None:
    strides = next(item for item in model.graph.node[1].attribute if item.name == "strides")
    strides.ints[:] = [1, 1]
    with pytest.raises(ModelError, match="not those it was written with"):
        opened(model, tmp_path)


def test_saving_a_changed_model_tells_the_new_digest_and_keeps_the_hash(model: onnx.ModelProto, tmp_path: Path) -> None:
    before = parse_file(model.SerializeToString(), "m").metadata
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "MobilenetV2/Conv/bias")
    bias.raw_data = bytes(len(bias.raw_data))
    save_onnx(model, tmp_path / "new.onnx")
    after = parse_file((tmp_path / "new.onnx").read_bytes(), "m").metadata
    assert before[DIGEST] != after[DIGEST]
    assert {**before, DIGEST: ""} == {**after, DIGEST: ""}
    assert OnnxRuntimeBackend(tmp_path / "new.onnx", threads=1).info.model_hash == before["hfnet.model_hash"]


def test_a_model_of_before_the_digest_is_used_and_said(
    model: onnx.ModelProto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = [entry for entry in model.metadata_props if entry.key != DIGEST]
    helper.set_model_props(model, {entry.key: entry.value for entry in kept})
    with caplog.at_level(logging.WARNING):
        opened(model, tmp_path)
    assert "has no digest of its weights" in caplog.text


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [], "body", [helper.make_tensor_value_info("i", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
    )  # fmt: skip
    model.graph.node.append(helper.make_node("Loop", ["n"], ["never"], body=body))


def graph_inside(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("x", helper.make_graph([], "g", [], [])))


def elsewhere(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")


def wild_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2**40, 2**40]


def negative_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1, -4]


def twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def functions(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("d", "f", [], [], [], []))


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def other_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def large_of_small(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["large"]))


def packed(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.FLOAT, [1], [1.0]))


def many_nodes(model: onnx.ModelProto) -> None:
    for index in range(2000):
        model.graph.node.append(helper.make_node("Sqrt", ["image"], [str(index)]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (loop, "an operator with a graph inside"), (graph_inside, "with a graph inside"),
        (elsewhere, "is not stored as plain bytes in this file"), (wild_shape, "of shape"),
        (negative_shape, "of shape"), (twice, "two tensors of the name"), (functions, "functions or training"),
        (sparse, "sparse tensors"), (other_domain, r"operator 'com\.microsoft\.Sub'"),
        (large_of_small, "operator 'ConstantOfShape', which our graphs do not use"),
        (packed, "is not stored as plain bytes"), (many_nodes, "more than 2000"),
    ],
)  # fmt: skip
def test_what_our_graphs_do_not_use_is_refused(model: onnx.ModelProto, tmp_path: Path, change, said: str) -> None:  # type: ignore[no-untyped-def]
    change(model)
    with pytest.raises(ModelError, match=said) as caught:
        opened(model, tmp_path)
    assert "strange.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_operator_on_the_list_is_one_of_onnx() -> None:
    for name in OPERATORS:
        assert onnx.defs.has(name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spec", '{"local_dim": 1000000000}'), ("spec", "[" * 100_000), ("spec", "null"), ("model_hash", "é" * 64),
        ("model_hash", "F" * 64), ("subpixel", "1"), ("format", "2"),
    ],
)  # fmt: skip
def test_metadata_that_makes_no_sense_is_refused(model: onnx.ModelProto, tmp_path: Path, key: str, value: str) -> None:
    for entry in model.metadata_props:
        if entry.key == f"hfnet.{key}":
            entry.value = value
    with pytest.raises(ModelError):
        opened(model, tmp_path)


def test_flipped_bytes_never_reach_the_runtime_unless_in_what_is_said_of_the_weights(tmp_path: Path) -> None:
    content = tiny_model(tmp_path).read_bytes()
    rng = random.Random(3)
    graph = content.index(b"image/centred")
    end = content.index(b"hfnet.format")
    path = tmp_path / "flipped.onnx"
    for _ in range(60):
        position = rng.randrange(graph, end - 4)
        path.write_bytes(
            content[:position] + bytes([content[position] ^ (1 << rng.randrange(8))]) + content[position + 1 :]
        )
        with pytest.raises(ModelError):
            OnnxRuntimeBackend(path, threads=1)


def test_a_text_that_is_none_is_refused_whoever_reads_it(model: onnx.ModelProto, tmp_path: Path) -> None:
    """The runtime quotes names in its messages, which Python cannot read then."""
    path = tmp_path / "a.onnx"
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != DIGEST}
    helper.set_model_props(model, kept)
    for what in ("node", "attribute"):
        broken = onnx.ModelProto.FromString(model.SerializeToString())
        node = next(node for node in broken.graph.node if node.op_type == "Conv")
        node.name = "name-to-be-broken"
        node.attribute.append(helper.make_attribute("auto_pad", "text-to-be-broken"))
        text = {"node": b"name-to-be-broken", "attribute": b"text-to-be-broken"}[what]
        path.write_bytes(broken.SerializeToString().replace(text, b"\xff" + text[1:]))
        with pytest.raises(ModelError, match="export it again"):
            OnnxRuntimeBackend(path, threads=1)


def test_a_model_over_the_limit_is_not_read(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFNET_MAX_MODEL_MB", "1")
    path = tmp_path / "large.onnx"
    path.write_bytes(bytes(1_500_000))
    with pytest.raises(ModelError, match=r"large\.onnx: has 2 MB, more than the limit of 1 MB"):
        OnnxRuntimeBackend(path)


def test_a_planted_link_is_replaced_not_followed(model: onnx.ModelProto, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    for name in ("out.onnx", f".out.onnx.{os.getpid()}.partial"):
        (tmp_path / name).symlink_to(target)
    save_onnx(model, tmp_path / "out.onnx")
    assert target.read_text() == "mine"
    assert not (tmp_path / "out.onnx").is_symlink()
    assert np.isfinite(OnnxRuntimeBackend(tmp_path / "out.onnx", 1).infer(np.zeros((64, 64), np.float32)).scores).all()
