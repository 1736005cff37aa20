"""Localization without ROS: images from files and bags, one answer each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hfnet_core.config import UNHURRIED_MS, ExtractorConfig, LocalizerConfig, NodeConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.sources import FeatureSource, NamedSource, extract_named
from hfnet_core.geometry import Pose
from hfnet_core.images.preparation import AUTO, Preparation, read_mask
from hfnet_core.images.reading import _image_files, read_image, significant_bits_of
from hfnet_core.images.sixteen_bit import at_full_range
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.several.finder import MapFinder
from hfnet_core.localization.several.tracker import MapsTracker
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.localization.turning.turns import Answers, Turns
from hfnet_core.localization.uncertainty.calibration.watch import CalibrationWatch
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.library.library import HeldMap, LoadedMap, MapLibrary
from hfnet_core.maps.storage import load_map
from hfnet_core.recordings.bags import Bag, BagFrame
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.calibration.plausibility import check_against_map, check_possible
from hfnet_core.recordings.depth.recorded import RecordedDepth, recorded_depth
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Localization, Localized, NotLocalized, Reason

__all__ = [
    "Answer",
    "FilmLocalizer",
    "OfflineLocalizer",
    "is_bag",
]


_log = logging.getLogger(__name__)
_check = lru_cache(maxsize=1024)(check_possible)
_FIRST_FEW = 3  # images of a folder: where none of them can be used, the others are not tried


@dataclass(frozen=True, eq=False)
class Answer:
    """What was said of one image.

    name: file, or bag and index. stamp_ns: of the image; images from files count seconds. truth: the bag's own
    map_from_camera, if it has one. image: what a list of queries calls it, "" where none does.
    """

    name: str
    stamp_ns: int
    result: Localization
    truth: Pose | None = None
    image: str = ""


class OfflineLocalizer:
    """A map and the network that made it, ready for images. Raises MapError when they do not belong together."""

    def __init__(
        self,
        map_file: Path,
        model: Path | None = None,
        extractor: ExtractorConfig | None = None,
        localizer: LocalizerConfig | None = None,
        source: FeatureSource | None = None,
    ) -> None:
        """map_file: or a folder of maps. source: of features, instead of the network of `model`."""
        self.extractor: FeatureSource = source or Extractor(open_backend(model), extractor or ExtractorConfig())
        config = localizer or LocalizerConfig(search_budget_ms=UNHURRIED_MS)
        if isinstance(self.extractor, NamedSource):  # what files say of an image is not turned with it
            config = replace(config, turns="off")
        self._maps = self._folder(map_file) if map_file.is_dir() else None
        self._finder = MapFinder(self._maps, config) if self._maps is not None else None
        self.map = self._load(map_file if self._maps is None else next(iter(self._maps.entries.values())).path)
        self.localizer = Localizer(self.map, config)
        self._answered_in = self.map
        self.calibration = CalibrationWatch(self.map)
        """What images have said of their camera: those of folders and recordings in one map, not of lists."""
        self._judged: set[Camera] = set()
        self._warned = False

    def _load(self, path: Path) -> LandmarkMap:
        return load_map(path, self.extractor.info.model_hash)

    def _folder(self, folder: Path) -> MapLibrary[HeldMap]:
        return MapLibrary(folder, lambda path: LoadedMap(self._load(path), path), NodeConfig.maps_in_memory)

    @property
    def has_several_maps(self) -> bool:
        """Whether poses may be in several frames: see `Localized.map_name`."""
        return self._maps is not None

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """Of all maps."""
        if self._maps is None:
            return self.map.cameras
        return tuple(camera for entry in self._maps.entries.values() for camera in entry.cameras)

    def known_cameras(self, frame: str = "") -> tuple[Camera, ...]:
        """What calibrations are compared with: see LandmarkMap; of several maps, the cameras of all."""
        return self.map.known_cameras(frame) if self._maps is None else self.cameras

    def localize(self, views: Sequence[View]) -> Localization:
        """On its own, in the map or in whichever of several it shows."""
        if self._finder is None:
            return self.localizer.localize(views)
        found = self._finder.find(views)
        if isinstance(found, Localized):
            self._answered_in = self._finder.opened(found.map_name).localizer.map
        return found

    def turns(self, image_rotation: int | None) -> Turns:
        """For images of one camera. image_rotation: by which they are turned to be upright, None where that is to be
        found out."""
        config = self.localizer.config
        return Turns(replace(config, turns="search") if image_rotation is None else config, patient=True)

    def tracker(self) -> Tracker | MapsTracker[HeldMap]:
        """For one recording."""
        if self._maps is None:
            return Tracker(self.localizer)
        return MapsTracker(self._maps, self.localizer.config)

    def images(
        self, source: Path, calibration: Path | None = None, options: BagOptions | None = None
    ) -> Iterator[Answer]:
        """Localize an image, or every image of a folder, each on its own.

        calibration: of these images; without it the map's camera of the same size is taken, of the image upright rather
        than as it is stored. options: of which the image rotation, the mask, and the trust in the calibration count.
        One that is unreadable, or that no camera fits, has no pose. Raises DatasetError where it is the only image, or
        the first few are so.
        """
        asked, files, given = options or BagOptions(), _image_files(source), None
        if calibration is not None:
            given = camera_from_file(calibration, trust=asked.trust_calibration)
            self._judge(given, asked.trust_calibration)
        bits = significant_bits_of(files)
        rotation = None if asked.image_rotation == AUTO else int(asked.image_rotation)
        taken = _Taken(self.turns(rotation), rotation, asked.mask)
        unusable: list[DatasetError] = []
        for index, path in enumerate(files):
            try:
                answer = self._image(index, path, given, bits, taken)
            except DatasetError as error:
                unusable.append(error)
                if len(unusable) == min(len(files), _FIRST_FEW) == index + 1:  # it is no single image that is wrong
                    raise unusable[0] from None
                answer = _of_unusable(index, path, error)
            yield answer

    def listed(self, folder: Path, queries: Sequence[tuple[str, Camera]], *, trust: bool = False) -> Iterator[Answer]:
        """Localize images of a folder, by name and camera, each on its own; one that cannot be used has no pose.

        trust: also cameras that cannot be true. Raises DatasetError, before any work, when images are missing.
        """
        missing = [name for name, _ in queries if not (folder / name).is_file()]
        if missing:
            raise DatasetError(
                f"{folder}: {len(missing)} of {len(queries)} images of the list are not there, first {missing[0]}"
            )
        bits = significant_bits_of([folder / name for name, _ in queries])
        for index, (name, camera) in enumerate(queries):
            taken = _Taken(self.turns(0), 0, name=name, trust=trust)
            yield self._image_or_reason(index, folder / name, camera, bits, taken)

    def _image_or_reason(self, index: int, path: Path, camera: Camera, bits: int, taken: _Taken) -> Answer:
        try:
            if not taken.trust:
                _check(camera)
            self._judge(camera, taken.trust)
            return self._image(index, path, camera, bits, taken)
        except DatasetError as error:
            return _of_unusable(index, path, error)

    def _judge(self, camera: Camera, trust: bool) -> None:
        """Log the first camera unlike the map's. Raises DatasetError for one that is theirs of another resolution."""
        if trust or camera in self._judged:
            return
        said = check_against_map(camera, self.known_cameras())
        self._judged.add(camera)
        if said and not self._warned:
            _log.warning("%s", said)
            self._warned = True

    def _image(self, index: int, path: Path, given: Camera | None, bits: int, taken: _Taken) -> Answer:
        image = at_full_range(self._read(path, given), bits)
        camera = given or self._camera_of(path, image)
        height, width = image.shape[:2]
        if (camera.width, camera.height) != (width, height):
            raise DatasetError(f"{path}: is {width}x{height}, its calibration {camera.width}x{camera.height}")
        hidden = None if taken.mask is None else read_mask(taken.mask, (width, height))

        def view(_: str, rotation: int) -> View:
            preparation = Preparation(rotation, hidden)
            return View(extract_named(self.extractor, image, taken.name or path.name, preparation), camera)

        if taken.rotation is not None:  # each image is on its own; else they are all of one camera
            taken.turns.forget()
        first = taken.turns.rotation("", taken.rotation or 0)
        looked = taken.turns.find({"": view("", first)}, Answers(self.localize, view, lambda: self._answered_in))
        result = looked.result
        if not taken.name:  # a list tells a camera for each image
            result = self.watched(result, looked.views)
        return Answer(str(path), index * 10**9, result, image=taken.name)

    def watched(
        self,
        found: Localization,
        views: Mapping[str, View],
        stamp_s: float | None = None,
        odom_from_camera: Pose | None = None,
    ) -> Localization:
        """Let an answer speak of the calibration, and widen its covariance by what that leaves open.

        In several maps nothing is done: what is said of a camera is said by one map's landmarks.
        """
        if self._maps is not None:
            return found
        self.calibration.add(found, views, stamp_s, odom_from_camera)
        return self.calibration.covered(found, views)

    def bag(self, path: Path, options: BagOptions | None = None) -> Iterator[Answer]:
        """Localize the images of a bag in order, tracking from one to the next if the settings say so."""
        with Bag(path, options) as bag:
            bag.compare_cameras(self.known_cameras(bag.camera_frame))
            film = FilmLocalizer(self, bag.rotation)
            with recorded_depth(bag) as depth:
                for frame in bag.frames():
                    result = film.localize(frame, depth)
                    yield Answer(f"{path.name}#{frame.index}", frame.stamp_ns, result, frame.map_from_camera)

    def _read(self, path: Path, given: Camera | None) -> NDArray[Any]:
        """As the given calibration fits; else upright or, where the map has only cameras of that size, as stored."""
        if given is not None:
            return read_image(path, (given.width, given.height))
        image, sizes = read_image(path), {(camera.width, camera.height) for camera in self.cameras}
        on_its_side = image.shape[1::-1] not in sizes and image.shape[:2] in sizes
        return read_image(path, image.shape[:2]) if on_its_side else image

    def _camera_of(self, path: Path, image: NDArray[Any]) -> Camera:
        height, width = image.shape[:2]
        for camera in self.cameras:
            if (camera.width, camera.height) == (width, height):
                return camera
        sizes = ", ".join(f"{camera.width}x{camera.height}" for camera in self.cameras)
        raise DatasetError(f"{path}: {width}x{height}, but the map's cameras are {sizes}: give --calibration")


