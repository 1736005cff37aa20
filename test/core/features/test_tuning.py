"""Which runtime `auto` takes: measured, judged, remembered, and overruled."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import tiny_model
from typer.testing import CliRunner

from hfnet_core.cli.main import app
from hfnet_core.config import EngineConfig
from hfnet_core.features.backends import tuning, tuning_process, verdicts
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.backends.tuning import (
    BOUNDS,
    REFERENCE,
    Candidate,
    Likeness,
    Measured,
    fastest,
    measure,
    sample_images,
)
from hfnet_core.features.backends.tuning_process import BackgroundTuning
from hfnet_core.features.backends.verdicts import keep, look_up
from hfnet_core.types import Float32

SAME, OTHER = Likeness(1.0, 1.0, 1.0), Candidate("openvino", "fp16")


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one, `auto` takes it first."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)


@pytest.fixture
def engine(tmp_path: Path) -> EngineConfig:
    return EngineConfig(cache_dir=str(tmp_path / "engines"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path)


def rows(milliseconds: float = 5.0, likeness: Likeness = SAME) -> list[Measured]:
    return [Measured(REFERENCE, "slow", 10.0, SAME), Measured(OTHER, "other", milliseconds, likeness)]


def test_the_quickest_of_those_that_are_as_good_wins() -> None:
    assert fastest(rows(5.0)).candidate == OTHER
    assert fastest(rows(15.0)).candidate == REFERENCE
    for name in ("keypoints", "local_cosine", "global_cosine"):
        worse = replace(BOUNDS, **{name: getattr(BOUNDS, name) - 1e-4})
        assert fastest(rows(5.0, worse)).candidate == REFERENCE
        assert fastest(rows(5.0, BOUNDS)).candidate == OTHER
    assert fastest([rows()[0], Measured(OTHER, "other", problem="not there")]).candidate == REFERENCE


def test_images_are_the_same_on_every_machine_and_gray() -> None:
    first, again = sample_images(48, 64), sample_images(48, 64)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(image.shape == (48, 64) and image.dtype == np.float32 for image in first)
    assert all(image.min() >= 0 and image.max() <= 255 and image.std() > 20 for image in first)


def images() -> Sequence[Float32]:
    return sample_images(80, 120, 2)


def test_the_reference_is_like_itself_and_comes_first(model: Path, engine: EngineConfig) -> None:
    found = measure(model, images(), engine, threads=1)
    assert found[0].candidate == REFERENCE
    assert found[0].likeness is not None
    assert found[0].likeness.keypoints == 1.0
    assert found[0].likeness.local_cosine == pytest.approx(1.0, abs=1e-5)
    assert all(row.milliseconds > 0 for row in found if row.problem is None)


def test_another_network_is_not_as_good(model: Path, engine: EngineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = tiny_model(model.parent, seed=1)
    opened = tuning._opened

    def open_it(candidate: Candidate, path: Path, *rest: Any) -> Any:
        return opened(REFERENCE, path if candidate == REFERENCE else stranger, *rest)

    monkeypatch.setattr(tuning, "_opened", open_it)
    monkeypatch.setattr(tuning, "candidates", lambda _: [REFERENCE, OTHER])
    ours, other = measure(model, images(), engine, threads=1)
    assert ours.is_good
    assert not other.is_good


def test_a_runtime_that_is_missing_is_said_and_passed_over(
    model: Path, engine: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "hfnet_core.features.backends.openvino_backend", raising=False)
    monkeypatch.setattr(tuning, "candidates", lambda _: [REFERENCE, OTHER])
    found = measure(model, images(), engine, threads=1)
    assert "openvino is not installed" in (found[1].problem or "")
    assert fastest(found).candidate == REFERENCE


def test_fp32_allows_nothing_coarser() -> None:
    assert {candidate.precision for candidate in tuning.candidates(EngineConfig(precision="fp32"))} == {"fp32"}


def test_what_was_kept_is_found_for_this_machine_and_model_alone(
    model: Path, engine: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look_up(model, engine, 2) is None
    assert keep(rows(), model, engine, 2).candidate == OTHER
    assert look_up(model, engine, 2) == (OTHER, "slow 10.0 ms, other 5.0 ms")
    assert look_up(model, engine, 1) is None
    assert look_up(model, replace(engine, precision="fp32"), 2) is None
    assert look_up(tiny_model(model.parent, seed=1), engine, 2) is None
    monkeypatch.setattr(verdicts, "_processor", lambda: "another one")
    assert look_up(model, engine, 2) is None


def test_looking_makes_no_folder(model: Path, engine: EngineConfig) -> None:
    look_up(model, engine, 2)
    assert not Path(engine.cache_dir).exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"format": 1, "kind": 3}', b'{"format": 99}'])
def test_a_damaged_record_is_as_good_as_none(
    model: Path, engine: EngineConfig, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    keep(rows(), model, engine, 1)
    (path,) = Path(engine.cache_dir).glob("*.json")
    path.write_bytes(content)
    assert look_up(model, engine, 1) is None
    backend = open_backend(model, "auto", 1, engine)
    assert isinstance(backend, OnnxRuntimeBackend)
    assert "Traceback" not in caplog.text


def test_auto_takes_what_won_and_says_so(model: Path, engine: EngineConfig, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'hfnet_ros[openvino]'")
    keep(rows(), model, engine, 1)
    with caplog.at_level(logging.INFO):
        backend = open_backend(model, "auto", 1, engine)
    assert backend.description.startswith("OpenVINO")
    assert "was the fastest here (slow 10.0 ms, other 5.0 ms)" in caplog.text
    overruled = open_backend(model, "onnxruntime", 1, engine)
    assert overruled.description.startswith("ONNX Runtime")


def test_tools_go_by_no_measurement(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keep(rows(), model, EngineConfig(), 1)
    assert look_up(model, EngineConfig(), 1) is not None
    assert open_backend(model, "auto", 1).description.startswith("ONNX Runtime")


def test_auto_goes_on_where_the_winner_is_gone(
    model: Path, engine: EngineConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keep(rows(), model, engine, 1)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "hfnet_core.features.backends.openvino_backend", raising=False)
    assert open_backend(model, "auto", 1, engine).description.startswith("ONNX Runtime")
    assert "openvino was the fastest here, but does not start" in caplog.text


def test_the_process_measures_and_keeps(model: Path, engine: EngineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_process.os, "nice", lambda _: 0)
    monkeypatch.setattr(tuning_process, "sample_images", images)
    request = {"model": str(model), "config": asdict(engine), "threads": 1, "wait_s": 0}
    assert tuning_process.main(json.dumps(request)) == 0
    assert look_up(model, engine, 1) is not None
    assert tuning_process.main(json.dumps({**request, "model": "none.onnx"})) == 2


def test_a_node_measures_once_and_not_when_told_not_to(model: Path, engine: EngineConfig) -> None:
    waiting = BackgroundTuning(model, engine, 1)
    assert waiting._process is not None
    process = waiting._process
    waiting.stop()
    assert process.returncode is not None
    waiting.stop()
    assert BackgroundTuning(model, replace(engine, tune_after_s=0.0), 1)._process is None
    keep(rows(), model, engine, 1)
    assert BackgroundTuning(model, engine, 1)._process is None


def test_the_command_prints_a_table_and_keeps_the_winner(model: Path, engine: EngineConfig) -> None:
    options = ["--model", str(model), "--size", "120x80", "--threads", "1", "--cache-dir", engine.cache_dir]
    result = CliRunner().invoke(app, ["engine", "tune", *options], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "taken" in result.output
    found = look_up(model, engine, 1)
    assert found is not None
    assert f"kept for backend auto: {'OpenVINO' if found[0].kind == 'openvino' else 'ONNX'}" in result.output


def test_maps_are_built_with_onnx_runtime_whatever_won(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hfnet_core.cli.map import care as map_care
    from hfnet_core.front_ends import registry

    asked: list[Any] = []

    class SeenError(Exception):
        pass

    def seen(*arguments: Any, **_: Any) -> None:
        asked.append(arguments[1:])
        raise SeenError

    (tmp_path / "bag").mkdir()
    for module, words in (
        (registry, ["map", "build", str(tmp_path / "bag"), "-o", str(tmp_path / "m.hfmap")]),
        (
            map_care,
            ["map", "extend", str(tmp_path / "a.hfmap"), str(tmp_path / "bag"), "-o", str(tmp_path / "b.hfmap")],
        ),
    ):
        monkeypatch.setattr(module, "open_backend", seen)
        assert isinstance(CliRunner().invoke(app, words).exception, SeenError)
    assert asked == [("onnxruntime",)] * 2


def test_a_folder_that_is_a_link_does_not_keep_the_network_from_running(
    model: Path, engine: EngineConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(rows(), model, engine, 2)
    link = tmp_path / "link"
    link.symlink_to(verdicts.folder_of(engine))
    assert look_up(model, replace(engine, cache_dir=str(link)), 2) is None
    assert "is a link or no folder" in caplog.text
