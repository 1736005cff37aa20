"""`python test/gpu/run.py`, rehearsed: over the stand-in and on a machine without a GPU it reports what it can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STANDIN = Path(__file__).parent / "tensorrt_standin"


def report(tmp_path: Path, *options: str, path: tuple[Path, ...] = ()) -> tuple[int, str]:
    """Status and report of a run."""
    output = tmp_path / "report.md"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT])), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "test/gpu/run.py"), "--sizes", "64x48", "--repeats", "2", *options]
    done = subprocess.run(
        [*command, "--output", str(output)], env=environment, capture_output=True, text=True, check=False, timeout=150
    )
    return done.returncode, output.read_text(encoding="utf-8")


def test_over_the_standin_engines_are_built_and_measured(tmp_path: Path) -> None:
    status, text = report(tmp_path, "--only", "machine,tensorrt", path=(STANDIN,))
    assert text.startswith("# Stand-in GPU, compute capability 8.9, CUDA 12040, TensorRT 10.3.0")
    for precision in ("fp16", "fp32"):
        assert f"| TensorRT 10.3.0 {precision} on Stand-in GPU |" in text
        assert f"| TensorRT 10.3.0 {precision} on Stand-in GPU, keypoints on the host |" in text
        assert f"Not measured, tensorrt 64x48 {precision}: the CUDA driver cannot be loaded" in text  # for CUDA graphs
    assert text.count("Built and checked in") == 2
    assert status == 2


def test_without_a_gpu_the_cpu_is_measured_and_the_rest_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "hidden").mkdir()
    for name in ("tensorrt", "torch"):
        (tmp_path / "hidden" / f"{name}.py").write_text("raise ImportError('hidden')\n")
    wanted = "machine,tensorrt,onnxruntime,torch_eager,torch_compiled"
    status, text = report(tmp_path, "--only", wanted, path=(tmp_path / "hidden",))
    assert text.startswith("# No GPU")
    assert "| ONNX Runtime " in text
    for line in (
        "Not measured, tensorrt 64x48 fp16: ",
        "PyTorch eager, 64x48: not measured",
        "PyTorch compiled, 64x48",
    ):
        assert line in text
    assert status == 2


def test_a_part_that_crashes_or_takes_too_long_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tensorrt.py").write_text("import os\nos.abort()\n")
    status, text = report(tmp_path, "--only", "tensorrt,torch_eager", path=(tmp_path / "broken",))
    assert text.count("**Failed** (status -6).") == 2
    assert "PyTorch eager" in text
    assert status == 1
    status, text = report(tmp_path, "--only", "machine,torch_eager", "--minutes", "0.1", path=(tmp_path / "broken",))
    assert "machine : not measured, no time was left." in text.replace("  ", " ")
    assert status == 2
