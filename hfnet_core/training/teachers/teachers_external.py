"""The teachers of the HF-Net paper, for users who own their weights (see teacher_files.py for the files).

Neither comes with this package. SuperPoint's licence forbids commercial use; a student of it may inherit that.

Sources: DeTone et al., "SuperPoint", CVPRW 2018; Arandjelovic et al., "NetVLAD", CVPR 2016; arithmetic as HF-Net's
training used them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.detection import detect, refine
from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.training.data.teacher_keypoints import TeacherKeypoints
from hfnet_core.training.network import l2_normalize
from hfnet_core.training.teachers.targets import gray_of
from hfnet_core.training.teachers.teacher_files import (
    NetVladSizes,
    Weights,
    read_netvlad,
    read_superpoint,
    superpoint_shapes,
)

__all__ = ["LocalTargets", "NetVlad", "SuperPoint"]

_PROBABILITY_FLOOR = 1e-5  # added to the sum over classes, as released


class LocalTargets(NamedTuple):
    """What a student's local heads are to reproduce, at 1/8 of the image's size.

    descriptors: [H/8, W/8, 256] float32, unit length. probabilities: [H/8, W/8, 65] float32; class 8 * dy + dx is pixel
    (dx, dy) of the cell, class 64 the dustbin; they sum to just below 1.
    """

    descriptors: NDArray[np.float32]
    probabilities: NDArray[np.float32]


class SuperPoint:
    """SuperPoint v1: a Teacher of keypoints and a LocalTeacher.

    weights: `superpoint_v1.pth`, or as imported. Raises ModelError when they do not fit. Keypoints are those of at
    least the extractor's default threshold after its non-maximum suppression, refined below the pixel.
    """

    name, local_dim = "superpoint-v1", 256

    def __init__(self, weights: Path, max_keypoints: int = 2000, device: str = "cpu") -> None:
        self._network = _load(_SuperPointNetwork, read_superpoint(weights), device)
        self._device, self._max_keypoints = device, max_keypoints

    def __call__(self, image: NDArray[np.uint8]) -> TeacherKeypoints:
        pixels = self.dense(image).probabilities[..., :-1]
        rows, columns = pixels.shape[:2]
        scores = pixels.reshape(rows, columns, DETECTOR_CELL, DETECTOR_CELL).transpose(0, 2, 1, 3)
        scores = np.ascontiguousarray(scores.reshape(rows * DETECTOR_CELL, columns * DETECTOR_CELL))
        settings = ExtractorConfig()
        found, values = detect(scores, settings.nms_radius_px, settings.detection_threshold, self._max_keypoints)
        return TeacherKeypoints(refine(scores, found), values)

    def dense(self, image: NDArray[np.uint8]) -> LocalTargets:
        """Descriptors and probabilities of a gray image [H, W], at least 8x8; raises DatasetError for another."""
        _check_image(image, 2, DETECTOR_CELL)
        height, width = (side // DETECTOR_CELL * DETECTOR_CELL for side in image.shape)
        batch = torch.from_numpy(np.ascontiguousarray(image[:height, :width])).to(self._device)[None, None]
        probabilities, descriptors = self._dense(batch.float())
        values = (descriptors, probabilities)
        return LocalTargets(*(value[0].permute(1, 2, 0).contiguous().cpu().numpy() for value in values))

    def local_targets(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See LocalTeacher."""
        return self._dense(gray_of(images))

    def _dense(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and descriptors of gray images [N, 1, H, W], 0..255."""
        with torch.no_grad():
            logits, descriptors = self._network(gray / 255)
            return _probabilities(logits), descriptors


class NetVlad:
    """VGG16-NetVLAD with whitening: a GlobalTeacher, as released of 4096-d descriptors.

    weights: `.mat`, TensorFlow checkpoint, or as imported. sizes: another width than the released one. Raises
    ModelError when they do not fit.
    """

    name = "vgg16-netvlad"

    def __init__(self, weights: Path, device: str = "cpu", sizes: NetVladSizes | None = None) -> None:
        sizes = sizes or NetVladSizes()
        self.global_dim = sizes.dim
        self._network = _load(lambda: _NetVladNetwork(sizes), read_netvlad(weights, sizes), device)
        self._smallest = 2 ** (len(sizes.stages) - 1)
        self._device = device

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of an RGB image [H, W, 3], at least 16x16; raises DatasetError for another."""
        _check_image(image, 3, self._smallest)
        batch = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1)[None]
        return np.asarray(self.global_targets(batch)[0].cpu().numpy(), dtype=np.float32)

    def global_targets(self, images: Tensor) -> Tensor:
        """See GlobalTeacher."""
        with torch.no_grad():
            descriptors: Tensor = self._network(images.float())
        return descriptors


