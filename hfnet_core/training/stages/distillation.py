"""The paper's only stage: backbone, local heads and global head imitate their teachers, all at once.

    L = e^-w1 g + w1 + e^-w2 l + w2 + 2 e^-w3 p + w3 + R

g: half the squared distance of global descriptors; l: the same of local ones, mean over cells; p: cross-entropy with
the teacher's 65 probabilities, mean over cells; each a mean over the batch. w: learned, 1 at the start. R: weight decay
of the kernels of backbone and local heads, depthwise ones excepted. Teachers see the clean image.

Source: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large Scale", CVPR 2019.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from hfnet_core.config import PaperTrainConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.training.blocks import ConvNorm
from hfnet_core.training.data.streaming.photo_stream import PhotoBatch, PhotoBatches, Photos, PhotoView, read_rgb
from hfnet_core.training.network import HFNet, LocalMaps
from hfnet_core.training.stages.loop import Learned
from hfnet_core.training.stages.losses import weigh_by_uncertainty
from hfnet_core.training.teachers.targets import FullTeacher, Targets

__all__ = ["DistillationStage", "Imitation", "decayed_kernels", "imitation_losses"]

_log = logging.getLogger(__name__)
_TERMS = ("global", "descriptor", "detector")
_DETECTOR_FACTOR = 2.0  # of its loss, beside the learned weight


class Imitation(NamedTuple):
    """How far a student is from its teacher, scalars: g, l and p above."""

    global_descriptor: Tensor
    descriptor: Tensor
    detector: Tensor


def imitation_losses(maps: LocalMaps, global_descriptors: Tensor, targets: Targets) -> Imitation:
    """See the module. Shapes as in LocalMaps and Targets."""
    return Imitation(
        0.5 * (global_descriptors - targets.global_descriptors).square().sum(dim=1).mean(),
        0.5 * (maps.descriptors - targets.descriptors).square().sum(dim=1).mean(),
        -(targets.probabilities * maps.logits.log_softmax(dim=1)).sum(dim=1).mean(),
    )


class DistillationStage:
    """A Stage; see the module."""

    name = "distill"
    modules: tuple[str, ...] = ()  # all of them

    def __init__(self, photos: Photos, teacher: FullTeacher, config: PaperTrainConfig) -> None:
        self.photos, self.teacher, self.config = photos, teacher, config
        self.tasks = 0 if config.loss_weights else len(_TERMS)
        self._told: set[int] = set()

    def prepare(self, network: HFNet) -> list[nn.Parameter]:
        """Everything is trained but the factor of the memberships, which the paper's network does not have."""
        network.train().requires_grad_(True)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1 - self.config.batch_norm_decay
        vlad = network.deep_head.norm
        vlad.momentum = 1 - self.config.vlad_batch_norm_decay
        nn.init.ones_(vlad.weight)
        vlad.weight.requires_grad_(False)
        return [parameter for parameter in network.parameters() if parameter.requires_grad]

    def batches(self, seed: int, length: int) -> Dataset[PhotoBatch]:
        config = self.config
        view = PhotoView((config.width_px, config.height_px), config.batch_size, config.augment, seed)
        return PhotoBatches(self.photos, view, length)

    def loss(self, network: HFNet, learned: Learned, batch: PhotoBatch) -> tuple[Tensor, dict[str, float]]:
        self._tell(batch.broken)
        if not len(batch.images):
            raise DatasetError(
                f"{self.photos.paths[int(batch.broken[0])]}: neither it nor {len(batch.broken) - 1} other images can "
                "be read; are these folders of images?"
            )
        targets = self.teacher.targets(batch.clean)
        maps, global_descriptors = network(batch.images.contiguous(memory_format=torch.channels_last))
        losses = imitation_losses(maps, global_descriptors, targets)
        squares = torch.stack([kernel.square().sum() for kernel in decayed_kernels(network)])
        regularization = 0.5 * self.config.weight_decay * squares.sum()
        total = self._weighted(losses, learned.log_variances) + regularization
        parts = {name: float(loss.detach()) for name, loss in zip(_TERMS, losses, strict=True)}
        parts |= {f"w_{name}": float(w) for name, w in zip(_TERMS, learned.log_variances.detach(), strict=False)}
        return total, parts | {"regularization": float(regularization.detach())}

    def state(self) -> dict[str, Any]:
        """What a run may not change halfway: images, their order and number in a batch, who teaches, which losses."""
        return {
            "photos": self.photos.digest,
            "batch_size": self.config.batch_size,
            "seed": self.config.seed,
            "teacher": self.teacher.name,
            "loss_weights": list(self.config.loss_weights),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises ConfigError where the images or their order are not those of the former run."""
        for name, value in self.state().items():
            if state.get(name) != value:
                raise ConfigError(
                    f"{name}: not as where this run was interrupted ({state.get(name)!r} then, {value!r} now); go on "
                    "with what it was begun with, or give another output folder"
                )

    def _weighted(self, losses: Imitation, log_variances: Tensor) -> Tensor:
        if self.config.loss_weights:
            weights = torch.tensor(self.config.loss_weights, device=losses.detector.device)
            return (weights * torch.stack(losses)).sum() / weights.sum()
        factors = losses.detector.new_tensor([1.0, 1.0, _DETECTOR_FACTOR])
        return weigh_by_uncertainty(factors * torch.stack(losses), log_variances)

    def _tell(self, broken: Tensor) -> None:
        """One line for each image that could not be read."""
        for photo in broken.tolist():
            if photo in self._told:
                continue
            self._told.add(photo)
            try:
                read_rgb(self.photos.paths[photo], (self.config.width_px, self.config.height_px))
                reason = f"{self.photos.paths[photo]}: could not be read when its turn came"
            except DatasetError as error:
                reason = str(error)
            _log.warning("%s; left out", reason)


def decayed_kernels(network: HFNet) -> Iterator[Tensor]:
    """The kernels that weight decay is about."""
    for part in (network.stem, network.shallow, network.deep):
        for module in part.modules():
            if isinstance(module, ConvNorm) and module.conv.groups == 1:
                yield module.conv.weight
    for head in (network.descriptor, network.detector):
        yield head.hidden.conv.weight
        yield head.output.weight
