"""Our ONNX graph in the forms that TensorRT takes: one fixed size, and FP16 where that is safe.

Precision is written into the graph as explicit casts, so that it means the same to every runtime: a strongly typed
TensorRT network follows it to the letter, and ONNX Runtime on a CPU can check its numbers. FP16 is for convolutions,
their ReLU6 and residual sums. Norms, softmax, VLAD, projection and the detector's last convolution stay in FP32: 1e-12
is zero in FP16, so the norm of a blank image would be 0/0, and rounded logits tie with their neighbours, which
non-maximum suppression then keeps all of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import BackendError, ModelError, first_line
from hfnet_core.features.network.architecture import DETECTOR_CELL

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper, shape_inference
except ImportError as error:
    raise BackendError("building an engine needs the onnx package; pip install onnx") from error

__all__ = ["convolutions", "fix_shape", "half_nodes", "is_quantized", "mixed_precision", "parse_model"]

_HALF_OPERATORS = {"Conv", "Clip", "Add"}
_HALF_SCOPES = ("MobilenetV2/", "local_head/")
_FULL_NODES = {"local_head/detector/Conv_1"}
_HALF_MAX = float(np.finfo(np.float16).max)


def parse_model(content: bytes, source: str) -> onnx.ModelProto:
    """The graph in a model file. Raises ModelError."""
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # the protobuf libraries raise types of their own, which differ between versions
        raise ModelError(f"{source}: not a readable ONNX model ({first_line(error)})") from error
    if [value.name for value in model.graph.input] != ["image"]:
        raise ModelError(f"{source}: its input is not `image`; it is no HF-Net, export it again")
    return model


def fix_shape(model: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    """A copy for images [1, 1, height, width] only, all shapes known and padding spelled out.

    Raises ModelError when the sides are not positive multiples of 8 or the model is already of another size.
    """
    if any(side <= 0 or side % DETECTOR_CELL for side in (height, width)):
        raise ModelError(f"engine size {width}x{height}: both sides must be positive multiples of {DETECTOR_CELL}")
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    graph = fixed.graph
    for dimension, side in zip(graph.input[0].type.tensor_type.shape.dim, (1, 1, height, width), strict=True):
        if dimension.HasField("dim_value") and dimension.dim_value != side:
            raise ModelError(f"the model is for one size only, which is not {width}x{height}; use one with free sizes")
        dimension.dim_value = side
    for output in graph.output:
        dimensions = output.type.tensor_type.shape.dim
        for dimension in dimensions:
            if dimension.HasField("dim_param"):
                dimension.ClearField("dim_param")  # inferred below
    fixed = shape_inference.infer_shapes(fixed, strict_mode=True)
    _spell_out_padding(fixed.graph)
    onnx.checker.check_model(fixed, full_check=True)
    return fixed


def _spell_out_padding(graph: onnx.GraphProto) -> None:
    """SAME_UPPER as numbers: total = (ceil(n / s) - 1) s + k - n, the smaller half first."""
    known = {value.name: value for value in [*graph.input, *graph.value_info]}
    for node in graph.node:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if attributes.get("auto_pad") != b"SAME_UPPER":
            continue
        sides = [dimension.dim_value for dimension in known[node.input[0]].type.tensor_type.shape.dim[2:]]
        sizes, strides = attributes["kernel_shape"], attributes["strides"]
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(sides, strides, sizes, strict=True)]
        kept = [attribute for attribute in node.attribute if attribute.name != "auto_pad"]
        del node.attribute[:]
        node.attribute.extend(kept)
        before = [value // 2 for value in total]
        after = [value - first for value, first in zip(total, before, strict=True)]
        node.attribute.append(helper.make_attribute("pads", before + after))


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether the graph says itself what runs in INT8 (see quantization.py)."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def half_nodes(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that may run in FP16."""
    return {
        node.name
        for node in model.graph.node
        if node.op_type in _HALF_OPERATORS and node.name.startswith(_HALF_SCOPES) and node.name not in _FULL_NODES
    }


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The convolutions among `half_nodes`, in order of execution."""
    half = half_nodes(model)
    return [node for node in model.graph.node if node.op_type == "Conv" and node.name in half]


def mixed_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which `half_nodes` compute in FP16 and everything else, inputs and outputs included, in FP32.

    Raises ModelError when a weight does not fit into FP16; such a model runs in FP32 only.
    """
    mixed = onnx.ModelProto()
    mixed.CopyFrom(model)
    _Converter(mixed.graph, half_nodes(mixed)).run()
    del mixed.graph.value_info[:]  # of the old types
    onnx.checker.check_model(mixed, full_check=True)
    return mixed


class _Converter:
    """Puts casts where values cross between the two precisions; each value is cast at most once per direction."""

    def __init__(self, graph: onnx.GraphProto, half: set[str]) -> None:
        self.graph = graph
        self.half = half
        self.constants = {constant.name: constant for constant in graph.initializer}
        self.in_half: set[str] = set()  # values that are FP16
        self.nodes: list[onnx.NodeProto] = []
        self.cast: dict[tuple[str, int], str] = {}

    def run(self) -> None:
        for node in self.graph.node:
            is_half = node.name in self.half
            for index, name in enumerate(node.input):
                if is_half != (name in self.in_half):
                    node.input[index] = self._converted(name, is_half)
            if is_half:
                self.in_half.update(node.output)
            self.nodes.append(node)
        outputs = {value.name for value in self.graph.output} & self.in_half
        if outputs:
            raise ModelError(f"output {min(outputs)} would be FP16; the graph is not an HF-Net, export it again")
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [constant for constant in self.constants.values() if constant.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _converted(self, name: str, to_half: bool) -> str:
        kind = TensorProto.FLOAT16 if to_half else TensorProto.FLOAT
        if (name, kind) in self.cast:
            return self.cast[name, kind]
        output = f"{name}/{'half' if to_half else 'full'}"
        if name in self.constants:
            constant = numpy_helper.from_array(_to_half(numpy_helper.to_array(self.constants[name]), name), output)
            self.constants[output] = constant
        else:
            self.nodes.append(helper.make_node("Cast", [name], [output], name=output, to=kind))
        if to_half:
            self.in_half.add(output)
        self.cast[name, kind] = output
        return output


def _to_half(value: NDArray[Any], name: str) -> NDArray[np.float16]:
    largest = float(np.abs(value).max(initial=0.0))
    if largest > _HALF_MAX:
        raise ModelError(f"weight {name!r} reaches {largest:g}, beyond FP16; build this model with --precision fp32")
    return value.astype(np.float16)