def _of_unusable(index: int, path: Path, error: DatasetError) -> Answer:
    return Answer(str(path), index * 10**9, NotLocalized(Reason.BAD_IMAGE, str(error)))


@dataclass(frozen=True, eq=False)
class _Taken:
    """How the images of a folder were taken. rotation: by which they are turned to be upright, None to find that out.
    mask: a file. name: of the image, where it is not that of its file. trust: in cameras that look impossible."""

    turns: Turns
    rotation: int | None = 0
    mask: Path | None = None
    name: str = ""
    trust: bool = False


class FilmLocalizer:
    """Localizes the images of one recording in order, tracking from one to the next if the settings say so.

    rotation: by which they are turned to be upright; None to find out with the first image that can be localized.
    """

    def __init__(self, offline: OfflineLocalizer, rotation: int | None) -> None:
        self._offline, self._tracker, self._rotation = offline, offline.tracker(), rotation or 0
        self._turns = offline.turns(rotation)

    def localize(self, frame: BagFrame, depth: RecordedDepth | None = None) -> Localization:
        """A pose, or why there is none; an image that cannot be used is no error. depth: of the recording."""
        mask, stamp_s, tracker = frame.preparation.mask, frame.stamp_ns * 1e-9, self._tracker

        def view(_: str, rotation: int) -> View:
            preparation = Preparation(rotation, mask)
            features = extract_named(self._offline.extractor, frame.image, frame.name, preparation)
            ranges = None if depth is None else depth.ranges(frame.stamp_ns, features, frame.camera)
            return View(features, frame.camera, ranges=ranges)

        ask = Answers(
            lambda views: tracker.process(views, stamp_s),
            view,
            lambda: tracker.localizer.map,
            lambda: isinstance(tracker, MapsTracker) and tracker.awaits,
        )
        try:
            looked = self._turns.find({"": view("", self._turns.rotation("", self._rotation))}, ask)
        except DatasetError as error:
            return NotLocalized(Reason.BAD_IMAGE, str(error))
        return self._offline.watched(looked.result, looked.views, stamp_s, frame.map_from_camera)


def is_bag(path: Path) -> bool:
    """Whether a path is a recording rather than an image or a folder of images."""
    if path.suffix.lower() in {".bag", ".mcap", ".db3"} or (path / "metadata.yaml").exists():
        return True
    return path.is_dir() and any(item.suffix in {".mcap", ".db3"} for item in path.iterdir())
