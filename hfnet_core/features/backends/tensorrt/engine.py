"""A loaded engine: buffers, streams, and images in flight.

Each image in flight has a slot: pinned host memory and device memory of its own. Uploads run on a second stream, so
that image n + 1 travels while n is computed; computing and downloading share the first. Waiting is done on an event,
with Python's lock released (by pycuda), so that other threads work meanwhile.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfnet_core.errors import BackendError
from hfnet_core.features.backends.protocol import DenseOutputs, SelectedOutputs
from hfnet_core.features.backends.tensorrt.cuda_graph import CapturedGraph
from hfnet_core.features.backends.tensorrt.device import Device, GpuError
from hfnet_core.features.backends.tensorrt.device_maps import DeviceMap, DeviceMaps
from hfnet_core.features.backends.tensorrt.tensors import DENSE, SELECTED, Shape
from hfnet_core.types import Float32

__all__ = ["SLOTS", "EngineClosedError", "LoadedEngine", "PlanRefusedError", "Ticket"]

_log = logging.getLogger(__name__)

SLOTS = 2  # double buffering
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no waiting for what others do on the default stream
_WAIT_S = 30.0
_CLOSE_WAIT_S = 5.0
_INPUT = "image"


class EngineClosedError(BackendError):
    """The engine was closed, perhaps to make room for another size."""


class PlanRefusedError(GpuError):
    """A serialized engine that TensorRT does not take, or that computes something else than it should."""


@dataclass(eq=False)
class _Slot:
    """Memory of one image in flight. host: pinned arrays; device: allocations; both by tensor name.

    map: where its descriptors stay, if its keypoints are chosen on the device; None if all of it comes back.
    """

    host: dict[str, Any]
    device: dict[str, Any]
    uploaded: Any
    done: Any
    graph: CapturedGraph | None = None
    map: DeviceMap | None = None
    pending: bool = False  # work was put on the streams and not waited for

    def free(self) -> None:
        """Give everything back now, not when some other thread collects it."""
        if self.graph is not None:
            self.graph.free()
        for allocation in self.device.values():
            allocation.free()
        for array in self.host.values():
            array.base.free()
        self.host, self.device, self.uploaded, self.done = {}, {}, None, None


@dataclass(eq=False)
class Ticket:
    """An image on its way; `result` may be called once, from any thread. Dropping it unread is allowed."""

    engine: LoadedEngine
    slot: _Slot | None
    _taking: threading.Lock = field(default_factory=threading.Lock)

    def result(self) -> DenseOutputs:
        """Wait for the outputs. Raises GpuError when the GPU failed, BackendError when called twice."""
        return self.engine.collect(self._take())

    def selected(self) -> SelectedOutputs:
        """The same for an image that was submitted as `selecting`; scores below any threshold are negative."""
        return self.engine.collect_selected(self._take())

    def _take(self) -> _Slot:
        with self._taking:
            slot, self.slot = self.slot, None
        if slot is None:
            raise BackendError("the result of this image was already taken")
        return slot

    def __del__(self) -> None:
        if self.slot is not None:
            self.engine.give_back(self.slot)


class LoadedEngine:
    """An engine ready to run images of one size. Any thread may submit and collect.

    shapes: of its tensors, see `tensor_shapes`. Raises PlanRefusedError when TensorRT refuses the plan or its tensors
    are others, GpuError when memory is short or the GPU fails.
    """

    def __init__(self, device: Device, plan: bytes, shapes: Mapping[str, Shape], cuda_graph: bool) -> None:
        self.device, self._shapes = device, shapes
        self._maps = DeviceMaps(device, shapes["descriptors"][1:])
        self._lock = threading.Lock()
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        self._slots: list[_Slot] = []
        self._closed = False
        with device.active():
            try:
                self._open(plan, cuda_graph)
            except BaseException:
                self._release()
                raise
        device.closes_at_exit(self)

    def _open(self, plan: bytes, cuda_graph: bool) -> None:
        trt, cuda = self.device.trt, self.device.cuda
        self.device.messages.clear()
        self._runtime: Any = trt.Runtime(self.device.logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise PlanRefusedError(f"TensorRT refused the engine: {self.device.latest_error('no reason given')}")
        self._check_tensors()
        self._context: Any = self._engine.create_execution_context()
        if self._context is None:
            raise GpuError(f"no memory to run the engine: {self.device.latest_error('no reason given')}")
        self._compute, self._upload = cuda.Stream(_NON_BLOCKING), cuda.Stream(_NON_BLOCKING)
        for _ in range(SLOTS):
            slot = self._new_slot()
            self._slots.append(slot)
            self._warm_up(slot, cuda_graph)
        for slot in self._slots:
            self._free.put(slot)

    def _check_tensors(self) -> None:
        trt, engine = self.device.trt, self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found = {name: tuple(engine.get_tensor_shape(name)) for name in names}
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        floats = all(engine.get_tensor_dtype(name) == trt.DataType.FLOAT for name in names)
        if found != self._shapes or inputs != [_INPUT] or not floats:
            raise PlanRefusedError(f"the engine's tensors are {found}, expected {self._shapes}, float32")

    def _new_slot(self) -> _Slot:
        cuda = self.device.cuda
        quick, patient = cuda.event_flags.DISABLE_TIMING, cuda.event_flags.BLOCKING_SYNC
        slot = _Slot({}, {}, uploaded=cuda.Event(quick), done=cuda.Event(quick | patient))  # waiting takes no CPU time
        try:
            for name, shape in self._shapes.items():
                slot.host[name] = cuda.pagelocked_empty(shape, np.float32)
                slot.device[name] = cuda.mem_alloc(slot.host[name].nbytes)
        except BaseException:
            slot.free()
            raise
        return slot

    def _warm_up(self, slot: _Slot, cuda_graph: bool) -> None:
        """Run once, so that the first image is not slower than the rest, and record the graph where wanted."""
        slot.host[_INPUT][...] = 0
        self.device.cuda.memcpy_htod_async(slot.device[_INPUT], slot.host[_INPUT], self._compute)
        self._execute(slot)
        self._compute.synchronize()
        if cuda_graph:
            slot.graph = CapturedGraph.record(self._compute.handle, lambda: self._execute(slot))

    def submit(self, gray: Float32, selecting: bool = False) -> Ticket:
        """Send gray [height, width] float32 on its way; `Ticket.result` brings the outputs.

        selecting: only the chosen keypoints come back, by `Ticket.selected`; the map of descriptors stays there. Two
        images can be in flight; a third waits until a result is taken. Raises GpuError when the GPU fails, BackendError
        after `close`, or when no result is taken for 30 s.
        """
        slot = self._take()
        try:
            with self.device.active():
                if slot.pending:  # dropped unread: its upload may still be running
                    slot.done.synchronize()
                slot.host[_INPUT][0, 0] = gray
                slot.map = self._maps.take() if selecting else None
                with self._lock:
                    self._enqueue(slot)
        except BaseException:
            self._free.put(slot)
            raise
        return Ticket(self, slot)

    def _take(self) -> _Slot:
        if self._closed:
            raise EngineClosedError("the engine is closed")
        try:
            slot = self._free.get(timeout=_WAIT_S)
        except queue.Empty:
            raise BackendError(
                f"all {SLOTS} buffers of the engine are in use; take the result of an image before "
                "submitting the next but one"
            ) from None
        if self._closed:  # meanwhile
            self._free.put(slot)
            raise EngineClosedError("the engine is closed")
        return slot

    def _enqueue(self, slot: _Slot) -> None:
        cuda = self.device.cuda
        slot.pending = True
        cuda.memcpy_htod_async(slot.device[_INPUT], slot.host[_INPUT], self._upload)
        slot.uploaded.record(self._upload)
        self._compute.wait_for_event(slot.uploaded)
        if slot.graph is not None:
            slot.graph.launch(self._compute.handle)
        else:
            self._execute(slot)
        for name in DENSE if slot.map is None else SELECTED:
            cuda.memcpy_dtoh_async(slot.host[name], slot.device[name], self._compute)
        if slot.map is not None:
            cuda.memcpy_dtod_async(slot.map.memory, slot.device["descriptors"], self._maps.nbytes, self._compute)
        slot.done.record(self._compute)

    def _execute(self, slot: _Slot) -> None:
        for name, allocation in slot.device.items():
            self._context.set_tensor_address(name, int(allocation))
        if not self._context.execute_async_v3(self._compute.handle):
            raise GpuError(f"the engine did not run: {self.device.latest_error('no reason given')}")

    def collect(self, slot: _Slot) -> DenseOutputs:
        """Wait for a slot, copy its outputs out, and make it free again."""
        try:
            self._wait(slot)
            return DenseOutputs(*(np.array(slot.host[name][0]) for name in DENSE))
        finally:
            self._free.put(slot)

    def collect_selected(self, slot: _Slot) -> SelectedOutputs:
        """The same for what was chosen."""
        try:
            self._wait(slot)
            kept, slot.map = slot.map, None
            if kept is None:
                raise BackendError("this image was not submitted for its keypoints alone")
            keypoints, scores, descriptors, whole = (np.array(slot.host[name]) for name in SELECTED)
            return SelectedOutputs(keypoints, scores, descriptors, whole[0], kept.read)
        finally:
            self._free.put(slot)

    def _wait(self, slot: _Slot) -> None:
        with self.device.active():
            slot.done.synchronize()
        slot.pending = False

    def give_back(self, slot: _Slot) -> None:
        """Make a slot free whose outputs nobody wants."""
        self._free.put(slot)

    def __del__(self) -> None:
        # Whoever forgets to close loses nothing: pycuda alone could not free memory from another thread.
        if not self._closed and self._slots:
            try:
                self.close()
            except BackendError as error:
                _log.warning("%s", error)

    def close(self) -> None:
        """Free the engine once the images in flight are collected; calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            for _ in range(len(self._slots)):
                self._free.get(timeout=_CLOSE_WAIT_S)
        except queue.Empty:
            raise BackendError("the engine cannot close: the result of an image was never taken") from None
        with self.device.active():
            self._release()

    def _release(self) -> None:
        """In order: users of memory and streams first. Our context must be active."""
        if any(slot.pending for slot in self._slots):
            self._compute.synchronize()
        self._context = None
        for slot in self._slots:
            slot.map = None
            slot.free()
        self._slots = []
        self._maps.free()
        self._compute = self._upload = None
        self._engine = None
        self._runtime = None
