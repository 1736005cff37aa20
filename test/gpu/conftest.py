"""A real GPU with TensorRT, or a loud skip. Engines are kept for the whole run, so that each is built once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hfnet_core.config import EngineConfig
from hfnet_core.features.backends.tensorrt.device import Device, GpuError, open_device, release_devices


@pytest.fixture(scope="session")
def device() -> Iterator[Device]:
    try:
        yield open_device(0)
    except GpuError as error:
        pytest.skip(f"NOT MEASURED, no GPU here: {error}")
    release_devices()


@pytest.fixture(scope="session")
def settings(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`settings(**changes)` makes an EngineConfig with the run's cache."""
    shared = os.environ.get("HFNET_GPU_CACHE")  # run.py has built engines of the shipped model there
    folder = (Path(shared) if shared else tmp_path_factory.mktemp("engines")) / "engines"

    def make(**changes: Any) -> EngineConfig:
        return EngineConfig(**{"cache_dir": str(folder), "precision": "fp32", **changes})

    make.folder = Path(folder)  # type: ignore[attr-defined]
    return make
