"""An ONNX file looked at before any runtime gets it: of strangers, runtimes read too much and check too little.

Field numbers after onnx/onnx.proto. Needs neither the `onnx` package nor a runtime.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hfnet_core.errors import ModelError
from hfnet_core.features.network.protobuf import fields, varint
from hfnet_core.files import read_file
from hfnet_core.limits import MODEL

__all__ = ["DIGEST", "OPERATORS", "Constant", "ModelFile", "Node", "parse_file", "read_model_file"]

DIGEST = "hfnet.graph_sha256"  # in the metadata: what `ModelFile.digest` was when the file was written

# Everything that our graphs use: no control flow, nothing that makes large values of small ones, no code of others.
OPERATORS = frozenset(
    {
        "Add",
        "Cast",
        "Clip",
        "Conv",
        "DepthToSpace",
        "Div",
        "Gemm",
        "MatMul",
        "Max",
        "Mul",
        "ReduceSum",
        "ReduceSumSquare",
        "Reshape",
        "Slice",
        "Softmax",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",  # build_onnx
        "DequantizeLinear",
        "QuantizeLinear",  # of quantized copies
    }
)
_ITEM_BYTES = {
    1: 4,
    2: 1,
    3: 1,
    6: 4,
    7: 8,
    10: 2,
    11: 8,
}  # of TensorProto.DataType
_MAX_NODES, _MAX_DIMENSIONS = 2000, 8
_MAX_NAME = 1000  # characters, of a value
_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class Constant:
    """A stored tensor: data_type as in TensorProto.DataType, its bytes as they lie in the file."""

    name: str
    data_type: int
    shape: tuple[int, ...]
    data: memoryview


@dataclass(frozen=True, eq=False)
class Node:
    """An operator, the names of its values, and those of its attributes that are whole numbers."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Mapping[str, Sequence[int]]


Shape = tuple[int | str, ...]
"""Sizes of an input or output, names for those that are free."""


@dataclass(frozen=True, eq=False)
class ModelFile:
    """What a model file holds, checked: see `parse_file`. inputs, outputs: of the graph, by name."""

    metadata: Mapping[str, str]
    nodes: Sequence[Node]
    constants: Mapping[str, Constant]
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    wiring: Sequence[bytes]

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the stored tensors (name, type, shape and bytes of each, in order of names) and of
        what is done with them (`wiring`: operator sets, nodes, inputs and outputs as they lie in the file)."""
        out = hashlib.sha256()
        for part in self.wiring:
            out.update(len(part).to_bytes(8, "little") + part)
        for name in sorted(self.constants):
            constant = self.constants[name]
            out.update(f"{name}\n{constant.data_type} {list(constant.shape)}\n".encode())
            out.update(constant.data)
        return out.hexdigest()

    def check_digest(self, source: str) -> bool:
        """Whether the file says what its tensors should be. Raises ModelError where they are others."""
        wanted = self.metadata.get(DIGEST)
        if wanted is not None and wanted != self.digest:
            raise ModelError(
                f"{source}: its weights are not those it was written with ({DIGEST} differs): the "
                "file is damaged or was changed, copy or export it again"
            )
        return wanted is not None


def read_model_file(path: Path) -> bytes:
    """The content of a model file, of a size within the limit. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; train one with `hfnet train` or give the path of another")
    return read_file(path, MODEL, ModelError)


def parse_file(content: bytes, source: str) -> ModelFile:
    """The parts of an ONNX file, once nothing in it can surprise a runtime.

    Refused, with a ModelError that says what: anything but plain nodes of OPERATORS without graphs inside, functions,
    tensors that lie elsewhere or whose bytes do not fit their shape, names that are given twice.
    """
    try:
        return _model(memoryview(content))
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{source}: not a readable ONNX model of ours (a name that is no text); export it again"
        ) from error
    except ValueError as error:
        raise ModelError(f"{source}: not a readable ONNX model of ours ({error}); export it again") from error


def _text(value: bytes | memoryview) -> str:
    if len(value) > _MAX_NAME:
        raise ValueError("a name that is too long")
    return bytes(value).decode("utf-8")


