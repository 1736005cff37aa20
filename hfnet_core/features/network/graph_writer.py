"""Nodes and constants of an ONNX graph, collected one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["IR_VERSION", "OPSET", "GraphWriter"]

OPSET, IR_VERSION = 17, 8  # read by every ONNX Runtime since 1.13
_NORM_FLOOR = 1e-12  # of the squared norm, as in tf.nn.l2_normalize


class GraphWriter:
    """Values are referred to by name; every method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def reshape(self, x: str, shape: list[int], output: str) -> str:
        return self.node("Reshape", [x, self.constant(f"{output}/shape", shape, np.int64)], output)

    def unit_length(self, x: str, axis: int, output: str) -> str:
        """x / sqrt(max(sum x^2, floor)) along one axis."""
        squares = self.node("ReduceSumSquare", [x], f"{output}/squares", axes=[axis], keepdims=1)
        floor = self.constant(f"{output}/floor", _NORM_FLOOR)
        norm = self.node("Sqrt", [self.node("Max", [squares, floor], f"{output}/max")], f"{output}/norm")
        return self.node("Div", [x, norm], output)
