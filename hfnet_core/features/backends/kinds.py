"""The runtimes by name. Each is imported only where it is wanted, so that its libraries need not be there otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hfnet_core.config import EngineConfig, ExtractorConfig
from hfnet_core.errors import ConfigError
from hfnet_core.features.backends.protocol import Backend

__all__ = ["open_kind", "with_precision"]


def open_kind(
    kind: str,
    path: Path,
    threads: int = 0,
    engine: EngineConfig | None = None,
    extraction: ExtractorConfig | None = None,
) -> Backend:
    """A backend of one kind, "auto" aside; see `open_backend` for the rest. Raises ConfigError for an unknown kind."""
    if kind == "tensorrt":
        from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend

        return TensorRTBackend(path, engine, extraction)
    if kind == "openvino":
        from hfnet_core.features.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(path, threads, engine)
    if kind == "onnxruntime":
        from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, threads)
    raise ConfigError(f"backend: {kind!r} is not one of onnxruntime, openvino, tensorrt")


def with_precision(engine: EngineConfig | None, precision: str) -> EngineConfig:
    return replace(engine or EngineConfig(), precision=precision)
