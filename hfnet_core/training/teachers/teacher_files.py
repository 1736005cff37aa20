"""Files of teachers that users bring themselves: SuperPoint v1 and VGG16-NetVLAD, checked by name and shape.

Accepted:

- SuperPoint v1: `superpoint_v1.pth`, the state dict its authors released (`conv1a.weight` ... `convDb.bias`).
- NetVLAD: `vd16_pitts30k_conv5_3_vlad_preL2_intra_white.mat` of its authors, once its layer objects were made structs
  in MATLAB (`net.layers{i} = struct(net.layers{i}(1))`, saved as version 7 or older; hloc hosts such `*_struct.mat`);
  or the TensorFlow checkpoint of it by netvlad_tf_open, which HF-Net's own training used.
- either as `.safetensors`, written by `import_teacher`: no code inside, and quick to open.

The MATLAB and TensorFlow layouts of NetVLAD (layers `conv1_1` ... `conv5_3`, `vlad:core` and `WPCA`, by name) follow
the public readers of them: hloc `extractors/netvlad.py`, netvlad_tf_open `net_from_mat.py` and `nets.py`. They were
tested on synthetic files of that layout; the original may not be redistributed and was not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hfnet_core.errors import ModelError, first_line
from hfnet_core.features.network.architecture import DETECTOR_CLASSES
from hfnet_core.features.network.release_import import TEACHER_SCOPE
from hfnet_core.features.network.tensorflow_checkpoint import TensorFlowCheckpoint, checkpoint_prefix
from hfnet_core.files import whole_file
from hfnet_core.training.teachers.matlab_file import read_matlab

__all__ = [
    "NetVladSizes",
    "Weights",
    "import_teacher",
    "netvlad_shapes",
    "read_netvlad",
    "read_superpoint",
    "superpoint_shapes",
]

Weights = dict[str, NDArray[np.float32]]
Shapes = dict[str, tuple[int, ...]]

_SUPERPOINT, _NETVLAD = "superpoint-v1", "vgg16-netvlad"
_FORMAT = "hfnet-teacher-1"


@dataclass(frozen=True)
class NetVladSizes:
    """Sizes of a VGG-NetVLAD: channels of each convolution by stage, VLAD clusters, and size of the descriptor."""

    stages: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
    clusters: int = 64
    dim: int = 4096

    def convolutions(self) -> list[tuple[str, int, int]]:
        """Name ("conv1_1" ...), inputs and outputs of each convolution, in order."""
        result, inputs = [], 3
        for stage, channels in enumerate(self.stages, 1):
            for number, outputs in enumerate(channels, 1):
                result.append((f"conv{stage}_{number}", inputs, outputs))
                inputs = outputs
        return result


def superpoint_shapes() -> Shapes:
    """Name and shape of SuperPoint v1's parameters, as released."""
    table = {
        "conv1a": (1, 64, 3),
        "conv1b": (64, 64, 3),
        "conv2a": (64, 64, 3),
        "conv2b": (64, 64, 3),
        "conv3a": (64, 128, 3),
        "conv3b": (128, 128, 3),
        "conv4a": (128, 128, 3),
        "conv4b": (128, 128, 3),
        "convPa": (128, 256, 3),
        "convPb": (256, DETECTOR_CLASSES, 1),
        "convDa": (128, 256, 3),
        "convDb": (256, 256, 1),
    }
    shapes: Shapes = {}
    for name, (inputs, outputs, kernel) in table.items():
        shapes |= {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}
    return shapes


def netvlad_shapes(sizes: NetVladSizes) -> Shapes:
    """Name and shape of NetVLAD's parameters as we hold them: torch layout, centres not negated, mean of RGB 0..255."""
    shapes: Shapes = {"mean": (3,)}
    for name, inputs, outputs in sizes.convolutions():
        shapes |= {f"{name}.weight": (outputs, inputs, 3, 3), f"{name}.bias": (outputs,)}
    channels = sizes.stages[-1][-1]
    shapes |= {"assignment.weight": (sizes.clusters, channels), "centres": (sizes.clusters, channels)}
    return shapes | {"projection.weight": (sizes.dim, channels * sizes.clusters), "projection.bias": (sizes.dim,)}


