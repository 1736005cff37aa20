"""Model, map and tracker of the cameras: from frames to a result. No ROS messages here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from hfnet_core.config import ExtractorConfig, LocalizerConfig
from hfnet_core.errors import ConfigError, MapError
from hfnet_core.features.backends.opening import DEFAULT_MODEL, open_backend
from hfnet_core.features.backends.tuning_process import BackgroundTuning
from hfnet_core.features.extractor import Extractor
from hfnet_core.files import home_path
from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.several.tracker import MapsTracker
from hfnet_core.localization.tracking.consistency import Consistency
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.localization.turning.turns import Answers, Turns
from hfnet_core.localization.uncertainty.calibration.watch import CalibrationWatch
from hfnet_core.maps.library.library import MapLibrary
from hfnet_core.threads import side_by_side
from hfnet_core.types import Camera, Features, Localization, NotLocalized, Reason
from hfnet_ros.memory import give_back_freed
from hfnet_ros.node.frame_sets import FrameSet
from hfnet_ros.node.map_component import SharedMap, shared_map
from hfnet_ros.node.views.calibrations import JudgedCalibrations
from hfnet_ros.node.views.looking import RangesOf, begun, described, ups_of, views_of
from hfnet_ros.parameters import Configs

__all__ = ["Outcome", "Pipeline", "PreparedMap"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of the images of one time.

    features: of each frame, None when it gave none, and failures: why.
    """

    result: Localization
    features: tuple[Features | None, ...]
    failures: tuple[NotLocalized | None, ...]
    consistency: Consistency = field(default_factory=Consistency)


@dataclass(frozen=True, eq=False)
class PreparedMap:
    """A map, or the first of a folder of maps with all of them, ready for use."""

    shared: SharedMap
    library: MapLibrary[SharedMap] | None = None


