"""What the paper's students learn, and who may teach it: anything that satisfies a protocol below."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["FullTeacher", "GlobalTeacher", "LocalTeacher", "PairedTeacher", "Targets", "gray_of"]

_GRAY = (0.2989, 0.5870, 0.1140)  # of red, green, blue: as the released network was trained


class Targets(NamedTuple):
    """For N images of H x W pixels, float32, on the device of the images.

    probabilities: [N, 65, H/8, W/8]; channel 8 * dy + dx is pixel (dx, dy) of the cell, channel 64 the dustbin; they
    sum to 1 or just below. descriptors: [N, D, H/8, W/8], unit length over channels. global_descriptors: [N, G], unit
    length.
    """

    probabilities: Tensor
    descriptors: Tensor
    global_descriptors: Tensor


class LocalTeacher(Protocol):
    """Teaches where keypoints are and how they look. local_dim: D of its descriptors."""

    name: str
    local_dim: int

    def local_targets(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and descriptors as in Targets, without gradients, of RGB images [N, 3, H, W] uint8 whose sides
        are multiples of 8."""
        ...


class GlobalTeacher(Protocol):
    """Teaches how a place looks. global_dim: G of its descriptors."""

    name: str
    global_dim: int

    def global_targets(self, images: Tensor) -> Tensor:
        """Global descriptors as in Targets, without gradients, of RGB images [N, 3, H, W] uint8."""
        ...


class FullTeacher(Protocol):
    """Teaches everything; `PairedTeacher` makes one of two."""

    name: str
    local_dim: int
    global_dim: int

    def targets(self, images: Tensor) -> Targets:
        """Without gradients, of RGB images [N, 3, H, W] uint8 whose sides are multiples of 8."""
        ...


class PairedTeacher:
    """A FullTeacher made of one for the local heads and one for the global one: in the paper SuperPoint and NetVLAD."""

    def __init__(self, local: LocalTeacher, global_teacher: GlobalTeacher) -> None:
        self._local, self._global = local, global_teacher
        self.name = f"{local.name} and {global_teacher.name}"
        self.local_dim, self.global_dim = local.local_dim, global_teacher.global_dim

    def targets(self, images: Tensor) -> Targets:
        """See FullTeacher."""
        return Targets(*self._local.local_targets(images), self._global.global_targets(images))


def gray_of(images: Tensor) -> Tensor:
    """Gray [N, 1, H, W] float32, 0..255, of RGB images [N, 3, H, W] uint8."""
    weights = torch.tensor(_GRAY, device=images.device)
    return (images.float() * weights[:, None, None]).sum(dim=1, keepdim=True)