def read_superpoint(path: Path) -> Weights:
    """SuperPoint's parameters from a `.pth` or `.safetensors`. Raises ModelError with name, shape or reason."""
    if path.suffix == ".safetensors":
        return _check(path, _read_safetensors(path, _SUPERPOINT), superpoint_shapes())
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give superpoint_v1.pth")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly every kind for damaged files
        raise ModelError(f"{path}: not a readable PyTorch file, or truncated ({first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path}: not a dictionary of tensors; give superpoint_v1.pth as released")
    return _check(path, {str(name): value.numpy() for name, value in state.items()}, superpoint_shapes())


def read_netvlad(path: Path, sizes: NetVladSizes | None = None) -> Weights:
    """NetVLAD's parameters from a `.mat`, a TensorFlow checkpoint or a `.safetensors`; ModelError as above."""
    sizes = sizes or NetVladSizes()
    if path.suffix == ".safetensors":
        return _check(path, _read_safetensors(path, _NETVLAD), netvlad_shapes(sizes))
    values = _matlab_values(path, sizes) if path.suffix == ".mat" else _tensorflow_values(path, sizes)
    weights = {"mean": values["average_rgb"], "projection.bias": values["WPCA/bias"]}
    for name, _, _ in sizes.convolutions():
        weights |= {
            f"{name}.weight": values[f"{name}/kernel"].transpose(3, 2, 0, 1),
            f"{name}.bias": values[f"{name}/bias"],
        }
    weights["assignment.weight"] = values["assignment/kernel"][0, 0].T
    weights["centres"] = -values["cluster_centers"][0, 0, 0].T  # the layer adds them, so they are stored negated
    weights["projection.weight"] = values["WPCA/kernel"][0, 0].T
    return _check(path, weights, netvlad_shapes(sizes))


def import_teacher(source: Path, output: Path) -> str:
    """Write a user's SuperPoint (`.pth`) or NetVLAD (anything else) as `.safetensors`; returns which it was.

    Raises ModelError for a file that does not fit, and for another ending of `output`; then nothing is written.
    """
    if output.suffix != ".safetensors":
        raise ModelError(f"{output}: a teacher is written as .safetensors (only HF-Net itself becomes an ONNX model)")
    kind = _SUPERPOINT if source.suffix in (".pth", ".pt") else _NETVLAD
    weights = read_superpoint(source) if kind == _SUPERPOINT else read_netvlad(source)
    with whole_file(output) as partial:
        save_file(weights, partial, metadata={"format": _FORMAT, "teacher": kind})
    return kind


