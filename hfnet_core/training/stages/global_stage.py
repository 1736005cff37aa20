"""The global stage: layers 8-18, the projection, VLAD and the final layer, on what frozen layers 1-7 gave.

Views of one place attract in proportion to their overlap and repel those of other places and those of the same photo
that see something else. A dense InfoNCE on the projected features makes the pooled features themselves repeatable.
Descriptors may also imitate a teacher's own of the same view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from hfnet_core.training.network import HFNet, channels_last, l2_normalize
from hfnet_core.training.stages.layer_features import FeatureBatch, LayerFeatures
from hfnet_core.training.stages.local_vlad import k_means
from hfnet_core.training.stages.loop import Learned
from hfnet_core.training.stages.losses import info_nce, overlap_info_nce

__all__ = ["GlobalLossSettings", "GlobalStage", "initialize_clusters", "solve_reduction"]

_STRIDE = 32  # pixels per feature of layer 18
_MEMORY_WARMUP = 100  # steps before remembered descriptors are worth repelling


@dataclass(frozen=True)
class GlobalLossSettings:
    """Weights and bounds of the global stage's losses.

    imitation_weight: of the distance to the teacher's descriptors; place_weight: of the descriptors' InfoNCE;
    dense_weight, dense_scale: weight and 1 / temperature of the InfoNCE on projected features; positive, negative:
    overlaps from which two views attract, and below which they repel; memory: descriptors of former batches kept as
    negatives; near: two features of one view closer than this many grid cells are no negatives of each other.
    """

    imitation_weight: float = 0.0
    place_weight: float = 1.0
    positive: float = 0.4
    negative: float = 0.15
    dense_weight: float = 0.5
    dense_scale: float = 14.0
    memory: int = 1200
    near: float = 1.0


class GlobalStage:
    """Multi-view InfoNCE with a memory of former batches."""

    def __init__(
        self, features: LayerFeatures, weights: GlobalLossSettings | None = None, name: str = "global"
    ) -> None:
        self.features, self.name = features, name
        self.weights = weights or GlobalLossSettings()
        self._memory: list[tuple[Tensor, Tensor]] = []
        self._steps = 0

    tasks = 0  # its weights are fixed
    modules: tuple[str, ...] = ()

    def prepare(self, network: HFNet) -> list[nn.Parameter]:
        network.eval()
        network.requires_grad_(False)
        trained: list[nn.Parameter] = []
        for module in (network.deep, network.deep_head):
            module.train()
            trained.extend(module.requires_grad_(True).parameters())
        return trained

    def batches(self, seed: int, length: int) -> Dataset[FeatureBatch]:
        return self.features.batches(seed, length)

    def state(self) -> dict[str, Any]:
        """The remembered descriptors."""
        return {"steps": self._steps, "memory": [list(entry) for entry in self._memory]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember them again; checkpoints of former versions have none, and memory fills anew."""
        self._steps = int(state.get("steps", 0))
        self._memory = [(descriptors, group) for descriptors, group in state.get("memory", [])]

    def loss(self, network: HFNet, learned: Learned, batch: FeatureBatch) -> tuple[Tensor, dict[str, float]]:
        scale = learned.scale
        features = _pooled(network, batch)
        descriptors = network.deep_head.pool(features)
        with torch.autocast(features.device.type, enabled=False):
            similarity = scale * (descriptors @ descriptors.t())
            memory = self._recall(descriptors, batch.group, scale)
            place = overlap_info_nce(similarity, batch.overlap, self.weights.positive, self.weights.negative, memory)
            dense = self._dense(features.float(), batch)
            imitation = (1 - (batch.targets * descriptors).sum(dim=1)).mean()  # half the squared distance
        self._remember(descriptors.detach(), batch.group)
        weights = self.weights
        total = weights.place_weight * place + weights.dense_weight * dense + weights.imitation_weight * imitation
        return total, {
            "imitation": float(imitation.detach()),
            "place": float(place.detach()),
            "dense": float(dense.detach()),
            "recall": _recall_at_1(similarity.detach(), batch.overlap, self.weights),
            "scale": float(scale.detach()),
        }

    def _dense(self, features: Tensor, batch: FeatureBatch) -> Tensor:
        if len(batch.a_view) == 0:
            return features.sum() * 0.0
        features = l2_normalize(features, dim=1)
        first = _sample(features, batch.a_view, batch.a_xy)
        second = _sample(features, batch.b_view, batch.b_xy)
        near = self.weights.near * _STRIDE
        group_a, group_b = batch.group[batch.a_view], batch.group[batch.b_view]
        close_a = (batch.a_view[:, None] == batch.a_view) & (torch.cdist(batch.a_xy, batch.a_xy) < near)
        close_b = (batch.b_view[:, None] == batch.b_view) & (torch.cdist(batch.b_xy, batch.b_xy) < near)
        # Other views of one place, or places of one group, may show the very same point: left out.
        same_pair = (batch.a_view[:, None] == batch.a_view) & (batch.b_view[:, None] == batch.b_view)
        ignore = (close_a | close_b) | ((group_a[:, None] == group_b[None, :]) & ~same_pair)
        ignore = ignore & ~torch.eye(len(first), dtype=torch.bool, device=ignore.device)
        return info_nce(self.weights.dense_scale * (first @ second.t()), ignore)

    def _recall(self, descriptors: Tensor, group: Tensor, scale: Tensor) -> Tensor | None:
        if not self._memory or self._steps < _MEMORY_WARMUP:
            return None
        stored = torch.cat([values.to(descriptors.device) for values, _ in self._memory])
        groups = torch.cat([values.to(group.device) for _, values in self._memory])
        similarity = scale * (descriptors @ stored.t())
        return similarity.masked_fill(group[:, None] == groups[None, :], -torch.inf)

    def _remember(self, descriptors: Tensor, group: Tensor) -> None:
        self._steps += 1
        self._memory.append((descriptors, group))
        while sum(len(values) for values, _ in self._memory) > self.weights.memory:
            self._memory.pop(0)


