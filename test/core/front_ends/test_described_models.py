"""Features from any ONNX model by a description: what it says is done, and what the model says is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import textured_image

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError, DatasetError, ModelError
from hfnet_core.front_ends.described_source import open_described

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'hfnet_ros[import]'")
helper: Any = onnx.helper if onnx else None
FLOAT = 1


def save(folder: Path, nodes: list[Any], outputs: dict[str, list[Any]], constants: dict[str, np.ndarray]) -> None:
    image = helper.make_tensor_value_info("image", FLOAT, [1, None, None, None])
    ends = [helper.make_tensor_value_info(name, FLOAT, sizes) for name, sizes in outputs.items()]
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "model", [image], ends, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))


def sparse_model(folder: Path, keypoints: np.ndarray, descriptors: np.ndarray) -> None:
    """Keypoints and descriptors are constants; the scores are the mean of the input, to see what it was given."""
    count = max(keypoints.shape[-2:], default=1) if keypoints.ndim == 3 else len(keypoints)
    nodes = [
        helper.make_node("Identity", ["k"], ["keypoints"]),
        helper.make_node("Identity", ["d"], ["descriptors"]),
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "ones"], ["scores"]),
    ]
    outputs = {"keypoints": list(keypoints.shape), "scores": [count], "descriptors": list(descriptors.shape)}
    constants = {"k": keypoints, "d": descriptors, "ones": np.ones(count, np.float32)}
    save(folder, nodes, outputs, constants)


def describe(folder: Path, **values: Any) -> Path:
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump({"model": "model.onnx", "dim": 2, **values}))
    return path


POINTS = np.array([[10, 20], [30, 40]], np.float32)
ROWS = np.array([[3, 0], [0, 5]], np.float32)


def test_a_sparse_model_gives_features_in_pixels_of_the_original_image(tmp_path: Path) -> None:
    sparse_model(tmp_path, POINTS[None], ROWS[None])
    source = open_described(describe(tmp_path, name="mine"), ExtractorConfig(max_side_px=80))
    features = source.extract(textured_image(160, 120))
    assert np.allclose(features.keypoints_px, POINTS * 2 + 0.5)
    assert features.descriptors.tolist() == [[1, 0], [0, 1]]
    assert (source.info.name, source.info.spec.local_dim, source.info.spec.global_dim) == ("mine", 2, 0)


@pytest.mark.parametrize(
    ("values", "points", "expected"),
    [
        ({"keypoint_order": "yx"}, POINTS, POINTS[:, ::-1]),
        ({"keypoint_origin": "corner"}, POINTS, POINTS - 0.5),
        ({"keypoint_unit": "unit"}, np.array([[0.5, 0.5]] * 2), [[79.5, 59.5]] * 2),
        ({"keypoint_unit": "signed"}, np.array([[0, 0], [-0.5, 0.5]]), [[79.5, 59.5], [39.5, 89.5]]),
        ({"width": 80, "height": 60}, POINTS, POINTS * 2 + 0.5),
    ],
)
def test_every_convention_of_keypoints_is_undone(
    tmp_path: Path, values: dict[str, Any], points: Any, expected: Any
) -> None:
    sparse_model(tmp_path, np.asarray(points, np.float32), ROWS)
    found = open_described(describe(tmp_path, **values)).extract(textured_image(160, 120))
    assert np.allclose(found.keypoints_px, expected, atol=1e-4)


def test_the_input_is_scaled_as_described(tmp_path: Path) -> None:
    sparse_model(tmp_path, POINTS, ROWS)
    white = np.full((120, 160, 3), 255, np.uint8)
    for values, mean in (
        ({}, 1.0),
        ({"scale": 1.0}, 255.0),
        ({"mean": [0.5], "deviation": [0.25]}, 2.0),
        ({"channels": 3, "mean": [0.0, 0.5, 1.0], "deviation": [1.0, 0.5, 1.0]}, 2 / 3),
    ):
        scores = open_described(describe(tmp_path, **values)).extract(white).scores
        assert np.allclose(scores, mean, atol=1e-5), values


def test_descriptors_may_be_columns_and_a_wrong_size_is_said(tmp_path: Path) -> None:
    columns = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    sparse_model(tmp_path, POINTS, columns)
    found = open_described(describe(tmp_path, descriptor_layout="DK", dim=3)).extract(textured_image(160, 120))
    assert found.descriptors.tolist() == [[1, 0, 0], [0, 1, 0]]
    with pytest.raises(DatasetError, match="have 2 numbers, dim says 3; is descriptor_layout right"):
        open_described(describe(tmp_path, dim=3)).extract(textured_image(160, 120))


def test_keypoints_outside_of_the_image_are_refused(tmp_path: Path) -> None:
    sparse_model(tmp_path, POINTS + 200, ROWS)
    with pytest.raises(DatasetError, match="outside of its image of 160x120"):
        open_described(describe(tmp_path)).extract(textured_image(160, 120))


def dense_model(folder: Path, cell_px: int) -> None:
    """Scores are the image itself, descriptors of a cell its mean and one less it."""
    nodes = [
        helper.make_node("Squeeze", ["image", "axis"], ["scores"]),
        helper.make_node("AveragePool", ["image"], ["cells"], kernel_shape=[cell_px] * 2, strides=[cell_px] * 2),
        helper.make_node("Sub", ["one", "cells"], ["rest"]),
        helper.make_node("Concat", ["cells", "rest"], ["descriptors"], axis=1),
    ]
    outputs = {"scores": [1, None, None], "descriptors": [1, 2, None, None]}
    save(folder, nodes, outputs, {"axis": np.array([1], np.int64), "one": np.ones(1, np.float32)})


def test_a_dense_model_of_other_cells_is_refused(tmp_path: Path) -> None:
    """Their descriptors would be taken from elsewhere in the image."""
    dense_model(tmp_path, 4)
    source = open_described(describe(tmp_path, keypoints="", corner_aligned=False))
    with pytest.raises(DatasetError, match="of 40x30 cells for scores of 160x120: cells of 8 px are wanted"):
        source.extract(textured_image(160, 120))


def test_of_a_dense_model_keypoints_are_chosen_here(tmp_path: Path) -> None:
    dense_model(tmp_path, 8)
    pixels = np.zeros((120, 160), np.uint8)
    pixels[40, 100], pixels[80, 20] = 255, 200
    source = open_described(describe(tmp_path, keypoints="", corner_aligned=False), ExtractorConfig(max_keypoints=2))
    found = source.extract(pixels)
    assert found.keypoints_px.tolist() == [[100, 40], [20, 80]]
    assert found.descriptors.shape == (2, 2)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": ""}, "names no model"),
        ({"dim": 0}, "dim goes with descriptors"),
        ({"descriptors": "", "dim": 0}, "local descriptors are needed"),
        ({"width": 640}, "width and height go together"),
        ({"channels": 2}, "channels 2 do not go with layout"),
        ({"mean": [1.0, 2.0]}, "mean and deviation have one number or 1"),
        ({"layout": "NWHC"}, "layout: 'NWHC' is not one of"),
        ({"colour": 3}, "colour: no such setting"),
        ({"mean": [float("nan")]}, "is not a list of finite numbers"),
    ],
)
def test_a_description_that_does_not_fit_together_is_one_line(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        open_described(describe(tmp_path, **values))
    assert "model.yaml" in str(caught.value)


def test_outputs_that_the_model_lacks_are_named(tmp_path: Path) -> None:
    sparse_model(tmp_path, POINTS, ROWS)
    with pytest.raises(ModelError, match=r"\['desc'\] are described"):
        open_described(describe(tmp_path, descriptors="desc"))
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not an ONNX model that can be described"):
        open_described(describe(tmp_path))


def refused(folder: Path, nodes: list[Any], said: str, **tensor: Any) -> None:
    image = helper.make_tensor_value_info("image", FLOAT, [1, 1, None, None])
    end = helper.make_tensor_value_info("keypoints", FLOAT, [1, 2])
    stored = onnx.numpy_helper.from_array(np.zeros((1, 2), np.float32), "k")
    if tensor:
        stored.ClearField("raw_data")
        stored.data_location = onnx.TensorProto.EXTERNAL
        entry = stored.external_data.add()
        entry.key, entry.value = "location", tensor["location"]
    graph = helper.make_graph(nodes, "model", [image], [end], [stored])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    (folder / "model.onnx").write_bytes(helper.make_model(graph, opset_imports=imports).SerializeToString())
    with pytest.raises(ModelError, match=said):
        open_described(describe(folder))


def test_tensors_of_other_files_code_of_others_and_loops_are_refused(tmp_path: Path) -> None:
    copy = helper.make_node("Identity", ["k"], ["keypoints"])
    refused(tmp_path, [copy], "a tensor that lies in another file", location="/etc/passwd")
    refused(tmp_path, [helper.make_node("Do", ["k"], ["keypoints"], domain="mine")], "'Do' is not one of the standard")
    end = helper.make_tensor_value_info("keypoints", FLOAT, [1, 2])
    inner = helper.make_graph([copy], "inner", [], [end])
    branch = helper.make_node("If", ["k"], ["keypoints"], then_branch=inner, else_branch=inner)
    refused(tmp_path, [branch], "a graph inside of operator 'If'")
