"""Training that goes on from a model file, whose batch norms are folded into the convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hfnet_core.errors import ModelError
from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.features.network.model_file import Constant, parse_file, read_model_file
from hfnet_core.training.blocks import ConvNorm
from hfnet_core.training.network import HFNet, LocalVladHead, scopes

__all__ = ["load_local_part", "load_vlad"]

_HALF = 10  # TensorProto.FLOAT16, in which a model file may store the last projection
_GRAY_RANGE = 128.0  # a model file divides the first kernel by it, the network in torch the image


def load_local_part(network: HFNet, model: Path, images: Iterable[NDArray[np.uint8]]) -> None:
    """Give layers 1-7 and the local heads the weights of a model file.

    A batch norm that was folded away is put back so that it changes nothing for images like these: its statistics are
    measured on `images` (gray [H, W]), its scale and shift undo them. Raises ModelError for a file of another network.
    """
    stored = parse_file(read_model_file(model), str(model)).constants
    for scope, module in scopes(network):
        inner = module.conv if isinstance(module, ConvNorm) else module
        _copy(inner.weight, stored, f"{scope}/kernel", model)
        bias = module.norm.bias if isinstance(module, ConvNorm) else module.bias
        assert bias is not None
        _copy(bias, stored, f"{scope}/bias", model)
    with torch.no_grad():
        network.stem.conv.weight.mul_(_GRAY_RANGE)
    _measure_norms(network, [module for _, module in scopes(network) if isinstance(module, ConvNorm)], images)


def load_vlad(head: LocalVladHead, model: Path) -> LocalVladHead:
    """The head with what a model file pools its local descriptors by. Raises ModelError for a file of another head."""
    stored = parse_file(read_model_file(model), str(model)).constants
    _copy(head.projection, stored, "global_head/local_vlad/projection", model)
    words = head.words[None].clone()
    _copy(words, stored, "global_head/local_vlad/words", model)
    head.words.copy_(words[0])
    weights = head.reduction.weight.detach().t().contiguous()
    _copy(weights, stored, "global_head/dimensionality_reduction/weights", model)
    with torch.no_grad():
        head.reduction.weight.copy_(weights.t())
    _copy(head.reduction.bias, stored, "global_head/dimensionality_reduction/biases", model)
    return head.eval()


def _copy(into: Tensor, stored: Mapping[str, Constant], name: str, model: Path) -> None:
    if name not in stored:
        raise ModelError(f"{model}: has no {name}: give a model with the layers of HF-Net, as hfnet train writes it")
    shape = tuple(stored[name].shape)
    if shape != tuple(into.shape):
        raise ModelError(f"{model}: {name} has shape {shape}, this network needs {tuple(into.shape)}")
    half = stored[name].data_type == _HALF
    value = torch.frombuffer(bytearray(stored[name].data), dtype=torch.float16 if half else torch.float32)
    with torch.no_grad():
        into.copy_(value.reshape(shape))


@torch.no_grad()
def _measure_norms(network: HFNet, modules: list[ConvNorm], images: Iterable[NDArray[np.uint8]]) -> None:
    """Batch norms that only add their bias so far get the mean and variance of what reaches them, and undo both."""
    moments = [_Moments() for _ in modules]
    for module in modules:
        module.norm.weight.fill_(float(np.sqrt(1.0 + module.norm.eps)))  # the identity, with mean 0 and variance 1
        _set_statistics(module.norm, torch.zeros_like(module.norm.bias), torch.ones_like(module.norm.bias))
    hooks = [module.norm.register_forward_pre_hook(each.add) for module, each in zip(modules, moments, strict=True)]
    network.eval()
    for image in images:
        height, width = (side - side % DETECTOR_CELL for side in image.shape)
        network.local(torch.from_numpy(image[:height, :width].copy())[None, None].float())
    for hook in hooks:
        hook.remove()
    for module, each in zip(modules, moments, strict=True):
        mean, variance = each.mean_and_variance()
        _set_statistics(module.norm, mean, variance)
        module.norm.weight.copy_((variance + module.norm.eps).sqrt())
        module.norm.bias.add_(mean)


def _set_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


class _Moments:
    """Sums over all pixels of all images, of each channel, in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._square = torch.zeros(0, dtype=torch.float64)

    def add(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """A hook before a layer."""
        flat = inputs[0].double().transpose(0, 1).flatten(1)
        total, square = flat.sum(dim=1), (flat**2).sum(dim=1)
        self._sum, self._square = (total, square) if not self._count else (self._sum + total, self._square + square)
        self._count += flat.shape[1]

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        if not self._count:
            raise ModelError("training starts from a model with images of its pool; there are none")
        mean = self._sum / self._count
        return mean.float(), (self._square / self._count - mean**2).clamp_min(0.0).float()