def _model(content: memoryview) -> ModelFile:
    metadata: dict[str, str] = {}
    graphs, operators = [], []
    for number, _, value in fields(content):
        if number == 7:
            graphs.append(value)
        elif number == 8:
            operators.append(bytes(value))
        elif number == 14:
            entry = {key: bytes(item).decode("utf-8") for key, _, item in fields(value)}
            if entry.get(1, "") in metadata:
                raise ValueError(f"two values of {entry.get(1, '')!r} in its metadata")
            metadata[entry.get(1, "")] = entry.get(2, "")
        elif number in (20, 25):
            raise ValueError("functions or training inside")
    if len(graphs) != 1:
        raise ValueError("damaged or truncated" if not graphs else "several graphs")
    return _graph(memoryview(graphs[0]), metadata, operators)


def _graph(content: memoryview, metadata: Mapping[str, str], wiring: list[bytes]) -> ModelFile:
    nodes: list[Node] = []
    constants: dict[str, Constant] = {}
    ends: dict[int, dict[str, Shape]] = {11: {}, 12: {}}
    for number, _, value in fields(content):
        if number in (1, 11, 12):
            wiring.append(bytes(value))
        if number in ends:
            name, shape = _end(value)
            ends[number][name] = shape
        if number == 1:
            nodes.append(_node(value))
        elif number == 5:
            constant = _constant(memoryview(value))
            if constant.name in constants:
                raise ValueError(f"two tensors of the name {constant.name!r}")
            constants[constant.name] = constant
        elif number == 15:
            raise ValueError("sparse tensors")
    if len(nodes) > _MAX_NODES:
        raise ValueError(f"{len(nodes)} nodes, more than {_MAX_NODES}")
    return ModelFile(metadata, nodes, constants, ends[11], ends[12], wiring)


def _node(content: bytes | memoryview) -> Node:
    inputs, outputs = [], []
    numbers: dict[str, Sequence[int]] = {}
    operator = domain = ""
    for number, _, value in fields(content):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 3:
            _text(value)  # the node's own name: only runtimes use it, in their messages
        elif number == 4:
            operator = _text(value)
        elif number == 7:
            domain = _text(value)
        elif number == 5:
            name, values = _attribute(value)
            numbers[name] = values
    if operator not in OPERATORS or domain not in _DOMAINS:
        raise ValueError(f"operator {(domain + '.' if domain else '') + operator!r}, which our graphs do not use")
    return Node(operator, tuple(inputs), tuple(outputs), numbers)


def _attribute(content: bytes | memoryview) -> tuple[str, Sequence[int]]:
    """Name and whole numbers of an attribute; [] for one of another kind."""
    name, numbers = "", []
    for number, value, chunk in fields(content):
        if number in (6, 11):
            raise ValueError("an operator with a graph inside")
        if number == 1:
            name = _text(chunk)
        elif number in (3, 8):
            numbers += [value] if not len(chunk) else _packed(chunk)
    return name, [value - 2**64 if value >= 2**63 else value for value in numbers]


def _end(content: bytes | memoryview) -> tuple[str, Shape]:
    """Name and shape of an input or output."""
    name, shape = "", []
    for number, _, value in fields(content):
        if number == 1:
            name = _text(value)
        tensors = [tensor for kind, _, tensor in fields(value) if kind == 1] if number == 2 else []
        shapes = [part for tensor in tensors for field, _, part in fields(tensor) if field == 2]
        for dimension in [part for sizes in shapes for field, _, part in fields(sizes) if field == 1]:
            shape += [_text(text) if field == 2 else size for field, size, text in fields(dimension) if field in (1, 2)]
    return name, tuple(shape)


def _constant(content: memoryview) -> Constant:
    name, data_type, shape = "", 0, []
    data: memoryview | None = None
    for number, value, chunk in fields(content):
        if number == 1:
            shape += [value] if not len(chunk) else _packed(chunk)
        elif number == 2:
            data_type = value
        elif number == 8:
            name = _text(chunk)
        elif number == 9:
            data = memoryview(chunk)
        elif number != 12:  # a remark
            raise ValueError(f"tensor {name!r} is not stored as plain bytes in this file")
    if data_type not in _ITEM_BYTES or len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"tensor {name!r} of type {data_type} with {len(shape)} dimensions")
    data = memoryview(b"") if data is None else data
    if math.prod(shape) * _ITEM_BYTES[data_type] != len(data):
        raise ValueError(f"tensor {name!r} of shape {shape} with {len(data)} bytes")
    return Constant(name, data_type, tuple(shape), data)


def _packed(chunk: bytes | memoryview) -> list[int]:
    sizes, position = [], 0
    while position < len(chunk):
        size, position = varint(chunk, position)
        sizes.append(size)
    return sizes
