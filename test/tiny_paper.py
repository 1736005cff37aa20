"""`python test/tiny_paper.py IMAGES OUTPUT [NAME=VALUE...]`: what `hfnet train --recipe paper` does, in seconds, with
teachers that stand in for SuperPoint and NetVLAD. VALUE is YAML; a setting of the recipe."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor
from torch.nn import functional

from hfnet_core.config import PaperTrainConfig, from_mapping
from hfnet_core.errors import HFNetError
from hfnet_core.training.export import Identity
from hfnet_core.training.network import l2_normalize
from hfnet_core.training.paper_recipe import train_paper
from hfnet_core.training.teachers.targets import FullTeacher, PairedTeacher, gray_of

TINY = {
    "steps": 12,
    "batch_size": 2,
    "width_px": 64,
    "height_px": 48,
    "clusters": 2,
    "intermediate_dim": 4,
    "learning_rates": [0.002, 0.001],
    "learning_rate_steps": [9],
    "batch_norm_decay": 0.9,
    "vlad_batch_norm_decay": 0.9,
    "validation_images": 3,
    "validation_steps": 4,
    "checkpoint_steps": 2,
    "threads": 1,
    "workers": 0,
    "device": "cpu",
}


class CornerTeacher:
    """A LocalTeacher without weights: a keypoint where a cell is darkest, descriptors of the cell's own pixels."""

    name, local_dim = "darkest pixels", 16

    def __init__(self) -> None:
        projection = torch.randn(self.local_dim, 64, generator=torch.Generator().manual_seed(1))
        self._projection = projection[:, :, None, None]

    def local_targets(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See LocalTeacher."""
        cells = functional.pixel_unshuffle(gray_of(images) / 255, 8)
        contrast = cells.amax(dim=1, keepdim=True) - cells.amin(dim=1, keepdim=True)
        logits = torch.cat([-20 * cells * contrast, -10 * cells.mean(dim=1, keepdim=True) * contrast], dim=1)
        centred = cells - cells.mean(dim=1, keepdim=True) + 1e-3
        return logits.softmax(dim=1), l2_normalize(functional.conv2d(centred, self._projection), dim=1)


class ColourTeacher:
    """A GlobalTeacher without weights: the mean colour of each sixth of the image."""

    name, global_dim = "colours", 18

    def global_targets(self, images: Tensor) -> Tensor:
        """See GlobalTeacher."""
        return l2_normalize(functional.adaptive_avg_pool2d(images.float(), (2, 3)).flatten(1) - 100, dim=1)


def stand_in(device: str) -> FullTeacher:
    """Both, as one teacher."""
    del device  # they have nothing to put there
    return PairedTeacher(CornerTeacher(), ColourTeacher())


def tiny_config(**changes: object) -> PaperTrainConfig:
    return from_mapping(PaperTrainConfig, TINY | changes)


def draw_folder(folder: Path, count: int, size: tuple[int, int] = (48, 32)) -> Path:
    """Photos of one colour each; those of odd numbers in a folder below."""
    for number in range(count):
        parent = folder / ("more" if number % 2 else "")
        parent.mkdir(parents=True, exist_ok=True)
        colour = np.full((size[1], size[0], 3), (number, 2 * number, 255 - number), np.uint8)  # BGR
        cv2.imwrite(str(parent / f"photo_{number:03d}.png"), colour)
    return folder


IDENTITY = Identity("tiny-paper", "0", "CC0-1.0")


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    images, output, *changes = sys.argv[1:]
    config = tiny_config(**{text.partition("=")[0]: yaml.safe_load(text.partition("=")[2]) for text in changes})

    def report(line: str) -> None:
        print(line, flush=True)

    try:
        train_paper([Path(images)], Path(output), config, stand_in, IDENTITY, report=report)
    except HFNetError as error:
        print(f"hfnet: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
