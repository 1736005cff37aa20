"""Weights before the first step of the paper's recipe: random as its authors drew them, or from somebody's checkpoint.

Kernels are drawn from a normal distribution truncated at two deviations, VLAD and the last layer after Glorot; nothing
else is random. A TensorFlow checkpoint of MobileNetV2 (0.75, 224, trained on ImageNet) fills every variable that has
its name and shape, as in the paper; so does one of HF-Net.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from hfnet_core.errors import ModelError
from hfnet_core.features.network.tensorflow_checkpoint import TensorFlowCheckpoint, checkpoint_prefix
from hfnet_core.training.checkpoint import load_checkpoint
from hfnet_core.training.network import GlobalHead, HFNet

__all__ = ["draw_weights", "start_from"]

_KERNEL_DEVIATION = 0.09


@torch.no_grad()
def draw_weights(network: HFNet, seed: int) -> None:
    """Random weights of a network that pools layer 18; the same seed draws the same."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            _truncated_normal(module.weight, generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    head: GlobalHead = network.deep_head
    _glorot(head.memberships.weight, generator)
    _glorot(head.clusters, generator)
    _glorot(head.reduction.weight, generator)
    head.reduction.bias.zero_()


def _truncated_normal(values: Tensor, generator: torch.Generator) -> None:
    """By the inverse of the distribution: uniform numbers within what two deviations hold."""
    values.uniform_(-1, 1, generator=generator).mul_(math.erf(2**0.5)).erfinv_().mul_(2**0.5 * _KERNEL_DEVIATION)


def _glorot(values: Tensor, generator: torch.Generator) -> None:
    """Uniform within sqrt(6 / (inputs + outputs)), whatever else the shape has being 1."""
    values.uniform_(-1, 1, generator=generator).mul_((6 / (values.shape[0] + values.shape[1])) ** 0.5)


def start_from(network: HFNet, source: Path) -> int:
    """Take variables from a checkpoint of ours (.pt) or TensorFlow's; returns how many were taken.

    Raises ModelError where the file cannot be read, or no variable has name and shape of one of the network's.
    """
    variables, taken = network.variables(), 0
    if source.suffix == ".pt":
        found = load_checkpoint(source).build_network().variables()
        usable = {name: value for name, value in found.items() if name in variables}
    else:
        checkpoint = TensorFlowCheckpoint(checkpoint_prefix(source))
        names = variables.keys() & set(checkpoint.names())
        usable = {name: checkpoint.read(name) for name in names if checkpoint.shape(name) == variables[name].shape}
    for name, value in usable.items():
        if value.shape == variables[name].shape:
            variables[name] = value
            taken += 1
    if not taken:
        raise ModelError(
            f"{source}: no variable in it has name and shape of one of the network's; give another --start"
        )
    network.load_variables(variables)
    return taken
