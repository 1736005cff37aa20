"""HF-Net in torch: the same table of layers, names and arithmetic as the released TensorFlow graph.

Source: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large Scale", CVPR 2019. Input is
[N, 1, H, W] float gray 0..255 with H, W multiples of 8. TensorFlow's SAME padding is reproduced for every size:
with stride 2 an even side is padded (0, 1), an odd side (1, 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hfnet_core.errors import ConfigError, ModelError
from hfnet_core.features.network.architecture import (
    BATCH_NORM_EPSILON,
    DETECTOR_CELL,
    DETECTOR_CHANNELS,
    DETECTOR_CLASSES,
    LAYERS,
    LOCAL_LAYER,
    STEM_CHANNELS,
    WORD_TEMPERATURE,
    NetworkSpec,
    variable_shapes,
)
from hfnet_core.training.blocks import BATCH_NORM_MOMENTUM, ConvHead, ConvNorm, InvertedResidual

__all__ = [
    "GlobalHead",
    "HFNet",
    "LocalMaps",
    "LocalVladHead",
    "channels_last",
    "l2_normalize",
    "sample_descriptors",
    "scopes",
]

_SHARPNESS = 3.0  # gamma of the memberships at the start; 1 leaves assignments almost uniform over 32 clusters
_NORM_FLOOR = 1e-12  # of the squared norm, as in tf.nn.l2_normalize


class LocalMaps(NamedTuple):
    """What layer 7's heads give, at 1/8 of the input's size.

    logits: [N, 65, H/8, W/8]; channel 8 * dy + dx is pixel (dx, dy) of the cell, channel 64 the dustbin.
    descriptors: [N, local_dim, H/8, W/8], unit length over channels.
    """

    logits: Tensor
    descriptors: Tensor


def channels_last(network: HFNet) -> HFNet:
    """The network itself, its kernels stored as convolutions on CPUs are fastest."""
    return cast(HFNet, cast(Any, network).to(memory_format=torch.channels_last))


def l2_normalize(values: Tensor, dim: int) -> Tensor:
    """x * rsqrt(max(sum x^2, 1e-12)) along `dim`, computed in float32."""
    values = values.float()
    return values * values.square().sum(dim, keepdim=True).clamp_min(_NORM_FLOOR).rsqrt()


def sample_descriptors(descriptor_map: Tensor, image_index: Tensor, xy: Tensor) -> Tensor:
    """Unit descriptors [M, D] of a map [N, D, h, w] at pixels `xy` [M, 2] of images `image_index` [M].

    Bilinear at the geometric cell centres, (x - 3.5) / 8; positions beyond the outermost centres take the border's.
    """
    height, width = descriptor_map.shape[-2:]
    column = ((xy[:, 0] - (DETECTOR_CELL - 1) / 2) / DETECTOR_CELL).clamp(0, width - 1)
    row = ((xy[:, 1] - (DETECTOR_CELL - 1) / 2) / DETECTOR_CELL).clamp(0, height - 1)
    left, top = column.floor().clamp_max(max(width - 2, 0)), row.floor().clamp_max(max(height - 2, 0))
    fx, fy = (column - left)[:, None], (row - top)[:, None]
    x0, y0 = left.long(), top.long()
    x1, y1 = (x0 + 1).clamp_max(width - 1), (y0 + 1).clamp_max(height - 1)
    channels_last = descriptor_map.permute(0, 2, 3, 1)
    upper = channels_last[image_index, y0, x0] * (1 - fx) + channels_last[image_index, y0, x1] * fx
    lower = channels_last[image_index, y1, x0] * (1 - fx) + channels_last[image_index, y1, x1] * fx
    return l2_normalize(upper * (1 - fy) + lower * fy, dim=1)


class GlobalHead(nn.Module):
    """VLAD pooling of layer 18 [N, 240, h, w] and a learned projection: unit descriptors [N, global_dim].

    As released: memberships are normalised with a beta-only batch norm, and the "intra" L2 runs over the clusters
    for each feature dimension, not per cluster.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        channels, dim = LAYERS[-1].outputs, spec.vlad_dim
        self.projection = nn.Conv2d(channels, dim, 1) if spec.intermediate_dim else None
        self.memberships = nn.Conv2d(dim, spec.clusters, 1, bias=False)
        self.norm = nn.BatchNorm2d(spec.clusters, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)
        nn.init.constant_(self.norm.weight, _SHARPNESS)  # the released graph has no gamma: folded by `variables`
        self.clusters = nn.Parameter(torch.randn(spec.clusters, dim) * 0.1)
        self.reduction = nn.Linear(spec.clusters * dim, spec.global_dim)

    def features(self, layer_18: Tensor) -> Tensor:
        """[N, vlad_dim, h, w]: what VLAD pools."""
        return layer_18 if self.projection is None else self.projection(layer_18)

    def forward(self, layer_18: Tensor) -> Tensor:
        return self.pool(self.features(layer_18))

    def pool(self, x: Tensor) -> Tensor:
        """Unit descriptors [N, global_dim] of `features`."""
        return l2_normalize(self.reduction(self.vlad(x)), dim=1)

    def vlad(self, x: Tensor) -> Tensor:
        """Unit VLAD vectors [N, clusters * vlad_dim], cluster-major, of `features`."""
        weights = self.norm(self.memberships(x)).float().softmax(dim=1).flatten(2)  # [N, K, P]
        x = x.float().flatten(2)  # [N, D, P]
        residuals = weights.sum(2)[:, :, None] * self.clusters - weights @ x.transpose(1, 2)  # [N, K, D]
        return l2_normalize(l2_normalize(residuals, dim=1).flatten(1), dim=1)


