"""What hfnet_core uses of TensorRT's Python interface, computing with ONNX Runtime on the CPU.

It plays the version named in HFNET_STANDIN_TENSORRT: members that a version lacks are missing here too (test_tensorrt_
interface.py compares this module with the real bindings of each). A "plan" is the parsed graph with the precision of
each layer, tied to version and GPU. Like TensorRT it refuses operators and shapes it does not know, mixed types in a
strongly typed network, and plans of others. Below FP32, values and weights are rounded to FP16 after every layer, so
that a norm left in FP16 divides by zero as it would on the GPU.
"""

from __future__ import annotations

import enum
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from pycuda import driver

__version__ = os.environ.get("HFNET_STANDIN_TENSORRT", "10.3.0")
_MAJOR = int(__version__.split(".")[0])
_REFUSED = {"Resampler", "NonZero", "Loop", "If", "NonMaxSuppression"}
_MAGIC = b"standin-plan\n"

# Knobs of the tests, not part of TensorRT.
build_fails: str | None = None
wrong_by = 0.0  # added to the scores of what is built
context_fails = False
run_fails = False
builds = 0


def _values(name: str, names: str) -> Any:
    return enum.IntEnum(name, names, start=0)


DataType = _values("DataType", "FLOAT HALF INT8 INT32 BOOL")
TensorIOMode = _values("TensorIOMode", "NONE INPUT OUTPUT")
MemoryPoolType = _values("MemoryPoolType", "WORKSPACE")
LayerType = _values("LayerType", "CONVOLUTION ELEMENTWISE CONSTANT QUANTIZE DEQUANTIZE SHUFFLE")
if _MAJOR < 10:
    BuilderFlag = _values("BuilderFlag", "FP16 INT8 TF32 OBEY_PRECISION_CONSTRAINTS")
    NetworkDefinitionCreationFlag = _values("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH")
elif _MAJOR < 11:
    BuilderFlag = _values("BuilderFlag", "FP16 INT8 TF32 OBEY_PRECISION_CONSTRAINTS")
    NetworkDefinitionCreationFlag = _values("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH STRONGLY_TYPED")
else:
    BuilderFlag = _values("BuilderFlag", "TF32")
    NetworkDefinitionCreationFlag = _values("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")


class ILogger:
    Severity = _values("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


def _error(logger: ILogger, message: str) -> None:
    logger.log(ILogger.Severity.ERROR, message)


if _MAJOR >= 10:

    class IProgressMonitor:
        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...

        def step_complete(self, phase_name: str, step: int) -> bool: ...

        def phase_finish(self, phase_name: str) -> None: ...


class ITensor:
    def __init__(self, name: str, dtype: Any, is_shape_tensor: bool = False) -> None:
        self.name, self.dtype, self.is_shape_tensor = name, dtype, is_shape_tensor


class ILayer:
    def __init__(
        self, name: str, kind: Any, outputs: list[ITensor], inputs: tuple[ITensor, ...] | list[ITensor] = ()
    ) -> None:
        self.name, self.type, self._outputs, self._inputs = name, kind, outputs, inputs
        self.num_outputs, self.num_inputs = len(outputs), len(inputs)
        if _MAJOR < 11:
            self.precision: Any = None
            self.set_output_type = self._set_output_type

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def _set_output_type(self, index: int, dtype: Any) -> None:
        if self._outputs[index].dtype not in (DataType.FLOAT, DataType.HALF):
            raise TypeError("precision was asked for of a layer of integers")
        self._outputs[index].dtype = dtype


class INetworkDefinition:
    def __init__(self, flags: int, logger: ILogger) -> None:
        known = [1 << int(flag) for flag in NetworkDefinitionCreationFlag]
        if flags & ~sum(known):
            raise TypeError("unknown network flag")
        names = {flag.name for flag in NetworkDefinitionCreationFlag if flags & (1 << int(flag))}
        self.strong = "STRONGLY_TYPED" in names or _MAJOR >= 11
        if _MAJOR < 10 and "EXPLICIT_BATCH" not in names:
            raise TypeError("the ONNX parser needs an explicit batch")
        self.graph: onnx.ModelProto | None = None
        self.layers: list[ILayer] = []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> ILayer:
        return self.layers[index]


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes) -> bool:
        proto = onnx.load_from_string(model)
        problem = self._problem(proto)
        if problem is not None:
            self._errors.append(ParserError(problem))
            return False
        self._network.graph = proto
        self._network.layers = _layers(proto)
        return True

    def _problem(self, proto: onnx.ModelProto) -> str | None:
        for node in proto.graph.node:
            if node.op_type in _REFUSED:
                return f"No importer registered for op: {node.op_type}"
            if node.op_type == "TopK" and not _is_small_and_known(proto, node.input[1], node.input[0]):
                return f"{node.name}: K must be a constant below 3840, and no more than there is"
            if any(attribute.name == "auto_pad" for attribute in node.attribute):
                return f"{node.name}: padding is not spelled out"
        if any(dim.dim_value <= 0 for dim in proto.graph.input[0].type.tensor_type.shape.dim):
            return "the input has a dynamic shape but no profile is defined"
        try:
            onnx.checker.check_model(proto, full_check=True)  # types must fit
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            return str(error).splitlines()[0]
        return None


