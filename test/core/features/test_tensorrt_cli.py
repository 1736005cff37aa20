"""`hfnet engine`: what people type, over the stand-in runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import shared_data, tiny_model
from typer.testing import CliRunner

from hfnet_core.cli.engine import app
from hfnet_core.errors import BackendError, ConfigError, DatasetError, ModelError
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.features.backends.tensorrt.device import open_device, release_devices
from hfnet_core.features.engine_tools import bench
from hfnet_core.features.engine_tools import calibration_images as calibration
from hfnet_core.features.engine_tools.roofline import chip_of
from hfnet_core.features.network.architecture import NetworkSpec

SPEC = NetworkSpec(local_dim=16, global_dim=256, clusters=8, corner_aligned=False)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path, spec=SPEC)


def test_build_info_and_build_again(gpu: Any, model: Path) -> None:
    output = run("build", "--model", model, "--size", "64x48", "--size", "70x50")
    assert "64x48: TensorRT 10.3.0 fp16 on Stand-in GPU, built in" in output
    assert output.count("lowest cosine") == 2  # 70x50 is cropped to 64x48, as the network crops
    assert gpu.trt.builds == 1
    listed = run("info")
    assert "TensorRT 10.3.0 on Stand-in GPU, compute capability 8.9, CUDA driver 12040" in listed
    assert "64x48" in listed
    assert "fp16" in listed


def test_info_without_anything(gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu.driver, "gpus", 0)
    output = run("info", "--cache-dir", tmp_path / "none")
    assert "TensorRT cannot be used: there is no GPU 0; 0 found" in output
    assert "no engines" in output


@pytest.mark.parametrize("size", ["640", "640x", "axb", "640x480x1", "-8x8"])
def test_sizes_that_are_none(gpu: Any, model: Path, size: str) -> None:
    with pytest.raises(ConfigError, match="not of the form WxH"):
        run("build", "--model", model, f"--size={size}")


def test_too_small(gpu: Any, model: Path) -> None:
    with pytest.raises(ModelError, match="0x8: both sides must be positive"):
        run("build", "--model", model, "--size", "7x8")


def test_bad_precision(gpu: Any, model: Path) -> None:
    with pytest.raises(ConfigError, match="precision: 'int4' is not one of fp32, fp16"):
        run("build", "--model", model, "--size", "64x48", "--precision", "int4")


def test_bench(gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(bench.bench(model, 48, 64, bench.EngineConfig(), 3, graphs=False))
    assert [row.name.split()[0] for row in rows] == ["ONNX", *["TensorRT"] * 4]
    assert [row.name.endswith("keypoints on the host") for row in rows] == [False, False, True, False, True]
    assert all(0 < row.network_p50 <= row.network_p99 for row in rows)
    assert rows[0].floor is None
    assert 0 < rows[3].floor < rows[1].floor < rows[1].network_p50
    monkeypatch.setattr(gpu.driver, "capability", (99, 0))
    release_devices()
    floors = [row.floor is None for row in bench.bench(model, 48, 64, bench.EngineConfig(), 3, graphs=False)]
    assert floors == [True, False, False, True, True]  # the FP16 rate of this chip is not known


def test_chip_of_a_known_gpu(gpu: Any) -> None:
    """An RTX 4090: 330 TFLOPS in FP16 on tensor cores, 1008 GB/s (its data sheet)."""
    chip = chip_of(open_device(0))
    assert chip.half_rate is not None
    assert 2 * chip.half_rate == pytest.approx(330e12, rel=0.01)
    assert chip.bandwidth == pytest.approx(1008e9, rel=0.01)


def test_bench_prints_what_it_has_when_there_is_no_gpu(gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.driver, "gpus", 0)
    result = CliRunner().invoke(app, ["bench", "--model", str(model), "--size", "64x48", "--repeats", "2"])
    assert isinstance(result.exception, BackendError)
    assert "ONNX Runtime" in result.output


def test_latencies_leave_out_the_warm_up() -> None:
    calls: list[int] = []
    assert bench.latencies_ms(lambda: calls.append(1), 4).shape == (4,)
    assert len(calls) == 9
    with pytest.raises(BackendError, match="0 repeats"):
        bench.latencies_ms(lambda: None, 0)


def test_quantize(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [np.random.default_rng(seed).uniform(0, 255, (48, 64)).astype(np.float32) for seed in range(10)]
    monkeypatch.setattr(calibration, "_images", lambda *_: iter(images))
    output = run("quantize", tmp_path / "any.mcap", "--model", model, "--output", tmp_path / "int8.onnx")
    assert "quantized by 8 images; on 2 others: cosine to the original" in output
    assert (tmp_path / "int8.onnx").stat().st_size > 1000


def test_quantize_a_real_recording(tmp_path: Path) -> None:
    """With few images and on kitchen pictures: what INT8 costs the shipped model."""
    bag = shared_data("data", "bags", "redkitchen40_mcap")
    report = calibration.quantized_by_bag(DEFAULT_MODEL, bag, tmp_path / "int8.onnx", 4)
    assert (report.images, report.tested) == (4, 1)
    assert report.local_mean > 0.99
    assert report.local_low > 0.98
    assert report.global_low > 0.97


def test_quantize_needs_a_bag_with_images(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "int8.onnx"
    with pytest.raises(DatasetError, match=r"none\.mcap"):
        run("quantize", tmp_path / "none.mcap", "--model", model, "--output", output)
    monkeypatch.setattr(calibration, "_images", lambda *_: iter([np.zeros((48, 64), np.float32)] * 4))
    with pytest.raises(DatasetError, match="4 images are too few"):
        run("quantize", tmp_path / "few.mcap", "--model", model, "--output", output)
    assert not output.exists()
