"""Everything that needs the chip, in one command: `python test/gpu/run.py [--output FILE]`.

Runs the tests beside this file, then measures latency at 640x480 and 1280x720, batch 1, from image in host memory to
features in host memory: ONNX Runtime on the CPU, TensorRT in FP32 and FP16 with and without a CUDA graph, and, where
torch with CUDA is installed, PyTorch eager and compiled on the same GPU in the same run. Prints a Markdown report.
"""
# ruff: noqa: E402 - the repository need not be installed

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hfnet_core.config import EngineConfig
from hfnet_core.errors import HFNetError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.features.backends.protocol import DenseOutputs
from hfnet_core.features.backends.tensorrt.device import GpuError, open_device, release_devices
from hfnet_core.features.engine_tools.bench import Row, bench, bench_image, latencies_ms
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.model_info import ModelInfo

SIZES = ((480, 640), (720, 1280))


class TorchBackend:
    """The training network on the GPU, with random weights: for its speed only."""

    def __init__(self, info: ModelInfo, half: bool, compiled: bool) -> None:
        import torch

        from hfnet_core.training.network import HFNet

        self.info, self._torch, self._half = info, torch, half
        network = HFNet(info.spec).eval().cuda()
        self._network: Any = torch.compile(network, mode="max-autotune") if compiled else network

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


def torch_rows(height: int, width: int, repeats: int) -> Iterator[Row]:
    try:
        import torch
    except ImportError:
        print("PyTorch: NOT MEASURED (torch is not installed)")
        return
    if not torch.cuda.is_available():
        print("PyTorch: NOT MEASURED (this torch has no CUDA)")
        return
    info = OnnxRuntimeBackend(DEFAULT_MODEL).info
    for half in (False, True):
        for compiled in (False, True):
            backend = TorchBackend(info, half, compiled)
            extractor = Extractor(backend)
            image = bench_image(height, width)
            gray, _ = extractor.prepare(image)
            network = latencies_ms(lambda b=backend, g=gray: b.infer(g), repeats)
            total = latencies_ms(lambda e=extractor, i=image: e.extract(i), repeats)
            quantiles = [float(np.percentile(times, share)) for times in (network, total) for share in (50, 99)]
            name = f"PyTorch {torch.__version__} {'compiled' if compiled else 'eager'} {'fp16' if half else 'fp32'}"
            yield Row(name, *quantiles)


def table(height: int, width: int, repeats: int) -> tuple[str, bool]:
    """(Markdown, whether all of it could be measured)."""
    lines = [
        f"## {width}x{height}, batch 1, ms, {repeats} images",
        "",
        "| backend | network p50 | p99 | image to features p50 | p99 | floor of the chip | network / floor |",
        "|---|---|---|---|---|---|---|",
    ]
    problems = []
    for rows in (bench(DEFAULT_MODEL, height, width, EngineConfig(), repeats), torch_rows(height, width, repeats)):
        try:
            for row in rows:
                floor = f"{row.floor:.3f} | {row.network_p50 / row.floor:.1f}" if row.floor else " | "
                lines.append(
                    f"| {row.name} | {row.network_p50:.2f} | {row.network_p99:.2f} | {row.total_p50:.2f} | "
                    f"{row.total_p99:.2f} | {floor} |"
                )
                print(lines[-1], flush=True)
        except HFNetError as error:  # noqa: PERF203 - the other rows still count
            problems.append(f"\nRows after this NOT MEASURED: {error}")
    return "\n".join([*lines, *problems, ""]), not problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--output", type=Path, help="write the report here too")
    arguments = parser.parse_args()
    try:
        device = open_device(0)
    except GpuError as error:
        print(f"NOT MEASURED: {error}")
        return 2
    major, minor = device.compute_capability
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    head = (
        f"# {device.name} (compute capability {major}.{minor}), TensorRT {device.trt.__version__}, CUDA driver "
        f"{device.cuda.get_driver_version()}, {platform.machine()}, commit {commit.stdout.strip() or 'unknown'}"
    )
    release_devices()
    status: int = pytest.main(["-q", "-p", "no:cacheprovider", str(Path(__file__).parent)])
    report = [head, "", f"Tests: {'passed' if status == 0 else f'FAILED (status {int(status)})'}", ""]
    for size in SIZES:
        text, complete = table(*size, arguments.repeats)
        report.append(text)
        status = status or (0 if complete else 1)
    text = "\n".join(report)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
