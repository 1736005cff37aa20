"""The parts of run.py. Each prints Markdown; what is not for the report starts with `log:`."""
# ruff: noqa: E402 - the repository need not be installed

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hfnet_core.config import EngineConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.onnxruntime_backend import OUTPUTS, OnnxRuntimeBackend
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.features.backends.protocol import DenseOutputs
from hfnet_core.features.engine_tools.bench import HEADER, Row, row

NOT_MEASURED = 2
REPEATS = int(os.environ.get("HFNET_GPU_REPEATS", "300"))
CACHE = os.environ.get("HFNET_GPU_CACHE", "")


def size_of(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return height, width


def title(text: str) -> None:
    print(f"\n## {text}\n", flush=True)


def table(size: str, what: str) -> None:
    title(f"{what}, {size}, batch 1, ms")
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)


def line(measured: Row) -> None:
    print(f"| {' | '.join(measured.cells)} |", flush=True)


def machine() -> int:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    versions = [f"Python {platform.python_version()}"]
    for name in ("tensorrt", "pycuda", "torch", "onnxruntime", "onnxruntime-gpu", "numpy"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:  # noqa: PERF203
            continue
    print(f"# {_card()}\n")
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    version = os.environ.get("HFNET_COMMIT") or commit.stdout.strip() or "unknown"
    print(
        f"{today}, commit {version}, {platform.machine()}, {len(os.sched_getaffinity(0))} cores; {', '.join(versions)}."
    )
    print(f"Rows are medians and 99th hundredths of {REPEATS} images, from an image in host memory to features there.")
    return 0


def _card() -> str:
    from hfnet_core.features.backends.tensorrt.device import GpuError, open_device

    try:
        device = open_device(0)
    except GpuError as error:
        print(f"log: {error}")
        return _card_of_torch() or "No GPU"
    major, minor = device.compute_capability
    driver = device.cuda.get_driver_version()
    return f"{device.name}, compute capability {major}.{minor}, CUDA {driver}, TensorRT {device.trt.__version__}"


def _card_of_torch() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return f"{torch.cuda.get_device_name(0)}, no TensorRT" if torch.cuda.is_available() else None


def tensorrt(size: str, precision: str) -> int:
    """Build, load, measure; each with what it takes."""
    from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
    from hfnet_core.features.engine_tools.bench import gpu_rows

    height, width = size_of(size)
    config = EngineConfig(precision=precision, cache_dir=CACHE and f"{CACHE}/engines")
    started = time.monotonic()
    backend = TensorRTBackend(DEFAULT_MODEL, config)
    title(f"TensorRT, {precision}, {size}")
    facts = backend.build(height, width)
    built = time.monotonic() - started
    started = time.monotonic()
    backend.prepare(height, width)
    loaded = time.monotonic() - started
    backend.close()
    became = "" if facts["precision"] == precision else f" **became {facts['precision']}**;"
    print(f"Built and checked in {built:.0f} s, loaded in {loaded:.2f} s;{became} {facts['agreement']}.", flush=True)
    table(size, f"TensorRT, {precision}")
    for measured in gpu_rows(DEFAULT_MODEL, height, width, config, REPEATS):
        line(measured)
    return 0


def onnxruntime(size: str) -> int:
    """On the CPU, and through CUDA where this ONNX Runtime has it."""
    import onnxruntime as runtime

    table(size, "ONNX Runtime")
    height, width = size_of(size)
    cpu = OnnxRuntimeBackend(DEFAULT_MODEL)
    line(row(cpu.description, cpu, height, width, min(REPEATS, 30)))
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        print("\nONNX Runtime on CUDA: not measured, this onnxruntime has no CUDA provider.")
        return NOT_MEASURED
    line(row("ONNX Runtime, CUDA", CudaProvider(cpu), height, width, REPEATS))
    return 0


class CudaProvider:
    """The network on ONNX Runtime's CUDA provider. info: from the same model."""

    def __init__(self, cpu: OnnxRuntimeBackend) -> None:
        import onnxruntime as runtime

        self.info, self.description = cpu.info, "ONNX Runtime, CUDA"
        self._session = runtime.InferenceSession(str(DEFAULT_MODEL), providers=["CUDAExecutionProvider"])
        if self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise BackendError("ONNX Runtime's CUDA provider does not start here")

    def infer(self, gray: np.ndarray) -> DenseOutputs:
        return DenseOutputs(*(value[0] for value in self._session.run(OUTPUTS, {"image": gray[None, None]})))

    def close(self) -> None: ...


def torch_eager(size: str) -> int:
    return _torch(size, compiled=False)


def torch_compiled(size: str) -> int:
    return _torch(size, compiled=True)


def _torch(size: str, compiled: bool) -> int:
    what = f"PyTorch {'compiled' if compiled else 'eager'}"
    if _card_of_torch() is None:
        print(f"\n{what}, {size}: not measured, there is no torch that sees a GPU.")
        return NOT_MEASURED
    table(size, what)
    for half in (True, False):
        backend = TorchBackend(half, compiled)
        line(row(backend.description, backend, *size_of(size), REPEATS))
    return 0


class TorchBackend:
    """The training network on the GPU, with random weights: for its speed only."""

    def __init__(self, half: bool, compiled: bool) -> None:
        import torch

        from hfnet_core.training.network import HFNet

        self.info, self._torch, self._half = OnnxRuntimeBackend(DEFAULT_MODEL).info, torch, half
        network = HFNet(self.info.spec).eval().cuda()
        self._network: Any = torch.compile(network, mode="reduce-overhead") if compiled else network
        way, precision = "compiled" if compiled else "eager", "fp16" if half else "fp32"
        self.description = f"PyTorch {torch.__version__} {way} {precision}, keypoints on the host"

    def infer(self, gray: np.ndarray) -> DenseOutputs:
        torch = self._torch
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self._half):
            image = torch.from_numpy(gray[None, None]).pin_memory().cuda(non_blocking=True)
            maps, whole = self._network(image)
            scores = torch.nn.functional.pixel_shuffle(torch.softmax(maps.logits.float(), 1)[:, :64], 8)
            descriptors = maps.descriptors.float().permute(0, 2, 3, 1)
            values = [scores[0, 0], descriptors[0], whole[0].float()]
            return DenseOutputs(*(value.contiguous().cpu().numpy() for value in values))

    def close(self) -> None:
        self._network = None


