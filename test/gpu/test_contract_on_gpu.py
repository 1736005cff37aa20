"""The contract of every backend (../core/features/test_backend.py) on the real runtime."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest
from helpers import tiny_model

from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.backends.protocol import Backend

_source = Path(__file__).parents[1] / "core" / "features" / "test_backend.py"
_spec = importlib.util.spec_from_file_location("backend_contract_gpu", _source)
assert _spec is not None and _spec.loader is not None
_contract = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_contract)
for _name, _test in vars(_contract).items():
    if _name.startswith("test_") and "backend" in inspect.signature(_test).parameters:
        globals()[_name] = pytest.mark.timeout(1800)(_test)


@pytest.fixture(params=["fp32", "fp16"])
def backend(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Any:
    opened: Backend = open_backend(tiny_model(tmp_path), "tensorrt", engine=settings(precision=request.param))
    yield opened
    opened.close()
