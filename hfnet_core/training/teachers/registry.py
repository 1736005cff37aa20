"""The one table of teachers of the paper's recipe, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hfnet_core.errors import ConfigError
from hfnet_core.training.teachers.own_network import CheckpointTeacher, NetworkTeacher
from hfnet_core.training.teachers.targets import FullTeacher, GlobalTeacher, LocalTeacher, PairedTeacher
from hfnet_core.training.teachers.teachers_external import NetVlad, SuperPoint

__all__ = ["GLOBAL_TEACHERS", "LOCAL_TEACHERS", "open_teacher"]


def _own(weights: Path | None, device: str) -> NetworkTeacher | CheckpointTeacher:
    if weights is not None and weights.suffix == ".pt":
        return CheckpointTeacher(weights, device)
    return NetworkTeacher(weights, "auto" if device == "cuda" else "onnxruntime")


def _superpoint(weights: Path | None, device: str) -> SuperPoint:
    return SuperPoint(_given("superpoint", weights), device=device)


def _netvlad(weights: Path | None, device: str) -> NetVlad:
    return NetVlad(_given("netvlad", weights), device=device)


def _given(name: str, weights: Path | None) -> Path:
    if weights is None:
        raise ConfigError(f"teacher {name} needs its weights, which come with nothing: give {name}=FILE")
    return weights


LOCAL_TEACHERS: Mapping[str, Callable[[Path | None, str], LocalTeacher]] = {"superpoint": _superpoint, "hfnet": _own}
GLOBAL_TEACHERS: Mapping[str, Callable[[Path | None, str], GlobalTeacher]] = {"netvlad": _netvlad, "hfnet": _own}


def open_teacher(local: str, global_teacher: str, device: str = "cpu") -> FullTeacher:
    """The teacher that two texts NAME or NAME=WEIGHTS mean, which run on `device`.

    `hfnet` is a network of ours: an ONNX model, a checkpoint .pt of a former run, or without a file the one that
    ships. Raises ConfigError for a name that is not known or lacks its weights, ModelError for weights that do not fit.
    """
    (local_name, local_file), (global_name, global_file) = _named(local), _named(global_teacher)
    for what, name, known in (("local", local_name, LOCAL_TEACHERS), ("global", global_name, GLOBAL_TEACHERS)):
        if name not in known:
            raise ConfigError(f"{what} teacher {name!r} is not known; give {' or '.join(known)} (NAME=WEIGHTS)")
    if local == global_teacher:
        return _own(local_file, device)  # the only name in both tables: one pass makes all targets
    return PairedTeacher(
        LOCAL_TEACHERS[local_name](local_file, device), GLOBAL_TEACHERS[global_name](global_file, device)
    )


def _named(text: str) -> tuple[str, Path | None]:
    name, equals, file = text.partition("=")
    return name, Path(file) if equals else None
