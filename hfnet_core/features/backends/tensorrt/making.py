"""Making an engine that may be trusted: built, compared with ONNX Runtime on this machine, and only then kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfnet_core.config import EngineConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.tensorrt.building.builder import BuildRequest, build_plan
from hfnet_core.features.backends.tensorrt.building.cache import EngineCache
from hfnet_core.features.backends.tensorrt.building.graphs import is_quantized, parse_model
from hfnet_core.features.backends.tensorrt.checking import check_engine
from hfnet_core.features.backends.tensorrt.device import Device, GpuError, Progress
from hfnet_core.features.network.selection import Selection
from hfnet_core.features.network.selection_graph import with_selection

__all__ = ["Wanted", "make_engine"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """The engine to be made: of which model, how, and what it chooses in images of which size."""

    model: Path
    config: EngineConfig
    selection: Selection


def make_engine(
    device: Device, wanted: Wanted, cache: EngineCache, progress: Progress | None = None
) -> tuple[bytes, Mapping[str, Any]]:
    """Build and check an engine: (plan, facts). Falls back to FP32 with a warning when FP16 is not accurate enough.

    Raises GpuError when TensorRT fails or its numbers stay wrong, BackendError when stopped.
    """
    reference = OnnxRuntimeBackend(wanted.model)
    height, width = wanted.selection.height, wanted.selection.width
    proto = parse_model(wanted.model.read_bytes(), str(wanted.model))
    try:
        proto = with_selection(proto, reference.info, wanted.selection)
        for precision in dict.fromkeys([wanted.config.precision, "fp32"]):
            _log.warning(
                "building a TensorRT engine for %dx%d in %s; this takes minutes and is kept in %s",
                width,
                height,
                precision,
                cache.folder,
            )
            started = time.monotonic()
            name = _timings_name(device)
            timings = cache.side_file(name) or b""
            request = BuildRequest(proto, height, width, precision, wanted.config.workspace_mib, timings)
            plan, timings = build_plan(device, request, progress)
            _keep_timings(cache, name, timings)
            seconds = time.monotonic() - started
            measured, why_not = check_engine(device, plan, reference, wanted.selection, _kind(proto, precision))
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
