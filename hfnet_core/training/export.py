"""Checkpoint -> named variables -> ONNX, with a parity check of torch against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hfnet_core.errors import ModelError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.network.onnx_graph import build_onnx, save_onnx
from hfnet_core.files import make_folder, whole_file
from hfnet_core.training.checkpoint import load_checkpoint, save_network
from hfnet_core.training.network import HFNet
from hfnet_core.training.stages.losses import keypoint_scores

__all__ = ["TOLERANCE", "Identity", "Parity", "check_parity", "export_checkpoint", "save_variables", "write_results"]

_PARITY_SIZES = ((240, 320), (152, 200))  # (height, width); the second gives odd sizes from layer 8 on
TOLERANCE = 1e-4  # largest allowed difference of any output


@dataclass(frozen=True)
class Identity:
    """What a model file says of its weights: name, version, SPDX identifier of their licence."""

    name: str
    version: str
    licence: str


@dataclass(frozen=True)
class Parity:
    """Largest absolute difference, torch against ONNX Runtime, of each dense output."""

    scores: float
    descriptors: float
    global_descriptor: float

    @property
    def worst(self) -> float:
        return max(self.scores, self.descriptors, self.global_descriptor)


def save_variables(variables: Mapping[str, NDArray[np.float32]], path: Path) -> None:
    """Write named variables to an npz, atomically."""
    with whole_file(path) as temporary:
        np.savez(temporary, **dict(variables))  # type: ignore[arg-type]


def check_parity(network: HFNet, model: Path) -> Parity:
    """Run both on two noisy images, one of odd feature sizes; the worst differences."""
    backend = OnnxRuntimeBackend(model, threads=1)
    worst = np.zeros(3)
    network = network.eval()
    for height, width in _PARITY_SIZES:
        image = _parity_image(height, width)
        with torch.inference_mode():
            maps, global_descriptor = network(torch.from_numpy(image)[None, None])
        expected = (keypoint_scores(maps.logits)[0], maps.descriptors[0].permute(1, 2, 0), global_descriptor[0])
        found = backend.infer(image)
        for index, (ours, theirs) in enumerate(
            zip(expected, (found.scores, found.descriptors, found.global_descriptor), strict=True)
        ):
            worst[index] = max(worst[index], float(np.abs(ours.numpy() - theirs).max()))
    backend.close()
    return Parity(float(worst[0]), float(worst[1]), float(worst[2]))


def _parity_image(height: int, width: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    image = 128 + 60 * np.sin(x / 7) * np.cos(y / 11) + rng.normal(0, 25, (height, width))
    return np.asarray(np.clip(image, 0, 255), np.float32)


def export_checkpoint(checkpoint: Path, output: Path, *, name: str, version: str, licence: str) -> Parity:
    """Write the checkpoint's network as ONNX; raises ModelError, and writes nothing, if ONNX Runtime disagrees."""
    network = load_checkpoint(checkpoint).build_network()
    model = build_onnx(network.variables(), network.spec, name=name, version=version, licence=licence, subpixel=True)
    make_folder(output.parent)
    with whole_file(output) as partial:
        save_onnx(model, partial)
        parity = check_parity(network, partial)
        if not parity.worst <= TOLERANCE:
            raise ModelError(f"{checkpoint}: ONNX Runtime is off by {parity.worst:.2g} > {TOLERANCE}; not written")
    return parity


def write_results(network: HFNet, output: Path, identity: Identity) -> tuple[Path, Parity]:
    """A finished network as OUTPUT/trained.pt, variables.npz and hfnet.onnx; the last one and its parity."""
    save_network(network, output / "trained.pt")
    save_variables(network.variables(), output / "variables.npz")
    model = output / "hfnet.onnx"
    parity = export_checkpoint(
        output / "trained.pt", model, name=identity.name, version=identity.version, licence=identity.licence
    )
    return model, parity
