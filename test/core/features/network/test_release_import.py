"""The official checkpoint, under its official names and in its official format, becomes the official network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from checkpoint_writer import write_checkpoint
from helpers import random_variables, shared_data
from typer.testing import CliRunner

from hfnet_core.cli.import_checkpoint import import_checkpoint
from hfnet_core.errors import HFNetError, ModelError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_info import hash_variables
from hfnet_core.features.network.release_import import import_release, open_release, read_release
from hfnet_core.features.network.tensorflow_checkpoint import TensorFlowCheckpoint

pytestmark = pytest.mark.xdist_group("oracle")  # the 130 MB models are built in one process

BIG = "global_head/dimensionality_reduction/weights"
BETA = "MobilenetV2/Conv/BatchNorm/beta"
STATE = ("global_step", "w0", "w1", "w2", f"{BETA}/RMSProp", f"{BETA}/RMSProp_1", f"{BETA}/ExponentialMovingAverage")


def run(*arguments: str) -> tuple[str, BaseException | None]:
    """Output and exception of `import-checkpoint`."""
    app = typer.Typer()
    app.command()(import_checkpoint)
    result = CliRunner().invoke(app, list(arguments))
    return result.output, result.exception


@pytest.fixture(scope="module", params=[0, 1])
def oracle(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    folder = shared_data("reference", "hfnet_oracle")
    module_spec = importlib.util.spec_from_file_location("reference_weights", folder / "reference_weights.py")
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    with np.load(folder / f"oracle_seed{request.param}.npz") as stored:
        return dict(stored), module.reference_weights(request.param)


def test_an_imported_release_reproduces_the_oracle(
    oracle: tuple[dict[str, Any], dict[str, np.ndarray]], tmp_path: Path
) -> None:
    expected, weights = oracle
    write_checkpoint(tmp_path / "hfnet/variables/variables", weights)
    data = tmp_path / "hfnet/variables/variables.data-00000-of-00001"
    assert data.stat().st_size == 132_297_604  # that of the released checkpoint
    output, error = run(str(tmp_path / "hfnet"), "-o", str(tmp_path / "official.onnx"))
    assert error is None
    assert "276 variables" in output
    backend = open_backend(tmp_path / "official.onnx", threads=1)
    assert backend.info.spec == NetworkSpec()
    assert not backend.info.subpixel
    features = Extractor(backend).extract(expected["image"])
    ours = {tuple(point) for point in features.keypoints_px.astype(int).tolist()}
    assert ours == {tuple(point) for point in expected["keypoints"][0].tolist()}
    np.testing.assert_allclose(features.scores, expected["scores"][0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(features.global_descriptor, expected["global_descriptor"][0], rtol=0, atol=1e-5)
    height, width = (side // 8 * 8 for side in expected["image"].shape)
    dense = backend.infer(np.ascontiguousarray(expected["image"][:height, :width], dtype=np.float32))
    np.testing.assert_allclose(dense.scores, expected["scores_dense"][0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(dense.descriptors, expected["local_descriptor_map"][0], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def variables() -> dict[str, np.ndarray]:
    return random_variables(NetworkSpec())


@pytest.fixture(scope="module")
def training(variables: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training checkpoint: the network and what an optimizer leaves beside it."""
    prefix = tmp_path_factory.mktemp("training") / "model.ckpt-83096"
    write_checkpoint(prefix, variables | {name: np.zeros(3, np.float32) for name in STATE})
    return prefix


def test_the_state_of_training_is_left_out(training: Path, variables: dict[str, np.ndarray], tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    checkpoint = open_release(training)
    assert checkpoint is not None
    assert import_release(checkpoint, model, name="own", version="83096", licence="proprietary") == 276
    info = open_backend(model, threads=1).info
    assert (info.name, info.version, info.licence) == ("own", "83096", "proprietary")
    assert info.model_hash == hash_variables(variables, NetworkSpec())
    assert list(tmp_path.iterdir()) == [model]


def test_a_damaged_release_leaves_nothing_behind(training: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "copy"
    prefix.with_name("copy.index").write_bytes(training.with_name(training.name + ".index").read_bytes())
    data = training.with_name(training.name + ".data-00000-of-00001").read_bytes()
    target = prefix.with_name("copy.data-00000-of-00001")
    for damaged, reason in (
        (data[: 50 << 20], "truncated"),
        (data[: 40 << 20] + b"?" + data[(40 << 20) + 1 :], "checksum"),
    ):
        target.write_bytes(damaged)
        _, error = run(str(prefix), "-o", str(tmp_path / "model.onnx"))
        assert isinstance(error, ModelError)
        assert reason in str(error)
        assert "variable '" in str(error)
        assert "\n" not in str(error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.data-00000-of-00001", "copy.index"]


def refusal(tmp_path: Path, values: dict[str, np.ndarray]) -> str:
    write_checkpoint(tmp_path / "other", values)
    with pytest.raises(ModelError) as caught:
        read_release(TensorFlowCheckpoint(tmp_path / "other"))
    return str(caught.value)


def test_other_networks_are_refused_by_name_and_shape(variables: dict[str, np.ndarray], tmp_path: Path) -> None:
    small = variables | {BIG: np.zeros((7680, 16), np.float32)}
    assert f"variable '{BIG}' has shape (7680, 16), HF-Net as released has (7680, 4096)" in refusal(tmp_path, small)
    known = {name: value for name, value in small.items() if name != "MobilenetV2/Conv/weights"}
    assert "lacks variable 'MobilenetV2/Conv/weights';" in refusal(tmp_path, known)
    assert "lacks variable 'MobilenetV2/Conv/weights' and 1 more" in refusal(
        tmp_path, {n: v for n, v in known.items() if n != BIG}
    )
    assert "unknown variable 'resnet/weights'" in refusal(tmp_path, small | {"resnet/weights": np.zeros(2)})
    objects = {f"{name}/.ATTRIBUTES/VARIABLE_VALUE": value for name, value in small.items()}
    assert "tf.train.Checkpoint" in refusal(tmp_path, objects)


def test_values_that_cannot_be_are_refused(variables: dict[str, np.ndarray], tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "nan", variables | {BETA: np.full(24, np.nan, np.float32)})
    with pytest.raises(ModelError, match=f"'{BETA}' holds NaN"):
        import_release(TensorFlowCheckpoint(tmp_path / "nan"), tmp_path / "m.onnx", name="", version="", licence="")
    assert not (tmp_path / "m.onnx").exists()


def test_wrong_paths_are_one_line(training: Path, tmp_path: Path) -> None:
    for source, output, reason in (
        (tmp_path / "none", tmp_path / "m.onnx", "none.index: no such file"),
        (training, tmp_path / "m.pb", "ends in .onnx"),
        (training, tmp_path / "no_folder/m.onnx", "no such folder"),
    ):
        _, error = run(str(source), "-o", str(output))
        assert isinstance(error, HFNetError)
        assert reason in str(error)
        assert "\n" not in str(error)
