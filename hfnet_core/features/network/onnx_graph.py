"""The network as an ONNX graph, built from named variables without a training framework.

Source: the architecture is that of Sarlin et al., CVPR 2019; the arithmetic follows the released TensorFlow graph.
Batch norms are folded into the convolutions in float64. TensorFlow's SAME padding is ONNX's SAME_UPPER for every
size, which matters from layer 8 on, where odd sizes occur. Only plain operators are used (no control flow, no
data-dependent shapes), so that other runtimes can take the same file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from hfnet_core.errors import DatasetError, ModelError
from hfnet_core.features.network.architecture import (
    BATCH_NORM_EPSILON,
    DETECTOR_CELL,
    LAYERS,
    LOCAL_LAYER,
    WORD_TEMPERATURE,
    Block,
    NetworkSpec,
    variable_shapes,
)
from hfnet_core.features.network.graph_writer import IR_VERSION, OPSET, GraphWriter
from hfnet_core.features.network.model_file import DIGEST, parse_file
from hfnet_core.features.network.model_info import ModelInfo, hash_variables
from hfnet_core.files import whole_file

__all__ = ["build_onnx", "check_variables", "save_onnx"]

Variables = Mapping[str, NDArray[Any]]


def build_onnx(
    variables: Variables,
    spec: NetworkSpec,
    *,
    name: str,
    version: str,
    licence: str,
    subpixel: bool,
    static_shape: tuple[int, int] | None = None,
    with_logits: bool = False,
) -> onnx.ModelProto:
    """The whole network for one image.

    variables: every variable of `variable_shapes(spec)`, TensorFlow layout. static_shape: (H, W) in pixels, multiples
    of 8; None leaves both free. Input `image` [1, 1, H, W] float32 gray 0..255. Outputs, float32: `scores` [1, H, W]
    keypoint probabilities; `descriptors` [1, H/8, W/8, local_dim] and `global_descriptor` [1, global_dim], unit
    length; with `with_logits` also `logits` [1, H/8, W/8, 65]. Metadata holds a ModelInfo (see model_info.py).
    Raises ModelError when a variable is missing, unknown, misshapen or not finite.
    """
    check_variables(variables, spec)
    if static_shape is not None and any(side <= 0 or side % DETECTOR_CELL for side in static_shape):
        raise ModelError(f"static shape {static_shape} is not made of positive multiples of {DETECTOR_CELL}")
    graph = _Graph(variables)
    features = graph.backbone(_stem(graph), LAYERS[:LOCAL_LAYER])
    classes = _detector_head(graph, features, with_logits)
    _descriptor_head(graph, features)
    if spec.pool_local:
        _local_vlad(graph, classes, spec)
    else:
        _global_head(graph, graph.backbone(features, LAYERS[LOCAL_LAYER:]), spec)
    info = ModelInfo(name, version, hash_variables(variables, spec), spec, licence, subpixel)
    return _model(graph, info, static_shape, with_logits)


def check_variables(variables: Variables, spec: NetworkSpec) -> None:
    """Raise ModelError, naming the variable, unless `variables` are exactly those of the spec and finite."""
    shapes = variable_shapes(spec)
    for what, names in (("missing", shapes.keys() - variables.keys()), ("unknown", variables.keys() - shapes.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(f"{what} variable {min(names)!r}{more}: the checkpoint is of another network")
    for name, shape in shapes.items():
        value = np.asarray(variables[name])
        if value.shape != shape:
            raise ModelError(f"variable {name!r} has shape {value.shape}, this network needs {shape}")
        if not np.isfinite(value).all():
            raise ModelError(f"variable {name!r} holds NaN or infinity: the checkpoint is damaged or training diverged")
        if name.endswith("moving_variance") and (value < 0).any():
            raise ModelError(f"variable {name!r} holds a negative variance: the checkpoint is damaged")


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write the model with a digest of its tensors (see model_file.py), by which readers notice damage.

    An existing file is replaced only once the new one is complete. Raises ModelError.
    """
    stamped = onnx.ModelProto()
    stamped.CopyFrom(model)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    properties[DIGEST] = parse_file(model.SerializeToString(), str(path)).digest
    helper.set_model_props(stamped, properties)
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(stamped.SerializeToString(deterministic=True))
    except OSError as error:
        raise ModelError(f"{path}: cannot write the model ({error.strerror})") from error
    except DatasetError as error:
        raise ModelError(f"cannot write the model: {error}") from error


