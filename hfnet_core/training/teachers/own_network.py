"""A trained HF-Net as a teacher: ours, the released one once it is imported, or one of a former run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.training.checkpoint import load_checkpoint
from hfnet_core.training.teachers.targets import Targets, gray_of

__all__ = ["CheckpointTeacher", "NetworkTeacher"]


class _Whole(ABC):
    """Serves as a LocalTeacher and as a GlobalTeacher too."""

    @abstractmethod
    def targets(self, images: Tensor) -> Targets:
        """See FullTeacher."""

    def local_targets(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See LocalTeacher."""
        found = self.targets(images)
        return found.probabilities, found.descriptors

    def global_targets(self, images: Tensor) -> Tensor:
        """See GlobalTeacher."""
        return self.targets(images).global_descriptors


class NetworkTeacher(_Whole):
    """A FullTeacher that runs a model file. model: ONNX, None for the one that ships. kind: see `open_backend`.

    Raises ModelError, BackendError.
    """

    def __init__(self, model: Path | None, kind: str = "onnxruntime") -> None:
        self._backend = open_backend(model, kind)
        info = self._backend.info
        self.name = f"{info.name} {info.version}"
        self.local_dim, self.global_dim = info.spec.local_dim, info.spec.global_dim

    def targets(self, images: Tensor) -> Targets:
        """See FullTeacher. The runtime takes one image after the other."""
        found = [self._backend.infer(np.ascontiguousarray(gray[0])) for gray in gray_of(images).cpu().numpy()]
        scores = torch.from_numpy(np.stack([outputs.scores for outputs in found]))[:, None]
        pixels = functional.pixel_unshuffle(scores, DETECTOR_CELL)
        dustbin = (1 - pixels.sum(dim=1, keepdim=True)).clamp_min(0)  # the softmax over 65 classes, less the 64 it gave
        descriptors = torch.from_numpy(np.stack([outputs.descriptors for outputs in found])).permute(0, 3, 1, 2)
        global_descriptors = torch.from_numpy(np.stack([outputs.global_descriptor for outputs in found]))
        values = (torch.cat([pixels, dustbin], dim=1), descriptors.contiguous(), global_descriptors)
        return Targets(*(value.to(images.device) for value in values))


class CheckpointTeacher(_Whole):
    """A FullTeacher that runs a checkpoint of `hfnet train` in torch, all images at once. Raises ModelError."""

    def __init__(self, checkpoint: Path, device: str = "cpu") -> None:
        self._network = load_checkpoint(checkpoint).build_network().to(device).eval()
        self.name = checkpoint.name
        self.local_dim, self.global_dim = self._network.spec.local_dim, self._network.spec.global_dim

    def targets(self, images: Tensor) -> Targets:
        """See FullTeacher."""
        with torch.no_grad():
            maps, global_descriptors = self._network(gray_of(images))
            return Targets(maps.logits.softmax(dim=1), maps.descriptors, global_descriptors)
