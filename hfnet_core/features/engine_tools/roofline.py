"""The time a chip needs at least: every operation at its peak rate, or every byte over its memory bus."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import numpy_helper

from hfnet_core.features.backends.tensorrt.building.graphs import fix_shape, half_nodes
from hfnet_core.features.backends.tensorrt.device import Device

__all__ = ["Chip", "Cost", "chip_of", "cost_of"]

# Dense FP16 multiply-adds per multiprocessor and clock on tensor cores, by compute capability; from NVIDIA's
# architecture papers (peak rate / clock / multiprocessors).
_HALF_RATE = {
    (7, 2): 512,
    (7, 5): 512,
    (8, 0): 1024,
    (8, 6): 512,
    (8, 7): 1024,
    (8, 9): 512,
    (9, 0): 2048,
    (12, 0): 512,
}
_FULL_RATE = 64  # FP32 multiply-adds, the least of all these


@dataclass(frozen=True)
class Cost:
    """Of one image. half_macs, full_macs: multiply-adds in FP16 and FP32. bytes: weights, image and outputs, once."""

    half_macs: int
    full_macs: int
    bytes: int


@dataclass(frozen=True)
class Chip:
    """half_rate, full_rate: multiply-adds per second, half_rate None where unknown. bandwidth: bytes per second."""

    half_rate: float | None
    full_rate: float
    bandwidth: float

    def floor_ms(self, cost: Cost) -> float | None:
        """The least time for an image, None where the chip is not known."""
        if self.half_rate is None and cost.half_macs:
            return None
        compute = cost.full_macs / self.full_rate + (cost.half_macs / self.half_rate if self.half_rate else 0.0)
        return 1e3 * max(compute, cost.bytes / self.bandwidth)


def cost_of(model: onnx.ModelProto, height: int, width: int, precision: str) -> Cost:
    """What an image [height, width] costs; precision "fp16" or "fp32"."""
    fixed = fix_shape(model, height, width)
    graph = fixed.graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.value_info}
    shapes |= {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.output}
    sizes = {constant.name: list(constant.dims) for constant in graph.initializer}
    half = half_nodes(fixed) if precision == "fp16" else set()
    macs = {True: 0, False: 0}
    weight_bytes = 0
    for node in graph.node:
        if node.op_type == "Conv":
            count = math.prod(shapes[node.output[0]]) * math.prod(sizes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            inner = (sizes | shapes)[node.input[1]][-2]
            count = math.prod(shapes[node.output[0]]) * inner
        else:
            continue
        macs[node.name in half] += count
        constants = [numpy_helper.to_array(c).size for c in graph.initializer if c.name in node.input]
        weight_bytes += sum(constants) * (2 if node.name in half else 4)
    traffic = sum(math.prod(shapes[value.name]) for value in graph.output) + height * width
    return Cost(macs[True], macs[False], weight_bytes + 4 * traffic)


def chip_of(device: Device) -> Chip:
    """From the driver's attributes: multiprocessors, clocks, memory bus."""
    attribute: Any = device.cuda.device_attribute
    get = device.handle.get_attribute
    clock = 1e3 * get(attribute.CLOCK_RATE) * get(attribute.MULTIPROCESSOR_COUNT)
    half = _HALF_RATE.get(device.compute_capability)
    bandwidth = 2.0 * 1e3 * get(attribute.MEMORY_CLOCK_RATE) * get(attribute.GLOBAL_MEMORY_BUS_WIDTH) / 8
    return Chip(half * clock if half else None, _FULL_RATE * clock, bandwidth)
