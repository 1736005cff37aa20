"""What is asked of an ONNX file of strangers before a runtime gets it.

Our own models are held to their operators and their cost (`features/network/model_file.py`). A model that somebody
describes may use any standard operator, so what it computes is trusted; what it reads is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from hfnet_core.errors import ModelError
from hfnet_core.features.network.protobuf import fields

__all__ = ["check_model"]

_DOMAINS = ("", "ai.onnx")
_MOST_NODES = 20_000
# Field numbers after onnx/onnx.proto.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = (5, 10), (6, 11)
_TENSOR_ELSEWHERE, _TENSOR_LOCATION = 13, 14


def check_model(content: bytes, source: str) -> None:
    """Raise ModelError for a file with code that is not in it: tensors in other files, functions, operators of others;
    graphs inside operators (loops and branches) are refused as well."""
    try:
        for tensor in _tensors(_only_graph(memoryview(content))):
            _check_tensor(tensor)
    except ValueError as error:
        raise ModelError(f"{source}: not an ONNX model that can be described ({error})") from error


def _only_graph(content: memoryview) -> bytes | memoryview:
    parts = [(number, value) for number, _, value in fields(content)]
    graphs = [value for number, value in parts if number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise ValueError("no single graph in it")
    if any(number in (_MODEL_TRAINING, _MODEL_FUNCTIONS) for number, _ in parts):
        raise ValueError("functions or training inside")
    return graphs[0]


def _tensors(graph: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Every tensor of a graph and of its operators, which are checked on the way."""
    nodes = 0
    for number, _, value in fields(graph):
        if number == _GRAPH_SPARSE:
            raise ValueError("sparse tensors")
        if number == _GRAPH_TENSOR:
            yield value
        if number == _GRAPH_NODE:
            nodes += 1
            yield from _node_tensors(value)
    if not 0 < nodes <= _MOST_NODES:
        raise ValueError(f"{nodes} operators; between 1 and {_MOST_NODES} are run")


def _node_tensors(node: bytes | memoryview) -> Iterator[bytes | memoryview]:
    operator = ""
    for number, _, value in fields(node):
        if number == _NODE_OPERATOR:
            operator = bytes(value).decode("utf-8", "replace")
        if number == _NODE_DOMAIN and bytes(value).decode("utf-8", "replace") not in _DOMAINS:
            raise ValueError(f"operator {operator!r} is not one of the standard")
        if number != _NODE_ATTRIBUTE:
            continue
        for part, _, content in fields(value):
            if part in _ATTRIBUTE_GRAPHS:
                raise ValueError(f"a graph inside of operator {operator!r}")
            if part in _ATTRIBUTE_TENSORS:
                yield content


def _check_tensor(tensor: bytes | memoryview) -> None:
    for number, value, _ in fields(tensor):
        if number == _TENSOR_ELSEWHERE or (number == _TENSOR_LOCATION and value):
            raise ValueError("a tensor that lies in another file; save the model with its weights inside")
