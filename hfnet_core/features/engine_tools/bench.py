"""How long one image takes, from host memory to features in host memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import EngineConfig, ExtractorConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.protocol import Backend
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
from hfnet_core.features.backends.tensorrt.building.graphs import parse_model
from hfnet_core.features.engine_tools.roofline import chip_of, cost_of
from hfnet_core.features.extractor import Extractor

__all__ = ["Row", "bench", "bench_image", "latencies_ms"]


@dataclass(frozen=True)
class Row:
    """One line of the table, times in ms. network: `infer` alone, copies included; total: `Extractor.extract`."""

    name: str
    network_p50: float
    network_p99: float
    total_p50: float
    total_p99: float
    floor: float | None = None


def bench(
    model: Path, height: int, width: int, config: EngineConfig, repeats: int, graphs: bool = True
) -> Iterator[Row]:
    """Rows for ONNX Runtime, then for TensorRT in FP32 and FP16, each without and, if `graphs`, with a CUDA graph.

    Raises GpuError, after the first row, where there is no GPU.
    """
    cpu = OnnxRuntimeBackend(model)
    yield _row(cpu.description, cpu, height, width, min(repeats, 20))
    cpu.close()
    proto = parse_model(model.read_bytes(), str(model))
    for cuda_graph in (False, True) if graphs else (False,):
        for precision in ("fp32", "fp16"):
            gpu = TensorRTBackend(model, replace(config, precision=precision, cuda_graph=cuda_graph))
            try:
                floor = chip_of(gpu.device).floor_ms(cost_of(proto, height, width, precision))
                name = f"{gpu.description}{', CUDA graph' if cuda_graph else ''}"
                yield _row(name, gpu, height, width, repeats, floor)
            finally:
                gpu.close()


def _row(name: str, backend: Backend, height: int, width: int, repeats: int, floor: float | None = None) -> Row:
    image = bench_image(height, width)
    extractor = Extractor(backend, ExtractorConfig())
    gray, _ = extractor.prepare(image)
    network = latencies_ms(lambda: backend.infer(gray), repeats)
    total = latencies_ms(lambda: extractor.extract(image), repeats)
    return Row(name, _quantile(network, 50), _quantile(network, 99), _quantile(total, 50), _quantile(total, 99), floor)


def _quantile(times: NDArray[np.float64], share: float) -> float:
    return float(np.percentile(times, share))


def latencies_ms(call: Callable[[], Any], repeats: int, warm_up: int = 5) -> NDArray[np.float64]:
    """Wall-clock time of each call after a few that do not count. Raises BackendError for no repeats."""
    if repeats < 1:
        raise BackendError(f"{repeats} repeats measure nothing; give at least 1")
    for _ in range(warm_up):
        call()
    times = np.empty(repeats)
    for index in range(repeats):
        started = time.perf_counter()
        call()
        times[index] = 1e3 * (time.perf_counter() - started)
    return times


def bench_image(height: int, width: int) -> NDArray[np.uint8]:
    """Rectangles over each other: corners everywhere, the same on every machine."""
    rng = np.random.default_rng(0)
    image = np.full((height, width), 128, np.uint8)
    for _ in range(400):
        y, x = rng.integers(0, height), rng.integers(0, width)
        image[y : y + rng.integers(4, height // 8 + 5), x : x + rng.integers(4, width // 8 + 5)] = rng.integers(0, 256)
    return image
