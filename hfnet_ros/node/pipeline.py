"""Model, map and tracker of a camera or a rig: from pixels to a result. No ROS messages here."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import EngineConfig, ExtractorConfig, LocalizerConfig, NodeConfig
from hfnet_core.errors import BackendError, ConfigError, DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.focal import FocalCheck
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.localization.tracking.consistency import Consistency
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera, Features, Localization, Localized, NotLocalized, Reason
from hfnet_ros.node.map_component import SharedMap, shared_map

__all__ = ["Engine", "Outcome"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of an image, or of several of one time.

    features: of each image, None when it had none, and failures: why. odom_from_camera: None when it is not known.
    """

    result: Localization
    features: Sequence[Features | None]
    odom_from_camera: Pose | None
    timings_s: dict[str, float]
    consistency: Consistency = field(default_factory=Consistency)
    failures: Sequence[NotLocalized | None] = ()


class Engine:
    """Everything that `configure` allocates. `process` belongs to one thread; the rest may be called from others."""

    def __init__(
        self, config: NodeConfig, engine: EngineConfig, extractor: ExtractorConfig, localizer: LocalizerConfig
    ) -> None:
        """Load model and map. Raises HFNetError naming what is missing or does not fit."""
        if not config.map_file:
            raise ConfigError("map_file: is empty; give the file that `hfnet map build` wrote")
        self._configs, self._memory_mib = (extractor, localizer), config.map_memory_mib
        model = Path(config.model_file).expanduser() if config.model_file else None
        self.backend = open_backend(model, config.backend, config.threads, engine)
        try:
            self._extractor = Extractor(self.backend, extractor)
            self.map = self._load(config.map_file)
        except BaseException:
            self.backend.close()
            raise
        self._tracker = Tracker(self._localizer(self.map.landmark_map))
        self._focal = FocalCheck()
        self._commands: deque[Callable[[], None]] = deque()

    def _load(self, path: str) -> SharedMap:
        return shared_map(Path(path).expanduser(), self.backend.info.model_hash, self._memory_mib)

    def _localizer(self, landmark_map: LandmarkMap) -> Localizer:
        return Localizer(landmark_map, self._configs[1])

    @property
    def info(self) -> Any:
        return self.backend.info

    @property
    def description(self) -> str:
        """What runs the network, for people."""
        return str(getattr(self.backend, "description", type(self.backend).__name__))

    @property
    def degraded_reason(self) -> str | None:
        """Why the network does not run as it should, None while all is well."""
        reason: str | None = getattr(self.backend, "degraded_reason", None)
        return reason

    @property
    def focal_warning(self) -> str | None:
        """What the images say against the focal length of a single camera, None while nothing is known."""
        return self._focal.warning

    def warm_up(self) -> None:
        """Run everything once, so that the first image is not late. Raises BackendError when the network cannot run."""
        cameras = self.map.landmark_map.cameras
        camera = cameras[0] if cameras else Camera("PINHOLE", 640, 480, (500.0, 500.0, 319.5, 239.5))
        noise = np.random.default_rng(0).integers(0, 256, (camera.height, camera.width), dtype=np.uint8)
        features = self._extractor.extract(noise)
        self._tracker.localizer.localize([View(features, camera)])

    def process(
        self,
        images: Sequence[NDArray[Any]],
        cameras: Sequence[tuple[Camera, Pose]],
        stamp_ns: int,
        odometry: Callable[[], Pose | None],
    ) -> Outcome:
        """Localize the images of one time. `odometry` is asked after extraction: it may yet come.

        cameras: calibration and rig_from_camera of each.
        """
        self.settle()
        timings: dict[str, float] = {}
        start = time.perf_counter()
        extracted = [self._extract(image) for image in images]
        features = [None if isinstance(found, NotLocalized) else found for found in extracted]
        failures = [found if isinstance(found, NotLocalized) else None for found in extracted]
        if failures[-1] is not None and all(failures):
            self._tracker.miss()
            return Outcome(failures[-1], features, None, timings, self._tracker.consistency, failures)
        timings["extraction"] = time.perf_counter() - start
        start = time.perf_counter()
        odom_from_camera = odometry()
        timings["odometry"] = time.perf_counter() - start
        start = time.perf_counter()
        views = [View(found, *own) for found, own in zip(features, cameras, strict=True) if found is not None]
        result = self._tracker.process(views, stamp_ns * 1e-9, odom_from_camera)
        timings["localization"] = time.perf_counter() - start
        if isinstance(result, Localized):
            self._focal.add(result, views[0].camera)
        return Outcome(result, features, odom_from_camera, timings, self._tracker.consistency, failures)

    def _extract(self, image: NDArray[Any]) -> Features | NotLocalized:
        try:
            return self._extractor.extract(image)
        except DatasetError as error:
            return NotLocalized(Reason.BAD_IMAGE, str(error))
        except BackendError as error:
            return NotLocalized(Reason.BACKEND_FAILED, str(error))

    def configure(self, extractor: ExtractorConfig, localizer: LocalizerConfig) -> None:
        """Other settings from the next image on."""
        self._configs = extractor, localizer

        def change() -> None:
            self._extractor = Extractor(self.backend, extractor)
            self._tracker.localizer = self._localizer(self.map.landmark_map)

        self._commands.append(change)

    def prepare_map(self, path: str) -> SharedMap:
        """Load another map beside the current one, which stays in use. Raises MapError."""
        loaded = self._load(path)
        self._localizer(loaded.landmark_map)  # what it derives from the map is kept there
        return loaded

    def use_map(self, loaded: SharedMap) -> None:
        """Use a prepared map from the next image on."""

        def change() -> None:
            self.map = loaded
            self._tracker = Tracker(self._localizer(loaded.landmark_map))
            self._focal = FocalCheck()

        self._commands.append(change)

    def settle(self) -> None:
        """Carry out what was asked for since the last image. In the thread of `process`, or while that rests."""
        while self._commands:
            self._commands.popleft()()

    def forget(self) -> None:
        """Search the whole map for the next image."""
        self._commands.append(lambda: self._tracker.reset())  # noqa: PLW0108  the tracker of then

    def set_prior(self, map_from_camera: Pose, covariance: Array, stamp_ns: int) -> None:
        """Start from a given pose."""
        self._commands.append(lambda: self._tracker.set_prior(map_from_camera, stamp_ns * 1e-9, covariance))

    def close(self) -> None:
        self.backend.close()
