"""The stand-in runtime has no member that the real TensorRT of its version lacks.

interfaces.json holds the members, and parameter names where a method has one signature, of TensorRT's Python bindings
8.6.1, 10.3.0, 10.13.3.9 and 11.4.0.106, read from NVIDIA's wheels. What runs on the stand-in therefore calls nothing
that is not there, which is how "one code for all versions" is checked without a GPU.
"""

from __future__ import annotations

import ast
import enum
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

INTERFACES = json.loads((Path(__file__).parent / "tensorrt_standin" / "interfaces.json").read_text())
# What the stand-in adds for itself or its tests; nothing in hfnet_core may use these (checked below).
OWN = {
    "ITensor": set(),
    "ILayer": set(),
    "INetworkDefinition": {"strong", "graph", "layers"},
    "ICudaEngine": {"session", "logger", "shapes"},
    "IBuilderConfig": {"flags_set", "pools"},
    "ITimingCache": {"content"},
}


def members(cls: type, instance: Any = None) -> set[str]:
    names = set(vars(cls)) | (set(vars(instance)) if instance is not None else set())
    return {name for name in names if not name.startswith("_")}


def instances(trt: Any, driver: Any) -> dict[str, Any]:
    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    logger = trt.ILogger()
    network = trt.INetworkDefinition(1, logger)
    found = {
        "ITensor": trt.ITensor("x", trt.DataType.FLOAT),
        "ILayer": trt.ILayer("x", trt.LayerType.CONSTANT, []),
        "INetworkDefinition": network,
        "IBuilderConfig": trt.IBuilderConfig(),
        "ITimingCache": trt.ITimingCache(b""),
    }
    context.pop()
    return found


@pytest.mark.parametrize("gpu", sorted(INTERFACES), indirect=True)
def test_the_standin_is_a_part_of_the_real_interface(gpu: Any) -> None:
    real = INTERFACES[gpu.trt.__version__]
    made = instances(gpu.trt, gpu.driver)
    classes = {n: c for n, c in vars(gpu.trt).items() if inspect.isclass(c) and c.__module__ == gpu.trt.__name__}
    assert len(classes) > 15
    for name, cls in classes.items():
        assert name in real or name == "Severity", f"TensorRT {gpu.trt.__version__} has no {name}"
        if name in real:
            extra = members(cls, made.get(name)) - set(real[name]) - OWN.get(name, set())
            assert not extra, f"{name} of TensorRT {gpu.trt.__version__} has no {sorted(extra)}"


@pytest.mark.parametrize("gpu", sorted(INTERFACES), indirect=True)
def test_parameters_have_the_real_names(gpu: Any) -> None:
    checked = 0
    for name, methods in INTERFACES[gpu.trt.__version__].items():
        cls = getattr(gpu.trt, name, None)
        if cls is None or issubclass(cls, enum.Enum):
            continue
        for method, parameters in methods.items():
            if isinstance(parameters, list) and inspect.isfunction(vars(cls).get(method)):
                ours = list(inspect.signature(vars(cls)[method]).parameters)[1:]
                assert parameters[: len(ours)] == ours, f"{name}.{method}"
                checked += 1
    assert checked >= 15


def test_the_versions_differ_where_the_code_must() -> None:
    flags = {version: set(real["BuilderFlag"]) for version, real in INTERFACES.items()}
    assert "FP16" in flags["8.6.1"] & flags["10.3.0"]
    assert "FP16" not in flags["11.4.0.106"]
    assert all("TF32" in found for found in flags.values())
    creation = {version: set(real["NetworkDefinitionCreationFlag"]) for version, real in INTERFACES.items()}
    assert "STRONGLY_TYPED" not in creation["8.6.1"]
    assert "EXPLICIT_BATCH" not in creation["11.4.0.106"]


def test_the_code_uses_nothing_the_standin_made_up() -> None:
    own = set().union(*OWN.values()) - {"graph", "logger"}  # attributes of our own classes too
    own |= {"build_fails", "wrong_by", "context_fails", "run_fails", "require_context", "stream_at", "allocated_bytes"}
    features = Path(__file__).parents[3] / "hfnet_core" / "features"
    for path in (*features.glob("backends/tensorrt/**/*.py"), *features.glob("engine_tools/*.py")):
        used = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not used & own, path