def _is_small_and_known(proto: onnx.ModelProto, name: str, value: str) -> bool:
    wanted = [int(numpy_helper.to_array(c)[0]) for c in proto.graph.initializer if c.name == name]
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph.value_info
    there = [known.type.tensor_type.shape.dim[-1].dim_value for known in inferred if known.name == value]
    return bool(wanted) and wanted[0] < 3840 and wanted <= there


def _layers(proto: onnx.ModelProto) -> list[ILayer]:
    kinds = {"Conv": LayerType.CONVOLUTION, "QuantizeLinear": LayerType.QUANTIZE}
    kinds["DequantizeLinear"] = LayerType.DEQUANTIZE
    tensors = _tensors(proto)
    layers = []
    for number, constant in enumerate(proto.graph.initializer):
        tensor = tensors[constant.name]
        tensor.is_shape_tensor = constant.data_type == TensorProto.INT64
        layers.append(ILayer(f"(Unnamed Layer* {number}) [Constant]", LayerType.CONSTANT, [tensor]))
    for node in proto.graph.node:
        outputs, inputs = [tensors[name] for name in node.output], [tensors[name] for name in node.input if name]
        layers.append(ILayer(node.name, kinds.get(node.op_type, LayerType.ELEMENTWISE), outputs, inputs))
    return layers


_TYPES = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.INT8: DataType.INT8,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT32,  # as TensorRT 8 reads it
    TensorProto.BOOL: DataType.BOOL,
}


def _tensors(proto: onnx.ModelProto) -> dict[str, ITensor]:
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    found = {constant.name: constant.data_type for constant in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        found[value.name] = value.type.tensor_type.elem_type
    return {name: ITensor(name, _TYPES[kind]) for name, kind in found.items()}


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class IBuilderConfig:
    def __init__(self) -> None:
        self.flags_set: set[Any] = {BuilderFlag.TF32}
        self.pools: dict[Any, int] = {}
        self._timing: ITimingCache | None = None
        if _MAJOR >= 10:
            self.progress_monitor: Any = None

    def set_flag(self, flag: Any) -> None:
        self.flags_set.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self.flags_set.discard(flag)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self.pools[pool] = pool_size

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        own = f"timings of {__version__}".encode()
        return ITimingCache(own) if serialized_timing_cache in (b"", own) else None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self._timing = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._timing


class Builder:
    def __init__(self, logger: ILogger) -> None:
        driver.require_context("createInferBuilder")
        if not isinstance(logger, ILogger):
            raise TypeError("logger")
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags, self._logger)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        global builds  # noqa: PLW0603
        driver.require_context("buildSerializedNetwork")
        builds += 1
        _note_build()
        if not self._goes_on(config):
            return None
        if build_fails is not None:
            _error(self._logger, build_fails)
            return None
        if network.graph is None or MemoryPoolType.WORKSPACE not in config.pools:
            _error(self._logger, "nothing to build")
            return None
        graph = network.graph if network.strong else _weakly_typed(network, config)
        if wrong_by:
            graph = _spoiled(graph)
        header = {"version": __version__, "capability": driver.capability}
        return _MAGIC + json.dumps(header).encode() + b"\n" + graph.SerializeToString()

    def _goes_on(self, config: IBuilderConfig) -> bool:
        monitor = getattr(config, "progress_monitor", None)
        if monitor is None:
            return True
        monitor.phase_start("Building", None, 3)
        for step in range(3):
            if not monitor.step_complete("Building", step):
                return False
        monitor.phase_finish("Building")
        return True


