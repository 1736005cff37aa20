"""How well a student imitates its teacher on photos that it is not trained on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfnet_core.errors import DatasetError
from hfnet_core.training.data.streaming.photo_stream import Photos, read_rgb
from hfnet_core.training.network import HFNet
from hfnet_core.training.stages.csv_table import StepTable
from hfnet_core.training.stages.distillation import imitation_losses
from hfnet_core.training.teachers.targets import FullTeacher, Targets, gray_of

__all__ = ["Validation"]

_log = logging.getLogger(__name__)


class Validation:
    """Rows of a table, one after every so many steps. size: (width, height) of the images.

    global, descriptor, detector: the losses, see `distillation.py`. keypoints: of the cells where the teacher's most
    probable class is a pixel, the share where the student's is the same pixel. recall: the share of photos whose
    teacher's global descriptor is the nearest one, of those of all validation photos, to the student's.
    """

    def __init__(self, photos: Photos, teacher: FullTeacher, size: tuple[int, int], batch_size: int) -> None:
        self._photos, self._teacher, self._size = photos, teacher, size
        self._batch_size = batch_size
        self._told: set[str] = set()

    def watcher(
        self, network: HFNet, every: int, table: StepTable, report: Callable[[str], None]
    ) -> Callable[[int], None]:
        """What is to be called after each step of the network's training; it measures after `every` of them."""

        def after_step(step: int) -> None:
            if step % every == 0 and self._photos.validation:
                values = self.measure(network)
                table.append(step, {name: f"{value:.5f}" for name, value in values.items()})
                report(f"validation at step {step}: " + " ".join(f"{name} {v:.4f}" for name, v in values.items()))

        return after_step

    @torch.no_grad()
    def measure(self, network: HFNet) -> dict[str, float]:
        """The row's values; the network is left as it was."""
        training, device = network.training, network.stem.conv.weight.device
        network.eval()
        rows: list[Tensor] = []
        students, teachers = [], []
        for batch in self._batches():
            clean = batch.to(device)
            targets = self._teacher.targets(clean)
            maps, global_descriptors = network(gray_of(clean).contiguous(memory_format=torch.channels_last))
            losses = torch.stack(imitation_losses(maps, global_descriptors, targets))
            same = torch.tensor(_same_pixel(maps.logits, targets), device=device)
            rows.append(torch.cat([losses, same]).double().cpu() * torch.tensor([len(clean)] * 3 + [1, 1]))
            students.append(global_descriptors)
            teachers.append(targets.global_descriptors)
        network.train(training)
        if not rows:
            raise DatasetError(f"{self._photos.paths[0]}: neither it nor any other photo for validation can be read")
        student, teacher, sums = torch.cat(students), torch.cat(teachers), torch.stack(rows).sum(dim=0)
        nearest = (student @ teacher.t()).argmax(dim=1)
        found = dict(zip(("global", "descriptor", "detector"), (sums[:3] / len(student)).tolist(), strict=True))
        recall = (nearest == torch.arange(len(student), device=device)).float().mean()
        return found | {"keypoints": float(sums[3] / sums[4].clamp_min(1)), "recall": float(recall)}

    def _batches(self) -> Iterator[Tensor]:
        """Clean RGB images [N, 3, H, W] uint8; what cannot be read is left out."""
        for start in range(0, self._photos.validation, self._batch_size):
            paths = self._photos.paths[start : min(start + self._batch_size, self._photos.validation)]
            images = [image for image in map(self._image, paths) if image is not None]
            if images:
                yield torch.from_numpy(np.stack(images))

    def _image(self, path: str) -> NDArray[np.uint8] | None:
        """Said once what cannot be read."""
        try:
            rgb = read_rgb(path, self._size)
        except DatasetError as error:
            if path not in self._told:
                self._told.add(path)
                _log.warning("%s; left out of the validation", error)
            return None
        clean: NDArray[np.uint8] = np.rint(rgb).astype(np.uint8).transpose(2, 0, 1)
        return clean


def _same_pixel(logits: Tensor, targets: Targets) -> tuple[float, float]:
    """Cells where both put the keypoint on the same pixel, and cells where the teacher sees one."""
    wanted = targets.probabilities.argmax(dim=1)
    keypoint = wanted < targets.probabilities.shape[1] - 1
    return float((keypoint & (logits.argmax(dim=1) == wanted)).sum()), float(keypoint.sum())
