"""INT8 by images of the place: a quantized copy of a model, with the scales written into the graph.

The copy is an ordinary model file. TensorRT of every version, and ONNX Runtime, read quantization from the graph
(QuantizeLinear and DequantizeLinear around a convolution), so one file means the same everywhere and can be compared on
a CPU. Only convolutions of the backbone and the local heads are quantized, never `EXACT_CONVOLUTIONS`, norms, VLAD or
the projection. Scales are symmetric, as TensorRT wants them: one per activation, one per output channel of a
weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from hfnet_core.errors import DatasetError, ModelError
from hfnet_core.features.backends.tensorrt.building.graphs import convolutions, is_quantized
from hfnet_core.features.network.architecture import EXACT_CONVOLUTIONS
from hfnet_core.types import Float32

__all__ = ["PERCENTILE", "activation_ranges", "quantize"]

PERCENTILE = 99.99  # of the absolute values of an image; the largest few would cost all others resolution
_LEVELS = 127.0


def activation_ranges(model: onnx.ModelProto, images: Iterable[Float32]) -> dict[str, float]:
    """The largest absolute value that each convolution's input needs, by its name.

    images: gray [H, W] float32, sides multiples of 8, as for `Backend.infer`. Raises DatasetError when there are none.
    """
    names = list(dict.fromkeys(node.input[0] for node in _quantizable(model)))
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ranges = dict.fromkeys(names, 0.0)
    count = 0
    for image in images:
        count += 1
        for name, value in zip(names, session.run(names, {"image": image[None, None]}), strict=True):
            ranges[name] = max(ranges[name], float(np.percentile(np.abs(value), PERCENTILE)))
    if count == 0:
        raise DatasetError("calibration needs images; the recording has none")
    return ranges


def quantize(model: onnx.ModelProto, ranges: dict[str, float]) -> onnx.ModelProto:
    """A copy of the model whose convolutions work in INT8. Raises ModelError when it is quantized already."""
    if is_quantized(model):
        raise ModelError("the model is quantized already; start from the original")
    chosen = {node.name for node in _quantizable(model)}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {constant.name: constant for constant in copy.graph.initializer}
    added: dict[str, onnx.TensorProto] = {}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()

    def through_int8(name: str, scale: NDArray[np.float32], **attributes: Any) -> str:
        if name not in done:
            done.add(name)
            for leaf, value in (("scale", scale), ("zero", np.zeros(scale.shape, np.int8))):
                added[f"{name}/{leaf}"] = numpy_helper.from_array(value, f"{name}/{leaf}")
            extra = [f"{name}/scale", f"{name}/zero"]
            for operator, source, target in (
                ("QuantizeLinear", name, f"{name}/int8"),
                ("DequantizeLinear", f"{name}/int8", f"{name}/dequantized"),
            ):
                nodes.append(helper.make_node(operator, [source, *extra], [target], name=target, **attributes))
        return f"{name}/dequantized"

    for node in copy.graph.node:
        if node.name in chosen:
            kernel = numpy_helper.to_array(constants[node.input[1]])
            largest = np.abs(kernel).reshape(len(kernel), -1).max(axis=1)
            node.input[0] = through_int8(node.input[0], _scale(np.float32(ranges[node.input[0]])))
            node.input[1] = through_int8(node.input[1], _scale(largest), axis=0)
        nodes.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(added.values())
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _quantizable(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in convolutions(model) if node.name not in EXACT_CONVOLUTIONS]


def _scale(largest: Any) -> NDArray[np.float32]:
    return np.asarray(np.maximum(largest, 1e-6) / _LEVELS, dtype=np.float32)
