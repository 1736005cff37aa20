"""One way to run the network, whatever runtime does it."""

from __future__ import annotations

from pathlib import Path

from hfnet_core.config import BACKENDS, EngineConfig, ExtractorConfig
from hfnet_core.errors import ConfigError
from hfnet_core.features.backends.protocol import Backend

__all__ = ["DEFAULT_MODEL", "open_backend"]

DEFAULT_MODEL = Path(__file__).resolve().parents[2] / "models" / "hfnet.onnx"


def open_backend(
    model: Path | None = None,
    kind: str = "auto",
    threads: int = 0,
    engine: EngineConfig | None = None,
    extraction: ExtractorConfig | None = None,
) -> Backend:
    """Load a network.

    model: an ONNX file with our metadata; None for the one that ships. kind: one of BACKENDS; "auto" takes TensorRT
    with ONNX Runtime behind it where a GPU works, else ONNX Runtime, and logs which and why. threads: CPU threads per
    image, 0 for one per core. engine: how TensorRT or OpenVINO are used. extraction: the limits within which TensorRT
    chooses keypoints itself; beyond them it works too, slower. Raises ModelError for a file that cannot be used,
    BackendError for a runtime that is not available, ConfigError for an unknown kind or number of threads.
    """
    if kind not in BACKENDS:
        raise ConfigError(f"backend: {kind!r} is not one of {', '.join(BACKENDS)}")
    if threads < 0:
        raise ConfigError(f"threads: {threads} is negative; use 0 for one per core")
    path = DEFAULT_MODEL if model is None else Path(model)
    # Each backend is imported only where it is wanted, so that its libraries need not be there otherwise.
    if kind == "tensorrt":
        from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend

        return TensorRTBackend(path, engine, extraction)
    if kind == "openvino":
        from hfnet_core.features.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(path, threads, engine)
    from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend

    cpu = OnnxRuntimeBackend(path, threads)
    if kind == "onnxruntime":
        return cpu
    from hfnet_core.features.backends.tensorrt.fallback import with_gpu

    return with_gpu(cpu, path, engine, extraction)
