"""Localization without ROS: images from files and bags, one answer each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hfnet_core.config import UNHURRIED_MS, ExtractorConfig, LocalizerConfig, NodeConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.sources import FeatureSource, extract_named
from hfnet_core.geometry import Pose
from hfnet_core.images.preparation import AUTO, ROTATIONS, Preparation, read_mask
from hfnet_core.images.reading import _image_files, read_image, significant_bits_of
from hfnet_core.images.sixteen_bit import at_full_range
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.several.finder import MapFinder
from hfnet_core.localization.several.tracker import MapsTracker
from hfnet_core.localization.tracking.tracker import Tracker
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
    "UprightSearch",
    "is_bag",
]


_log = logging.getLogger(__name__)
_check = lru_cache(maxsize=1024)(check_possible)


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
        self._maps = self._folder(map_file) if map_file.is_dir() else None
        self._finder = MapFinder(self._maps, config) if self._maps is not None else None
        self.map = self._load(map_file if self._maps is None else next(iter(self._maps.entries.values())).path)
        self.localizer = Localizer(self.map, config)
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
        return self.localizer.localize(views) if self._finder is None else self._finder.find(views)

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
        Raises DatasetError for unreadable images and when no camera fits.
        """
        asked, files, given = options or BagOptions(), _image_files(source), None
        if calibration is not None:
            given = camera_from_file(calibration, trust=asked.trust_calibration)
            self._judge(given, asked.trust_calibration)
        bits = significant_bits_of(files)
        upright = UprightSearch(None if asked.image_rotation == AUTO else int(asked.image_rotation))
        for index, path in enumerate(files):
            yield self._image(index, path, given, bits, _Taken(upright, asked.mask))

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
            taken = _Taken(UprightSearch(0), name=name, trust=trust)
            yield self._image_or_reason(index, folder / name, camera, bits, taken)

    def _image_or_reason(self, index: int, path: Path, camera: Camera, bits: int, taken: _Taken) -> Answer:
        try:
            if not taken.trust:
                _check(camera)
            self._judge(camera, taken.trust)
            return self._image(index, path, camera, bits, taken)
        except DatasetError as error:
            return Answer(str(path), index * 10**9, NotLocalized(Reason.BAD_IMAGE, str(error)))

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

        views: dict[str, View] = {}

        def localize(rotation: int) -> Localization:
            features = extract_named(self.extractor, image, taken.name or path.name, Preparation(rotation, hidden))
            views[""] = View(features, camera)
            return self.localize([views[""]])

        result = taken.upright.first_success(localize)
        if not taken.name:  # a list tells a camera for each image
            result = self.watched(result, views)
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


class UprightSearch:
    """By how much images are to be turned; where nothing tells, what worked before is tried first, then the others."""

    def __init__(self, known: int | None) -> None:
        self.known = known
        self._last = 0

    def first_success(self, localize: Callable[[int], Localization]) -> Localization:
        """The first pose of these rotations, or why there is none without turning further."""
        if self.known is not None:
            return localize(self.known)
        results = {}
        for rotation in sorted(ROTATIONS, key=lambda rotation: rotation != self._last):
            results[rotation] = localize(rotation)
            if isinstance(results[rotation], Localized):
                self._last = rotation
                return results[rotation]
        return results[self._last]

    def settle(self) -> None:
        """Keep to what worked, as a camera that is mounted does."""
        self.known = self._last


@dataclass(frozen=True, eq=False)
class _Taken:
    """How the images of a folder were taken. mask: a file. name: of the image, where it is not that of its
    file. trust: in cameras that look impossible."""

    upright: UprightSearch
    mask: Path | None = None
    name: str = ""
    trust: bool = False


class FilmLocalizer:
    """Localizes the images of one recording in order, tracking from one to the next if the settings say so.

    rotation: by which they are turned to be upright; None to find out with the first image that can be localized.
    """

    def __init__(self, offline: OfflineLocalizer, rotation: int | None) -> None:
        self._offline, self._tracker = offline, offline.tracker()
        self._upright = UprightSearch(rotation)

    def localize(self, frame: BagFrame, depth: RecordedDepth | None = None) -> Localization:
        """A pose, or why there is none; an image that cannot be used is no error. depth: of the recording."""
        mask, stamp_s = frame.preparation.mask, frame.stamp_ns * 1e-9
        views: dict[str, View] = {}

        def view(rotation: int) -> list[View]:
            preparation = Preparation(rotation, mask)
            features = extract_named(self._offline.extractor, frame.image, frame.name, preparation)
            ranges = None if depth is None else depth.ranges(frame.stamp_ns, features, frame.camera)
            views[""] = View(features, frame.camera, ranges=ranges)
            return [views[""]]

        try:
            found = self._with_rotation(view, stamp_s)
        except DatasetError as error:
            return NotLocalized(Reason.BAD_IMAGE, str(error))
        return self._offline.watched(found, views, stamp_s, frame.map_from_camera)

    def _with_rotation(self, view: Callable[[int], list[View]], stamp_s: float) -> Localization:
        if self._upright.known is None:
            found = self._upright.first_success(lambda rotation: self._offline.localize(view(rotation)))
            if not isinstance(found, Localized):
                return found
            self._upright.settle()
        return self._tracker.process(view(self._upright.known or 0), stamp_s)


def is_bag(path: Path) -> bool:
    """Whether a path is a recording rather than an image or a folder of images."""
    if path.suffix.lower() in {".bag", ".mcap", ".db3"} or (path / "metadata.yaml").exists():
        return True
    return path.is_dir() and any(item.suffix in {".mcap", ".db3"} for item in path.iterdir())
