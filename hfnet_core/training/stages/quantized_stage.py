"""A finish for INT8: layers 1-7 and the local heads learn to compute rounded what they compute now in full.

Rounding is that of `hfnet engine quantize`: one symmetric scale for each convolution's input, one for each output
channel of its weights; `EXACT_CONVOLUTIONS` and the last of the detector are left alone. Gradients pass through it as
if it were not there.

Source: Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
CVPR 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils.data import Dataset

from hfnet_core.features.network.architecture import EXACT_CONVOLUTIONS
from hfnet_core.training.blocks import ConvNorm
from hfnet_core.training.data.local_data import LocalBatch, LocalBatches, LocalDataSettings, LocalSources
from hfnet_core.training.data.pool import Pool, read_gray
from hfnet_core.training.network import HFNet, LocalMaps, scopes
from hfnet_core.training.stages.loop import Learned

__all__ = ["QuantizedStage"]

_EXACT = (*EXACT_CONVOLUTIONS, "local_head/detector/Conv_1")  # the softmax follows the last
_LEVELS = 127.0
_PERCENTILE = 99.99  # as in `engine_tools.quantization`
_MEASURED = 40  # photos on which the ranges of inputs are measured
_SAMPLED = 1 << 20  # values of an input that a percentile is taken of
_WORST = 0.01  # share of the descriptors that count once more


class QuantizedStage:
    """Distillation of the network as it comes into the same network rounded. Batch norms keep their statistics, with
    which they are folded into the convolutions."""

    name = "quantized"
    tasks = 0
    modules: tuple[str, ...] = ("stem", "shallow", "descriptor", "detector")

    def __init__(self, sources: LocalSources, data: LocalDataSettings | None = None) -> None:
        self.sources, self.data = sources, data or LocalDataSettings()
        self._exact: HFNet | None = None
        self._ranges: list[float] = []

    def prepare(self, network: HFNet) -> list[nn.Parameter]:
        network.eval()
        network.requires_grad_(False)
        self._exact = copy.deepcopy(network)
        self._ranges = _input_ranges(network, self.sources.pool)
        trained = [parameter for name in self.modules for parameter in network.get_submodule(name).parameters()]
        for parameter in trained:
            parameter.requires_grad_(True)
        return trained

    def batches(self, seed: int, length: int) -> Dataset[LocalBatch]:
        return LocalBatches(self.sources, self.data, seed, length)

    def loss(self, network: HFNet, learned: Learned, batch: LocalBatch) -> tuple[Tensor, dict[str, float]]:
        assert self._exact is not None
        images = batch.images.float().contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            exact = self._exact.local(images)
        rounded = self.rounded(network, images)
        with torch.autocast(images.device.type, enabled=False):
            lost = 1.0 - (rounded.descriptors.float() * exact.descriptors.float()).sum(dim=1).flatten()
            worst = lost.topk(max(round(_WORST * len(lost)), 1)).values
            target = exact.logits.float().log_softmax(dim=1)
            detector = functional.kl_div(
                rounded.logits.float().log_softmax(dim=1), target, reduction="none", log_target=True
            )
            keypoints = detector.sum(dim=1).mean()
            total = lost.mean() + worst.mean() + keypoints
        return total, {
            "lost": float(lost.detach().mean()),
            "worst": float(worst.detach().min()),
            "keypoints": float(keypoints.detach()),
        }

    def state(self) -> dict[str, Any]:
        """Nothing: the network as it came is what the stages before left."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on; nothing was remembered."""

    def rounded(self, network: HFNet, images: Tensor) -> LocalMaps:
        """What the network gives with inputs and weights of its convolutions rounded to eight bits."""
        local = _Local(network)
        weights = {
            f"network.{name}": _round_channels(parameter)
            for name, parameter in network.named_parameters()
            if name in _rounded_weights(network)
        }
        with _rounded_inputs(network, self._ranges):
            found: LocalMaps = functional_call(local, weights, (images,))
        return found


class _Local(nn.Module):
    """The local part of a network as a module."""

    def __init__(self, network: HFNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> LocalMaps:
        return self.network.local(images)


def _convolutions(network: HFNet) -> list[ConvNorm | nn.Conv2d]:
    """Those that are rounded, by the names of a model file."""
    return [module for scope, module in scopes(network) if scope not in _EXACT]


def _rounded_weights(network: HFNet) -> set[str]:
    chosen = {id(module.conv if isinstance(module, ConvNorm) else module) for module in _convolutions(network)}
    return {f"{name}.weight" for name, module in network.named_modules() if id(module) in chosen}


@contextmanager
def _rounded_inputs(network: HFNet, ranges: list[float]) -> Iterator[None]:
    def rounding(largest: float) -> Any:
        return lambda _, inputs: (_round(inputs[0], torch.as_tensor(largest / _LEVELS)),)

    hooks = [
        module.register_forward_pre_hook(rounding(largest))
        for module, largest in zip(_convolutions(network), ranges, strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _input_ranges(network: HFNet, pool: Pool) -> list[float]:
    """The largest absolute value that each convolution's input needs, over photos of the pool."""
    modules = _convolutions(network)
    ranges = [1e-6] * len(modules)

    def measuring(index: int) -> Any:
        def measure(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].abs().flatten()
            values = values[:: max(len(values) // _SAMPLED, 1)]
            ranges[index] = max(ranges[index], float(values.kthvalue(_rank(len(values))).values))

        return measure

    hooks = [module.register_forward_pre_hook(measuring(index)) for index, module in enumerate(modules)]
    device = network.stem.conv.weight.device
    for photo in pool.photos[:: max(len(pool.photos) // _MEASURED, 1)]:
        image = read_gray(photo.path)
        height, width = (side - side % 8 for side in image.shape)
        network.local(torch.from_numpy(image[:height, :width].copy())[None, None].float().to(device))
    for hook in hooks:
        hook.remove()
    return ranges


def _rank(count: int) -> int:
    return min(max(round(_PERCENTILE / 100 * count), 1), count)


def _round_channels(weight: Tensor) -> Tensor:
    """One scale for each output channel; a batch norm behind it changes only the scale."""
    largest = weight.detach().abs().flatten(1).amax(dim=1).clamp_min(1e-6)
    return _round(weight, (largest / _LEVELS).reshape(-1, *[1] * (weight.ndim - 1)))


def _round(values: Tensor, scale: Tensor) -> Tensor:
    """To whole multiples of `scale`, at most 127 either way; its gradient is that of the bound alone."""
    bounded = (values / scale).clamp(-_LEVELS, _LEVELS)
    return (bounded + (bounded.round() - bounded).detach()) * scale
