"""The contract of every backend (test_backend.py), on TensorRT's code path over the stand-in runtime."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest
from helpers import tiny_model

from hfnet_core.config import EngineConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.backends.protocol import Backend
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
from hfnet_core.features.backends.tensorrt.fallback import FallbackBackend

_spec = importlib.util.spec_from_file_location("backend_contract", Path(__file__).with_name("test_backend.py"))
assert _spec is not None and _spec.loader is not None
_contract = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_contract)
for _name, _test in vars(_contract).items():
    if _name.startswith("test_") and "backend" in inspect.signature(_test).parameters:
        globals()[_name] = _test

KINDS = [
    pytest.param(version, kind, precision, id=f"{kind}-{version}-{precision}")
    for version, kind, precision in (
        ("8.6.1", "tensorrt", "fp16"),
        ("10.3.0", "tensorrt", "fp32"),
        ("10.3.0", "tensorrt", "fp16"),
        ("11.4.0.106", "tensorrt", "fp16"),
        ("10.3.0", "auto", "fp16"),
    )
]


@pytest.fixture
def backend(gpu: Any, kind: str, precision: str, tmp_path: Path) -> Backend:
    opened = open_backend(tiny_model(tmp_path), kind, threads=1, engine=EngineConfig(precision=precision))
    assert isinstance(opened, TensorRTBackend if kind == "tensorrt" else FallbackBackend)
    return opened


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize(("gpu", "kind", "precision"), KINDS, indirect=["gpu"])