def _read_safetensors(path: Path, kind: str) -> dict[str, Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            found = metadata.get("teacher") if metadata.get("format") == _FORMAT else None
            if found != kind:
                raise ModelError(
                    f"{path}: holds {found or 'no teacher'}, not {kind}; import it with `hfnet import-checkpoint`"
                )
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({first_line(error)}); import it again") from error


def _check(path: Path, weights: Mapping[str, Any], shapes: Shapes) -> Weights:
    """The weights as contiguous, writable float32, if they are exactly those of `shapes` and finite."""
    for what, names in (("lacks", shapes.keys() - weights.keys()), ("has the unknown", weights.keys() - shapes.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(f"{path}: {what} parameter {min(names)!r}{more}; these are weights of another network")
    result: Weights = {}
    for name, shape in shapes.items():
        value = np.asarray(weights[name])
        if value.shape != shape or value.dtype.kind != "f":
            raise ModelError(f"{path}: parameter {name!r} is {value.dtype} {value.shape}, must be float {shape}")
        result[name] = np.require(value, np.float32, ["C", "W"])  # torch warns of arrays it may not write
        if not np.isfinite(result[name]).all():
            raise ModelError(f"{path}: parameter {name!r} holds NaN or infinity; the file is damaged")
    return result


def _tensorflow_shapes(sizes: NetVladSizes) -> Shapes:
    """NetVLAD's variables in netvlad_tf_open's checkpoint, without their scope."""
    channels = sizes.stages[-1][-1]
    shapes: Shapes = {"average_rgb": (3,)}
    for name, inputs, outputs in sizes.convolutions():
        shapes |= {f"{name}/kernel": (3, 3, inputs, outputs), f"{name}/bias": (outputs,)}
    shapes |= {
        "assignment/kernel": (1, 1, channels, sizes.clusters),
        "cluster_centers": (1, 1, 1, channels, sizes.clusters),
    }
    return shapes | {"WPCA/kernel": (1, 1, channels * sizes.clusters, sizes.dim), "WPCA/bias": (sizes.dim,)}


def _tensorflow_values(path: Path, sizes: NetVladSizes) -> Weights:
    checkpoint = TensorFlowCheckpoint(checkpoint_prefix(path))
    values, found = {}, set(checkpoint.names())
    for name, shape in _tensorflow_shapes(sizes).items():
        full = TEACHER_SCOPE + name
        if full not in found:
            raise ModelError(f"{checkpoint.prefix}: lacks variable {full!r}; this is not a checkpoint of VGG16-NetVLAD")
        if checkpoint.shape(full) != shape:
            raise ModelError(f"{checkpoint.prefix}: variable {full!r} has shape {checkpoint.shape(full)}, not {shape}")
        values[name] = checkpoint.read(full)
    return values


def _matlab_values(path: Path, sizes: NetVladSizes) -> Weights:
    """The `.mat` under the names and in the shapes of the TensorFlow checkpoint."""
    net = read_matlab(path, "net")
    layers = net.get("layers") if isinstance(net, dict) else None
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise ModelError(
            f"{path}: net.layers are not structs; in MATLAB set `net.layers{{i}} = "
            "struct(net.layers{{i}})` for each i and save"
        )
    by_name = {str(layer.get("name")).replace(":", "_"): layer for layer in layers}
    sources: dict[str, tuple[str, int]] = {}
    for name, _, _ in sizes.convolutions():
        sources |= {f"{name}/kernel": (name, 0), f"{name}/bias": (name, 1)}
    sources |= {"assignment/kernel": ("vlad_core", 0), "cluster_centers": ("vlad_core", 1)}
    sources |= {"WPCA/kernel": ("WPCA", 0), "WPCA/bias": ("WPCA", 1)}
    values = {"average_rgb": _matlab_mean(path, net)}
    for name, (layer, index) in sources.items():
        values[name] = _layer_weight(path, by_name, layer, index, _tensorflow_shapes(sizes)[name])
    return values


def _matlab_mean(path: Path, net: Mapping[str, Any]) -> NDArray[np.float32]:
    """The mean colour: the first pixel of the average image."""
    value: Any = net
    for field in ("meta", "normalization", "averageImage"):
        value = value.get(field) if isinstance(value, dict) else None
    if not isinstance(value, np.ndarray) or value.ndim != 3 or value.shape[2] != 3 or value.size == 0:
        raise ModelError(f"{path}: net.meta.normalization.averageImage is not an image [H, W, 3]")
    return np.asarray(value[0, 0], dtype=np.float32)


def _layer_weight(
    path: Path, layers: Mapping[str, Any], layer: str, index: int, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    if layer not in layers:
        raise ModelError(f"{path}: lacks layer {layer!r}; this is not VGG16-NetVLAD with whitening")
    weights = layers[layer].get("weights")
    value = weights[index] if isinstance(weights, list) and len(weights) > index else None
    # MATLAB drops trailing dimensions of size 1 and stores vectors as matrices: only the sizes above 1 are compared.
    if not isinstance(value, np.ndarray) or [n for n in value.shape if n > 1] != [n for n in shape if n > 1]:
        found = value.shape if isinstance(value, np.ndarray) else "not an array"
        raise ModelError(f"{path}: weights {index + 1} of layer {layer!r} are {found}, must be {shape}")
    return np.asarray(value.reshape(shape), dtype=np.float32)
