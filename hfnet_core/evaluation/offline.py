"""Localization without ROS: images from files and bags, one answer each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hfnet_core.config import ExtractorConfig, LocalizerConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.images.reading import _image_files, read_image, significant_bits_of
from hfnet_core.images.sixteen_bit import at_full_range
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.maps.storage import load_map
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.calibration.plausibility import check_against_map, check_possible
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Localization, NotLocalized, Reason

__all__ = [
    "Answer",
    "OfflineLocalizer",
    "is_bag",
]


_log = logging.getLogger(__name__)
_check = lru_cache(maxsize=1024)(check_possible)


@dataclass(frozen=True, eq=False)
class Answer:
    """What was said of one image.

    name: file, or bag and index. stamp_ns: of the image; images from files count seconds. truth: the bag's own
    map_from_camera, if it has one.
    """

    name: str
    stamp_ns: int
    result: Localization
    truth: Pose | None = None


class OfflineLocalizer:
    """A map and the network that made it, ready for images. Raises MapError when they do not belong together."""

    def __init__(
        self,
        map_file: Path,
        model: Path | None = None,
        extractor: ExtractorConfig | None = None,
        localizer: LocalizerConfig | None = None,
    ) -> None:
        self.extractor = Extractor(open_backend(model), extractor or ExtractorConfig())
        self.map = load_map(map_file, self.extractor.info.model_hash)
        self.localizer = Localizer(self.map, localizer)
        self._judged: set[Camera] = set()
        self._warned = False

    def images(self, source: Path, calibration: Path | None = None, *, trust: bool = False) -> Iterator[Answer]:
        """Localize an image, or every image of a folder, each on its own.

        calibration: of these images; without it the map's camera of the same size is taken, of the image upright rather
        than as it is stored. trust: also one that cannot be true. Raises DatasetError for unreadable images and when no
        camera fits.
        """
        files, given = _image_files(source), None
        if calibration is not None:
            given = camera_from_file(calibration, trust=trust)
            self._judge(given, trust)
        bits = significant_bits_of(files)
        for index, path in enumerate(files):
            yield self._image(index, path, given, bits)

    def listed(self, folder: Path, queries: Sequence[tuple[str, Camera]], *, trust: bool = False) -> Iterator[Answer]:
        """Localize images of a folder, by name and camera, each on its own; one that cannot be used has no pose.

        trust: also cameras that cannot be true. Raises DatasetError, before any work, when images are missing.
        """
        missing = [name for name, _ in queries if not (folder / name).is_file()]
        if missing:
            raise DatasetError(f"{folder}: {len(missing)} of {len(queries)} images of the list are not there, first "
                               f"{missing[0]}")  # fmt: skip
        bits = significant_bits_of([folder / name for name, _ in queries])
        for index, (name, camera) in enumerate(queries):
            yield self._image_or_reason(index, folder / name, camera, bits, trust)

    def _image_or_reason(self, index: int, path: Path, camera: Camera, bits: int, trust: bool) -> Answer:
        try:
            if not trust:
                _check(camera)
            self._judge(camera, trust)
            return self._image(index, path, camera, bits)
        except DatasetError as error:
            return Answer(str(path), index * 10**9, NotLocalized(Reason.BAD_IMAGE, str(error)))

    def _judge(self, camera: Camera, trust: bool) -> None:
        """Log the first camera unlike the map's. Raises DatasetError for one that is theirs of another resolution."""
        if trust or camera in self._judged:
            return
        said = check_against_map(camera, self.map.known_cameras())
        self._judged.add(camera)
        if said and not self._warned:
            _log.warning("%s", said)
            self._warned = True

    def _image(self, index: int, path: Path, given: Camera | None, bits: int) -> Answer:
        image = at_full_range(self._read(path, given), bits)
        camera = given or self._camera_of(path, image)
        height, width = image.shape[:2]
        if (camera.width, camera.height) != (width, height):
            raise DatasetError(f"{path}: is {width}x{height}, its calibration {camera.width}x{camera.height}")
        features = self.extractor.extract(image)
        return Answer(str(path), index * 10**9, self.localizer.localize([View(features, camera)]))

    def bag(self, path: Path, options: BagOptions | None = None) -> Iterator[Answer]:
        """Localize the images of a bag in order, tracking from one to the next if the settings say so."""
        tracker = Tracker(self.localizer)
        with Bag(path, options) as bag:
            bag.compare_cameras(self.map.known_cameras(bag.camera_frame))
            for frame in bag.frames():
                try:
                    features = self.extractor.extract(frame.image)
                except DatasetError as error:
                    result: Localization = NotLocalized(Reason.BAD_IMAGE, str(error))
                else:
                    result = tracker.process([View(features, frame.camera)], frame.stamp_ns * 1e-9)
                yield Answer(f"{path.name}#{frame.index}", frame.stamp_ns, result, frame.map_from_camera)

    def _read(self, path: Path, given: Camera | None) -> NDArray[Any]:
        """As the given calibration fits; else upright or, where the map has only cameras of that size, as stored."""
        if given is not None:
            return read_image(path, (given.width, given.height))
        image, sizes = read_image(path), {(camera.width, camera.height) for camera in self.map.cameras}
        on_its_side = image.shape[1::-1] not in sizes and image.shape[:2] in sizes
        return read_image(path, image.shape[:2]) if on_its_side else image

    def _camera_of(self, path: Path, image: NDArray[Any]) -> Camera:
        height, width = image.shape[:2]
        for camera in self.map.cameras:
            if (camera.width, camera.height) == (width, height):
                return camera
        sizes = ", ".join(f"{camera.width}x{camera.height}" for camera in self.map.cameras)
        raise DatasetError(f"{path}: {width}x{height}, but the map's cameras are {sizes}: give --calibration")


def is_bag(path: Path) -> bool:
    """Whether a path is a recording rather than an image or a folder of images."""
    if path.suffix.lower() in {".bag", ".mcap", ".db3"} or (path / "metadata.yaml").exists():
        return True
    return path.is_dir() and any(item.suffix in {".mcap", ".db3"} for item in path.iterdir())