class _Graph(GraphWriter):
    """A graph made of the network's variables."""

    def __init__(self, variables: Variables) -> None:
        super().__init__()
        self.variables = variables

    def variable(self, name: str) -> NDArray[np.float64]:
        return np.asarray(self.variables[name], dtype=np.float64)

    def convolution(
        self,
        x: str,
        scope: str,
        *,
        stride: int = 1,
        relu: bool = True,
        depthwise: bool = False,
        input_scale: float = 1.0,
    ) -> str:
        """Convolution with its batch norm folded in (or its biases, where it has those), then optionally ReLU6."""
        kernel = self.variable(f"{scope}/depthwise_weights" if depthwise else f"{scope}/weights")
        kernel = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)  # to OIHW
        if f"{scope}/biases" in self.variables:
            bias = self.variable(f"{scope}/biases")
        else:
            scale, bias = self._batch_norm(scope)
            kernel = kernel * scale[:, None, None, None]
        size = kernel.shape[2]
        inputs = [x, self.constant(f"{scope}/kernel", kernel * input_scale), self.constant(f"{scope}/bias", bias)]
        padding: dict[str, Any] = {"auto_pad": "SAME_UPPER"} if stride > 1 else {"pads": [size // 2] * 4}
        groups = kernel.shape[0] if depthwise else 1
        y = self.node("Conv", inputs, scope, kernel_shape=[size, size], strides=[stride] * 2, group=groups, **padding)
        if not relu:
            return y
        limits = [self.constant(f"{scope}/low", 0.0), self.constant(f"{scope}/high", 6.0)]
        return self.node("Clip", [y, *limits], f"{scope}/relu6")

    def _batch_norm(self, scope: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and offset per output channel."""
        norm = f"{scope}/BatchNorm"
        scale = 1.0 / np.sqrt(self.variable(f"{norm}/moving_variance") + BATCH_NORM_EPSILON)
        if f"{norm}/gamma" in self.variables:
            scale = scale * self.variable(f"{norm}/gamma")
        return scale, self.variable(f"{norm}/beta") - self.variable(f"{norm}/moving_mean") * scale

    def backbone(self, x: str, blocks: tuple[Block, ...]) -> str:
        for block in blocks:
            y = self.convolution(x, f"{block.scope}/expand") if block.has_expand else x
            y = self.convolution(y, f"{block.scope}/depthwise", stride=block.stride, depthwise=True)
            y = self.convolution(y, f"{block.scope}/project", relu=False)
            x = self.node("Add", [x, y], f"{block.scope}/add") if block.is_residual else y
        return x


def _stem(graph: _Graph) -> str:
    """Layer 1 on (gray - 128) / 128."""
    # The division goes into the kernel, exactly, as 128 is a power of two. The subtraction may not go into the bias:
    # SAME padding adds zeros after the normalisation, that is gray 128.
    centred = graph.node("Sub", ["image", graph.constant("image/middle", 128.0)], "image/centred")
    return graph.convolution(centred, "MobilenetV2/Conv", stride=2, input_scale=1 / 128)


def _detector_head(graph: _Graph, features: str, with_logits: bool) -> str:
    """Makes `scores`; returns the probabilities of the 65 classes [1, 65, H/8, W/8]."""
    scope = "local_head/detector"
    logits = graph.convolution(graph.convolution(features, f"{scope}/Conv"), f"{scope}/Conv_1", relu=False)
    if with_logits:
        graph.node("Transpose", [logits], "logits", perm=[0, 2, 3, 1])
    classes = graph.node("Softmax", [logits], f"{scope}/probabilities", axis=1)
    bounds = [
        graph.constant(f"{scope}/{key}", [value], np.int64)
        for key, value in (("start", 0), ("end", DETECTOR_CELL**2), ("axis", 1))
    ]
    pixels = graph.node("Slice", [classes, *bounds], f"{scope}/without_dustbin")
    image = graph.node("DepthToSpace", [pixels], f"{scope}/image", blocksize=DETECTOR_CELL, mode="DCR")
    graph.node("Squeeze", [image, bounds[2]], "scores")
    return classes


def _descriptor_head(graph: _Graph, features: str) -> None:
    scope = "local_head/descriptor"
    x = graph.convolution(graph.convolution(features, f"{scope}/Conv"), f"{scope}/Conv_1", relu=False)
    graph.unit_length(graph.node("Transpose", [x], f"{scope}/channels_last", perm=[0, 2, 3, 1]), 3, "descriptors")


def _global_head(graph: _Graph, x: str, spec: NetworkSpec) -> None:
    """VLAD. As released, the "intra" normalisation runs over the clusters for each feature dimension."""
    scope, clusters, dim = "global_head/vlad", spec.clusters, spec.vlad_dim
    if spec.intermediate_dim:
        x = graph.convolution(x, "global_head/intermediate_proj", relu=False)
    memberships = graph.convolution(x, f"{scope}/memberships", relu=False)
    weights = graph.node("Softmax", [memberships], f"{scope}/softmax", axis=1)
    weights = graph.reshape(weights, [1, clusters, -1], f"{scope}/weights")  # [1, K, P]
    points = graph.reshape(x, [1, dim, -1], f"{scope}/features")  # [1, D, P]
    points = graph.node("Transpose", [points], f"{scope}/points", perm=[0, 2, 1])
    centres = graph.constant(f"{scope}/centres", graph.variable(f"{scope}/clusters").reshape(1, clusters, dim))
    axis = graph.constant(f"{scope}/point_axis", [2], np.int64)
    mass = graph.node("ReduceSum", [weights, axis], f"{scope}/mass", keepdims=1)
    own = graph.node("Mul", [mass, centres], f"{scope}/mass_times_centre")
    residuals = graph.node("Sub", [own, graph.node("MatMul", [weights, points], f"{scope}/sum")], f"{scope}/residuals")
    vlad = graph.reshape(graph.unit_length(residuals, 1, f"{scope}/intra"), [1, clusters * dim], f"{scope}/flat")
    _reduce(graph, graph.unit_length(vlad, 1, f"{scope}/unit"))


def _local_vlad(graph: _Graph, classes: str, spec: NetworkSpec) -> None:
    """VLAD of projected local descriptors: each belongs to the words near it, weighted by the
    probability of a keypoint.

    Residuals are summed per word, and each word's part gets unit length.
    """
    scope = "global_head/local_vlad"
    projection, words = (graph.variable(f"{scope}/{name}") for name in ("projection", "words"))
    bounds = [
        graph.constant(f"{scope}/{key}", [value], np.int64)
        for key, value in (("start", DETECTOR_CELL**2), ("end", DETECTOR_CELL**2 + 1), ("axis", 1))
    ]
    dustbin = graph.node("Slice", [classes, *bounds], f"{scope}/dustbin")
    keypoint = graph.node("Sub", [graph.constant(f"{scope}/one", 1.0), dustbin], f"{scope}/keypoint")
    weights = graph.reshape(keypoint, [1, -1, 1], f"{scope}/weights")  # [1, P, 1]
    points = graph.reshape("descriptors", [1, -1, spec.local_dim], f"{scope}/descriptors")
    points = graph.node("MatMul", [points, graph.constant(f"{scope}/projection", projection)], f"{scope}/points")
    sharp = words / WORD_TEMPERATURE  # the softmax of -|point - word|^2 / 2 over the temperature
    product = graph.node("MatMul", [points, graph.constant(f"{scope}/sharp_words", sharp.T)], f"{scope}/product")
    offset = graph.constant(f"{scope}/offset", 0.5 * (sharp * words).sum(axis=1))
    affinity = graph.node("Sub", [product, offset], f"{scope}/affinity")  # [1, P, K]
    memberships = graph.node("Softmax", [affinity], f"{scope}/memberships", axis=2)
    assigned = graph.node("Mul", [memberships, weights], f"{scope}/assigned")
    axis = graph.constant(f"{scope}/point_axis", [1], np.int64)
    mass = graph.node("ReduceSum", [assigned, axis], f"{scope}/mass", keepdims=0)  # [1, K]
    mass = graph.reshape(mass, [1, spec.clusters, 1], f"{scope}/mass_column")
    assigned = graph.node("Transpose", [assigned], f"{scope}/assigned_by_word", perm=[0, 2, 1])
    own = graph.node("Mul", [mass, graph.constant(f"{scope}/words", words[None])], f"{scope}/mass_times_word")
    sums = graph.node("MatMul", [assigned, points], f"{scope}/sum")
    residuals = graph.node("Sub", [sums, own], f"{scope}/residuals")  # [1, K, D]
    flat = [1, spec.clusters * spec.vlad_dim]
    vlad = graph.reshape(graph.unit_length(residuals, 2, f"{scope}/intra"), flat, f"{scope}/flat")
    _reduce(graph, graph.unit_length(vlad, 1, f"{scope}/unit"))


def _reduce(graph: _Graph, vlad: str) -> None:
    scope = "global_head/dimensionality_reduction"
    weights = graph.variable(f"{scope}/weights")
    with np.errstate(over="ignore"):
        is_half = bool((weights.astype(np.float16) == weights).all())
    # By far the largest constant: two bytes a value where nothing is lost by it. Runtimes widen it once, on loading.
    stored = graph.constant(f"{scope}/weights", weights, np.float16 if is_half else np.float32)
    if is_half:
        stored = graph.node("Cast", [stored], f"{scope}/wide_weights", to=TensorProto.FLOAT)
    biases = graph.constant(f"{scope}/biases", graph.variable(f"{scope}/biases"))
    graph.unit_length(graph.node("Gemm", [vlad, stored, biases], scope), 1, "global_descriptor")


def _model(graph: _Graph, info: ModelInfo, static_shape: tuple[int, int] | None, with_logits: bool) -> onnx.ModelProto:
    height, width = static_shape or ("height", "width")
    rows, columns = [side // DETECTOR_CELL for side in static_shape] if static_shape else ("rows", "columns")
    shapes: dict[str, list[int | str]] = {
        "scores": [1, height, width],
        "descriptors": [1, rows, columns, info.spec.local_dim],
        "global_descriptor": [1, info.spec.global_dim],
    }
    if with_logits:
        shapes["logits"] = [1, rows, columns, DETECTOR_CELL**2 + 1]
    value = helper.make_tensor_value_info
    proto = helper.make_graph(
        graph.nodes,
        "hfnet",
        [value("image", TensorProto.FLOAT, [1, 1, height, width])],
        [value(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        graph.constants,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "hfnet_ros"
    helper.set_model_props(model, info.to_metadata())
    onnx.checker.check_model(model, full_check=True)
    return model