class Pipeline:
    """Everything that `configure` allocates for localizing.

    `extract` belongs to one thread, `settle` and `localize` to one, the same or another. The rest may be called from
    any, and takes effect with the next image, in the order of the calls.
    """

    def __init__(self, configs: Configs) -> None:
        """Load model and map. Raises HFNetError naming what is missing or does not fit."""
        config = configs.node
        if not config.map_file:
            raise ConfigError("map_file: is empty; give the file that `hfnet map build` wrote")
        self._settings, self._memory_mib = configs.localizer, config.map_memory_mib
        self._verify_mib = config.map_verify_mib
        model = home_path(config.model_file) if config.model_file else None
        self.backend = open_backend(model, config.backend, config.threads, configs.engine, configs.extractor)
        try:
            self._extractor = Extractor(self.backend, configs.extractor)
            self._maps_in_memory = config.maps_in_memory
            self._library = self._open(config.map_file)
            self.map = self._load(config.map_file) if self._library is None else _first(self._library)
        except BaseException:
            self.backend.close()
            raise
        self._tuning = (
            BackgroundTuning(model or DEFAULT_MODEL, configs.engine, config.threads)
            if config.backend == "auto"
            else None
        )
        self._tracker = self._tracker_in(self.map, self._library)
        self.calibration = CalibrationWatch(self.map.landmark_map)
        """What images say against calibrations, mountings and stamps, in the map that the robot is in."""
        self._learning: Callable[[], None] | None = None
        self._judged = JudgedCalibrations(config.trust_calibration)
        self._turns = Turns(configs.localizer)
        self._commands: deque[Callable[[float], None]] = deque()
        self.turn = Lock()
        """Held while an image is localized: one that outlives its session ends before the next session begins."""

    def _load(self, path: str) -> SharedMap:
        return shared_map(home_path(path), self.backend.info.model_hash, self._memory_mib, self._verify_mib)

    def _open(self, path: str) -> MapLibrary[SharedMap] | None:
        """The maps of a folder, None for a file. Raises MapError."""
        folder = home_path(path)
        try:
            if not folder.is_dir():
                return None
        except OSError:  # a name that is too long, a folder that may not be entered: loading says it
            return None
        return MapLibrary(folder, lambda file: self._load(str(file)), self._maps_in_memory)

    def _tracker_in(self, shared: SharedMap, library: MapLibrary[SharedMap] | None) -> Tracker | MapsTracker[SharedMap]:
        if library is None:
            return Tracker(Localizer(shared.landmark_map, self._settings))
        return MapsTracker(library, self._settings)

    @property
    def maps(self) -> str:
        """Which of several maps are known, and which of them in memory, the current one first, for people; "" for one
        map."""
        tracker, library = self._tracker, self._library
        if library is None or not isinstance(tracker, MapsTracker):
            return ""
        held = dict.fromkeys((tracker.current, *library.loaded))
        return f"{len(library.entries)} in {library.folder}, in memory: {', '.join(held)}"

    @property
    def unusable_maps(self) -> str:
        """Which of several maps cannot be used, and why, for people; "" for none."""
        library = self._library
        told = {} if library is None else dict(library.unusable)
        return "; ".join(f"map {name} is passed over: {why}" for name, why in sorted(told.items()))

    @property
    def damage(self) -> str:
        """Why no pose is to be had; of several maps a damaged one is left for the others."""
        return "" if isinstance(self._tracker, MapsTracker) else self.map.damage

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
    def calibration_warnings(self) -> dict[str, str | None]:
        """By camera: how its calibration differs from the map's camera of the same size, and what the images say
        against it; None where nothing does."""
        by_images = self.calibration.warnings
        texts = {name: (text, by_images.get(name)) for name, text in self._judged.texts.items()}
        return {name: "; ".join(text for text in both if text) or None for name, both in texts.items()}

    def warm_up(self) -> None:
        """Run everything once, so that the first image is not late. Raises BackendError when the network cannot run."""
        give_back_freed()  # of loading; what is freed from now on serves the next image
        cameras = self.map.landmark_map.cameras
        camera = cameras[0] if cameras else Camera("PINHOLE", 640, 480, (500.0, 500.0, 319.5, 239.5))
        noise = np.random.default_rng(0).integers(0, 256, (camera.height, camera.width), dtype=np.uint8)
        self._tracker.localizer.localize([View(self._extractor.extract(noise), camera)])

    # ---- the way of an image

    def extract(self, frames: FrameSet) -> list[Features | NotLocalized]:
        """What each frame shows, or why it shows nothing; its image turned as the pose before tells."""
        return side_by_side(partial(begun, self._extractor, self._turns), frames.frames, self.backend.images_at_once)

    def localize(
        self,
        frames: FrameSet,
        extracted: Sequence[Features | NotLocalized],
        odom_from_rig: Pose | None,
        ranges_of: RangesOf | None = None,
    ) -> Outcome:
        """The pose of the rig from what `extract` gave, or from the same images turned otherwise.

        odom_from_rig: None when it is not known. ranges_of: tells those of frames' keypoints, None without depth.
        """
        known = self.map.landmark_map
        refused = [self._judged.refusal(frame, known) for frame in frames.frames]
        extracted = [why or found for why, found in zip(refused, extracted, strict=True)]
        failures = tuple(found if isinstance(found, NotLocalized) else None for found in extracted)
        views = views_of(frames, extracted, ranges_of)
        if not views:
            self._tracker.miss()
            why = next(failure for failure in failures if failure is not None)
            return Outcome(why, (None,) * len(failures), failures, self._tracker.consistency)
        stamp_s, before = frames.stamp_ns * 1e-9, self.map
        looked = self._turns.find(views, self._answers(frames, odom_from_rig, ranges_of), ups_of(views, odom_from_rig))
        if self.map is not before:
            self.calibration = CalibrationWatch(self.map.landmark_map)
        self._learning = partial(self.calibration.add, looked.result, looked.views, stamp_s, odom_from_rig)
        result = self.calibration.covered(looked.result, looked.views)
        shown = [looked.views.get(frame.name) for frame in frames.frames]
        features = tuple(None if view is None else view.features for view in shown)
        return Outcome(result, features, failures, self._tracker.consistency)

    def _answers(self, frames: FrameSet, odom_from_rig: Pose | None, ranges_of: RangesOf | None) -> Answers:
        """Of the tracker, to the images of one time however they are turned."""
        alone = {frame.name: replace(frames, frames=(frame,)) for frame in frames.frames}

        def again(name: str, rotation: int) -> View | None:
            (frame,) = alone[name].frames
            return views_of(alone[name], [described(self._extractor, frame, rotation)], ranges_of).get(name)

        def awaits() -> bool:
            return isinstance(self._tracker, MapsTracker) and self._tracker.awaits

        stamp_s = frames.stamp_ns * 1e-9
        return Answers(
            lambda views: self._process(views, stamp_s, odom_from_rig), again, lambda: self.map.landmark_map, awaits
        )

    def learn(self) -> None:
        """What the last images say of calibrations; once their pose is out, as it takes now and then a while."""
        learning, self._learning = self._learning, None
        if learning is not None:
            learning()

    def _process(self, views: Sequence[View], stamp_s: float, odom_from_rig: Pose | None) -> Localization:
        """As the tracker does; of several maps, follow to the one where the robot is."""
        if not isinstance(self._tracker, MapsTracker):
            return self._tracker.process(views, stamp_s, odom_from_rig)
        try:
            result = self._tracker.process(views, stamp_s, odom_from_rig)
        except MapError as error:  # one of the maps, which may be there again with the next image
            self._tracker.miss()
            result = NotLocalized(Reason.NO_MAP, str(error))
        self.map = self._tracker.held
        return result

    # ---- requests

    def configure(self, extractor: ExtractorConfig, localizer: LocalizerConfig) -> None:
        """Other settings."""
        self._settings, self._extractor, self._turns = localizer, Extractor(self.backend, extractor), Turns(localizer)

        def change(_: float) -> None:
            if isinstance(self._tracker, MapsTracker):
                self._tracker.configure(localizer)
            else:
                self._tracker.localizer = Localizer(self.map.landmark_map, localizer)

        self._commands.append(change)

    def prepare_map(self, path: str) -> PreparedMap:
        """Load another map, or folder of maps, beside the current one, which stays in use. Raises MapError."""
        try:
            library = self._open(path)
            loaded = self._load(path) if library is None else _first(library)
            Localizer(loaded.landmark_map, self._settings)  # what it derives from the map is kept there
            return PreparedMap(loaded, library)
        finally:
            give_back_freed()  # also what is left of the map before

    def use_map(self, prepared: PreparedMap) -> None:
        """Use what was prepared."""

        def change(_: float) -> None:
            self.map, self._library = prepared.shared, prepared.library
            self._tracker = self._tracker_in(self.map, self._library)
            self._turns.forget()
            self.calibration = CalibrationWatch(self.map.landmark_map)

        self._commands.append(change)

    def follow_map(self, loaded: SharedMap) -> None:
        """Use a later version of the current map, prepared: what is known of the way so far stays, and a pose that the
        new version puts elsewhere has to be confirmed as any other jump. Another map that is used by then stays."""

        def change(_: float) -> None:
            if loaded.path != self.map.path or self._library is not None:
                return
            self.map = loaded
            if isinstance(self._tracker, Tracker):
                self._tracker.localizer = Localizer(loaded.landmark_map, self._settings)
            self.calibration.follow(loaded.landmark_map)

        self._commands.append(change)

    def forget(self) -> None:
        """Search the whole map."""

        def change(_: float) -> None:
            self._tracker.reset()
            self._turns.forget()

        self._commands.append(change)

    def start_from(self, map_from_rig: Pose, covariance: Array) -> None:
        """Search near a pose that somebody gives, with its covariance [6, 6]."""
        self._commands.append(lambda stamp_s: self._tracker.set_prior(map_from_rig, stamp_s, covariance))

    def expect(self, map_from_odom: Pose, covariance: Array) -> None:
        """Go on from where a mapping node puts the odometry's frame, see `Tracker.expect`."""

        def change(_: float) -> None:
            if isinstance(self._tracker, Tracker):
                self._tracker.expect(map_from_odom, covariance)

        self._commands.append(change)

    @property
    def is_settled(self) -> bool:
        """Whether everything that was asked for has been carried out."""
        return not self._commands

    def settle(self, stamp_s: float = 0.0) -> None:
        """Carry out what was asked for, before an image of this time is localized."""
        while self._commands:
            self._commands.popleft()(stamp_s)
        tracker, library = self._tracker, self._library
        if isinstance(tracker, MapsTracker) and library is not None and tracker.held.damage:
            if tracker.current not in library.unusable:
                library.set_aside(tracker.current, tracker.held.damage)
            tracker.reset()  # the images are looked for in the other maps

    def settle_if_idle(self) -> None:
        """Carry out what was asked for, unless an image of a former session is still being localized: then the next
        image does."""
        if self.turn.acquire(blocking=False):
            try:
                self.settle()
            finally:
                self.turn.release()

    def close(self) -> None:
        if self._tuning is not None:
            self._tuning.stop()
        self.backend.close()


def _first(library: MapLibrary[SharedMap]) -> SharedMap:
    """Where the robot is taken to be until an image tells."""
    return library.held(next(iter(library.entries)))
