"""What hfnet_core uses of pycuda.driver, with the rules that a GPU has, in host memory.

Streams are threads that do their work late and in order; copies read and write when the stream gets to them, so that a
buffer used too early or freed too soon shows. Every call needs a current context on the calling thread, memory may be
freed only once, and there is only so much of it. `faults` makes calls fail, `delay_s` makes streams slow.
Names and rules follow pycuda 2026.1 (src/cpp/cuda.hpp).
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable

import numpy as np

faults: dict[str, Exception] = {}
delay_s = 0.0
memory_limit = 1 << 30
gpu_name = "Stand-in GPU"
capability = (8, 9)
driver_version = 12040
gpus = 1

contexts_pushed = 0
_initialised = False
_memory: dict[int, bytearray] = {}
_host: set[int] = set()
_addresses = itertools.count(0x7F0000000000, 1 << 24)
_stack = threading.local()


class Error(Exception):
    pass


class MemoryError(Error):  # as pycuda calls it
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


class RuntimeError(Error):  # as pycuda calls it
    pass


def _call(name: str, context: bool = True) -> None:
    if not _initialised:
        raise LogicError(f"{name} failed: not initialized")
    if context and not _contexts():
        raise LogicError(f"{name} failed: invalid device context - no currently active context?")
    if name in faults:
        raise faults[name]


def _contexts() -> list[Context]:
    if not hasattr(_stack, "contexts"):
        _stack.contexts = []
    found: list[Context] = _stack.contexts
    return found


def init(flags: int = 0) -> None:
    global _initialised  # noqa: PLW0603
    _initialised = True
    if "init" in faults:
        raise faults["init"]


def get_driver_version() -> int:
    return driver_version


class Device:
    def __init__(self, index: int) -> None:
        _call("Device", context=False)
        self.index = index

    @staticmethod
    def count() -> int:
        return gpus

    def name(self) -> str:
        return gpu_name

    def compute_capability(self) -> tuple[int, int]:
        return capability

    def get_attribute(self, attribute: str) -> int:
        return _ATTRIBUTES[attribute]

    def retain_primary_context(self) -> Context:
        _call("retain_primary_context", context=False)
        return Context()


class device_attribute:  # noqa: N801 - pycuda's name
    CLOCK_RATE, MULTIPROCESSOR_COUNT = "CLOCK_RATE", "MULTIPROCESSOR_COUNT"
    MEMORY_CLOCK_RATE, GLOBAL_MEMORY_BUS_WIDTH = "MEMORY_CLOCK_RATE", "GLOBAL_MEMORY_BUS_WIDTH"


# kHz, number, kHz, bits
_ATTRIBUTES = {"CLOCK_RATE": 2_520_000, "MULTIPROCESSOR_COUNT": 128, "MEMORY_CLOCK_RATE": 10_501_000}
_ATTRIBUTES["GLOBAL_MEMORY_BUS_WIDTH"] = 384


class Context:
    def __init__(self) -> None:
        self.valid = True

    def push(self) -> None:
        global contexts_pushed  # noqa: PLW0603
        _call("push", context=False)
        if not self.valid:
            raise LogicError("cuCtxPushCurrent failed: invalid device context")
        contexts_pushed += 1
        _contexts().append(self)

    @staticmethod
    def pop() -> None:
        if "pop" in faults:
            raise faults["pop"]  # and the context stays on the stack, as in pycuda
        if not _contexts():
            raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
        _contexts().pop()

    def detach(self) -> None:
        if not self.valid:
            raise LogicError("context::detach failed: invalid device context - cannot detach from invalid context")
        self.valid = False
        if self in _contexts():
            _contexts().remove(self)


class event_flags:  # noqa: N801 - pycuda's name
    DEFAULT, BLOCKING_SYNC, DISABLE_TIMING = 0, 1, 2


class Event:
    def __init__(self, flags: int = 0) -> None:
        _call("Event")
        self._reached = threading.Event()
        self._reached.set()

    def record(self, stream: Stream) -> Event:
        _call("cuEventRecord")
        self._reached = reached = threading.Event()
        stream.enqueue(reached.set)
        return self

    def synchronize(self) -> Event:
        _call("cuEventSynchronize")
        if not self._reached.wait(30):
            raise LaunchError("cuEventSynchronize failed: nothing ever came")
        return self


class Stream:
    _by_handle: dict[int, Stream] = {}  # noqa: RUF012

    def __init__(self, flags: int = 0) -> None:
        _call("Stream")
        self.handle = next(_addresses)
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        Stream._by_handle[self.handle] = self

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            if delay_s:
                time.sleep(delay_s)
            work()

    def enqueue(self, work: Callable[[], None]) -> None:
        self._work.put(work)

    def wait_for_event(self, event: Event) -> None:
        _call("cuStreamWaitEvent")
        reached = event._reached

        def wait() -> None:
            reached.wait(30)

        self.enqueue(wait)

    def synchronize(self) -> None:
        _call("cuStreamSynchronize")
        done = threading.Event()
        self.enqueue(done.set)
        done.wait(30)


class DeviceAllocation:
    def __init__(self, size: int) -> None:
        self._address = next(_addresses)
        _memory[self._address] = bytearray(size)

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        _call("cuMemFree")
        if _memory.pop(self._address, None) is None:
            raise LogicError("device_allocation::free failed: invalid resource handle")


class PagelockedHostAllocation(bytearray):
    def free(self) -> None:
        _call("cuMemFreeHost")
        if id(self) not in _host:
            raise LogicError("host_allocation::free failed: invalid resource handle")
        _host.remove(id(self))
        self[:] = b"\xff" * len(self)  # whoever still reads this gets NaN


def mem_alloc(size: int) -> DeviceAllocation:
    _call("cuMemAlloc")
    if allocated_bytes() + size > memory_limit:
        raise MemoryError("cuMemAlloc failed: out of memory")
    return DeviceAllocation(size)


def mem_get_info() -> tuple[int, int]:
    """(free, total) bytes."""
    _call("cuMemGetInfo")
    return memory_limit - allocated_bytes(), memory_limit


def pagelocked_empty(shape: tuple[int, ...], dtype: object, order: str = "C", mem_flags: int = 0) -> np.ndarray:
    _call("cuMemHostAlloc")
    kind = np.dtype(dtype)  # type: ignore[call-overload]
    allocation = PagelockedHostAllocation(int(np.prod(shape)) * kind.itemsize)
    allocation[:] = b"\xff" * len(allocation)
    _host.add(id(allocation))
    return np.ndarray(shape, kind, buffer=allocation)


def memcpy_htod_async(dest: DeviceAllocation, src: np.ndarray, stream: Stream) -> None:
    _call("memcpy_htod_async")
    _pinned(src)
    target = _memory[int(dest)]

    def copy() -> None:
        target[:] = memoryview(src).cast("B")

    stream.enqueue(copy)


def memcpy_dtoh_async(dest: np.ndarray, src: DeviceAllocation, stream: Stream) -> None:
    _call("memcpy_dtoh_async")
    _pinned(dest)
    source = _memory[int(src)]

    def copy() -> None:
        dest.reshape(-1)[:] = np.frombuffer(source, dest.dtype)

    stream.enqueue(copy)


def memcpy_dtoh(dest: np.ndarray, src: DeviceAllocation) -> None:
    _call("memcpy_dtoh")
    dest.reshape(-1)[:] = np.frombuffer(_memory[int(src)], dest.dtype)


def memcpy_dtod_async(dest: DeviceAllocation, src: DeviceAllocation, size: int, stream: Stream) -> None:
    _call("memcpy_dtod_async")
    target, source = _memory[int(dest)], _memory[int(src)]
    if size > min(len(target), len(source)):
        raise LogicError("cuMemcpyDtoDAsync failed: invalid argument")

    def copy() -> None:
        target[:size] = source[:size]

    stream.enqueue(copy)


def _pinned(array: np.ndarray) -> None:
    if id(array.base) not in _host:
        raise AssertionError("an asynchronous copy needs page-locked memory")


# For the tests and the stand-in of TensorRT, not part of pycuda:


def require_context(name: str) -> None:
    """TensorRT works in the current context; with none it would make another one."""
    _call(name)


def array_at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """Device memory as float32."""
    return np.frombuffer(_memory[address], np.float32).reshape(shape)


def stream_at(handle: int) -> Stream:
    return Stream._by_handle[handle]


def allocated_bytes() -> int:
    return sum(len(block) for block in _memory.values())


def pinned_arrays() -> int:
    return len(_host)


def contexts_here() -> int:
    """Depth of the calling thread's stack of contexts."""
    return len(_contexts())
