"""From an ONNX graph of one size to a serialized TensorRT engine. One code for TensorRT 8.5 to 11.

Where TensorRT has strongly typed networks (10 and later, the only kind in 11), precision is what the graph says.
Before, it is a wish that has to be enforced layer by layer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import onnx

from hfnet_core.errors import BackendError, ModelError
from hfnet_core.features.backends.tensorrt.building.graphs import fix_shape, half_nodes, is_quantized, mixed_precision
from hfnet_core.features.backends.tensorrt.device import Device, GpuError, Progress

__all__ = ["BuildRequest", "build_plan", "is_strongly_typed"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BuildRequest:
    """What to build. precision: "fp32" or "fp16"; a quantized graph brings its own. timings: see `build_plan`."""

    model: onnx.ModelProto
    height: int
    width: int
    precision: str
    workspace_mib: int
    timings: bytes = b""


def is_strongly_typed(trt: Any) -> bool:
    """Whether this TensorRT takes the graph's types as they are."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def build_plan(device: Device, request: BuildRequest, progress: Progress | None = None) -> tuple[bytes, bytes]:
    """The serialized engine, and TensorRT's kernel timings, which make the next build on this machine faster.

    Takes minutes; other Python threads go on meanwhile. Raises GpuError when TensorRT cannot build it, BackendError
    when `progress` said to stop, ModelError for a graph that does not fit.
    """
    trt = device.trt
    half = request.precision == "fp16"
    graph = fix_shape(request.model, request.height, request.width)
    quantized = is_quantized(graph)
    if half and not quantized and is_strongly_typed(trt):
        graph = mixed_precision(graph)
    with device.active():
        device.messages.clear()
        builder = trt.Builder(device.logger)
        network = builder.create_network(_network_flags(trt))
        _parse(device, network, graph)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib << 20)
        config.clear_flag(trt.BuilderFlag.TF32)  # where we say FP32 we mean it
        if not is_strongly_typed(trt):
            _ask_for_precision(trt, network, config, half_nodes(graph) if half or quantized else set(), quantized)
        timings = config.create_timing_cache(request.timings)
        if timings is None:  # of another version or GPU
            timings = config.create_timing_cache(b"")
        config.set_timing_cache(timings, ignore_mismatch=False)
        monitor = _monitor(trt, progress) if progress is not None and hasattr(trt, "IProgressMonitor") else None
        if monitor is not None:
            config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if monitor is not None and monitor.stopped:
            raise BackendError("building the engine was stopped")
        if plan is None:
            raise GpuError(
                f"TensorRT could not build an engine of {request.width}x{request.height}: "
                f"{device.latest_error('no reason given')}"
            )
        return bytes(plan), bytes(config.get_timing_cache().serialize())


def _network_flags(trt: Any) -> int:
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):  # the first is the only mode from 10 on, and gone in 11
        flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
        if flag is not None:
            flags |= 1 << int(flag)
    return flags


def _parse(device: Device, network: Any, graph: onnx.ModelProto) -> None:
    parser = device.trt.OnnxParser(network, device.logger)
    if parser.parse(graph.SerializeToString()):
        return
    problems = [parser.get_error(index).desc() for index in range(parser.num_errors)]
    raise ModelError(
        f"TensorRT {device.trt.__version__} cannot read the graph: {'; '.join(problems) or 'no reason given'}"
    )


def _ask_for_precision(trt: Any, network: Any, config: Any, half: set[str], quantized: bool) -> None:
    """In a weakly typed network: FP16 where allowed, FP32 enforced on every other layer that computes with floats.

    Layers carry the names of their ONNX nodes. One that cannot be recognised stays in FP32: slower, never wrong.
    """
    if not half:
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if quantized:
        config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    free = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.name in half or (quantized and layer.type in _quantization_layers(trt)):
            free += 1
        elif layer.type != trt.LayerType.CONSTANT:
            _keep_full(trt, layer)
    _log.info("%d of %d layers may run below FP32", free, network.num_layers)


def _keep_full(trt: Any, layer: Any) -> None:
    """FP32 for a layer that computes with floats, be it only to compare or rank them."""

    def is_float(tensor: Any) -> bool:
        return tensor is not None and tensor.dtype == trt.DataType.FLOAT and not tensor.is_shape_tensor

    outputs = [layer.get_output(number) for number in range(layer.num_outputs)]
    if any(output.is_shape_tensor for output in outputs):
        return
    floats = [is_float(output) for output in outputs]
    if any(floats) or any(is_float(layer.get_input(number)) for number in range(layer.num_inputs)):
        layer.precision = trt.DataType.FLOAT
    for number, is_one in enumerate(floats):
        if is_one:
            layer.set_output_type(number, trt.DataType.FLOAT)


def _quantization_layers(trt: Any) -> tuple[Any, ...]:
    return (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE)


def _monitor(trt: Any, progress: Progress) -> Any:
    """TensorRT's progress as calls of `progress`; there since TensorRT 10."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.stopped = False

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.steps[phase] = steps

        def step_complete(self, phase: str, step: int) -> bool:
            self.stopped = self.stopped or not progress(phase, step + 1, self.steps.get(phase, 0))
            return not self.stopped

        def phase_finish(self, phase: str) -> None:
            self.steps.pop(phase, None)

    return Monitor()
