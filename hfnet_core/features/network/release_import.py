"""The official HF-Net release, or a checkpoint of its training code, as an ONNX model.

    checkpoint = open_release(Path("saved_models/hfnet"))
    import_release(checkpoint, Path("hfnet_official.onnx"), name=..., version=..., licence=...)

Source: the released SavedModel of Sarlin et al., CVPR 2019, with the variables that `architecture.py` lists.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, ModelError
from hfnet_core.features.network.architecture import NetworkSpec, variable_shapes
from hfnet_core.features.network.tensorflow_checkpoint import TensorFlowCheckpoint, checkpoint_prefix

__all__ = ["TEACHER_SCOPE", "import_release", "open_release", "read_release"]

TEACHER_SCOPE = "vgg16_netvlad_pca/"  # of all variables in a TensorFlow checkpoint of NetVLAD, HF-Net's teacher
_TEACHER_FILES = (".pth", ".pt", ".mat")

_SPEC = NetworkSpec()  # the released sizes and sampling
# What training leaves in a checkpoint beside the network: step counter, loss weights, state of the optimizer, averages.
_TRAINING_STATE = re.compile(
    r"^(global_step|w\d|beta[12]_power|_CHECKPOINTABLE_OBJECT_GRAPH|save_counter)$"
    r"|/(RMSProp|Momentum|Adam|Adagrad|Adadelta|ExponentialMovingAverage)(_\d+)?$"
)
_OBJECT_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def open_release(source: Path) -> TensorFlowCheckpoint | None:
    """The TensorFlow checkpoint that `source` means, or None where it is the file of one of HF-Net's teachers.

    source: see `checkpoint_prefix`. Raises ModelError for what is neither.
    """
    if source.suffix in _TEACHER_FILES:
        return None
    checkpoint = TensorFlowCheckpoint(checkpoint_prefix(source))
    return None if any(name.startswith(TEACHER_SCOPE) for name in checkpoint.names()) else checkpoint


def import_release(checkpoint: TensorFlowCheckpoint, output: Path, *, name: str, version: str, licence: str) -> int:
    """Write the checkpoint's network as ONNX to `output`; returns the number of variables used.

    Raises ModelError for a checkpoint that does not fit or an ending other than .onnx; then nothing is written.
    ConfigError where the package `onnx` is missing.
    """
    try:
        from hfnet_core.features.network.onnx_graph import build_onnx, save_onnx
    except ImportError as error:
        raise ConfigError("writing an ONNX model needs onnx; pip install 'hfnet_ros[import]'") from error
    if output.suffix != ".onnx":
        raise ModelError(f"{output}: HF-Net is written as an ONNX model; give a name that ends in .onnx")
    if not output.parent.is_dir():
        raise ModelError(f"{output}: there is no such folder; create it or choose another")
    variables = read_release(checkpoint)
    model = build_onnx(variables, _SPEC, name=name, version=version, licence=licence, subpixel=False)
    save_onnx(model, output)
    return len(variables)


def read_release(checkpoint: TensorFlowCheckpoint) -> dict[str, NDArray[np.float32]]:
    """The network's variables by name, TensorFlow layout; state of the training is left out.

    Raises ModelError, naming the variable, for one that is missing, unknown, misshapen or damaged.
    """
    shapes, found = variable_shapes(_SPEC), set(checkpoint.names())
    _check_names(checkpoint.prefix, set(shapes), found)
    for name, shape in shapes.items():
        if checkpoint.shape(name) != shape:
            raise ModelError(
                f"{checkpoint.prefix}: variable {name!r} has shape {checkpoint.shape(name)}, HF-Net as "
                f"released has {shape}; this is a network of other sizes"
            )
    return {name: checkpoint.read(name) for name in shapes}


def _check_names(prefix: Path, expected: set[str], found: set[str]) -> None:
    if any(name.endswith(_OBJECT_SUFFIX) for name in found):
        raise ModelError(
            f"{prefix}: written by tf.train.Checkpoint, which renames variables; save it with tf.compat.v1.train.Saver"
        )
    unknown = {name for name in found - expected if not _TRAINING_STATE.search(name)}
    for what, names in (("lacks", expected - found), ("has the unknown", unknown)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(f"{prefix}: {what} variable {min(names)!r}{more}; this is not a checkpoint of HF-Net")
