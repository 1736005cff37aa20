# ruff: noqa: E402
"""Training on four drawn photos: it learns, and a kill changes nothing."""

from __future__ import annotations

import csv
import dataclasses
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch.utils.data import Dataset

from hfnet_core.errors import ConfigError, DatasetError, ModelError
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.training.checkpoint import load_checkpoint
from hfnet_core.training.data.augmentation import CropRange
from hfnet_core.training.data.global_data import GlobalBatches, GlobalDataSettings
from hfnet_core.training.data.local_data import LocalBatch, LocalDataSettings, LocalSources
from hfnet_core.training.data.pair_matches import PairMatches
from hfnet_core.training.data.pool import Pool
from hfnet_core.training.export import export_checkpoint
from hfnet_core.training.network import HFNet, LocalVladHead
from hfnet_core.training.stages.global_stage import GlobalStage
from hfnet_core.training.stages.layer_features import LayerFeatures
from hfnet_core.training.stages.local_stage import LocalLossSettings, LocalStage
from hfnet_core.training.stages.loop import Learned, RunSettings, Stage, run_stage

SPEC = NetworkSpec(local_dim=16, global_dim=24, clusters=4, intermediate_dim=8, corner_aligned=False)
LOCAL_DATA = LocalDataSettings(pairs=2, crop_px=64, points=16, crops=CropRange(scale=(0.9, 1.1), tilt=1.1))
TEACHER = dataclasses.replace(SPEC, pool_local=True)
GLOBAL_DATA = GlobalDataSettings(places=3, views=2, sizes=((96, 64),), points=8)


def settings(steps: int, rate: float = 2e-3) -> RunSettings:
    return RunSettings(steps=steps, learning_rate=rate, workers=0, bf16_until=0.0, log_every=2)


def network() -> HFNet:
    torch.manual_seed(3)
    return HFNet(SPEC)


def stage(name: str, pool: Pool, teacher_folder: Path) -> Stage:
    if name == "global":
        features = LayerFeatures(teacher_folder.parent / "features", 4)
        features.fill(network(), GlobalBatches(pool, GLOBAL_DATA, 0, 4), LocalVladHead(TEACHER))
        return GlobalStage(features)
    weights = LocalLossSettings(learned=name != "local", own_keypoints=16 if name == "own" else 0)
    points = np.random.default_rng(0).uniform(10, 150, (50, 2)).astype(np.float32)
    matches = [PairMatches((0, 1), points, points)] if name == "polish" else []
    return LocalStage(LocalSources(pool, teacher_folder, matches), LOCAL_DATA, weights, name)


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as log:
        return [float(row["loss"]) for row in csv.DictReader(log)]


@pytest.mark.parametrize("name", ["local", "global"])
def test_the_loss_falls(name: str, pool: Pool, teacher_folder: Path, tmp_path: Path) -> None:
    run_stage(stage(name, pool, teacher_folder), network(), settings(24), tmp_path / "run", report=lambda line: None)
    found = losses(tmp_path / "run")
    assert len(found) == 12
    assert sum(found[-3:]) < 0.9 * sum(found[:3])


@pytest.mark.parametrize("name", ["local", "polish", "own", "global"])
def test_a_killed_run_ends_in_the_same_place(name: str, pool: Pool, teacher_folder: Path, tmp_path: Path) -> None:
    whole = run_stage(stage(name, pool, teacher_folder), network(), settings(6), tmp_path / "whole")
    run_stage(stage(name, pool, teacher_folder), network(), settings(6), tmp_path / "killed", stop_after=3)
    lines: list[str] = []
    resumed = run_stage(
        stage(name, pool, teacher_folder), network(), settings(6), tmp_path / "killed", report=lines.append
    )

    assert "resumes at step 3" in lines[0]
    assert load_checkpoint(tmp_path / "killed/checkpoint.pt").step == 6
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, msg=key)


