"""Making an engine that may be trusted: built, compared with ONNX Runtime on this machine, and only then kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.config import EngineConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.protocol import Backend, DenseOutputs, check_dense
from hfnet_core.features.backends.tensorrt.building.builder import BuildRequest, build_plan
from hfnet_core.features.backends.tensorrt.building.cache import EngineCache
from hfnet_core.features.backends.tensorrt.building.graphs import is_quantized, parse_model
from hfnet_core.features.backends.tensorrt.device import Device, GpuError, Progress
from hfnet_core.features.backends.tensorrt.engine import LoadedEngine
from hfnet_core.types import Float32

__all__ = ["Agreement", "agreement", "make_engine", "probe_images"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Agreement:
    """How far outputs are from a reference, at worst over all images: cosines of descriptors, difference of scores."""

    local_cosine: float
    global_cosine: float
    score_difference: float

    def within(self, limits: Agreement) -> bool:
        return (
            self.local_cosine >= limits.local_cosine
            and self.global_cosine >= limits.global_cosine
            and self.score_difference <= limits.score_difference
        )

    def __str__(self) -> str:
        return (
            f"lowest cosine of local descriptors {self.local_cosine:.5f}, of global {self.global_cosine:.5f}, "
            f"largest difference of scores {self.score_difference:.2g}"
        )


_LIMITS = {
    "fp32": Agreement(0.9999, 0.9999, 1e-3),
    "fp16": Agreement(0.999, 0.999, 0.02),
    "int8": Agreement(0.9, 0.9, 0.2),  # against the same quantized graph; rounding moves points between VLAD words
}


def probe_images(height: int, width: int) -> list[Float32]:
    """Gray images on which engines have failed before: blank ones, noise, few features, many."""
    rng = np.random.default_rng(0)
    boxes = np.full((height, width), 128.0, np.float32)
    for _ in range(60):
        y, x = rng.integers(0, height), rng.integers(0, width)
        boxes[y : y + rng.integers(4, height // 4 + 5), x : x + rng.integers(4, width // 4 + 5)] = rng.uniform(0, 255)
    blank = [np.full((height, width), value, np.float32) for value in (0.0, 128.0, 255.0)]
    ramp = np.tile(np.linspace(0.0, 255.0, width, dtype=np.float32), (height, 1))
    return [*blank, ramp, rng.uniform(0.0, 255.0, (height, width)).astype(np.float32), boxes]


def agreement(outputs: DenseOutputs, reference: DenseOutputs) -> Agreement:
    """Of one image's outputs with a reference's."""
    return Agreement(
        local_cosine=float((outputs.descriptors * reference.descriptors).sum(axis=2).min()),
        global_cosine=float(outputs.global_descriptor @ reference.global_descriptor),
        score_difference=float(np.abs(outputs.scores - reference.scores).max()),
    )


def make_engine(
    device: Device,
    model: Path,
    cache: EngineCache,
    config: EngineConfig,
    height: int,
    width: int,
    progress: Progress | None = None,
) -> tuple[bytes, Mapping[str, Any]]:
    """Build and check an engine: (plan, facts). Falls back to FP32 with a warning when FP16 is not accurate enough.

    Raises GpuError when TensorRT fails or its numbers stay wrong, BackendError when stopped.
    """
    proto = parse_model(model.read_bytes(), str(model))
    reference = OnnxRuntimeBackend(model)
    try:
        for precision in dict.fromkeys([config.precision, "fp32"]):
            _log.warning(
                "building a TensorRT engine for %dx%d in %s; this takes minutes and is kept in %s",
                width,
                height,
                precision,
                cache.folder,
            )
            started = time.monotonic()
            name = _timings_name(device)
            request = BuildRequest(proto, height, width, precision, config.workspace_mib, cache.side_file(name) or b"")
            plan, timings = build_plan(device, request, progress)
            _keep_timings(cache, name, timings)
            seconds = time.monotonic() - started
            measured, why_not = _check(device, plan, reference, height, width, _kind(proto, precision))
            if why_not is None:
                _log.warning("engine built in %.0f s: %s", seconds, measured)
                return plan, {"precision": precision, "build_s": round(seconds, 1), "agreement": str(measured)}
            _log.warning("the %s engine is not accurate enough: %s", precision, why_not)
    finally:
        reference.close()
    raise GpuError(f"TensorRT {device.trt.__version__} computes other values than ONNX Runtime ({why_not}); not used")


def _kind(proto: Any, precision: str) -> str:
    return "int8" if is_quantized(proto) else precision


def _timings_name(device: Device) -> str:
    major, minor = device.compute_capability
    return f"timings_{device.trt.__version__}_sm{major}{minor}.cache"


def _keep_timings(cache: EngineCache, name: str, timings: bytes) -> None:
    try:
        cache.write_side_file(name, timings)
    except BackendError as error:
        _log.warning("%s", error)


def _check(
    device: Device, plan: bytes, reference: Backend, height: int, width: int, kind: str
) -> tuple[Agreement | None, str | None]:
    """(worst agreement over all probe images, why the engine must not be used)."""
    worst: Agreement | None = None
    engine = LoadedEngine(device, plan, reference.info.spec, height, width, cuda_graph=False)
    try:
        for image in probe_images(height, width):
            outputs = engine.submit(image).result()
            try:
                check_dense(outputs, image, reference.info)
            except BackendError as error:
                return None, str(error)
            found = agreement(outputs, reference.infer(image))
            worst = found if worst is None else _worse(worst, found)
    finally:
        engine.close()
    return worst, None if worst is not None and worst.within(_LIMITS[kind]) else str(worst)


def _worse(first: Agreement, second: Agreement) -> Agreement:
    return Agreement(
        min(first.local_cosine, second.local_cosine),
        min(first.global_cosine, second.global_cosine),
        max(first.score_difference, second.score_difference),
    )
