"""One way to run the network, whatever runtime does it."""

from __future__ import annotations

import logging
from pathlib import Path

from hfnet_core.config import BACKENDS, EngineConfig, ExtractorConfig
from hfnet_core.errors import ConfigError, HFNetError
from hfnet_core.features.backends.kinds import open_kind, with_precision
from hfnet_core.features.backends.protocol import Backend
from hfnet_core.features.backends.tuning import REFERENCE

__all__ = ["DEFAULT_MODEL", "open_backend"]

_log = logging.getLogger(__name__)

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
    where a GPU works, and behind it, or alone, what was measured to be the fastest here (see tuning.py), ONNX Runtime
    where nothing was; it logs which and why. threads: CPU threads per image, 0 for one per core. engine: how TensorRT
    or OpenVINO are used; without it "auto" goes by no measurement, so that tools compute the same on every processor.
    extraction: the limits within which TensorRT chooses keypoints itself; beyond them it works too, slower. Raises
    ModelError for a file that cannot be used, BackendError for a runtime that is not available, ConfigError for an
    unknown kind or number of threads.
    """
    if kind not in BACKENDS:
        raise ConfigError(f"backend: {kind!r} is not one of {', '.join(BACKENDS)}")
    if threads < 0:
        raise ConfigError(f"threads: {threads} is negative; use 0 for one per core")
    path = DEFAULT_MODEL if model is None else Path(model)
    if kind != "auto":
        return open_kind(kind, path, threads, engine, extraction)
    cpu = open_kind("onnxruntime", path, threads) if engine is None else _quickest_on_cpu(path, threads, engine)
    from hfnet_core.features.backends.tensorrt.fallback import with_gpu

    return with_gpu(cpu, path, engine, extraction)


def _quickest_on_cpu(path: Path, threads: int, engine: EngineConfig) -> Backend:
    """What `hfnet engine tune` or a node found to be best here, ONNX Runtime where nobody has measured."""
    from hfnet_core.features.backends.verdicts import look_up

    reference = open_kind("onnxruntime", path, threads)  # refuses what is not ours
    found = look_up(path, engine, threads)
    if found is None or found[0] == REFERENCE:
        return reference
    candidate, measured = found
    try:
        backend = open_kind(candidate.kind, path, threads, with_precision(engine, candidate.precision))
    except HFNetError as error:
        _log.warning("%s was the fastest here, but does not start: %s", candidate.kind, error)
        return reference
    reference.close()
    _log.info("%s was the fastest here (%s)", backend.description, measured)
    return backend