class _SuperPointNetwork(nn.Module):
    """Images [N, 1, H, W] in 0..1 -> logits [N, 65, H/8, W/8], unit descriptors [N, 256, H/8, W/8]."""

    def __init__(self) -> None:
        super().__init__()
        for name, shape in superpoint_shapes().items():
            if name.endswith(".weight"):
                outputs, inputs, kernel, _ = shape
                layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
                self.add_module(name.removesuffix(".weight"), layer)

    def _relu(self, name: str, x: Tensor) -> Tensor:
        return functional.relu(self.get_submodule(name)(x))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for stage in "1234":
            x = self._relu(f"conv{stage}b", self._relu(f"conv{stage}a", x))
            if stage != "4":
                x = functional.max_pool2d(x, 2)
        logits: Tensor = self.get_submodule("convPb")(self._relu("convPa", x))
        return logits, l2_normalize(self.get_submodule("convDb")(self._relu("convDa", x)), dim=1)


class _NetVladNetwork(nn.Module):
    """RGB images [N, 3, H, W] in 0..255 -> unit descriptors [N, dim]."""

    def __init__(self, sizes: NetVladSizes) -> None:
        super().__init__()
        self.sizes = sizes
        for name, inputs, outputs in sizes.convolutions():
            self.add_module(name, nn.Conv2d(inputs, outputs, 3, padding=1))
        channels = sizes.stages[-1][-1]
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(3))
        self.assignment = nn.Linear(channels, sizes.clusters, bias=False)
        self.centres = nn.Parameter(torch.zeros(sizes.clusters, channels))
        self.projection = nn.Linear(channels * sizes.clusters, sizes.dim)

    def forward(self, image: Tensor) -> Tensor:
        x = l2_normalize(self._vgg(image - self.mean[:, None, None]).flatten(2), dim=1)  # [N, D, P]
        weights = (self.assignment.weight @ x).softmax(dim=1)  # [N, K, P]
        residuals = x @ weights.transpose(1, 2) - self.centres.T * weights.sum(2)[:, None]  # [N, D, K]
        vlad = l2_normalize(l2_normalize(residuals, dim=1).flatten(1), dim=1)
        return l2_normalize(self.projection(vlad), dim=1)

    def _vgg(self, x: Tensor) -> Tensor:
        """Up to the last convolution, without its ReLU."""
        last = self.sizes.convolutions()[-1][0]
        for name, _, _ in self.sizes.convolutions():
            if name.endswith("_1") and name != "conv1_1":
                x = functional.max_pool2d(x, 2)
            x = self.get_submodule(name)(x)
            x = x if name == last else functional.relu(x)
        return x


def _probabilities(logits: Tensor) -> Tensor:
    """e^z / (sum e^z + floor) over classes [N, 65, h, w], in a form that does not overflow."""
    highest = logits.amax(dim=1, keepdim=True)
    shifted = (logits - highest).exp()
    return shifted / (shifted.sum(dim=1, keepdim=True) + _PROBABILITY_FLOOR * (-highest).exp())


def _load(make: Callable[[], nn.Module], weights: Weights, device: str) -> nn.Module:
    """The network with these weights, for inference."""
    with torch.device("meta"):  # no memory for values that are replaced at once
        network = make()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, assign=True)
    return network.to(device).eval()


def _check_image(image: NDArray[np.uint8], dimensions: int, smallest: int) -> None:
    shape = "[H, W]" if dimensions == 2 else "[H, W, 3]"
    fits = image.ndim == dimensions and (dimensions == 2 or image.shape[2] == 3)
    if image.dtype != np.uint8 or not fits or min(image.shape[:2]) < smallest:
        raise DatasetError(
            f"image is {image.dtype} {image.shape}; this teacher needs uint8 {shape} of at least {smallest}x{smallest}"
        )
