# ruff: noqa: E402
"""`hfnet train POOL OUTPUT --teacher-weights FILE`, as documented: from nothing to a model, through every stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

torch = pytest.importorskip("torch", reason="training needs torch")

from tiny_training import TINY, grid_teacher

from hfnet_core.cli.main import main
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.training.data.teacher_keypoints import TeacherKeypoints

STAGES = ("local", "polish", "finish", "turn", "wide", "own", "quantized")


class Described:
    """Stands for ALIKED: a grid of keypoints, described by what is around them."""

    def __init__(self, weights: Path) -> None:
        assert weights == Path("aliked-n16.pth")

    def __call__(self, image: np.ndarray) -> TeacherKeypoints:
        return grid_teacher(image)

    def describe(self, image: np.ndarray) -> tuple[TeacherKeypoints, np.ndarray]:
        found = grid_teacher(image)
        x, y = found.xy.astype(int).T
        around = np.stack([image[np.minimum(y + d, image.shape[0] - 1), x] for d in range(-4, 5)], axis=1) + 1.0
        return found, (around / np.linalg.norm(around, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def command(pool_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("hfnet_core.training.teachers.aliked.Aliked", Described)
    settings = tmp_path / "tiny.yaml"
    settings.write_text(yaml.safe_dump({**dataclasses.asdict(TINY), "turned_labels": True}))
    words = ["hfnet", "train", pool_folder, tmp_path / "run", "--teacher-weights", "aliked-n16.pth"]
    monkeypatch.setattr("sys.argv", [str(word) for word in [*words, "--settings", settings]])
    return []


def run(monkeypatch: pytest.MonkeyPatch, interrupt_at: str = "never") -> list[str]:
    """What the command says, interrupted by ctrl-C at a line that begins so."""
    lines: list[str] = []

    def echo(line: str) -> None:
        lines.append(line)
        if line.startswith(interrupt_at):
            raise KeyboardInterrupt

    monkeypatch.setattr(typer, "echo", echo)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == (130 if interrupt_at != "never" else 0)
    return lines


@pytest.mark.usefixtures("command")
def test_one_command_goes_through_every_stage_and_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    run(monkeypatch, interrupt_at="polish: ")
    assert [stage for stage in STAGES if (output / stage).exists()] == ["local"]

    lines = run(monkeypatch)
    assert [line.partition(":")[0] for line in lines if "resumes at" in line] == ["local"]
    ends = [(output / stage / "checkpoint.pt").stat().st_mtime_ns for stage in STAGES]
    (fitted,) = (output / "global").glob("*/head.pt")
    ends += [path.stat().st_mtime_ns for path in (fitted, output / "hfnet.onnx")]
    assert ends == sorted(ends)
    assert (output / "teacher_turned").is_dir()
    assert open_backend(output / "hfnet.onnx").info.spec.local_dim == TINY.local_dim

    again = run(monkeypatch)
    assert [line.partition(":")[0] for line in again if "resumes at" in line] == list(STAGES)
    assert fitted.stat().st_mtime_ns == ends[-2]
