"""The layers that the network is made of, with TensorFlow's padding."""

from __future__ import annotations

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
        padding = 0
        if self.kernel == 3:
            if self.stride == 1:
                padding = 1
            else:
                height, width = x.shape[-2:]
                x = functional.pad(x, (*same_padding(width, self.stride), *same_padding(height, self.stride)))
        x = functional.conv2d(x, self.conv.weight, None, self.stride, padding, 1, self.conv.groups)
        x = self.norm(x)
        return functional.relu6(x) if self.relu else x


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
