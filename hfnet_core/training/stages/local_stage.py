"""The local stage: layers 1-7 and both local heads, from a teacher's keypoints and homography crops."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from hfnet_core.errors import ConfigError
from hfnet_core.training.data.local_data import LocalBatch, LocalBatches, LocalDataSettings, LocalSources
from hfnet_core.training.network import HFNet, LocalMaps, sample_descriptors
from hfnet_core.training.stages.loop import Learned
from hfnet_core.training.stages.losses import detector_loss, point_info_nce, refinement_loss, weigh_by_uncertainty
from hfnet_core.training.stages.own_keypoints import own_losses

__all__ = ["LocalLossSettings", "LocalStage"]


@dataclass(frozen=True)
class LocalLossSettings:
    """Weights of the local stage's losses.

    descriptor_weight, refinement_weight: of InfoNCE and of `refinement_loss` beside the detector's loss; learned: learn
    all weights instead; location_weight: see `detector_loss`; near_px: points of one photo closer than this are
    no negatives of each other; own_keypoints: of each crop, that teach as `own_losses` says, 0 for none.
    """

    descriptor_weight: float = 0.6
    refinement_weight: float = 0.0
    learned: bool = False
    location_weight: float = 2.0
    near_px: float = 6.0
    own_keypoints: int = 0

    def __post_init__(self) -> None:
        if self.own_keypoints and not self.learned:
            raise ConfigError("own keypoints teach where the weights of the losses are learned")


class LocalStage:
    """Detector: soft 65-way cross-entropy on the teacher's warped keypoints. Descriptor: symmetric InfoNCE over the
    corresponding points of the whole batch. Refinement: where the extractor's window around a keypoint ends. Own
    keypoints, where asked for: `own_losses`."""

    modules: tuple[str, ...] = ("stem", "shallow", "descriptor", "detector")

    def __init__(
        self,
        sources: LocalSources,
        data: LocalDataSettings | None = None,
        weights: LocalLossSettings | None = None,
        name: str = "local",
    ) -> None:
        self.sources, self.name = sources, name
        self.data = data or LocalDataSettings()
        self.weights = weights or LocalLossSettings()
        self.tasks = 0 if not self.weights.learned else 6 if self.weights.own_keypoints else 3

    def prepare(self, network: HFNet) -> list[nn.Parameter]:
        network.train()
        network.requires_grad_(False)
        trained = [parameter for name in self.modules for parameter in network.get_submodule(name).parameters()]
        for parameter in trained:
            parameter.requires_grad_(True)
        return trained

    def batches(self, seed: int, length: int) -> Dataset[LocalBatch]:
        return LocalBatches(self.sources, self.data, seed, length)

    def state(self) -> dict[str, Any]:
        """What a run may not change halfway: the photos with their licences, and what is asked of them."""
        photos = [(photo.name, photo.license) for photo in self.sources.pool.photos]
        return {"data": hashlib.sha256(repr((photos, self.data)).encode()).hexdigest()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises ConfigError where the photos or what is asked of them are others; a run of before says nothing."""
        ours = self.state()["data"]
        if state.get("data", ours) != ours:
            raise ConfigError(
                "the photos, their licences or the settings of crops are not as where this run was interrupted; go on "
                "with what it was begun with, or give another output folder"
            )

    def loss(self, network: HFNet, learned: Learned, batch: LocalBatch) -> tuple[Tensor, dict[str, float]]:
        images = batch.images.float().contiguous(memory_format=torch.channels_last)
        maps = network.local(images)
        with torch.autocast(images.device.type, enabled=False):
            detector = detector_loss(maps.logits, batch.targets, batch.valid, self.weights.location_weight)
            first = sample_descriptors(maps.descriptors, 2 * batch.pair, batch.first)
            second = sample_descriptors(maps.descriptors, 2 * batch.pair + 1, batch.second)
            descriptor = point_info_nce(
                first, second, batch.pair, batch.first, batch.second, learned.scale, self.weights.near_px
            )
            refinement = self._refinement(maps.logits.float(), batch)
            with torch.no_grad():
                nearest = (first @ second.t()).argmax(dim=1) if len(first) else torch.zeros(0)
                correct = (nearest == torch.arange(len(first), device=nearest.device)).float().mean()
            losses = torch.stack([detector, descriptor, refinement])
            own, own_parts = self._own(maps, batch, learned)
            if self.weights.learned:
                total = weigh_by_uncertainty(torch.cat([losses, own]), learned.log_variances)
            else:
                fixed = losses.new_tensor([1.0, self.weights.descriptor_weight, self.weights.refinement_weight])
                total = fixed @ losses
        parts = {
            "detector": float(detector.detach()),
            "descriptor": float(descriptor.detach()),
            "refinement": float(refinement.detach()),
            "correct": float(correct),
            "scale": float(learned.scale.detach()),
            "points": float(len(first)),
        }
        return total, parts | own_parts

    def _own(self, maps: LocalMaps, batch: LocalBatch, learned: Learned) -> tuple[Tensor, dict[str, float]]:
        count = self.weights.own_keypoints
        if not count:
            return maps.logits.new_zeros(0), {}
        own = own_losses(maps, batch.valid, batch.second_from_first, learned.scale, count)
        parts = {
            "matchability": float(own.matchability.detach()),
            "own_descriptor": float(own.descriptor.detach()),
            "consistency": float(own.consistency.detach()),
            "repeated": own.repeated,
            "right": own.right,
        }
        return torch.stack([own.matchability, own.descriptor, own.consistency]), parts

    def _refinement(self, logits: Tensor, batch: LocalBatch) -> Tensor:
        image = torch.cat([2 * batch.pair, 2 * batch.pair + 1])
        xy = torch.cat([batch.first, batch.second])
        with torch.set_grad_enabled(self.weights.learned or self.weights.refinement_weight > 0):
            return refinement_loss(logits, image, xy, torch.randint(-1, 2, xy.shape).to(xy.device))
