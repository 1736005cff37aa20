"""CUDA graphs through the driver's C interface, which pycuda does not wrap: one launch instead of one per kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

from hfnet_core.features.backends.tensorrt.device import GpuError

__all__ = ["CapturedGraph"]

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile


@cache
def _driver() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise GpuError(f"the CUDA driver cannot be loaded ({error})") from error


def _call(name: str, *arguments: Any) -> None:
    status = getattr(_driver(), name)(*arguments)
    if status != 0:
        raise GpuError(f"{name} failed with CUDA error {status}; run without cuda_graph")


class CapturedGraph:
    """The work of one stream, recorded. Memory addresses are recorded too, so it belongs to one slot."""

    def __init__(self, graph: ctypes.c_void_p, executable: ctypes.c_void_p) -> None:
        self._graph, self._executable = graph, executable

    @classmethod
    def record(cls, stream: int, work: Callable[[], None]) -> CapturedGraph:
        """Record what `work` puts on the stream, without running it. Raises GpuError."""
        handle, graph, executable = ctypes.c_void_p(stream), ctypes.c_void_p(), ctypes.c_void_p()
        _call("cuStreamBeginCapture_v2", handle, ctypes.c_int(_THREAD_LOCAL))
        try:
            work()
        finally:  # a stream left in capture would refuse everything else
            _call("cuStreamEndCapture", handle, ctypes.byref(graph))
        _call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        return cls(graph, executable)

    def launch(self, stream: int) -> None:
        """Run it on the stream. Raises GpuError."""
        _call("cuGraphLaunch", self._executable, ctypes.c_void_p(stream))

    def free(self) -> None:
        _call("cuGraphExecDestroy", self._executable)
        _call("cuGraphDestroy", self._graph)
