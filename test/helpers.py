"""Tiny synthetic inputs for the tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hfnet_core.features.network.architecture import NetworkSpec, variable_shapes
from hfnet_core.features.network.onnx_graph import build_onnx, save_onnx

TINY_SPEC = NetworkSpec(local_dim=16, global_dim=32, clusters=4, intermediate_dim=8, corner_aligned=False)


def random_variables(spec: NetworkSpec = TINY_SPEC, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Values for every variable of a network, of a size that keeps activations alive."""
    rng = np.random.default_rng(seed)
    values = {}
    for name, shape in variable_shapes(spec).items():
        leaf = name.rsplit("/", 1)[-1]
        if leaf in ("moving_variance", "gamma"):
            value = rng.uniform(0.5, 1.5, shape)
        elif leaf in ("moving_mean", "beta", "biases"):
            value = rng.normal(0.0, 0.1, shape)
        elif leaf == "depthwise_weights":
            value = rng.normal(0.0, np.sqrt(2.0 / 9.0), shape)
        else:
            value = rng.normal(0.0, 0.5 if leaf == "clusters" else np.sqrt(2.0 / np.prod(shape[:-1])), shape)
        values[name] = value.astype(np.float32)
    return values


def tiny_model(tmp_path: Path, seed: int = 0, spec: NetworkSpec = TINY_SPEC, **options: Any) -> Path:
    """An ONNX model with random weights, where only the interface matters. Different seeds have different hashes."""
    given = {"name": "tiny", "version": "0", "licence": "Apache-2.0", "subpixel": True, **options}
    path = tmp_path / f"tiny{seed}.onnx"
    save_onnx(build_onnx(random_variables(spec, seed), spec, **given), path)
    return path


def textured_image(width: int = 160, height: int = 120, seed: int = 0) -> NDArray[np.uint8]:
    """A gray image full of corners: random rectangles over each other."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width), 128, dtype=np.uint8)
    for _ in range(60):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(4, max(width // 4, 5)), rng.integers(4, max(height // 4, 5))
        image[y : y + h, x : x + w] = rng.integers(0, 256)
    return image


def shared_data(*parts: str) -> Path:
    """A path in the development data; skips the test, loudly, where that is not on this machine."""
    default = Path(__file__).resolve().parents[2] / "shared"
    path = Path(os.environ.get("HFNET_SHARED", default)).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"development data not found: {path} (set HFNET_SHARED)")
    return path
