"""The GPU and its libraries: found without a crash, entered from any thread, left clean at exit.

All engines of a process share the device's primary context, the one that TensorRT, PyTorch and other users of the CUDA
runtime work in as well. pycuda keeps a stack of contexts per thread; every use here pushes ours and pops it again, so
that callbacks on any executor thread work and nothing is left on a stack when a thread ends, which pycuda aborts for.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from hfnet_core.errors import BackendError

__all__ = ["Device", "GpuError", "Libraries", "Progress", "load_libraries", "open_device", "release_devices"]

_log = logging.getLogger(__name__)


class GpuError(BackendError):
    """The GPU or its runtime failed: out of memory, context lost, engine refused. The image is not to blame."""


Progress = Callable[[str, int, int], bool]  # of building: (phase, steps done, steps) -> go on?


class Closable(Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True)
class Libraries:
    """The imported modules: `tensorrt` and `pycuda.driver`."""

    trt: Any
    cuda: Any


def load_libraries() -> Libraries:
    """Raises GpuError, saying what to install, when TensorRT or pycuda is missing, unusable or too old."""
    trt, cuda = _load("tensorrt", "tensorrt"), _load("pycuda.driver", "pycuda")
    if not hasattr(trt.ICudaEngine, "num_io_tensors"):
        raise GpuError(f"TensorRT {trt.__version__} is too old; 8.5 is the first version that works")
    return Libraries(trt, cuda)


def _load(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name in (name, package)
        why = "is not installed" if missing else f"cannot be loaded ({_line(error)})"
        raise GpuError(
            f"Python package {package} {why}; see hfnet_core/features/backends/tensorrt/README.md"
        ) from error
    except (OSError, RuntimeError, AttributeError) as error:  # libraries of another version, or built for another numpy
        raise GpuError(f"Python package {package} cannot be loaded ({_line(error)})") from error


class Device:
    """One GPU with its retained primary context. Made by `open_device`; shared by all engines of the process."""

    def __init__(self, libraries: Libraries, index: int) -> None:
        self.trt, self.cuda = libraries.trt, libraries.cuda
        handle = self.cuda.Device(index)
        self.index = index
        self.name: str = handle.name()
        self.compute_capability: tuple[int, int] = tuple(handle.compute_capability())
        self.handle = handle
        self.messages: deque[str] = deque(maxlen=8)  # the latest errors of TensorRT, for our own messages
        self.logger = _logger(self.trt, self.messages)
        self._context = handle.retain_primary_context()
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Our context on this thread's stack. Failures of CUDA inside leave as GpuError."""
        self._push()
        try:
            yield
        except self.cuda.Error as error:
            what = "out of memory" if isinstance(error, self.cuda.MemoryError) else "failed"
            raise GpuError(f"GPU {self.name} {what}: {_line(error)}") from error
        finally:
            self._pop()

    def _push(self) -> None:
        try:
            self._context.push()
        except self.cuda.Error as error:
            raise GpuError(f"GPU {self.name}: {_line(error)}") from error

    def _pop(self) -> None:
        try:
            self.cuda.Context.pop()
        except self.cuda.Error as error:
            # Popping reports earlier failures of the GPU too, and then leaves the context on pycuda's stack, for which
            # pycuda aborts the process when this thread ends. A detached context counts as gone from every stack.
            self._detach()
            raise GpuError(f"GPU {self.name} lost its context: {_line(error)}") from error

    def _detach(self) -> None:
        try:
            self._context.detach()
        except self.cuda.Error as error:
            _log.warning("GPU %s: %s", self.name, _line(error))

    def closes_at_exit(self, user: Closable) -> None:
        """Close `user` before the context goes, if it still lives then."""
        self._users.add(user)

    def latest_error(self, fallback: str) -> str:
        """What TensorRT complained of last."""
        return self.messages[-1] if self.messages else fallback

    def release(self) -> None:
        """Close every user, then give the primary context back. Nothing may use the device afterwards."""
        for user in list(self._users):
            _close(user)
        # Left to itself, pycuda's destructor would take the primary context for one that it made.
        try:
            self._push()
        except GpuError as error:
            _log.warning("%s", error)
        else:
            self._detach()


_devices: dict[int, Device] = {}
_opening = threading.Lock()


def open_device(index: int = 0) -> Device:
    """The GPU of this number. Raises GpuError when there is none or its libraries do not work."""
    with _opening:
        if index not in _devices:
            libraries = load_libraries()
            try:
                libraries.cuda.init()
                count = libraries.cuda.Device.count()
                if index >= count:
                    raise GpuError(f"there is no GPU {index}; {count} found")
                _devices[index] = Device(libraries, index)
            except libraries.cuda.Error as error:
                raise GpuError(f"no usable NVIDIA GPU ({_line(error)})") from error
        return _devices[index]


@atexit.register
def release_devices() -> None:
    """Close all engines of the process and leave the GPUs."""
    with _opening:
        devices = list(_devices.values())
        _devices.clear()
    for device in devices:
        device.release()


def _close(user: Closable) -> None:
    try:
        user.close()
    except BackendError as error:
        _log.warning("%s", error)


def _logger(trt: Any, messages: deque[str]) -> Any:
    """A TensorRT logger that speaks through Python's logging. TensorRT wants one per process, alive to the end."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                messages.append(" ".join(message.split()))
                _log.error("TensorRT: %s", message)
            elif severity == trt.ILogger.Severity.WARNING:
                _log.info("TensorRT: %s", message)  # mostly advice to developers
            else:
                _log.debug("TensorRT: %s", message)

    return Logger()


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
