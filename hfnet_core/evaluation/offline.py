"""Localization without ROS: images from files and bags, one answer each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hfnet_core.config import ExtractorConfig, LocalizerConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.images.reading import _image_files, read_image
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.maps.storage import load_map
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Localization, NotLocalized, Reason

__all__ = [
    "Answer",
    "OfflineLocalizer",
    "is_bag",
]


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

    def images(self, source: Path, calibration: Path | None = None) -> Iterator[Answer]:
        """Localize an image, or every image of a folder, each on its own.

        calibration: of these images; without it the map's camera of the same size is taken, of the image upright rather
        than as it is stored. Raises DatasetError for unreadable images and when no camera fits.
        """
        given = camera_from_file(calibration) if calibration is not None else None
        for index, path in enumerate(_image_files(source)):
            yield self._image(index, path, given)

    def listed(self, folder: Path, queries: Sequence[tuple[str, Camera]]) -> Iterator[Answer]:
        """Localize images of a folder, by name and camera, each on its own; one that cannot be used has no pose.

        Raises DatasetError, before any work, when images are missing.
        """
        missing = [name for name, _ in queries if not (folder / name).is_file()]
        if missing:
            raise DatasetError(f"{folder}: {len(missing)} of {len(queries)} images of the list are not there, first "
                               f"{missing[0]}")  # fmt: skip
        for index, (name, camera) in enumerate(queries):
            yield self._image_or_reason(index, folder / name, camera)

    def _image_or_reason(self, index: int, path: Path, camera: Camera) -> Answer:
        try:
            return self._image(index, path, camera)
        except DatasetError as error:
            return Answer(str(path), index * 10**9, NotLocalized(Reason.BAD_IMAGE, str(error)))

    def _image(self, index: int, path: Path, given: Camera | None) -> Answer:
        image = self._read(path, given)
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
    return path.suffix.lower() in {".bag", ".mcap", ".db3"} or (path / "metadata.yaml").exists()
