"""The local stage: layers 1-7 and both local heads, from a teacher's keypoints and homography crops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from hfnet_core.training.local_data import LocalBatch, LocalBatches, LocalDataSettings
from hfnet_core.training.losses import detector_loss, point_info_nce
from hfnet_core.training.network import HFNet, sample_descriptors
from hfnet_core.training.pool import Pool

__all__ = ["LocalLossSettings", "LocalStage"]


@dataclass(frozen=True)
class LocalLossSettings:
    """Weights of the local stage's losses.

    descriptor_weight: of InfoNCE beside the detector's loss; location_weight: see `detector_loss`; near_px: points of
    one photo closer than this are no negatives of each other.
    """

    descriptor_weight: float = 0.6
    location_weight: float = 2.0
    near_px: float = 6.0


class LocalStage:
    """Detector: soft 65-way cross-entropy on the teacher's warped keypoints. Descriptor: symmetric InfoNCE over the
    corresponding points of the whole batch."""

    name = "local"

    def __init__(
        self,
        pool: Pool,
        teacher_folder: Path,
        data: LocalDataSettings | None = None,
        weights: LocalLossSettings | None = None,
    ) -> None:
        self.pool, self.teacher_folder = pool, teacher_folder
        self.data = data or LocalDataSettings()
        self.weights = weights or LocalLossSettings()

    def prepare(self, network: HFNet) -> list[nn.Parameter]:
        network.train()
        network.requires_grad_(False)
        modules = (network.stem, network.shallow, network.descriptor, network.detector)
        trained = [parameter for module in modules for parameter in module.parameters()]
        for parameter in trained:
            parameter.requires_grad_(True)
        return trained

    def batches(self, seed: int, length: int) -> Dataset[LocalBatch]:
        return LocalBatches(self.pool, self.teacher_folder, self.data, seed, length)

    def loss(self, network: HFNet, scale: Tensor, batch: LocalBatch) -> tuple[Tensor, dict[str, float]]:
        images = batch.images.float().contiguous(memory_format=torch.channels_last)
        maps = network.local(images)
        with torch.autocast(images.device.type, enabled=False):
            detector = detector_loss(maps.logits, batch.targets, batch.valid, self.weights.location_weight)
            first = sample_descriptors(maps.descriptors, 2 * batch.pair, batch.first)
            second = sample_descriptors(maps.descriptors, 2 * batch.pair + 1, batch.second)
            descriptor = point_info_nce(
                first, second, batch.pair, batch.first, batch.second, scale, self.weights.near_px
            )
            with torch.no_grad():
                nearest = (first @ second.t()).argmax(dim=1) if len(first) else torch.zeros(0)
                correct = (nearest == torch.arange(len(first), device=nearest.device)).float().mean()
            total = detector + self.weights.descriptor_weight * descriptor
        parts = {
            "detector": float(detector.detach()),
            "descriptor": float(descriptor.detach()),
            "correct": float(correct),
            "scale": float(scale.detach()),
            "points": float(len(first)),
        }
        return total, parts