def tests(name: str) -> int:
    import pytest

    title(f"Tests of {name}")
    ended = Outcomes()
    with Path(os.devnull).open("w") as nowhere:
        print("log: tests", name, flush=True)
        out, sys.stdout = sys.stdout, nowhere
        try:
            status = pytest.main(["-q", "-p", "no:cacheprovider", str(Path(__file__).parent / name)], plugins=[ended])
        finally:
            sys.stdout = out
    passed, failed = ended.of("passed"), ended.of("failed")
    print(f"{len(passed)} passed, {len(failed)} failed, {len(ended.of('skipped'))} skipped (status {int(status)}).")
    for text in [*failed, *sorted(set(ended.reasons))]:
        print(f"- {text}")
    return 1 if failed or status not in (0, 5) else 0 if passed else NOT_MEASURED


class Outcomes:
    """What became of every test, told as it ends."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []
        self.reasons: list[str] = []

    def of(self, outcome: str) -> list[str]:
        return [name for found, name in self._found if found == outcome]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.rpartition("::")[2]
            self._found.append((report.outcome, name))
            if report.outcome == "skipped":
                self.reasons.append(str(report.longrepr[2]))
            if report.outcome == "failed":
                sys.stderr.write(f"{report.longreprtext}\n")
                self._found[-1] = ("failed", f"{name}: {report.longreprtext.strip().splitlines()[-1][:300]}")


def main() -> int:
    name, *arguments = sys.argv[1:]
    part: Callable[..., int] = globals()[name]
    try:
        return part(*arguments)
    except BackendError as error:
        print(f"\nNot measured, {' '.join([name, *arguments])}: {error}")
        return NOT_MEASURED


if __name__ == "__main__":
    sys.exit(main())