def test_a_run_ends_as_the_mean_of_its_last_weights_killed_or_not(
    pool: Pool, teacher_folder: Path, tmp_path: Path
) -> None:
    weights: list[dict[str, torch.Tensor]] = []
    trained = network()

    def remember(step: int) -> None:
        weights.append({name: value.clone() for name, value in trained.state_dict().items()})

    local, chosen = stage("local", pool, teacher_folder), dataclasses.replace(settings(6), mean_of=3)
    run_stage(local, trained, chosen, tmp_path / "whole", after_step=remember)
    run_stage(local, network(), chosen, tmp_path / "killed", stop_after=4)
    middle = load_checkpoint(tmp_path / "killed/checkpoint.pt")
    resumed = run_stage(local, network(), chosen, tmp_path / "killed")
    again = run_stage(local, network(), chosen, tmp_path / "killed")

    for name in ("stem.conv.weight", "stem.norm.running_var"):
        mean = weights[0][name]
        for step, of_step in enumerate(weights[1:], 2):
            mean = mean + (of_step[name] - mean) / min(step, 3)
        torch.testing.assert_close(trained.state_dict()[name], mean)
        assert not torch.allclose(trained.state_dict()[name], weights[-1][name])
        assert torch.equal(middle.network[name], weights[3][name])
        assert torch.equal(resumed.state_dict()[name], trained.state_dict()[name])
        assert torch.equal(again.state_dict()[name], trained.state_dict()[name])


def test_a_run_that_goes_on_with_a_smaller_budget_ends_as_the_mean_too(
    pool: Pool, teacher_folder: Path, tmp_path: Path
) -> None:
    local, chosen = stage("local", pool, teacher_folder), dataclasses.replace(settings(6), mean_of=3)
    run_stage(local, network(), chosen, tmp_path / "run", stop_after=4)
    mean = load_checkpoint(tmp_path / "run/checkpoint.pt").mean
    ended = run_stage(local, network(), dataclasses.replace(chosen, steps=4), tmp_path / "run")
    kept = load_checkpoint(tmp_path / "run/checkpoint.pt")
    assert mean
    assert not kept.mean
    for name, value in mean.items():
        assert torch.equal(ended.state_dict()[name], value)
        assert torch.equal(kept.network[name], value)


def test_a_run_does_not_go_on_with_photos_of_other_licences(pool: Pool, teacher_folder: Path, tmp_path: Path) -> None:
    run_stage(stage("local", pool, teacher_folder), network(), settings(4), tmp_path / "run", stop_after=2)
    photos = tuple(dataclasses.replace(photo, license="CC-BY-SA-4.0") for photo in pool.photos)
    other = stage("local", Pool(photos, pool.pairs), teacher_folder)
    with pytest.raises(ConfigError, match="their licences or the settings of crops are not as where this run"):
        run_stage(other, network(), settings(4), tmp_path / "run")


