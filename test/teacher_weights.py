"""Random weights in the layouts of SuperPoint's and NetVLAD's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hfnet_core.training.teachers.teacher_files import NetVladSizes

__all__ = ["SMALL", "random_weights", "save_pth"]

SMALL = NetVladSizes(((4, 5), (6, 6), (7, 7, 7), (8, 8, 8), (9, 9, 9)), clusters=3, dim=10)


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, np.sqrt(2 / max(np.prod(shape[1:]), 8)), shape).astype(np.float32)
            for name, shape in shapes.items()}  # fmt: skip


def save_pth(path: Path, weights: dict[str, np.ndarray], **options: Any) -> Path:
    torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, path, **options)
    return path
