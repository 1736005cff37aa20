"""The network on ONNX Runtime, CPU."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.errors import BackendError, ModelError, first_line
from hfnet_core.features.backends.protocol import DenseOutputs, check_dense, check_gray
from hfnet_core.features.network.model_cost import check_cost
from hfnet_core.features.network.model_file import ModelFile, parse_file, read_model_file
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.types import Float32

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors
except ImportError as error:
    raise BackendError("onnxruntime is not installed; pip install onnxruntime") from error

__all__ = ["OUTPUTS", "OnnxRuntimeBackend", "available_cores"]

_log = logging.getLogger(__name__)

OUTPUTS = ["scores", "descriptors", "global_descriptor"]
_FAILURES: tuple[type[Exception], ...] = (
    UnicodeDecodeError,  # of a message that quotes what is no text
    *(
        value  # the runtime's exceptions have no common base of their own
        for value in vars(runtime_errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ),
)


class OnnxRuntimeBackend:
    """A Backend (see protocol.py) for a model file made by `build_onnx`.

    threads: CPU threads per image, 0 for one per core this process may use. Raises ModelError for a file that is
    missing, damaged or not ours.
    """

    def __init__(self, model: Path, threads: int = 0) -> None:
        self._path = model
        self._load(read_model_file(model), str(model), threads)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process: the same network on one thread, wherever its file is."""
        return _sent, (read_model_file(self._path), str(self._path))

    def _load(self, model: bytes, source: str, threads: int) -> None:
        parsed = parse_file(model, source)
        self._info = ModelInfo.from_metadata(parsed.metadata, source)
        _check_signature(parsed, self._info, source)
        check_cost(parsed, source)
        if not parsed.check_digest(source):
            _log.warning("%s: has no digest of its weights, damage to them would go unnoticed; export it again", source)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # failures reach the caller as exceptions
        options.intra_op_num_threads = threads or available_cores()
        options.inter_op_num_threads = 1
        # Idle worker threads would otherwise spin for the next image and starve the rest of the robot.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _FAILURES as error:
            raise ModelError(f"{source}: not a readable ONNX model ({first_line(error)}); export it again") from error
        self._session: Any = session
        self._threads = options.intra_op_num_threads

    @property
    def description(self) -> str:
        """Runtime and processor, for people."""
        return f"ONNX Runtime {onnxruntime.__version__} on the CPU, {self._threads} threads"

    @property
    def images_at_once(self) -> int:
        return 2  # its threads serve both, and what is done with the one's outputs keeps nothing waiting

    @property
    def info(self) -> ModelInfo:
        return self._info

    def infer(self, gray: Float32) -> DenseOutputs:
        check_gray(gray)
        session = self._session  # a local reference: `close` in another thread must not pull it away midway
        if session is None:
            raise BackendError(f"model {self._info.name} is closed")
        try:
            values = session.run(OUTPUTS, {"image": np.ascontiguousarray(gray)[None, None]})
        except _FAILURES as error:
            raise BackendError(
                f"model {self._info.name} failed on a {gray.shape[1]}x{gray.shape[0]} image: {first_line(error)}"
            ) from error
        outputs = DenseOutputs(*(value[0] for value in values))
        check_dense(outputs, gray, self._info)
        return outputs

    def close(self) -> None:
        self._session = None


def _sent(model: bytes, source: str) -> OnnxRuntimeBackend:
    backend = OnnxRuntimeBackend.__new__(OnnxRuntimeBackend)
    backend._path = Path(source)
    backend._load(model, source, threads=1)
    return backend


def available_cores() -> int:
    """Cores this process may use (containers and taskset included)."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def _check_signature(model: ModelFile, info: ModelInfo, source: str) -> None:
    """Raise ModelError unless the graph is the one its metadata tells of."""
    inputs = list(model.inputs)
    sizes = {name: shape[-1] for name, shape in model.outputs.items() if shape}
    if inputs != ["image"] or not sizes.keys() >= set(OUTPUTS):
        raise ModelError(
            f"{source}: inputs {inputs} and outputs {sorted(sizes)} are not those of an HF-Net; export it again"
        )
    for name, size in (("descriptors", info.spec.local_dim), ("global_descriptor", info.spec.global_dim)):
        if sizes[name] != size:
            raise ModelError(f"{source}: {name} has size {sizes[name]}, its metadata says {size}; export it again")
