"""What a graph would take, found from shapes alone, before a runtime makes room for it.

A small file may ask for much: the product of a long column and a long row of pixels is their square. Shapes follow the
ONNX specification of each operator that our graphs use, as far as they use it; what cannot be followed is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from hfnet_core.errors import ModelError
from hfnet_core.features.network.model_file import Constant, ModelFile, Node

__all__ = ["check_cost"]

Sizes = tuple[int, ...]

_IMAGE = (1, 1, 1200, 1600)  # where sizes are free
_MOST_VALUES = 256  # of one tensor, for each pixel of the image; ours and the released network have 24
_MOST_PRODUCTS = 200_000  # for each pixel; ours 6,400, the released network 11,600
_LARGEST_PAD = 64  # of a convolution
_LEAST = 1_000_000  # values that any tensor may have, whatever the image: projections of global descriptors


def check_cost(model: ModelFile, source: str) -> None:
    """Raises ModelError where a value, or the work for all of them, is out of proportion to the image."""
    try:
        _Walk(model).run()
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise ModelError(f"{source}: not a readable ONNX model of ours ({error}); export it again") from error


class _Walk:
    """Goes through the nodes in order, which ONNX demands to be that of computing."""

    def __init__(self, model: ModelFile) -> None:
        free = next(iter(model.inputs.values()), ())
        image = tuple(size if isinstance(size, int) and size else _IMAGE[i % 4] for i, size in enumerate(free))
        self.pixels = max(math.prod(image), 1)
        self.model, self.products = model, 0
        self.shapes: dict[str, Sizes] = {name: constant.shape for name, constant in model.constants.items()}
        self.shapes |= dict.fromkeys(model.inputs, image)

    def run(self) -> None:
        for node in self.model.nodes:
            inputs = [self._shape(name, node) for name in node.inputs if name]
            if not inputs or len(node.outputs) != 1:
                raise ValueError(f"operator {node.operator!r} with {len(node.outputs)} outputs")
            shape = _RULES[node.operator](self, node, inputs)
            if min(shape, default=1) < 0 or math.prod(shape) > max(_MOST_VALUES * self.pixels, _LEAST):
                raise ValueError(f"value {node.outputs[0]!r} of {math.prod(shape):.2g} numbers is too large")
            self.shapes[node.outputs[0]] = shape
        if self.products > max(_MOST_PRODUCTS * self.pixels, _LEAST):
            raise ValueError(f"{self.products:.2g} products for an image are too many")

    def _shape(self, name: str, node: Node) -> Sizes:
        if name not in self.shapes:
            raise ValueError(f"operator {node.operator!r} takes {name!r}, which nothing makes before")
        return self.shapes[name]

    def numbers(self, name: str) -> list[int]:
        """A constant of whole numbers: a shape, axes or limits."""
        constant: Constant | None = self.model.constants.get(name)
        if constant is None or constant.data_type not in (6, 7):
            raise ValueError(f"{name!r} is no constant of whole numbers")
        return [int(value) for value in np.frombuffer(constant.data, "<i8" if constant.data_type == 7 else "<i4")]

    def axes(self, node: Node, place: int, rank: int) -> list[int]:
        """Of an attribute (older operators) or the input at `place`."""
        given: Sequence[int] = node.numbers.get("axes", range(rank))
        if len(node.inputs) > place:
            given = self.numbers(node.inputs[place])
        axes = [axis + rank if axis < 0 else axis for axis in given]
        if any(not 0 <= axis < rank for axis in axes):
            raise ValueError(f"operator {node.operator!r} along axes {axes} of {rank}")
        return axes


def _broadcast(_walk: _Walk, _node: Node, inputs: Sequence[Sizes]) -> Sizes:
    return np.broadcast_shapes(*inputs)


def _same(_walk: _Walk, _node: Node, inputs: Sequence[Sizes]) -> Sizes:
    return inputs[0]


def _conv(walk: _Walk, node: Node, inputs: Sequence[Sizes]) -> Sizes:
    (batch, _, *sides), (channels, each, *kernel) = inputs[0], inputs[1]
    strides = node.numbers.get("strides", [1] * len(sides))
    pads = node.numbers.get("pads")
    fits = len(kernel) == len(sides) == len(strides) and min(strides, default=0) >= 1
    if not fits or any(not 0 <= pad <= _LARGEST_PAD for pad in pads or ()):
        raise ValueError("a convolution that is none")
    out = [-(-side // stride) for side, stride in zip(sides, strides, strict=True)]  # padded as it needs
    if pads is not None:
        room = [
            side + sum(pads[axis :: len(sides)]) - size
            for axis, (side, size) in enumerate(zip(sides, kernel, strict=True))
        ]
        out = [left // stride + 1 for left, stride in zip(room, strides, strict=True)]
    shape = (batch, channels, *out)
    walk.products += math.prod(shape) * each * math.prod(kernel)
    return shape


def _matmul(walk: _Walk, _node: Node, inputs: Sequence[Sizes]) -> Sizes:
    (*outer, rows, inner), (*other, _, columns) = inputs[0], inputs[1]
    shape = (*np.broadcast_shapes(tuple(outer), tuple(other)), rows, columns)
    walk.products += math.prod(shape) * inner
    return shape


def _gemm(walk: _Walk, node: Node, inputs: Sequence[Sizes]) -> Sizes:
    a, b = inputs[0], inputs[1]
    a = a[::-1] if node.numbers.get("transA", [0])[0] else a
    b = b[::-1] if node.numbers.get("transB", [0])[0] else b
    walk.products += a[0] * a[1] * b[1]
    return a[0], b[1]


def _reduce(walk: _Walk, node: Node, inputs: Sequence[Sizes]) -> Sizes:
    axes = walk.axes(node, 1, len(inputs[0]))
    kept = node.numbers.get("keepdims", [1])[0]
    return tuple(1 if axis in axes else size for axis, size in enumerate(inputs[0]) if kept or axis not in axes)


def _squeeze(walk: _Walk, node: Node, inputs: Sequence[Sizes]) -> Sizes:
    axes = walk.axes(node, 1, len(inputs[0]))
    return tuple(size for axis, size in enumerate(inputs[0]) if axis not in axes)


def _reshape(walk: _Walk, node: Node, inputs: Sequence[Sizes]) -> Sizes:
    wanted = [inputs[0][axis] if size == 0 else size for axis, size in enumerate(walk.numbers(node.inputs[1]))]
    total, known = math.prod(inputs[0]), math.prod(size for size in wanted if size != -1)
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1 or (-1 in wanted and (not known or total % known)):
        raise ValueError(f"a reshape of {inputs[0]} to {wanted}")
    shape = tuple(total // known if size == -1 else size for size in wanted)
    if math.prod(shape) != total:
        raise ValueError(f"a reshape of {inputs[0]} to {wanted}")
    return shape


def _transpose(_walk: _Walk, node: Node, inputs: Sequence[Sizes]) -> Sizes:
    order = node.numbers.get("perm", list(range(len(inputs[0])))[::-1])
    if sorted(order) != list(range(len(inputs[0]))):
        raise ValueError(f"a transposition {order}")
    return tuple(inputs[0][axis] for axis in order)


def _slice(walk: _Walk, node: Node, inputs: Sequence[Sizes]) -> Sizes:
    starts, ends = (walk.numbers(name) for name in node.inputs[1:3])
    axes = walk.axes(node, 3, len(inputs[0]))[: len(starts)]
    shape = list(inputs[0])
    for axis, start, end in zip(axes, starts, ends, strict=True):
        shape[axis] = len(range(*slice(start, end).indices(shape[axis])))
    return tuple(shape)


def _depth_to_space(_walk: _Walk, node: Node, inputs: Sequence[Sizes]) -> Sizes:
    batch, channels, height, width = inputs[0]
    block = node.numbers["blocksize"][0]
    if block < 1 or channels % block**2:
        raise ValueError(f"blocks of {block} from {channels} channels")
    return batch, channels // block**2, height * block, width * block


_RULES: dict[str, Callable[[_Walk, Node, Sequence[Sizes]], Sizes]] = {
    **dict.fromkeys(("Add", "Div", "Max", "Mul", "Sub"), _broadcast),
    **dict.fromkeys(("Cast", "Clip", "DequantizeLinear", "QuantizeLinear", "Softmax", "Sqrt"), _same),
    **dict.fromkeys(("ReduceSum", "ReduceSumSquare"), _reduce),
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
}
