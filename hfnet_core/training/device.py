"""Where training computes."""

from __future__ import annotations

import torch

from hfnet_core.errors import ConfigError

__all__ = ["chosen_device"]


def chosen_device(asked: str) -> str:
    """cpu or cuda, where auto is the GPU if there is one. Raises ConfigError where torch cannot use one."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ConfigError("device: cuda, but torch finds no GPU; give cpu, or install torch for CUDA")
    return "cuda" if there and asked != "cpu" else "cpu"
