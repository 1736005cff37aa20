"""What was measured on this machine, on disk: for which processor, runtimes and model, and which one won."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from hfnet_core.config import EngineConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.onnxruntime_backend import available_cores
from hfnet_core.features.backends.tensorrt.building.cache import EngineCache, default_folder
from hfnet_core.features.backends.tuning import Candidate, Measured, fastest
from hfnet_core.files import home_path

__all__ = ["folder_of", "keep", "look_up"]

_log = logging.getLogger(__name__)
_FORMAT = 1
_RUNTIMES = ("onnxruntime", "openvino")


def folder_of(engine: EngineConfig) -> Path:
    return home_path(engine.cache_dir) if engine.cache_dir else default_folder()


def keep(rows: Sequence[Measured], model: Path, engine: EngineConfig, threads: int) -> Measured:
    """Remember the winner for this machine and model, and return it. Raises BackendError for an unusable folder."""
    best = fastest(rows)
    record = {
        "format": _FORMAT,
        "kind": best.candidate.kind,
        "precision": best.candidate.precision,
        "milliseconds": {row.description: round(row.milliseconds, 2) for row in rows if row.problem is None},
    }
    cache = EngineCache(folder_of(engine))
    cache.write_side_file(_name(model, engine, threads), json.dumps(record, indent=1).encode())
    return best


def look_up(model: Path, engine: EngineConfig, threads: int) -> tuple[Candidate, str] | None:
    """The winner and what was measured, for people; None where nothing was, or it cannot be read."""
    folder = folder_of(engine)
    if not folder.is_dir():
        return None
    try:
        content = EngineCache(folder).side_file(_name(model, engine, threads))
    except BackendError as error:  # measured or not, the CPU serves
        _log.warning("%s; what was measured there is not used", error)
        return None
    if content is None:
        return None
    try:
        record = json.loads(content)
        if record["format"] != _FORMAT:
            return None
        times = {str(name): float(value) for name, value in record["milliseconds"].items()}
        candidate = Candidate(str(record["kind"]), str(record["precision"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning(
            "%s: what was measured there cannot be read (%s); `hfnet engine tune` measures again", folder, error
        )
        return None
    return candidate, ", ".join(f"{name} {value:.1f} ms" for name, value in times.items())


def _name(model: Path, engine: EngineConfig, threads: int) -> str:
    """The file's name, from all that the times depend on."""
    versions = [f"{name} {_version(name)}" for name in _RUNTIMES]
    parts = [_processor(), str(threads or available_cores()), *versions, engine.precision]
    digest = hashlib.sha256("\n".join(parts).encode() + b"\n" + model.read_bytes()).hexdigest()
    return f"runtime_{digest[:24]}.json"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _processor() -> str:
    """Architecture, name and features, as far as the system tells."""
    told = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{told} {platform.processor()} {os.cpu_count()}"
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part", "Hardware")
    found = {name: value for name, _, value in (line.partition(":") for line in lines) if name.strip() in wanted}
    return f"{told} {sorted(found.items())}"
