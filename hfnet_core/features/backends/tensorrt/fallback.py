"""TensorRT while it works, the CPU otherwise: never slower to start, never down because of a GPU."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from hfnet_core.config import EngineConfig, ExtractorConfig
from hfnet_core.errors import BackendError, HFNetError
from hfnet_core.features.backends.protocol import Backend, DenseOutputs, SelectedOutputs, check_gray
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.types import Float32

__all__ = ["EngineBuild", "FallbackBackend", "with_gpu"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


def with_gpu(
    cpu: Backend, model: Path, config: EngineConfig | None = None, extraction: ExtractorConfig | None = None
) -> Backend:
    """`cpu` itself, or a FallbackBackend in front of it where TensorRT and a GPU work; logs which, and why not."""
    try:
        gpu = TensorRTBackend(model, config, extraction, cpu.info)
    except Exception as error:  # TensorRT is a bonus: a broken installation must not cost more than that
        _log.info("the network runs on %s; TensorRT: %s", cpu.description, _reason(error))
        return cpu
    _log.info("the network runs on %s, with %s behind it", gpu.description, cpu.description)
    return FallbackBackend(gpu, cpu)


def _reason(error: Exception) -> str:
    """One line for diagnostics; what nobody expected leaves its traceback in the log."""
    if isinstance(error, HFNetError):
        return str(error)
    _log.error("unexpected failure on the GPU", exc_info=error)
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


class EngineBuild:
    """An engine being built by a process of its own: Python here goes on, and a crash or lack of memory stays there."""

    def __init__(self, backend: TensorRTBackend, height: int, width: int) -> None:
        settings = {"config": asdict(backend.config), "extraction": asdict(backend.extraction)}
        request = json.dumps({"model": str(backend.model), "size": [height, width], **settings})
        command = [sys.executable, "-m", "hfnet_core.features.backends.tensorrt.build_process", request]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def finished(self) -> bool:
        return self._process.poll() is not None

    def problem(self) -> str | None:
        """Why there is no engine after all; waits for the end."""
        output, _ = self._process.communicate()
        if self._process.returncode == 0:
            return None
        return output.strip() or f"the building process ended with status {self._process.returncode}"

    def stop(self) -> None:
        """End it, waiting for the end; built engines stay."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.communicate()


class FallbackBackend:
    """A Backend that runs on `gpu` where an engine is ready and on `cpu` otherwise; both have the same model.

    Engines that were built before are loaded with the first image of their size. A missing one is built in the
    background once several images of that size came, while the CPU answers. When the GPU fails, the CPU takes over for
    good and `degraded_reason` says why. Closing it closes both.
    """

    def __init__(self, gpu: TensorRTBackend, cpu: Backend) -> None:
        self._gpu, self._cpu = gpu, cpu
        self._lock = threading.Lock()
        self._missing: Counter[tuple[int, int]] = Counter()  # images of sizes that have no engine yet
        self._build: EngineBuild | None = None
        self._build_size: tuple[int, int] | None = None
        self._given_up: dict[tuple[int, int], str] = {}  # sizes without an engine, and why
        self._failure: str | None = None
        self._closed = False

    @property
    def info(self) -> ModelInfo:
        return self._cpu.info

    @property
    def degraded_reason(self) -> str | None:
        """Why images run on the CPU although there is a GPU; None while all is well. For diagnostics."""
        with self._lock:
            if self._failure is not None:
                return self._failure
            if self._build_size is not None:
                return "an engine for {1}x{0} is being built; the CPU runs the network meanwhile".format(
                    *self._build_size
                )
            return next(iter(self._given_up.values()), None)

    @property
    def description(self) -> str:
        reason = self.degraded_reason
        return f"{self._cpu.description}: {reason}" if self._failure is not None else self._gpu.description

    @property
    def images_at_once(self) -> int:
        return (self._gpu if self._failure is None else self._cpu).images_at_once

    def infer(self, gray: Float32) -> DenseOutputs:
        return self._run(gray, self._gpu.infer)

    def detect(self, gray: Float32, config: ExtractorConfig) -> SelectedOutputs | DenseOutputs:
        return self._run(gray, lambda image: self._gpu.detect(image, config))

    def _run(self, gray: Float32, on_gpu: Callable[[Float32], T]) -> T | DenseOutputs:
        check_gray(gray)
        if self._closed:
            raise BackendError(f"model {self.info.name} is closed")
        if not self._gpu_is_ready(*gray.shape):
            return self._cpu.infer(gray)
        try:
            return on_gpu(gray)
        except Exception as error:  # whatever it is, the CPU can still answer
            if self._closed:
                raise BackendError(f"model {self.info.name} is closed") from error
            outputs = self._cpu.infer(gray)  # raises too when it was the image's fault
            self._degrade(_reason(error))
            return outputs

    def close(self) -> None:
        self._closed = True
        with self._lock:
            build, self._build, self._build_size = self._build, None, None
        if build is not None:
            build.stop()
        self._cpu.close()
        self._close_gpu()

    def _gpu_is_ready(self, height: int, width: int) -> bool:
        """Whether the GPU has an engine for this size; loads or orders it."""
        size = height, width
        with self._lock:
            try:
                self._collect_build()
            except Exception as error:  # as above
                self._give_up(size, _reason(error))
            if self._failure is not None or size in self._given_up:
                return False
            if self._gpu.is_loaded(height, width):
                return True
            try:
                if size not in self._missing and self._gpu.load_cached(height, width):
                    return True
                self._order(size)
            except Exception as error:  # as above
                self._give_up(size, _reason(error))
            return False

    def _order(self, size: tuple[int, int]) -> None:
        """Start building an engine for images that keep coming; one at a time."""
        self._missing[size] += 1
        wanted = self._gpu.config.build_after_images
        if not wanted:
            self._give_up(size, f"none is built here; `hfnet engine build --size {size[1]}x{size[0]}` makes it")
        elif self._build is None and self._missing[size] >= wanted:
            self._build, self._build_size = EngineBuild(self._gpu, *size), size
            _log.warning("building a TensorRT engine for %dx%d in the background", size[1], size[0])

    def _collect_build(self) -> None:
        """Once the process that builds has ended, let its engine be looked for."""
        if self._build is None or self._build_size is None or not self._build.finished():
            return
        problem, size = self._build.problem(), self._build_size
        self._build = self._build_size = None
        if problem is not None:
            self._give_up(size, problem)
        elif self._gpu.load_cached(*size):
            del self._missing[size]
        else:
            self._give_up(size, "the engine that was built cannot be used")

    def _give_up(self, size: tuple[int, int], reason: str) -> None:
        self._given_up[size] = f"no TensorRT engine for {size[1]}x{size[0]}: {reason}"
        _log.warning("the CPU runs the network: %s", self._given_up[size])

    def _degrade(self, reason: str) -> None:
        with self._lock:
            if self._failure is not None:
                return
            self._failure = reason
        _log.error("the GPU is given up, the CPU runs the network from now on: %s", reason)
        self._close_gpu()

    def _close_gpu(self) -> None:
        try:
            self._gpu.close()
        except BackendError as error:  # a lost context cannot be tidied up; its memory is gone with it
            _log.warning("%s", error)
