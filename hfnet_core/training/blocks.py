"""The layers that the network is made of, with TensorFlow's padding."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfnet_core.features.network.architecture import (
    BATCH_NORM_EPSILON,
    Block,
)

__all__ = ["BATCH_NORM_MOMENTUM", "ConvHead", "ConvNorm", "InvertedResidual", "same_padding"]


BATCH_NORM_MOMENTUM = 0.03  # torch's sense: weight of the new batch; the release used 0.003, far longer training


def same_padding(size: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    return total // 2, total - total // 2


class _HalvingDepthwise(torch.autograd.Function):
    """A depthwise 3x3 convolution of stride 2 (SAME padding, even sides) whose gradients are those of stride 1.

    On CPUs gradients of strided depthwise convolutions were half of a training step's time; those of stride 1, with
    zeros between what came from above, take a third of that.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(functional.pad(x, (0, 1, 0, 1)), weight, stride=2, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        spread = torch.zeros_like(x)
        spread[:, :, 1::2, 1::2] = above
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            spread, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], x.shape[1], [True, True, False]
        )
        return of_x, of_weight


class ConvNorm(nn.Module):
    """3x3 or 1x1 convolution without bias (SAME padding), batch norm, optional ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, depthwise: bool = False, relu: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.kernel, self.relu = stride, kernel, relu
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=inputs if depthwise else 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out" if not depthwise else "fan_in", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self._convolved(x))
        return functional.relu6(x) if self.relu else x

    def _convolved(self, x: Tensor) -> Tensor:
        weight, groups = self.conv.weight, self.conv.groups
        if self.kernel != 3 or self.stride == 1:
            return functional.conv2d(x, weight, None, self.stride, self.kernel // 2, 1, groups)
        height, width = x.shape[-2:]
        even = height % 2 == 0 and width % 2 == 0
        if groups > 1 and self.stride == 2 and even and x.device.type == "cpu" and torch.is_grad_enabled():
            if torch.is_autocast_enabled("cpu"):
                x, weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
            halved: Tensor = cast(Any, _HalvingDepthwise).apply(x, weight)
            return halved
        x = functional.pad(x, (*same_padding(width, self.stride), *same_padding(height, self.stride)))
        return functional.conv2d(x, weight, None, self.stride, 0, 1, groups)


class InvertedResidual(nn.Module):
    def __init__(self, block: Block) -> None:
        super().__init__()
        self.residual = block.is_residual
        self.expand = ConvNorm(block.inputs, block.expanded, 1) if block.has_expand else None
        self.depthwise = ConvNorm(block.expanded, block.expanded, 3, block.stride, depthwise=True)
        self.project = ConvNorm(block.expanded, block.outputs, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class ConvHead(nn.Module):
    """3x3 convolution + batch norm + ReLU6, then a 1x1 convolution with bias."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.hidden = ConvNorm(inputs, hidden, 3)
        self.output = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.hidden(x))
        return result
