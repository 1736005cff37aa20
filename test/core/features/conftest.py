"""A GPU made of software: stand-ins of tensorrt and pycuda (see tensorrt_standin/), fresh for each test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

STANDIN = Path(__file__).parent / "tensorrt_standin"


def forget_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """`.trt` and `.driver`, the stand-ins, and `.folder`, the engine cache.

    Parametrise indirectly with a TensorRT version. Afterwards nothing may be left on the GPU.
    """
    from hfnet_core.features.backends.tensorrt import device

    monkeypatch.setenv("HFNET_STANDIN_TENSORRT", getattr(request, "param", "10.3.0"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(STANDIN))
    forget_modules(monkeypatch)
    driver = importlib.import_module("pycuda.driver")
    yield SimpleNamespace(
        trt=importlib.import_module("tensorrt"), driver=driver, folder=tmp_path / "cache" / "hfnet_ros" / "engines"
    )
    driver.faults.clear()
    device.release_devices()
    assert driver.contexts_here() == 0
    assert (driver.allocated_bytes(), driver.pinned_arrays()) == (0, 0)
    forget_modules(monkeypatch)