class LocalVladHead(nn.Module):
    """VLAD pooling of the projected local descriptors, and a projection: unit descriptors [N, global_dim].

    Each descriptor belongs to the words near it, weighted by the cell's probability to hold a keypoint; residuals are
    summed per word, and each word's part gets unit length.
    """

    projection: Tensor  # [D, V]
    words: Tensor  # [K, V]

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.register_buffer("projection", torch.eye(spec.local_dim, spec.vlad_dim))
        self.register_buffer("words", l2_normalize(torch.randn(spec.clusters, spec.vlad_dim), dim=1))
        self.reduction = nn.Linear(spec.clusters * spec.vlad_dim, spec.global_dim)

    @staticmethod
    def points(maps: LocalMaps) -> tuple[Tensor, Tensor]:
        """Descriptors [N, P, D] and weights [N, P] of all cells."""
        return maps.descriptors.flatten(2).transpose(1, 2), 1 - maps.logits.softmax(dim=1)[:, -1].flatten(1)

    def vlad(self, descriptors: Tensor, weights: Tensor) -> Tensor:
        """Unit VLAD vectors [N, K * V], word-major, of descriptors [N, P, D] with weights [N, P]."""
        points = descriptors @ self.projection
        affinity = points @ self.words.t() - 0.5 * self.words.square().sum(dim=1)
        assigned = ((affinity / WORD_TEMPERATURE).softmax(dim=2) * weights[:, :, None]).transpose(1, 2)
        residuals = assigned @ points - assigned.sum(dim=2)[:, :, None] * self.words
        return l2_normalize(l2_normalize(residuals, dim=2).flatten(1), dim=1)

    def forward(self, maps: LocalMaps) -> Tensor:
        return l2_normalize(self.reduction(self.vlad(*self.points(maps))), dim=1)


