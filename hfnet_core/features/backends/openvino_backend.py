"""The network on OpenVINO, CPU: for processors with bfloat16 (AMX or AVX-512 BF16) twice as fast as ONNX Runtime."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from hfnet_core.config import EngineConfig
from hfnet_core.errors import BackendError, first_line
from hfnet_core.features.backends.onnxruntime_backend import OUTPUTS, OnnxRuntimeBackend, available_cores
from hfnet_core.features.backends.protocol import DenseOutputs, check_dense, check_gray
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.types import Float32

try:
    import openvino
except ImportError as error:
    raise BackendError("openvino is not installed; pip install 'hfnet_ros[openvino]'") from error

__all__ = ["OpenVinoBackend"]


class OpenVinoBackend:
    """A Backend (see protocol.py) for a model file made by `build_onnx`. One network is compiled for each image size.

    threads: CPU threads per image, 0 for one per core this process may use. config: `precision` fp16 is bfloat16 here,
    where the processor computes with it, else fp32; of `max_engines` sizes the compiled network is kept. Raises
    ModelError for a file that is missing, damaged or not ours.
    """

    def __init__(self, model: Path, threads: int = 0, config: EngineConfig | None = None) -> None:
        config = config or EngineConfig()
        checked = OnnxRuntimeBackend(model, 1)  # refuses what is not ours, and reads the metadata
        self._info = checked.info
        checked.close()
        self._core = openvino.Core()
        half = config.precision == "fp16" and "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._precision = "bf16" if half else "f32"
        self._threads, self._most = threads or available_cores(), config.max_engines
        self._lock = Lock()
        self._sizes: OrderedDict[tuple[int, int], _OfSize] | None = OrderedDict()
        try:
            self._network = self._core.read_model(str(model))
        except RuntimeError as error:
            raise BackendError(f"{model}: OpenVINO cannot read it ({first_line(error)}); use onnxruntime") from error

    @property
    def description(self) -> str:
        """Runtime, processor and precision, for people."""
        version = openvino.__version__.partition("-")[0]
        return f"OpenVINO {version} on the CPU, {self._threads} threads, {self._precision}"

    @property
    def images_at_once(self) -> int:
        return 1  # its threads wait by spinning: they take the time that the other image needs

    @property
    def info(self) -> ModelInfo:
        return self._info

    def infer(self, gray: Float32) -> DenseOutputs:
        check_gray(gray)
        height, width = gray.shape
        if not np.isfinite(gray.sum()):  # its ReLU6 makes numbers of NaN
            raise BackendError(f"model {self._info.name}: the {width}x{height} image is not finite; it is damaged")
        try:
            outputs = self._of_size(height, width).infer(gray)
        except RuntimeError as error:
            raise BackendError(
                f"model {self._info.name} failed on a {width}x{height} image: {first_line(error)}"
            ) from error
        check_dense(outputs, gray, self._info)
        return outputs

    def close(self) -> None:
        with self._lock:
            self._sizes = None

    def _of_size(self, height: int, width: int) -> _OfSize:
        with self._lock:  # also while it compiles: others would only do the same
            if self._sizes is None:
                raise BackendError(f"model {self._info.name} is closed")
            found = self._sizes.pop((height, width), None)
            if found is None:
                network = self._network.clone()
                network.reshape([1, 1, height, width])
                found = _OfSize(
                    self._core.compile_model(
                        network,
                        "CPU",
                        {
                            "INFERENCE_NUM_THREADS": self._threads,
                            "INFERENCE_PRECISION_HINT": self._precision,
                            "PERFORMANCE_HINT": "LATENCY",
                            "ENABLE_CPU_PINNING": False,
                        },
                    )
                )
            self._sizes[height, width] = found  # the last one used is the last one dropped
            while len(self._sizes) > self._most:
                self._sizes.popitem(last=False)
            return found


class _OfSize:
    """The network for one image size, and requests to run it: one is in use per thread."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []

    def infer(self, gray: Float32) -> DenseOutputs:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        request.infer([np.ascontiguousarray(gray)[None, None]])
        scores, descriptors, global_descriptor = (request.get_tensor(name).data[0].copy() for name in OUTPUTS)
        self._idle.append(request)  # one that failed is not used again
        return DenseOutputs(scores, descriptors, global_descriptor)
