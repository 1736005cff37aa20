"""The network on TensorRT behind the Backend protocol."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnet_core.config import EngineConfig, ExtractorConfig
from hfnet_core.errors import BackendError, ModelError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.protocol import DenseOutputs, SelectedOutputs, check_dense, check_gray
from hfnet_core.features.backends.tensorrt.building.cache import (
    CachedEngine,
    EngineCache,
    EngineKey,
    default_folder,
    digest,
)
from hfnet_core.features.backends.tensorrt.device import GpuError, Progress, open_device
from hfnet_core.features.backends.tensorrt.engine import (
    SLOTS,
    EngineClosedError,
    LoadedEngine,
    PlanRefusedError,
    Ticket,
)
from hfnet_core.features.backends.tensorrt.tensors import tensor_shapes
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.features.network.selection import Selection
from hfnet_core.files import home_path
from hfnet_core.types import Float32

__all__ = ["TensorRTBackend"]

_log = logging.getLogger(__name__)


class TensorRTBackend:
    """A Backend (see ../protocol.py) for a model file made by `build_onnx` or `hfnet engine quantize`.

    Every image size needs an engine of its own. The first image of a size loads it from the cache, or builds it, which
    takes minutes and is kept; `load_cached` and `prepare` let a caller choose the moment. extraction: the limits within
    which engines choose keypoints. info: of the model, where it was read already. Raises ModelError for an unusable
    file, GpuError when there is no GPU or no TensorRT.
    """

    def __init__(
        self,
        model: Path,
        config: EngineConfig | None = None,
        extraction: ExtractorConfig | None = None,
        info: ModelInfo | None = None,
    ) -> None:
        self.config = EngineConfig() if config is None else config
        self.extraction = ExtractorConfig() if extraction is None else extraction
        self.model = Path(model)
        if not self.model.is_file():
            raise ModelError(f"{model}: no such model file; train one with `hfnet train` or give the path of another")
        self._info = OnnxRuntimeBackend(self.model, threads=1).info if info is None else info
        self._graph = digest(self.model.read_bytes())
        self.device = open_device(self.config.device)
        self.cache = EngineCache(home_path(self.config.cache_dir) if self.config.cache_dir else default_folder())
        self._engines: OrderedDict[tuple[int, int], LoadedEngine] = OrderedDict()
        self._lock = threading.Lock()  # of the table above; never held while building
        self._preparing: dict[tuple[int, int], threading.Lock] = {}
        self._closed = False

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def description(self) -> str:
        return f"TensorRT {self.device.trt.__version__} {self.config.precision} on {self.device.name}"

    @property
    def images_at_once(self) -> int:
        return SLOTS

    def key(self, height: int, width: int) -> EngineKey:
        """What the engine for images [height, width] is kept under on this machine."""
        major, minor = self.device.compute_capability
        return EngineKey(
            model_hash=self._info.model_hash,
            graph=self._graph,
            height=height,
            width=width,
            precision=self.config.precision,
            gpu=self.device.name,
            compute_capability=f"{major}.{minor}",
            tensorrt=self.device.trt.__version__,
            cuda=str(self.device.cuda.get_driver_version()),
            selection=self.selection(height, width).text,
        )

    def selection(self, height: int, width: int) -> Selection:
        """What an engine for images [height, width] chooses."""
        return Selection.of(self.extraction, self._info, height, width)

    def is_loaded(self, height: int, width: int) -> bool:
        with self._lock:
            return (height, width) in self._engines

    def load_cached(self, height: int, width: int) -> bool:
        """Load the engine for images [height, width] if it was built before; never builds. Takes well under a second.

        An engine that TensorRT refuses is deleted with a warning. Raises GpuError when the GPU fails.
        """
        cached = self.cache.get(self.key(height, width))
        return cached is not None and self._load(cached)

    def prepare(self, height: int, width: int) -> None:
        """Load the engine for images [height, width], building it before if need be.

        Raises GpuError when the GPU or TensorRT fails, ModelError for a graph that does not fit.
        """
        if self.load_cached(height, width):
            return
        if not self._load(self._cached_or_built(height, width)):
            raise GpuError(f"TensorRT does not load the engine it built for {width}x{height}")

    def build(self, height: int, width: int, progress: Progress | None = None) -> Mapping[str, Any]:
        """Have the engine in the cache without loading it; returns the facts kept with it. Raises as `prepare` does."""
        return self._cached_or_built(height, width, progress).facts

    def infer(self, gray: Float32) -> DenseOutputs:
        outputs = self.submit(gray).result()
        check_dense(outputs, gray, self._info)
        return outputs

    def detect(self, gray: Float32, config: ExtractorConfig) -> SelectedOutputs | DenseOutputs:
        """Chosen on the GPU if `config` asks for no more than `extraction`; the map stays there until asked for."""
        if not self.selection(*gray.shape).serves(config, self._info):
            return self.infer(gray)
        return self.submit(gray, selecting=True).selected().above(config.detection_threshold, config.max_keypoints)

    def submit(self, gray: Float32, selecting: bool = False) -> Ticket:
        """Start on an image as for `infer`; `Ticket.result` waits for it, or `Ticket.selected` if `selecting`.

        Two images can be on their way at once, so that one uploads while the other is computed. The outputs are not
        checked. Raises as `infer` does.
        """
        check_gray(gray)
        while True:
            try:
                return self._engine(*gray.shape).submit(gray, selecting)
            except EngineClosedError:  # noqa: PERF203 - it made room for another size just now, or all is closed
                continue

    def close(self) -> None:
        with self._lock:
            self._closed = True
            engines = list(self._engines.values())
            self._engines.clear()
        for engine in engines:
            engine.close()

    def _engine(self, height: int, width: int) -> LoadedEngine:
        size = height, width
        while True:
            with self._lock:
                if self._closed:
                    raise BackendError(f"model {self._info.name} is closed")
                engine = self._engines.get(size)
                if engine is not None:
                    self._engines.move_to_end(size)
                    return engine
                preparing = self._preparing.setdefault(size, threading.Lock())
            with preparing:
                if not self.is_loaded(height, width):
                    self.prepare(height, width)

    def _load(self, cached: CachedEngine) -> bool:
        """Put an engine on the GPU; False when TensorRT does not take it."""
        started = time.monotonic()
        height, width = cached.key.height, cached.key.width
        try:
            shapes = tensor_shapes(self._info, self.selection(height, width))
            engine = LoadedEngine(self.device, cached.plan, shapes, self.config.cuda_graph)
        except PlanRefusedError as error:
            _log.warning("cached engine refused, it will be built again: %s", error)
            self.cache.remove(cached.key)
            return False
        with self._lock:
            surplus = [engine] if self._closed else [self._engines.pop((height, width), None)]
            if not self._closed:
                self._engines[height, width] = engine
            while len(self._engines) > self.config.max_engines:
                surplus.append(self._engines.popitem(last=False)[1])
        for old in surplus:
            if old is not None:
                old.close()
        _log.info("%s: engine for %dx%d loaded in %.2f s", self.description, width, height, time.monotonic() - started)
        return True

    def _cached_or_built(self, height: int, width: int, progress: Progress | None = None) -> CachedEngine:
        def make() -> tuple[bytes, Mapping[str, Any]]:
            from hfnet_core.features.backends.tensorrt.making import (
                Wanted,
                make_engine,  # needs the onnx package, running does not
            )

            wanted = Wanted(self.model, self.config, self.selection(height, width))
            return make_engine(self.device, wanted, self.cache, progress)

        return self.cache.get_or_build(self.key(height, width), make)
