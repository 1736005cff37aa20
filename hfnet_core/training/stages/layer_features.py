"""What frozen layers 1-7 and a teacher make of the global stage's views: computed once and kept on disk.

A step on them runs layers 8-18 and the global head alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hfnet_core.errors import DatasetError, first_line
from hfnet_core.files import make_folder
from hfnet_core.progress import Progress, silent
from hfnet_core.training.checkpoint import save_values
from hfnet_core.training.data.global_data import GlobalBatch
from hfnet_core.training.network import HFNet, LocalVladHead

__all__ = ["FeatureBatch", "LayerFeatures"]


class FeatureBatch(NamedTuple):
    """A GlobalBatch as layers 8-18 get it.

    layer_7: [N, 96, H/8, W/8], half precision; targets: [N, G], the teacher's descriptors; the others as they were.
    """

    layer_7: Tensor
    targets: Tensor
    overlap: Tensor
    group: Tensor
    a_view: Tensor
    b_view: Tensor
    a_xy: Tensor
    b_xy: Tensor


class LayerFeatures:
    """So many batches, one file each. folder: named after all that they depend on."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count

    def fill(
        self, network: HFNet, source: Dataset[GlobalBatch], teacher: LocalVladHead, progress: Progress = silent
    ) -> None:
        """Make those that are not there yet of the first batches of `source`; an interrupted pass goes on."""
        make_folder(self._folder)
        network.eval()
        for number in range(self._count):
            path = self._path(number)
            progress("global: features", number, self._count)
            if path.is_file():
                continue
            save_values(path, tuple(_features(network, source[number], teacher)))

    def batches(self, seed: int, length: int) -> Dataset[FeatureBatch]:
        """All of them again and again, each time in another order; index = step."""
        return _Repeated(self, seed, length)

    def batch_of_step(self, seed: int, step: int) -> FeatureBatch:
        """Raises DatasetError for a file that cannot be read."""
        turn, place = divmod(step, self._count)
        path = self._path(int(np.random.default_rng((seed, 9, turn)).permutation(self._count)[place]))
        try:
            return FeatureBatch(*torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises nearly every kind for damaged files
            raise DatasetError(f"{path} is damaged ({first_line(error)}): delete it and repeat hfnet train") from error

    def _path(self, number: int) -> Path:
        return self._folder / f"batch_{number:05d}.pt"


class _Repeated(Dataset[FeatureBatch]):
    def __init__(self, features: LayerFeatures, seed: int, length: int) -> None:
        self._features, self._seed, self._length = features, seed, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, step: int) -> FeatureBatch:
        return self._features.batch_of_step(self._seed, step)


@torch.no_grad()
def _features(network: HFNet, batch: GlobalBatch, teacher: LocalVladHead) -> FeatureBatch:
    images = batch.images.to(network.stem.conv.weight.device).float().contiguous(memory_format=torch.channels_last)
    layer_7 = network.layer_7(images)
    targets = teacher(network.local_heads(layer_7))
    return FeatureBatch(layer_7.half().cpu().contiguous(), targets.cpu(), *batch[1:])
