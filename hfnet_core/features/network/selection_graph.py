"""Choosing keypoints inside the graph: what `detection.py` and `sampling.py` do on the host, as ONNX operators.

Only operators that TensorRT has since 8.5, ONNX Runtime and OpenVINO share are used, all shapes are fixed, and every
index fits into 32 bits. What is chosen equals the host's choice up to the order of equal scores.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from hfnet_core.errors import ModelError
from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.features.network.graph_writer import GraphWriter
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.features.network.selection import MAX_COUNT, Selection

__all__ = ["with_selection"]

_SUPPRESSED = -1.0  # below every threshold
_ROUNDS, _REFINE_RADIUS = 2, 2  # as in detection.py


def with_selection(model: onnx.ModelProto, info: ModelInfo, selection: Selection) -> onnx.ModelProto:
    """A copy of a network for images [1, 1, height, width] that chooses keypoints itself, strongest first.

    Beside its outputs it has `keypoints` [K, 2] float32 in pixels of its input, `keypoint_scores` [K] float32 (negative
    where there are fewer than K; no threshold is applied) and `keypoint_descriptors` [K, local_dim] float32. Raises
    ModelError for a count or size that does not fit.
    """
    if not 1 <= selection.count <= MAX_COUNT:
        raise ModelError(f"{selection.count} keypoints cannot be chosen inside the graph; 1..{MAX_COUNT} can")
    height, width = selection.height, selection.width
    if any(side <= 0 or side % DETECTOR_CELL for side in (height, width)):
        raise ModelError(f"engine size {width}x{height}: both sides must be positive multiples of {DETECTOR_CELL}")
    graph = _Selector(info, selection)
    ranked = graph.suppressed(graph.gathered() if info.subpixel else graph.image)
    pixels = graph.strongest(ranked)
    keypoints = graph.refined(pixels) if selection.subpixel and info.subpixel else graph.floats(pixels)
    graph.described(keypoints)
    return _joined(model, graph)


class _Selector(GraphWriter):
    """Adds the steps one by one. Pixels are int32 names (x, y), each [K]."""

    def __init__(self, info: ModelInfo, selection: Selection) -> None:
        super().__init__()
        self.info, self.selection = info, selection
        self.height, self.width = selection.height, selection.width
        self.image = self.reshape("scores", [1, 1, self.height, self.width], "selection/scores")
        self.block, self.count = selection.block, selection.kept

    def integers(self, name: str, value: object) -> str:
        return self.constant(f"selection/{name}", value, np.int32)

    def gathered(self) -> str:
        """`detection.gather`: neighbours count by half."""
        kernel = np.array([0.5, 1.0, 0.5], np.float32)
        rows = self.constant("selection/row_kernel", kernel.reshape(1, 1, 1, 3))
        columns = self.constant("selection/column_kernel", kernel.reshape(1, 1, 3, 1))
        along = self.node("Conv", [self.image, rows], "selection/along", kernel_shape=[1, 3], pads=[0, 1, 0, 1])
        return self.node("Conv", [along, columns], "selection/gathered", kernel_shape=[3, 1], pads=[1, 0, 1, 0])

    def suppressed(self, ranked: str) -> str:
        """`detection.suppress`, then everything that does not survive replaced by _SUPPRESSED."""
        if self.selection.radius == 0:
            return ranked
        keep = self.node("Equal", [ranked, self._window(ranked, "selection/highest")], "selection/keep")
        zero, half = self.constant("selection/zero", 0.0), self.constant("selection/half", 0.5)
        for number in range(1, _ROUNDS + 1):
            scope = f"selection/round_{number}"
            kept = self.node("Cast", [keep], f"{scope}/kept", to=TensorProto.FLOAT)
            covered = self.node("Greater", [self._window(kept, f"{scope}/around"), half], f"{scope}/covered")
            rest = self.node("Where", [covered, zero, ranked], f"{scope}/rest")
            highest = self.node("Equal", [rest, self._window(rest, f"{scope}/highest")], f"{scope}/maxima")
            free = self.node("Not", [covered], f"{scope}/free")
            keep = self.node("Or", [keep, self.node("And", [highest, free], f"{scope}/added")], f"{scope}/keep")
        return self.node("Where", [keep, ranked, self.constant("selection/none", _SUPPRESSED)], "selection/survivors")

    def _window(self, x: str, output: str) -> str:
        """The highest value within `radius`, along rows and then along columns."""
        radius = self.selection.radius
        side = 2 * radius + 1
        pads = ([0, radius, 0, radius], [radius, 0, radius, 0])
        rows = self.node("MaxPool", [x], f"{output}/rows", kernel_shape=[1, side], pads=pads[0], strides=[1, 1])
        return self.node("MaxPool", [rows], output, kernel_shape=[side, 1], pads=pads[1], strides=[1, 1])

    def strongest(self, ranked: str) -> tuple[str, str]:
        """Pixels of the K highest values, and `keypoint_scores`.

        Survivors are further apart than a block is wide, unless they are equal; so the best of each block is enough.
        """
        side, columns = self.block, self.width // self.block
        blocks = self.node("SpaceToDepth", [ranked], "selection/blocks", blocksize=side)
        best = self.node("ReduceMax", [blocks], "selection/best", axes=[1], keepdims=1)
        best = self.reshape(best, [1, -1], "selection/candidates")
        count = self.constant("selection/count", [self.count], np.int64)
        chosen = helper.make_node(
            "TopK",
            [best, count],
            ["selection/values", "selection/index"],
            name="selection/top",
            axis=1,
            largest=1,
            sorted=1,
        )
        self.nodes.append(chosen)
        self.reshape("selection/values", [self.count], "keypoint_scores")
        index = self._int32(self.reshape("selection/index", [self.count], "selection/flat_index"), "selection/block")
        place = self.node("ArgMax", [blocks], "selection/place", axis=1, keepdims=1)
        place = self._int32(self.reshape(place, [-1], "selection/places"), "selection/places_32")
        inside = self.node("Gather", [place, index], "selection/inside", axis=0)
        x, y = self._split(index, columns, "selection/block_at")
        dx, dy = self._split(inside, side, "selection/inside_at")
        return self._step(x, side, dx, "selection/x"), self._step(y, side, dy, "selection/y")

    def _int32(self, x: str, output: str) -> str:
        return self.node("Cast", [x], output, to=TensorProto.INT32)

    def _split(self, index: str, columns: int, output: str) -> tuple[str, str]:
        """(column, row) of a flat index."""
        width = self.constant(f"{output}/columns", columns, np.int32)
        row = self.node("Div", [index, width], f"{output}/row")
        return self.node("Sub", [index, self.node("Mul", [row, width], f"{output}/start")], f"{output}/column"), row

    def _step(self, first: str, side: int, offset: str, output: str) -> str:
        """first * side + offset."""
        scaled = self.node("Mul", [first, self.constant(f"{output}/side", side, np.int32)], f"{output}/first")
        return self.node("Add", [scaled, offset], output)

    def floats(self, pixels: tuple[str, str], output: str = "keypoints") -> str:
        """[K, 2] float32."""
        columns = [
            self.reshape(self.node("Cast", [name], f"{name}/float", to=TensorProto.FLOAT), [-1, 1], f"{name}/column")
            for name in pixels
        ]
        return self.node("Concat", columns, output, axis=1)

    def refined(self, pixels: tuple[str, str]) -> str:
        """`detection.refine`: the score-weighted centre of the 5x5 pixels around, zero outside the image."""
        side, stride = 2 * _REFINE_RADIUS + 1, self.width + 2 * _REFINE_RADIUS
        edge = [0, 0, _REFINE_RADIUS, _REFINE_RADIUS] * 2
        padded = self.node("Pad", [self.image, self.constant("selection/edge", edge, np.int64)], "selection/padded")
        flat = self.reshape(padded, [-1], "selection/padded_flat")
        steps = np.arange(side)
        offsets = self.integers("window", (steps[:, None] * stride + steps).reshape(1, -1))
        first = self.reshape(self._step(pixels[1], stride, pixels[0], "selection/first"), [-1, 1], "selection/corner")
        around = self.node("Add", [first, offsets], "selection/around")
        weights = self.node("Gather", [flat, around], "selection/weights", axis=0)  # [K, 25]
        dy, dx = np.mgrid[:side, :side] - _REFINE_RADIUS
        lever = self.constant("selection/lever", np.stack([dx.ravel(), dy.ravel()], axis=1))
        moment = self.node("MatMul", [weights, lever], "selection/moment")
        axis = self.constant("selection/window_axis", [1], np.int64)
        mass = self.node("ReduceSum", [weights, axis], "selection/mass", keepdims=1)
        floor = self.constant("selection/least_mass", np.finfo(np.float32).tiny)
        shift = self.node("Div", [moment, self.node("Max", [mass, floor], "selection/total")], "selection/shift")
        return self.node("Add", [self.floats(pixels, "selection/pixels"), shift], "keypoints")

    def described(self, keypoints: str) -> None:
        """`sampling.sample_descriptors` at keypoints inside the image: makes `keypoint_descriptors`."""
        rows, columns, dim = self.height // DETECTOR_CELL, self.width // DETECTOR_CELL, self.info.spec.local_dim
        at = self._on_map(keypoints, rows, columns)
        floor = self.node("Floor", [at], "selection/floor")
        upper = self.node("Sub", [at, floor], "selection/upper")  # weights of the cells right of and below, [K, 2]
        lower = self.node("Sub", [self.constant("selection/one", 1.0), upper], "selection/lower")
        last = self.integers("last_cell", [[columns - 1, rows - 1]])
        # Of an image that is not finite the cells may be any; they must not point outside all the same.
        cell = self.node(
            "Max", [self._int32(floor, "selection/cell"), self.integers("none_before", 0)], "selection/from"
        )
        first = self.node("Min", [cell, last], "selection/first_cell")
        second = self.node("Add", [first, self.integers("next", 1)], "selection/after")
        second = self.node("Min", [second, last], "selection/next_cell")
        corners, weights = [], []
        for number, (x, y) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
            scope = f"selection/corner_{number}"
            column = self._column((first, second)[x], 0, f"{scope}/x")
            row = self._column((first, second)[y], 1, f"{scope}/y")
            corners.append(self._step(row, columns, column, f"{scope}/cell"))
            sides = [
                self._column((lower, upper)[x], 0, f"{scope}/wx"),
                self._column((lower, upper)[y], 1, f"{scope}/wy"),
            ]
            weights.append(self.node("Mul", sides, f"{scope}/weight"))
        cells = self.node("Concat", corners, "selection/cells", axis=1)  # [K, 4]
        flat = self.reshape("descriptors", [rows * columns, dim], "selection/map")
        values = self.node("Gather", [flat, cells], "selection/cell_descriptors", axis=0)  # [K, 4, D]
        weight = self.reshape(
            self.node("Concat", weights, "selection/corner_weights", axis=1), [-1, 4, 1], "selection/w"
        )
        axis = self.constant("selection/corner_axis", [1], np.int64)
        weighted = self.node("Mul", [values, weight], "selection/weighted")
        self.unit_length(
            self.node("ReduceSum", [weighted, axis], "selection/mixed", keepdims=0), 1, "keypoint_descriptors"
        )

    def _on_map(self, keypoints: str, rows: int, columns: int) -> str:
        """`sampling.map_coordinates`, kept on the map."""
        cells = np.array([[columns, rows]], np.float64)
        if self.info.spec.corner_aligned:
            at = self.node(
                "Mul",
                [keypoints, self.constant("selection/factor", (cells - 1) / (cells * DETECTOR_CELL - 1))],
                "selection/at",
            )
        else:
            centre = self.constant("selection/centre", (DETECTOR_CELL - 1) / 2)
            shifted = self.node("Sub", [keypoints, centre], "selection/shifted")
            at = self.node("Mul", [shifted, self.constant("selection/per_cell", 1 / DETECTOR_CELL)], "selection/at")
        low = self.node("Max", [at, self.constant("selection/first_centre", 0.0)], "selection/not_before")
        return self.node("Min", [low, self.constant("selection/last_centre", cells - 1)], "selection/on_map")

    def _column(self, x: str, number: int, output: str) -> str:
        """One column of [K, 2], as [K, 1]."""
        index = self.constant(f"{output}/index", [number], np.int64)
        return self.node("Gather", [x, index], output, axis=1)


def _joined(model: onnx.ModelProto, selector: _Selector) -> onnx.ModelProto:
    selection = selector.selection
    joined = onnx.ModelProto()
    joined.CopyFrom(model)
    graph = joined.graph
    for dimension, side in zip(
        graph.input[0].type.tensor_type.shape.dim, (1, 1, selection.height, selection.width), strict=True
    ):
        dimension.dim_value = side
    graph.node.extend(selector.nodes)
    graph.initializer.extend(selector.constants)
    shapes = {
        "keypoints": [selector.count, 2],
        "keypoint_scores": [selector.count],
        "keypoint_descriptors": [selector.count, selector.info.spec.local_dim],
    }
    for output in graph.output:
        for dimension in output.type.tensor_type.shape.dim:
            if dimension.HasField("dim_param"):
                dimension.ClearField("dim_param")  # inferred by whoever reads it
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    onnx.checker.check_model(joined, full_check=True)
    return joined