def _note_build() -> None:
    """For tests with several processes: one line per build, and builds that take a while."""
    journal = os.environ.get("HFNET_STANDIN_JOURNAL")
    if journal:
        with Path(journal).open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(float(os.environ.get("HFNET_STANDIN_BUILD_S", "0")))


def _weakly_typed(network: INetworkDefinition, config: IBuilderConfig) -> onnx.ModelProto:
    """The graph with FP16 rounding around each layer of floats that nobody asked to be FP32."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network.graph)
    if BuilderFlag.FP16 not in config.flags_set:
        return proto
    obeyed = BuilderFlag.OBEY_PRECISION_CONSTRAINTS in config.flags_set
    full = {layer.name for layer in network.layers if obeyed and layer.precision == DataType.FLOAT}
    tensors = _tensors(network.graph)
    nodes: list[onnx.NodeProto] = []

    def rounded(name: str, output: str) -> str:
        nodes.append(helper.make_node("Cast", [name], [output + "/half"], to=TensorProto.FLOAT16))
        nodes.append(helper.make_node("Cast", [output + "/half"], [output], to=TensorProto.FLOAT))
        return output

    for number, node in enumerate(proto.graph.node):
        if node.name in full or node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast"):
            nodes.append(node)
            continue
        for index, name in enumerate(node.input):
            if name and tensors[name].dtype == DataType.FLOAT:
                node.input[index] = rounded(name, f"{name}/for_{number}_{index}")
        nodes.append(node)
        for index, name in enumerate(node.output):
            if tensors[name].dtype == DataType.FLOAT:
                node.output[index] = name + "/exact"
                rounded(name + "/exact", name)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def _spoiled(graph: onnx.ModelProto) -> onnx.ModelProto:
    spoiled = onnx.ModelProto()
    spoiled.CopyFrom(graph)
    for node in spoiled.graph.node:
        if node.output[0] == "scores":
            node.output[0] = "right_scores"
    spoiled.graph.initializer.append(numpy_helper.from_array(np.float32(wrong_by), "wrong_by"))
    spoiled.graph.node.append(helper.make_node("Add", ["right_scores", "wrong_by"], ["scores"]))
    return spoiled


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        driver.require_context("createInferRuntime")
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        driver.require_context("deserializeCudaEngine")
        magic, _, rest = bytes(serialized_engine).partition(b"\n")
        header, _, content = rest.partition(b"\n")
        if magic + b"\n" != _MAGIC:
            _error(self._logger, "Magic tag does not match")
            return None
        tied = json.loads(header)
        if tied != {"version": __version__, "capability": list(driver.capability)}:
            _error(self._logger, f"Version tag does not match: {tied}")
            return None
        return ICudaEngine(content, self._logger)


class ICudaEngine:
    num_io_tensors = 0  # an instance property in the real one; there on the class too

    def __init__(self, content: bytes, logger: ILogger) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # keeps every rounding
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.logger = logger
        self._modes = {value.name: TensorIOMode.INPUT for value in self.session.get_inputs()}
        self._modes |= {value.name: TensorIOMode.OUTPUT for value in self.session.get_outputs()}
        self.shapes = {v.name: tuple(v.shape) for v in [*self.session.get_inputs(), *self.session.get_outputs()]}
        self.num_io_tensors = len(self._modes)

    def get_tensor_name(self, index: int) -> str:
        return list(self._modes)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._modes[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType.FLOAT

    def create_execution_context(self) -> IExecutionContext | None:
        driver.require_context("createExecutionContext")
        if context_fails:
            _error(self.logger, "Requested amount of GPU memory could not be allocated")
            return None
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in self._engine.shapes

    def execute_async_v3(self, stream_handle: int) -> bool:
        driver.require_context("enqueueV3")
        if run_fails:
            _error(self._engine.logger, "Cuda failure: an illegal memory access was encountered")
            return False
        shapes, session = self._engine.shapes, self._engine.session
        arrays = {name: driver.array_at(self._addresses[name], shape) for name, shape in shapes.items()}
        outputs = [value.name for value in session.get_outputs()]

        def compute() -> None:
            image = arrays["image"].copy()
            for name, value in zip(outputs, session.run(outputs, {"image": image}), strict=True):
                arrays[name][...] = value

        driver.stream_at(stream_handle).enqueue(compute)
        return True
