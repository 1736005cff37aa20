"""How long one image takes, from host memory to features in host memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import EngineConfig, ExtractorConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.protocol import Backend, DenseOutputs, DetectingBackend
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
from hfnet_core.features.backends.tensorrt.building.graphs import parse_model
from hfnet_core.features.engine_tools.roofline import chip_of, cost_of
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.model_file import read_model_file
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.types import Float32

__all__ = ["HEADER", "HostChoice", "Row", "bench", "bench_image", "gpu_rows", "latencies_ms", "row"]

HEADER = ("backend", "network p50", "p99", "image to features p50", "p99", "floor", "ratio")


@dataclass(frozen=True)
class Row:
    """One line of the table, times in ms.

    network: the backend alone, copies of what it returns included; total: `Extractor.extract`. floor: of the chip.
    """

    name: str
    network_p50: float
    network_p99: float
    total_p50: float
    total_p99: float
    floor: float | None = None

    @property
    def cells(self) -> list[str]:
        """Below HEADER."""
        times = (self.network_p50, self.network_p99, self.total_p50, self.total_p99)
        floor = [f"{self.floor:.4f}", f"{self.network_p50 / self.floor:.1f}"] if self.floor else ["", ""]
        return [self.name, *(f"{value:.2f}" for value in times), *floor]


class HostChoice:
    """A backend whose keypoints are chosen here, whatever it could do itself."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def info(self) -> ModelInfo:
        return self._backend.info

    @property
    def description(self) -> str:
        return f"{self._backend.description}, keypoints on the host"

    @property
    def images_at_once(self) -> int:
        return self._backend.images_at_once

    def infer(self, gray: Float32) -> DenseOutputs:
        return self._backend.infer(gray)

    def close(self) -> None:
        self._backend.close()


def bench(
    model: Path, height: int, width: int, config: EngineConfig, repeats: int, graphs: bool = True
) -> Iterator[Row]:
    """Rows for ONNX Runtime, then for TensorRT in FP32 and FP16, see `gpu_rows`.

    Raises GpuError, after the first row, where there is no GPU.
    """
    cpu = OnnxRuntimeBackend(model)
    yield row(cpu.description, cpu, height, width, min(repeats, 20))
    cpu.close()
    for precision in ("fp32", "fp16"):
        yield from gpu_rows(model, height, width, replace(config, precision=precision), repeats, graphs)


def gpu_rows(
    model: Path, height: int, width: int, config: EngineConfig, repeats: int, graphs: bool = True
) -> Iterator[Row]:
    """TensorRT with keypoints chosen on the GPU, then on the host, then, if `graphs`, as one CUDA graph."""
    proto = parse_model(read_model_file(model), str(model))
    for cuda_graph in (False, True) if graphs else (False,):
        gpu = TensorRTBackend(model, replace(config, cuda_graph=cuda_graph))
        try:
            floor = chip_of(gpu.device).floor_ms(cost_of(proto, height, width, config.precision))
            yield row(f"{gpu.description}{', CUDA graph' if cuda_graph else ''}", gpu, height, width, repeats, floor)
            if not cuda_graph:
                host = HostChoice(gpu)
                yield row(host.description, host, height, width, repeats, floor)
        finally:
            gpu.close()


def row(name: str, backend: Backend, height: int, width: int, repeats: int, floor: float | None = None) -> Row:
    """Measure a backend on one image. Raises BackendError for no repeats."""
    image, config = bench_image(height, width), ExtractorConfig()
    extractor = Extractor(backend, config)
    gray, _ = extractor.prepare(image)
    alone = partial(backend.detect, gray, config) if isinstance(backend, DetectingBackend) else None
    network = latencies_ms(alone or partial(backend.infer, gray), repeats)
    total = latencies_ms(partial(extractor.extract, image), repeats)
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
