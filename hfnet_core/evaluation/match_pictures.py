"""Pictures for a gallery, of what was localized from a list of images or from a bag."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import EvaluationConfig
from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.gallery import GalleryPicture
from hfnet_core.evaluation.metrics import Sample, judge, state
from hfnet_core.evaluation.offline import Answer, OfflineLocalizer
from hfnet_core.evaluation.side_by_side import best_pairing, draw_pairing
from hfnet_core.features.sources import extract_named
from hfnet_core.images.reading import read_image
from hfnet_core.localization.retrieval import Retriever
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Features, Localization, Localized

__all__ = ["MapImages", "Seen", "bag_pictures", "evenly", "images_in", "list_pictures", "picture_of"]

_LOOKED_AT = 4  # of the map images of a pose, to find the one that explains most
MapImages = Callable[[str, Camera], NDArray[Any] | None]
"""The image of a keyframe by its name, None where it is not at hand."""
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Seen:
    """A query with everything that was seen and said of it."""

    image: NDArray[Any] = field(repr=False)
    camera: Camera
    features: Features
    result: Localization


def picture_of(landmark_map: LandmarkMap, seen: Seen, map_images: MapImages) -> NDArray[np.uint8]:
    """A query beside the map image that explains most of it or, where there is no pose, that it resembles most."""
    keyframes = seen.result.keyframes[:_LOOKED_AT] if isinstance(seen.result, Localized) else ()
    if not keyframes:
        similar, _ = Retriever(landmark_map.place_descriptors).query(seen.features.global_descriptor, 1)
        keyframes = tuple(int(keyframe) for keyframe in similar)
    pairing = best_pairing(landmark_map, keyframes, seen.features, seen.camera, seen.result)
    if pairing is None:
        raise DatasetError("the map has no keyframes to draw")
    camera = landmark_map.cameras[landmark_map.keyframe_cameras[pairing.keyframe]]
    shown = map_images(landmark_map.keyframe_names[pairing.keyframe], camera)
    return draw_pairing(seen.image, pairing, shown, landmark_map)


def evenly(items: Sequence[_T], most: int) -> list[_T]:
    """So many of them, spread over all."""
    return [items[index] for index in np.linspace(0, len(items) - 1, min(len(items), most)).astype(int).tolist()]


def images_in(folder: Path | None) -> MapImages:
    """Images of keyframes that are named as files below a folder."""

    def read(name: str, camera: Camera) -> NDArray[Any] | None:
        try:
            return None if folder is None else read_image(folder / name, (camera.width, camera.height))
        except DatasetError:
            return None  # its landmarks are drawn instead

    return read


def list_pictures(
    offline: OfflineLocalizer,
    answers: Iterable[tuple[Answer, Camera]],
    most: int,
    map_images: MapImages,
) -> Iterator[GalleryPicture]:
    """Of images that were localized from files: some that failed and some that did not."""
    everything = list(answers)
    for failed in (True, False):
        like = [item for item in everything if isinstance(item[0].result, Localized) is not failed]
        for answer, camera in evenly(like, most):
            try:
                image = read_image(Path(answer.name), (camera.width, camera.height))
                features = extract_named(offline.extractor, image, answer.image or Path(answer.name).name)
            except DatasetError:
                continue  # it was named as one that cannot be used
            seen = Seen(image, camera, features, answer.result)
            caption = f"{Path(answer.name).name}: {_said(answer.result)}"
            yield GalleryPicture("Queries", caption, picture_of(offline.map, seen, map_images), failed)


def bag_pictures(
    offline: OfflineLocalizer,
    bag: Path,
    samples: Sequence[Sample],
    most: int,
    options: BagOptions | None = None,
    map_bag: Path | None = None,
) -> Iterator[GalleryPicture]:
    """Of the images of a bag. map_bag: the recording that the map was made of, for its images."""
    config = EvaluationConfig()
    right = [sample for sample in samples if sample.estimate is not None and judge(sample, config) != "wrong"]
    others = [sample for sample in samples if sample.estimate is None or judge(sample, config) == "wrong"]
    chosen = {sample.stamp_ns: sample for sample in (*evenly(others, most), *evenly(right, most))}
    failed = {sample.stamp_ns for sample in others}
    map_images = _images_of(map_bag, options)
    with Bag(bag, options) as opened:
        indices = [index for index, item in enumerate(opened.timeline()) if item.stamp_ns in chosen]
        for frame in opened.frames(indices):
            sample = chosen[frame.stamp_ns]
            if sample.result is None:
                continue
            features = extract_named(offline.extractor, frame.image, frame.name, frame.preparation)
            seen = Seen(frame.image, frame.camera, features, sample.result)
            off = "" if sample.error is None else f"; {100 * sample.error[0]:.1f} cm, {sample.error[1]:.2f} deg off"
            caption = f"image {frame.index}: {state(sample)}, {_said(sample.result)}{off}"
            picture = picture_of(offline.map, seen, map_images)
            yield GalleryPicture("Images of the bag", caption, picture, frame.stamp_ns in failed)


def _images_of(bag: Path | None, options: BagOptions | None) -> MapImages:
    """Keyframes are called RECORDING/IMAGE."""

    def read(name: str, camera: Camera) -> NDArray[Any] | None:
        number = name.partition("/")[2]
        if bag is None or not number.isdecimal():
            return None
        with Bag(bag, options) as opened:
            frame = next(iter(opened.frames([int(number)])), None)
        size = (camera.height, camera.width)
        return frame.image if frame is not None and frame.image.shape[:2] == size else None

    return read


def _said(result: Localization) -> str:
    if isinstance(result, Localized):
        return f"{result.inliers} of {result.matches} matches agree"
    return str(result)
