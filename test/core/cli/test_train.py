"""`hfnet train`: what it takes, and what it refuses before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfnet_core.cli.main import main


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line that a command ends with."""
    monkeypatch.setattr("sys.argv", ["hfnet", "train", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_recipes_and_their_settings_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = tmp_path / "recipe.yaml"

    def told(*options: object, folders: int = 1) -> str:
        return refusal(monkeypatch, capsys, *[tmp_path] * folders, tmp_path / "out", *options)

    assert "'other' is not one of ours, paper" in told("--recipe", "other")
    assert "--recipe ours needs --teacher-weights" in told()
    assert "trains on one pool, not on 2" in told("--teacher-weights", "x.pth", folders=2)
    for options, reason in (
        (("--recipe", "paper", "--own-minutes", "5"), "--own-minutes: is an option of --recipe ours, not of paper"),
        (("--recipe", "paper", "--teacher-weights", "x"), "--teacher-weights: is an option of --recipe ours"),
        (("--local-teacher", "hfnet"), "--local-teacher: is an option of --recipe paper, not of ours"),
    ):
        assert reason in told(*options)
    ours = ("--teacher-weights", "x.pth", "--settings", settings)
    for text, reason in (
        ("crop_px: 250", "crop_px: 250 is not a multiple of 8"),
        ("views: 3", "views: 3 is not even"),
        ("own_keypoints: 100000", "own_keypoints: 100000 are more than a crop of 256 px has pixels"),
        ("quantized_minutes: -5", "quantized_minutes: -5"),
    ):
        settings.write_text(text)
        assert reason in told(*ours)
    settings.unlink()
    paper = ("--recipe", "paper", "--settings", settings)
    assert "recipe.yaml: cannot be read" in told(*paper)
    for text, reason in (
        ("steps: [", "is no YAML"),
        ("- steps", "holds no settings"),
        ("stepps: 3", "stepps: no such setting of PaperTrainConfig"),
        ("steps: 0", "steps: 0 is outside 1..inf"),
        ("pairs: 3", "pairs: no such setting of PaperTrainConfig"),
        ("seed: 3\nwidth_px: 100", "width_px: 100 is not a multiple of 8"),
    ):
        settings.write_text(text)
        error = told(*paper)
        assert reason in error
        assert error.startswith("hfnet: ")
        assert error.count("\n") == 1
    settings.write_text("device: tpu")
    assert "device: 'tpu'" in told(*paper)
    assert "device: 'disk'" in told(*paper, "--device", "disk")  # what the command line says counts
