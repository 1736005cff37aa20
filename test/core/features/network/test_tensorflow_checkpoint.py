"""Checkpoints as TensorFlow 2.21 wrote them (test/data/tensorflow) and as our own writer does."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoint_writer import write_checkpoint

from hfnet_core.errors import ConfigError, ModelError
from hfnet_core.features.network.tensorflow_checkpoint import TensorFlowCheckpoint, checkpoint_prefix

WRITTEN = Path(__file__).parents[3] / "data" / "tensorflow" / "tiny.ckpt-3"
DATA = "tiny.ckpt-3.data-00000-of-00001"
NOT_FLOAT = {"global_step", "partitioned", "text"}  # integer, in slices, strings


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A prefix whose files may be damaged."""
    for file in WRITTEN.parent.glob("tiny.ckpt-3.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / WRITTEN.name


def expected(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value that the file's maker gave to a variable."""
    seed = int.from_bytes(name.encode(), "little") % 2**31
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_reads_what_tensorflow_wrote() -> None:
    checkpoint = TensorFlowCheckpoint(WRITTEN)
    beta = "MobilenetV2/Conv/BatchNorm/beta"
    named = {
        "MobilenetV2/Conv/weights": (3, 3, 1, 8),
        beta: (8,),
        "local_head/detector/Conv_1/biases": (65,),
        "MobilenetV2/expanded_conv/project/weights": (1, 1, 8, 4),
        "global_head/vlad/clusters": (1, 1, 1, 2, 4),
        "scalar": (),
    }
    named |= {f"many/variable_{k:02d}/weights": (1 + k % 5, 3) for k in range(60)}
    slots = {f"{beta}/RMSProp", f"{beta}/RMSProp_1"}
    assert set(checkpoint.names()) == named.keys() | NOT_FLOAT | slots
    for name, shape in named.items():
        assert checkpoint.shape(name) == shape
        np.testing.assert_array_equal(checkpoint.read(name), expected(name, shape))
    np.testing.assert_array_equal(checkpoint.read(f"{beta}/RMSProp"), np.ones(8, np.float32))


@pytest.mark.parametrize(
    ("name", "reason"), [("global_step", "data type 9"), ("text", "data type 7"), ("partitioned", "slices")]
)
def test_refuses_what_is_not_a_float_tensor(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=f"{name}.*{reason}"):
        TensorFlowCheckpoint(WRITTEN).read(name)


@pytest.mark.parametrize(("shards", "per_block"), [(1, 40), (3, 7), (2, 1)])
def test_several_blocks_and_data_files(tmp_path: Path, shards: int, per_block: int) -> None:
    rng = np.random.default_rng(0)
    values = {f"scope/{i:03d}/weights": rng.normal(size=(1 + i % 4, 3)).astype(np.float32) for i in range(90)}
    write_checkpoint(tmp_path / "model.ckpt-7", values, shards, per_block)
    checkpoint = TensorFlowCheckpoint(tmp_path / "model.ckpt-7")
    assert checkpoint.names() == sorted(values)
    for name, value in values.items():
        np.testing.assert_array_equal(checkpoint.read(name), value)


def read_all(prefix: Path) -> dict[str, bytes]:
    checkpoint = TensorFlowCheckpoint(prefix)
    return {name: checkpoint.read(name).tobytes() for name in checkpoint.names() if name not in NOT_FLOAT}


def test_a_damaged_index_is_refused(copy: Path) -> None:
    """Whichever byte is wrong: one ModelError naming the file, or, in the padding, no difference."""
    index = copy.with_name(copy.name + ".index")
    whole, good = index.read_bytes(), read_all(copy)
    refused = 0
    for place in [*range(0, len(whole) - 60, 41), *range(len(whole) - 60, len(whole))]:
        index.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert read_all(copy) == good
        except ModelError as error:
            assert str(index) in str(error)
            refused += 1
    assert refused > 80


def test_a_truncated_index_is_refused(copy: Path) -> None:
    index = copy.with_name(copy.name + ".index")
    whole = index.read_bytes()
    for length in [0, 1, 47, 48, 49, *range(100, len(whole), 211), len(whole) - 1]:
        index.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"tiny\.ckpt-3\.index: .*truncated"):
            TensorFlowCheckpoint(copy)


def test_damaged_values_are_refused_by_name(copy: Path) -> None:
    path = copy.with_name(DATA)
    whole, name = path.read_bytes(), "local_head/detector/Conv_1/biases"
    place = whole.index(expected(name, (65,)).tobytes())
    path.write_bytes(whole[: place + 9] + b"?" + whole[place + 10 :])
    checkpoint = TensorFlowCheckpoint(copy)
    with pytest.raises(ModelError, match=f"{DATA}: checksum of variable '{name}' is wrong"):
        checkpoint.read(name)
    checkpoint.read("scalar")  # the others are untouched


def test_truncated_and_missing_values(copy: Path) -> None:
    path = copy.with_name(DATA)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=f"{DATA}: truncated, variable 'scalar' ends at byte .* of 100"):
        TensorFlowCheckpoint(copy).read("scalar")
    path.unlink()
    with pytest.raises(ModelError, match=f"{DATA}: cannot be read .*beside the .index"):
        TensorFlowCheckpoint(copy).read("scalar")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.index").write_bytes(b"\x89PNG" + bytes(5000))
    with pytest.raises(ModelError, match=r"photo\.index: not a TensorFlow checkpoint index"):
        TensorFlowCheckpoint(tmp_path / "photo")
    with pytest.raises(ModelError, match=r"none\.index: cannot be read"):
        TensorFlowCheckpoint(tmp_path / "none")


def test_prefix_from_whatever_is_given(tmp_path: Path) -> None:
    values = {"a": np.zeros(2, np.float32)}
    saved, training = tmp_path / "saved", tmp_path / "training"
    write_checkpoint(saved / "variables" / "variables", values)
    (saved / "saved_model.pb").touch()
    write_checkpoint(training / "model.ckpt-83096", values)
    for source in (saved, saved / "saved_model.pb", saved / "variables"):
        assert checkpoint_prefix(source) == saved / "variables" / "variables"
    for ending in ("", ".index", ".meta", ".data-00000-of-00001"):
        assert checkpoint_prefix(training / f"model.ckpt-83096{ending}") == training / "model.ckpt-83096"
    assert checkpoint_prefix(training) == training / "model.ckpt-83096"
    write_checkpoint(training / "model.ckpt-85000", values)
    with pytest.raises(ModelError, match=r"holds 2 checkpoints; give one, such as .*85000"):
        checkpoint_prefix(training)
    with pytest.raises(ModelError, match="neither a SavedModel"):
        checkpoint_prefix(tmp_path)
    with pytest.raises(ModelError, match=r"model\.ckpt-1\.index: no such file"):
        checkpoint_prefix(training / "model.ckpt-1")


def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(ConfigError, match=r"^reading a checkpoint needs google-crc32c; .*hfnet_ros\[import\]'$"):
        TensorFlowCheckpoint(WRITTEN)