class HFNet(nn.Module):
    """The whole network; `local` runs only the layers it needs."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(1, STEM_CHANNELS, 3, 2)
        self.shallow = nn.ModuleList(InvertedResidual(block) for block in LAYERS[:LOCAL_LAYER])
        deep = () if spec.pool_local else LAYERS[LOCAL_LAYER:]
        self.deep = nn.ModuleList(InvertedResidual(block) for block in deep)
        local_inputs = LAYERS[LOCAL_LAYER - 1].outputs
        self.descriptor = ConvHead(local_inputs, spec.local_dim, spec.local_dim)
        self.detector = ConvHead(local_inputs, DETECTOR_CHANNELS, DETECTOR_CLASSES)
        self.global_head: GlobalHead | LocalVladHead = LocalVladHead(spec) if spec.pool_local else GlobalHead(spec)

    def layer_7(self, image: Tensor) -> Tensor:
        """[N, 96, H/8, W/8] of gray images [N, 1, H, W], 0..255."""
        x: Tensor = self.stem((image - 128.0) / 128.0)
        for block in self.shallow:
            x = block(x)
        return x

    def layer_18(self, layer_7: Tensor) -> Tensor:
        """[N, 240, ceil(H/32), ceil(W/32)] of layer 7."""
        for block in self.deep:
            layer_7 = block(layer_7)
        return layer_7

    def local_heads(self, layer_7: Tensor) -> LocalMaps:
        """The maps of layer 7."""
        return LocalMaps(self.detector(layer_7).float(), l2_normalize(self.descriptor(layer_7), dim=1))

    def local(self, image: Tensor) -> LocalMaps:
        return self.local_heads(self.layer_7(image))

    def forward(self, image: Tensor) -> tuple[LocalMaps, Tensor]:
        """Local maps and the unit global descriptor [N, global_dim]."""
        features = self.layer_7(image)
        maps = self.local_heads(features)
        head = self.global_head
        return maps, head(maps) if isinstance(head, LocalVladHead) else head(self.layer_18(features))

    @property
    def deep_head(self) -> GlobalHead:
        """The global head on layer 18. Raises ConfigError for a network that has none."""
        if not isinstance(self.global_head, GlobalHead):
            raise ConfigError("this network pools its local descriptors: it has no layers 8-18 to train")
        return self.global_head

    def variables(self) -> dict[str, NDArray[np.float32]]:
        """Every variable by its released name, in TensorFlow's layout, float32.

        The memberships' gamma, which the released graph lacks, is folded into their kernel and moving mean.
        """
        result = {
            name: np.array(_to_tensorflow(name, tensor.detach().float().cpu()).numpy(), order="C")
            for name, tensor in _named_tensors(self)
        }
        if isinstance(self.global_head, GlobalHead):
            gamma = self.global_head.norm.weight.detach().float().cpu().numpy()
            result["global_head/vlad/memberships/weights"] *= gamma
            result["global_head/vlad/memberships/BatchNorm/moving_mean"] *= gamma
        return result

    def load_variables(self, variables: Mapping[str, NDArray[np.float32]]) -> None:
        """Set every variable from its released name; refuses missing, unknown and misshapen ones by name."""
        shapes = variable_shapes(self.spec)
        _check_variables(variables, shapes)
        with torch.no_grad():
            for name, tensor in _named_tensors(self):
                value = torch.from_numpy(np.array(variables[name], dtype=np.float32))
                tensor.copy_(_from_tensorflow(name, value).reshape(tensor.shape))
            if isinstance(self.global_head, GlobalHead):
                self.global_head.norm.weight.fill_(1.0)


def _check_variables(variables: Mapping[str, NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    missing, unknown = sorted(shapes.keys() - variables.keys()), sorted(variables.keys() - shapes.keys())
    if missing or unknown:
        what, names = ("lack", missing) if missing else ("have the unknown", unknown)
        raise ModelError(f"the variables {what} {names[0]!r} and {len(names) - 1} more: they are of another network")
    for name, shape in shapes.items():
        if variables[name].shape != shape:
            raise ModelError(f"variable {name!r} has shape {variables[name].shape}, this network needs {shape}")


def _to_tensorflow(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("depthwise_weights"):
        return tensor.permute(2, 3, 0, 1)
    if name.endswith("dimensionality_reduction/weights"):
        return tensor.t()
    if name.endswith("vlad/clusters"):
        return tensor[None, None, None]
    return tensor.permute(2, 3, 1, 0) if name.endswith("/weights") else tensor


def _from_tensorflow(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("depthwise_weights"):
        return tensor.permute(2, 3, 0, 1)
    if name.endswith("dimensionality_reduction/weights"):
        return tensor.t()
    if name.endswith("vlad/clusters"):
        return tensor[0, 0, 0]
    return tensor.permute(3, 2, 0, 1) if name.endswith("/weights") else tensor


def _norm_tensors(scope: str, norm: nn.BatchNorm2d, gamma: bool = True) -> Iterator[tuple[str, Tensor]]:
    assert norm.running_mean is not None and norm.running_var is not None
    yield f"{scope}/BatchNorm/beta", norm.bias
    if gamma:
        yield f"{scope}/BatchNorm/gamma", norm.weight
    yield f"{scope}/BatchNorm/moving_mean", norm.running_mean
    yield f"{scope}/BatchNorm/moving_variance", norm.running_var


def _conv_norm_tensors(scope: str, module: ConvNorm, leaf: str = "weights") -> Iterator[tuple[str, Tensor]]:
    yield f"{scope}/{leaf}", module.conv.weight
    yield from _norm_tensors(scope, module.norm)


def _named_tensors(network: HFNet) -> Iterator[tuple[str, Tensor]]:
    yield from _conv_norm_tensors("MobilenetV2/Conv", network.stem)
    # Without layers 8-18 there are fewer modules than rows of the table.
    for block, module in zip(LAYERS, [*network.shallow, *network.deep], strict=False):
        assert isinstance(module, InvertedResidual)
        if module.expand is not None:
            yield from _conv_norm_tensors(f"{block.scope}/expand", module.expand)
        yield from _conv_norm_tensors(f"{block.scope}/depthwise", module.depthwise, "depthwise_weights")
        yield from _conv_norm_tensors(f"{block.scope}/project", module.project)
    for scope, head in (("local_head/descriptor", network.descriptor), ("local_head/detector", network.detector)):
        yield from _conv_norm_tensors(f"{scope}/Conv", head.hidden)
        yield f"{scope}/Conv_1/weights", head.output.weight
        yield f"{scope}/Conv_1/biases", _bias(head.output)
    head_module = network.global_head
    if isinstance(head_module, LocalVladHead):
        yield "global_head/local_vlad/projection", head_module.projection
        yield "global_head/local_vlad/words", head_module.words
    else:
        yield from _deep_head_tensors(head_module)
    yield "global_head/dimensionality_reduction/weights", head_module.reduction.weight
    yield "global_head/dimensionality_reduction/biases", _bias(head_module.reduction)


def scopes(network: HFNet) -> Iterator[tuple[str, ConvNorm | nn.Conv2d]]:
    """The convolutions of layers 1-7 and the local heads with the names that a model file gives them."""
    yield "MobilenetV2/Conv", network.stem
    for block, module in zip(LAYERS, network.shallow, strict=False):
        assert isinstance(module, InvertedResidual)
        if module.expand is not None:
            yield f"{block.scope}/expand", module.expand
        yield f"{block.scope}/depthwise", module.depthwise
        yield f"{block.scope}/project", module.project
    for scope, head in (("local_head/descriptor", network.descriptor), ("local_head/detector", network.detector)):
        yield f"{scope}/Conv", head.hidden
        yield f"{scope}/Conv_1", head.output


def _deep_head_tensors(head: GlobalHead) -> Iterator[tuple[str, Tensor]]:
    if head.projection is not None:
        yield "global_head/intermediate_proj/weights", head.projection.weight
        yield "global_head/intermediate_proj/biases", _bias(head.projection)
    yield "global_head/vlad/memberships/weights", head.memberships.weight
    yield from _norm_tensors("global_head/vlad/memberships", head.norm, gamma=False)
    yield "global_head/vlad/clusters", head.clusters


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    assert layer.bias is not None
    return layer.bias
