"""Maps of descriptors that stay on the device until somebody asks for them."""

from __future__ import annotations

import math
import threading
import weakref
from typing import Any

import numpy as np

from hfnet_core.errors import BackendError
from hfnet_core.features.backends.tensorrt.device import Device
from hfnet_core.features.backends.tensorrt.tensors import Shape
from hfnet_core.types import Float32

__all__ = ["MOST_MAPS", "DeviceMap", "DeviceMaps"]

MOST_MAPS = 8  # left on the device by one engine; then the oldest moves to host memory


class DeviceMap:
    """One map [h, w, D]. Its device memory goes back when it is read, or when nobody holds it any more."""

    def __init__(self, owner: DeviceMaps, memory: Any) -> None:
        self.memory = memory
        self._owner = owner
        self._lock = threading.Lock()
        self._value: Float32 | None = None
        self._lost: str | None = None

    @property
    def is_on_device(self) -> bool:
        return self._value is None and self._lost is None

    def read(self) -> Float32:
        """The map, in host memory from now on. Raises BackendError when the device failed before it was read."""
        self.settle()
        if self._value is None:
            raise BackendError(f"the descriptors of an earlier image are lost: {self._lost}")
        return self._value

    def settle(self) -> None:
        """Move it to host memory; a failure is told to whoever reads it."""
        with self._lock:
            if not self.is_on_device:
                return
            try:
                self._value = self._owner.download(self.memory)
            except BackendError as error:
                self._lost = str(error)
            self._owner.give_back(self.memory)

    def __del__(self) -> None:
        if self.is_on_device:
            self._owner.give_back(self.memory)


class DeviceMaps:
    """Device memory for the maps of one engine, and which of them are still wanted."""

    def __init__(self, device: Device, shape: Shape) -> None:
        self._device, self._shape = device, shape
        self.nbytes = 4 * math.prod(shape)
        self._lock = threading.RLock()  # a map may be collected, which gives memory back, while this thread holds it
        self._idle: list[Any] = []
        self._wanted: list[weakref.ref[DeviceMap]] = []

    def take(self) -> DeviceMap:
        """Memory for the map of an image on its way; our context must be active. Raises errors of CUDA."""
        living = self._living()
        if len(living) >= MOST_MAPS:
            living[0].settle()
        with self._lock:
            memory = self._idle.pop() if self._idle else self._device.cuda.mem_alloc(self.nbytes)
            made = DeviceMap(self, memory)
            self._wanted.append(weakref.ref(made))
        return made

    def _living(self) -> list[DeviceMap]:
        """Maps that are still on the device and wanted, oldest first."""
        with self._lock:
            found = [(reference, reference()) for reference in self._wanted]
            self._wanted = [reference for reference, made in found if made is not None and made.is_on_device]
            return [made for _, made in found if made is not None and made.is_on_device]

    def download(self, memory: Any) -> Float32:
        """Raises GpuError."""
        value = np.empty(self._shape, np.float32)
        with self._device.active():
            self._device.cuda.memcpy_dtoh(value, memory)
        return value

    def give_back(self, memory: Any) -> None:
        with self._lock:
            self._idle.append(memory)

    def free(self) -> None:
        """Move what is still wanted to host memory and free the rest; our context must be active."""
        for made in self._living():
            made.settle()
        with self._lock:
            while self._idle:
                self._idle.pop().free()