def _pooled(network: HFNet, batch: FeatureBatch) -> Tensor:
    """[N, vlad_dim, h, w]: what VLAD pools."""
    layer_7 = batch.layer_7.to(network.deep_head.clusters.device).float()
    return network.deep_head.features(network.layer_18(layer_7.contiguous(memory_format=torch.channels_last)))


def _sample(features: Tensor, view: Tensor, xy: Tensor) -> Tensor:
    """Unit features [M, D] at pixels [M, 2], bilinear between the centres of the stride-32 grid."""
    height, width = features.shape[-2:]
    position = (xy - (_STRIDE - 1) / 2) / _STRIDE
    column, row = position[:, 0].clamp(0, width - 1), position[:, 1].clamp(0, height - 1)
    x0, y0 = column.floor().clamp_max(max(width - 2, 0)), row.floor().clamp_max(max(height - 2, 0))
    fx, fy = (column - x0)[:, None], (row - y0)[:, None]
    left, top = x0.long(), y0.long()
    right, bottom = (left + 1).clamp_max(width - 1), (top + 1).clamp_max(height - 1)
    grid = features.permute(0, 2, 3, 1)
    upper = grid[view, top, left] * (1 - fx) + grid[view, top, right] * fx
    lower = grid[view, bottom, left] * (1 - fx) + grid[view, bottom, right] * fx
    return l2_normalize(upper * (1 - fy) + lower * fy, dim=1)


def _recall_at_1(similarity: Tensor, overlap: Tensor, weights: GlobalLossSettings) -> float:
    """Share of the views with a positive whose nearest known view is one."""
    itself = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    attract = (overlap >= weights.positive) & ~itself
    known = attract | (overlap < weights.negative)
    nearest = similarity.masked_fill(~known, -torch.inf).argmax(dim=1)
    has_positive = attract.any(dim=1)
    if not has_positive.any():
        return 0.0
    hit = attract.gather(1, nearest[:, None])[:, 0]
    return float(hit[has_positive].float().mean())


@torch.no_grad()
def initialize_clusters(network: HFNet, stage: GlobalStage, seed: int, batches: int = 3, iterations: int = 15) -> None:
    """VLAD clusters by k-means of the projected features of the first batches, memberships after NetVLAD.

    The memberships are the scaled direction of each centre, so that a feature belongs to the nearest one.
    Source: Arandjelovic et al., "NetVLAD: CNN architecture for weakly supervised place recognition", CVPR 2016.
    """
    training, device = network.training, network.deep_head.clusters.device
    channels_last(network.eval())
    loader = DataLoader(stage.batches(seed, batches), batch_size=None)
    collected = []
    for batch in loader:
        with torch.autocast(device.type, torch.bfloat16):
            features = _pooled(network, batch)
        collected.append(features.float().permute(0, 2, 3, 1).flatten(0, 2))
    samples = torch.cat(collected)
    generator = torch.Generator().manual_seed(seed)
    samples = samples[torch.randperm(len(samples), generator=generator)[:8000]]
    centres = k_means(samples, network.spec.clusters, generator, iterations)
    head = network.deep_head
    head.clusters.copy_(centres)
    directions = functional.normalize(centres - samples.mean(dim=0), dim=1)
    head.memberships.weight.copy_(directions[:, :, None, None])
    network.train(training)


@torch.no_grad()
def solve_reduction(network: HFNet, stage: GlobalStage, seed: int, batches: int = 60, ridge: float = 0.02) -> None:
    """The final layer by ridge regression of the teacher's descriptors from VLAD, over the views of some batches.

    ridge: regularisation, relative to the mean eigenvalue of the inputs' covariance.
    """
    channels_last(network.eval())
    device = network.deep_head.clusters.device
    inputs, targets = [], []
    for batch in DataLoader(stage.batches(seed + 1, batches), batch_size=None):
        with torch.autocast(device.type, torch.bfloat16):
            features = _pooled(network, batch)
        inputs.append(network.deep_head.vlad(features.float()))
        targets.append(batch.targets.to(device))
    x, y = torch.cat(inputs).double(), torch.cat(targets).double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    gram = x.t() @ x
    gram.diagonal().add_(ridge * float(gram.diagonal().mean()) * len(gram) / min(len(x), len(gram)))
    weight = torch.linalg.solve(gram, x.t() @ y)
    network.deep_head.reduction.weight.copy_(weight.t())
    network.deep_head.reduction.bias.copy_(y_mean - x_mean @ weight)
