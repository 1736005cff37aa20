# ruff: noqa: E402
"""The paper's recipe on drawn photos: it learns, a kill changes nothing, and its model is one like any other."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from helpers import tiny_model

torch = pytest.importorskip("torch", reason="training needs torch")

from tiny_paper import IDENTITY, TINY, stand_in, tiny_config

from hfnet_core.cli.main import main
from hfnet_core.config import ExtractorConfig, PaperTrainConfig
from hfnet_core.errors import ConfigError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.model_info import hash_variables
from hfnet_core.training.checkpoint import load_checkpoint
from hfnet_core.training.device import chosen_device
from hfnet_core.training.paper_recipe import train_paper

SCRIPT = Path(__file__).parents[2] / "tiny_paper.py"
LONGER = {"steps": 30, "learning_rate_steps": [20]}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(16):
        rng = np.random.default_rng(number)
        image = np.full((60, 90, 3), rng.integers(0, 255, 3), np.uint8)
        for _ in range(12):
            x, y, w, h = (int(v) for v in rng.integers((0, 0, 6, 6), (80, 50, 30, 30)))
            cv2.rectangle(image, (x, y), (x + w, y + h), [int(v) for v in rng.integers(0, 255, 3)], -1)
        cv2.imwrite(str(folder / f"{number}.jpg"), image)
    return folder


def rows(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_folders_become_a_model_like_any_other(images: Path, tmp_path: Path) -> None:
    output, lines = tmp_path / "run", []
    config = tiny_config(steps=60, learning_rate_steps=[50])
    train_paper([images], output, config, stand_in, IDENTITY, report=lines.append)
    assert "images: 13 to train on, 3 for validation" in lines
    assert "teacher: darkest pixels and colours, on cpu" in lines

    log = rows(output / "distill/log.csv")
    assert [row["step"] for row in log] == [20, 40, 60]
    for name in ("global", "descriptor"):
        assert log[-1][name] < log[0][name]
    moved = {name: log[-1][f"w_{name}"] - 1.0 for name in ("global", "descriptor", "detector")}
    # dL/dw = 1 - factor e^-w loss: from 1, a weight goes towards the logarithm of its loss times the factor
    for name, factor in (("global", 1), ("descriptor", 1), ("detector", 2)):
        wanted = np.log(factor * log[-1][name]) - 1.0
        assert np.sign(moved[name]) == np.sign(wanted), name
        assert abs(moved[name]) > 0.01, name
    validation = rows(output / "distill/validation.csv")
    assert [row["step"] for row in validation] == list(range(0, 61, 4))
    assert validation[-1]["global"] < validation[0]["global"]

    backend = open_backend(output / "hfnet.onnx", "onnxruntime")
    info = backend.info
    with np.load(output / "variables.npz") as variables:
        assert info.model_hash == hash_variables(dict(variables), info.spec)
    assert (info.name, info.version, info.licence) == ("tiny-paper", "0", "CC0-1.0")
    assert (info.spec.local_dim, info.spec.global_dim, info.spec.pool_local, info.spec.corner_aligned) == (16, 18, 0, 1)
    features = Extractor(backend, ExtractorConfig(detection_threshold=0.0)).extract(
        cv2.imread(str(images / "1.jpg"), 0)
    )
    assert features.descriptors.shape == (len(features.scores), 16)
    assert len(features.scores) > 5

    lines.clear()
    stamp = (output / "distill/checkpoint.pt").stat().st_mtime_ns
    train_paper([images], output, config, stand_in, IDENTITY, report=lines.append)
    assert "distill: resumes at step 60" in "\n".join(lines)
    assert (output / "distill/checkpoint.pt").stat().st_mtime_ns == stamp
    other = output / "other"
    other.mkdir()
    shutil.copy(images / "1.jpg", other)
    with pytest.raises(ConfigError, match="photos: not as where this run was interrupted"):
        train_paper([images, other], output, config, stand_in, IDENTITY, report=lines.append)


def run_killed(images: Path, output: Path, step: int) -> None:
    """Train in a process of its own, and kill it once it has passed a step."""
    arguments = [sys.executable, str(SCRIPT), str(images), str(output), *(f"{k}={v}" for k, v in LONGER.items())]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, cwd=SCRIPT.parents[1])
    table = output / "distill/validation.csv"
    while process.poll() is None and not (table.is_file() and f"\n{step}," in table.read_text()):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"


@pytest.mark.timeout(900)  # two processes that import torch
def test_two_kills_change_no_bit_of_the_result(images: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def train(output: Path) -> None:
        train_paper([images], output, tiny_config(**LONGER), stand_in, IDENTITY, report=lambda line: None)

    for step in (4, 12):
        run_killed(images, killed, step)
    assert 10 <= load_checkpoint(killed / "distill/checkpoint.pt").step < LONGER["steps"]
    for output in (killed, whole):
        train(output)
    for name in ("variables.npz", "hfnet.onnx", "distill/validation.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    first, second = (load_checkpoint(folder / "distill/checkpoint.pt") for folder in (whole, killed))
    assert torch.equal(first.log_variances, second.log_variances)


def test_batches_from_another_process_are_the_same(images: Path, tmp_path: Path) -> None:
    networks = [
        train_paper(
            [images],
            tmp_path / str(workers),
            tiny_config(steps=6, workers=workers),
            stand_in,
            IDENTITY,
            report=lambda line: None,
        ).state_dict()
        for workers in (0, 1)
    ]
    assert all(torch.equal(value, networks[1][name]) for name, value in networks[0].items())


def test_the_command_distills_a_model_of_ours(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(TINY | {"steps": 3, "seed": 5}))
    arguments = [images, tmp_path / "run", "--recipe", "paper", "--settings", recipe, "--seed", 7, "--threads", 1]
    teachers = ["--local-teacher", f"hfnet={model}", "--global-teacher", f"hfnet={model}"]
    monkeypatch.setattr("sys.argv", ["hfnet", "train", *map(str, arguments), *teachers])
    with pytest.raises(SystemExit) as caught:
        main()
    output = capsys.readouterr()
    assert not caught.value.code, output.err
    assert "teacher: " in output.out
    checkpoint = load_checkpoint(tmp_path / "run/distill/checkpoint.pt")
    assert (checkpoint.step, checkpoint.stage_state["seed"]) == (3, 7)
    taught, teacher = (open_backend(path, "onnxruntime").info for path in (tmp_path / "run/hfnet.onnx", model))
    assert (taught.spec.local_dim, taught.spec.global_dim) == (teacher.spec.local_dim, teacher.spec.global_dim)
    assert (taught.name, taught.licence) == ("hfnet-paper", "unknown")


def test_settings_that_make_no_sense_are_refused() -> None:
    for changes, reason in (
        ({"width_px": 100}, "width_px: 100 is not a multiple of 8"),
        ({"learning_rates": [0.1]}, "one positive rate more than learning_rate_steps"),
        ({"learning_rate_steps": [9.0], "learning_rates": [0.1, -0.1]}, "one positive rate more"),
        ({"learning_rates": [1.0, 1.0, 1.0], "learning_rate_steps": [9.0, 3.0]}, "do not ascend"),
        ({"loss_weights": [1.0]}, "give three weights"),
        ({"batch_norm_decay": 1.5}, "batch_norm_decay"),
        ({"device": "tpu"}, "device: 'tpu' is not one of auto, cpu, cuda"),
    ):
        with pytest.raises(ConfigError, match=reason):
            tiny_config(**changes)


def test_the_defaults_are_the_papers() -> None:
    config = PaperTrainConfig()
    assert (config.steps, config.batch_size, config.width_px, config.height_px) == (85_000, 16, 640, 480)
    assert config.learning_rates == (1e-3, 1e-4, 1e-5)
    assert config.learning_rate_steps == (60_000, 80_000)
    assert (config.rms_decay, config.rms_epsilon, config.weight_decay) == (0.9, 1e-10, 4e-5)
    assert (config.batch_norm_decay, config.vlad_batch_norm_decay) == (0.997, 0.999)
    assert (config.validation_images, config.validation_steps, config.checkpoint_steps) == (192, 500, 5000)
    assert (config.clusters, config.intermediate_dim, config.loss_weights) == (32, 0, ())


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="device: cuda, but torch finds no GPU"):
        chosen_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [chosen_device(asked) for asked in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