def test_a_batch_that_overflows_changes_neither_weights_nor_statistics(
    pool: Pool, teacher_folder: Path, tmp_path: Path
) -> None:
    class Overflowing(LocalStage):
        def loss(self, network: HFNet, learned: Learned, batch: Any) -> tuple[torch.Tensor, dict[str, float]]:
            total, parts = super().loss(network, learned, batch)
            return total * float("inf"), parts

    local = stage("local", pool, teacher_folder)
    broken, trained = Overflowing(local.sources, local.data, local.weights), network()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    run_stage(broken, trained, settings(2), tmp_path / "run")
    for name, value in trained.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_resumed_global_stage_remembers_former_batches(
    pool: Pool, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered repels from the second step on: a memory that began anew would change every later one."""
    monkeypatch.setattr("hfnet_core.training.stages.global_stage._MEMORY_WARMUP", 1)
    made = stage("global", pool, teacher_folder)
    whole = run_stage(made, network(), settings(6), tmp_path / "whole")
    run_stage(stage("global", pool, teacher_folder), network(), settings(6), tmp_path / "killed", stop_after=3)
    memory = load_checkpoint(tmp_path / "killed/checkpoint.pt").stage_state["memory"]
    assert [tuple(descriptors.shape) for descriptors, _ in memory] == [(6, 24)] * 3
    resumed = run_stage(stage("global", pool, teacher_folder), network(), settings(6), tmp_path / "killed")
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, msg=key, rtol=0, atol=0)


def test_checkpoints_come_after_so_many_steps_and_progress_between_them(
    pool: Pool, teacher_folder: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    def after_step(step: int) -> None:
        path = tmp_path / "run/checkpoint.pt"
        seen.append(load_checkpoint(path).step if path.is_file() else 0)

    chosen = dataclasses.replace(settings(7), checkpoint_steps=3)
    local = stage("local", pool, teacher_folder)
    run_stage(local, network(), chosen, tmp_path / "run", report=lambda line: None, after_step=after_step)
    assert seen == [0, 0, 0, 3, 3, 3, 6]


def test_the_global_stage_leaves_the_local_one_alone(pool: Pool, teacher_folder: Path, tmp_path: Path) -> None:
    before, after = network(), network()
    run_stage(stage("global", pool, teacher_folder), after, settings(3), tmp_path / "run")
    frozen, trained = ("stem.", "shallow.", "descriptor.", "detector."), ("deep.", "global_head.")
    values = after.state_dict()
    for key, value in before.state_dict().items():
        if key.startswith(frozen):
            torch.testing.assert_close(values[key], value, rtol=0, atol=0)
    assert any(
        not torch.equal(values[key], value) for key, value in before.state_dict().items() if key.startswith(trained)
    )


def test_a_checkpoint_becomes_onnx(pool: Pool, teacher_folder: Path, tmp_path: Path) -> None:
    run_stage(LocalStage(LocalSources(pool, teacher_folder), LOCAL_DATA), network(), settings(2), tmp_path / "run")
    output = tmp_path / "model.onnx"
    parity = export_checkpoint(tmp_path / "run/checkpoint.pt", output, name="tiny", version="0", licence="Apache-2.0")
    assert output.is_file()
    assert parity.worst < 1e-4
    assert [path.name for path in tmp_path.glob("*.onnx")] == ["model.onnx"]


def test_wrong_input_is_refused_in_one_line(pool_folder: Path, pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"manifest\.csv is missing"):
        Pool.read(tmp_path)
    with pytest.raises(DatasetError, match=r"photo_\d\.png\.npz is missing: run the teacher"):
        run_stage(
            LocalStage(LocalSources(pool, tmp_path / "none"), LOCAL_DATA), network(), settings(1), tmp_path / "run"
        )
    with pytest.raises(ConfigError, match="minutes or steps"):
        RunSettings()
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match=r"broken\.pt is no readable checkpoint"):
        load_checkpoint(broken)
    (pool_folder / "img/photo_2.png").unlink()
    with pytest.raises(DatasetError, match=r"photo_2\.png is missing"):
        Pool.read(pool_folder)


def test_another_stages_checkpoint_is_not_continued(pool: Pool, teacher_folder: Path, tmp_path: Path) -> None:
    run_stage(LocalStage(LocalSources(pool, teacher_folder), LOCAL_DATA), network(), settings(1), tmp_path / "run")
    with pytest.raises(ConfigError, match="another output folder"):
        run_stage(stage("global", pool, teacher_folder), network(), settings(1), tmp_path / "run")


class Waiting(LocalStage):
    """Whose batches keep the trainer waiting, as other work on the machine does."""

    def batches(self, seed: int, length: int) -> Dataset[LocalBatch]:
        made = super().batches(seed, length)

        class Slow(Dataset[LocalBatch]):
            def __getitem__(self, step: int) -> LocalBatch:
                time.sleep(0.2)
                return made[step]

        return Slow()


def test_waiting_costs_no_steps_where_minutes_are_the_processors(
    pool: Pool, teacher_folder: Path, tmp_path: Path
) -> None:
    def steps(processor_time: bool) -> int:
        done: list[int] = []
        budget = RunSettings(minutes=0.01, workers=0, bf16_until=0.0, processor_time=processor_time)
        folder = tmp_path / str(processor_time)
        waiting = Waiting(LocalSources(pool, teacher_folder), LOCAL_DATA)
        run_stage(waiting, network(), budget, folder, report=lambda line: None, after_step=done.append)
        return done[-1]

    assert steps(processor_time=False) <= 3
    assert steps(processor_time=True) > 3


def test_a_worker_begins_although_opencv_has_had_threads(pool: Pool, teacher_folder: Path, tmp_path: Path) -> None:
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (9, 9), 2.0)  # starts them
    done: list[int] = []
    budget = dataclasses.replace(settings(2), workers=1)
    run_stage(stage("local", pool, teacher_folder), network(), budget, tmp_path / "run", after_step=done.append)
    assert done == [1, 2]
