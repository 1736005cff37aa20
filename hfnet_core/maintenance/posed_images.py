"""Images whose poses and calibrations others have found, described with our features and triangulated.

Poses and calibrations stay as they are. Points, where there are any, only say which images see the same things.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError, MapError
from hfnet_core.geometry import Pose
from hfnet_core.images.reading import read_image, significant_bits_of
from hfnet_core.images.sixteen_bit import at_full_range
from hfnet_core.maintenance.joint import Cameras, Joined, Member, join, to_map
from hfnet_core.mapping.builder import build_from_keyframes
from hfnet_core.mapping.keyframes.reading import BuildTools, Keyframe, described
from hfnet_core.mapping.pairing.pairs import retrieved_pairs
from hfnet_core.mapping.pose_modes import Placed
from hfnet_core.maps.assembly import covisibility
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera, Features

__all__ = ["Imported", "Match", "Pairing", "PosedImage", "PosedImages", "Scene", "import_posed_images"]

_MIN_SHARED = 15  # points that two images share, to be worth matching
_FEWEST = 2  # images of a map
_SECOND_NS = 10**9
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PosedImage:
    """An image below a folder, and where it was taken from."""

    name: str
    camera: Camera
    map_from_camera: Pose


@dataclass(frozen=True, eq=False)
class PosedImages:
    """What others know of a place.

    source: where it is from, for messages; kind: what it is, for the map's provenance. seen: [T, 2] int64, each a point
    (0..points) and the index of an image that sees it; empty where there are no points.
    """

    source: str
    images: Sequence[PosedImage]
    points: int = 0
    seen: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    kind: str = "COLMAP model"

    def without(self, names: Collection[str]) -> PosedImages:
        """The same place without some images, and what they see."""
        kept = [index for index, image in enumerate(self.images) if image.name not in names]
        place = np.full(len(self.images), -1, dtype=np.int64)
        place[kept] = np.arange(len(kept))
        seen = np.column_stack([self.seen[:, 0], place[self.seen[:, 1]]])
        return replace(self, images=[self.images[index] for index in kept], seen=seen[seen[:, 1] >= 0])


@dataclass(frozen=True, eq=False)
class Imported:
    """The map, and what was left out: names of images that are not in the folder, and what is wrong with others.

    scene: see there.
    """

    landmark_map: LandmarkMap
    missing: tuple[str, ...]
    broken: tuple[str, ...] = ()
    scene: Scene | None = None


class Scene(NamedTuple):
    """What a map was made of, with all keypoints of its images; only of imports with a `Pairing`."""

    members: Sequence[Member]
    joined: Joined


Match = Callable[[tuple[str, Features], tuple[str, Features]], NDArray[np.int32]]
"""Pairs of keypoints [N, 2] of two images, each with its name."""


@dataclass(frozen=True)
class Pairing:
    """Which images are compared, and how, where the user says so.

    names: pairs of them, None for those that share points or, where there are none, look alike. match: None for mutual
    neighbours that pass the ratio test.
    """

    names: Sequence[tuple[str, str]] | None = None
    match: Match | None = None


def import_posed_images(
    posed: PosedImages, images: Path, tools: BuildTools, *, frame_id: str = "map", pairing: Pairing | None = None
) -> Imported:
    """A map of images with known poses, and the folder they lie in; in the frame and scale of these poses.

    An image that is damaged or not of its camera's size is left out with a line in the log. Raises DatasetError where
    fewer than two can be used, MapError or DatasetError where too little can be triangulated.
    """
    if not images.is_dir():
        raise DatasetError(f"{images}: no such folder of images")
    ordered = sorted(range(len(posed.images)), key=lambda index: posed.images[index].name)
    present = [index for index in ordered if (images / posed.images[index].name).is_file()]
    missing = tuple(posed.images[index].name for index in ordered if not (images / posed.images[index].name).is_file())
    if len(present) < _FEWEST:
        named = f", {missing[0]} for example is missing" if missing else ""
        raise DatasetError(f"{images}: holds {len(present)} of {len(ordered)} images of {posed.source}{named}")
    readable = _Readable(posed, images, present)
    found: list[tuple[int, str, Features]] = []
    for index, key, features in described(readable, tools.describer, tools.workspace, readable.name):
        found.append((index, key, features))
        tools.progress("extracting features", len(found) + len(readable.broken), len(present))
    if len(found) < _FEWEST:
        raise DatasetError(readable.broken[0])
    scene = None
    if pairing is not None or posed.points:
        landmark_map, scene = _by_pairs(posed, found, tools, frame_id, pairing or Pairing())
    else:
        landmark_map = _by_poses(posed, found, tools, frame_id)
    told = {"source": posed.kind, "images": len(ordered), "missing_images": len(missing), "points": posed.points}
    recordings = [{**told, "broken_images": len(readable.broken), "scale": "of the model"}]
    provenance = {**landmark_map.provenance, "recordings": recordings}
    return Imported(replace(landmark_map, provenance=provenance), missing, tuple(readable.broken), scene)


class _Readable:
    """(index, pixels) of the images that can be used, in order; what is wrong with the others gathers in `broken`."""

    def __init__(self, posed: PosedImages, folder: Path, indices: Sequence[int]) -> None:
        self.broken: list[str] = []
        self._posed, self._folder, self._indices = posed, folder, indices
        self._bits = significant_bits_of([folder / posed.images[index].name for index in indices])

    def name(self, index: int) -> str:
        """Of an image, as the model has it."""
        return self._posed.images[index].name

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        for index in self._indices:
            item = self._posed.images[index]
            try:
                pixels = _read(self._folder / item.name, item.camera)
            except DatasetError as error:
                _log.warning("left out: %s", error)
                self.broken.append(str(error))
                continue
            yield index, at_full_range(pixels, self._bits)


def _read(path: Path, camera: Camera) -> NDArray[Any]:
    image: NDArray[Any] = read_image(path, (camera.width, camera.height))
    if image.shape[1::-1] != (camera.width, camera.height):
        raise DatasetError(
            f"{path}: is {image.shape[1]}x{image.shape[0]}, the model's camera {camera.width}x{camera.height}: give "
            "the folder of the images that the model was made from"
        )
    return image


def _by_pairs(
    posed: PosedImages, found: Sequence[tuple[int, str, Features]], tools: BuildTools, frame_id: str, pairing: Pairing
) -> tuple[LandmarkMap, Scene]:
    """Pairs are given, or images that see the same points, or look alike."""
    cameras, config, info = Cameras(), tools.config, tools.extractor.info
    members: list[Member] = []
    for position, (index, _, features) in enumerate(found):
        item = posed.images[index]
        place = cameras.index(item.camera, item.camera)
        members.append(Member(item.name, -1, place, item.map_from_camera, features, 1.0, position))
    if pairing.names is not None:
        pairs = _listed(pairing.names, {member.name: index for index, member in enumerate(members)}, posed.source)
    elif posed.points:
        pairs = list(_pairs(posed, [index for index, _, _ in found], config.pairs_per_keyframe))
    else:
        table = np.array([features.global_descriptor for _, _, features in found])
        pairs = retrieved_pairs(table, config.pairs_per_keyframe)
    match = None if pairing.match is None else _by_number(pairing.match, members)
    joined = join(members, cameras.current, pairs, config, progress=tools.progress, refine_poses=False, match=match)
    if not len(joined.points):
        raise MapError(
            f"{posed.source}: no landmark could be triangulated from {len(members)} images and {len(pairs)} pairs"
        )
    landmark_map = to_map(
        members,
        joined,
        cameras.given,
        pose_sigma=(0.0, 0.0),
        model_hash=info.model_hash,
        frame_id=frame_id,
        provenance={
            "history": [{"step": "import", "pairs": len(pairs)}],
            "model": {"name": info.name, "version": info.version},
        },
        descriptor_dtype=config.descriptor_dtype,
    )
    return landmark_map, Scene(members, joined)


def _by_number(match: Match, members: Sequence[Member]) -> Callable[[int, int], NDArray[np.int32]]:
    def numbered(first: int, second: int) -> NDArray[np.int32]:
        one, other = members[first], members[second]
        return match((one.name, one.features), (other.name, other.features))

    return numbered


def _listed(names: Sequence[tuple[str, str]], place: Mapping[str, int], source: str) -> list[tuple[int, int]]:
    """Listed pairs as positions. Raises DatasetError where none of them is of images that are there."""
    known = [(place[first], place[second]) for first, second in names if first in place and second in place]
    found = sorted({(min(pair), max(pair)) for pair in known if pair[0] != pair[1]})
    if not found:
        raise DatasetError(f"the list of pairs, {' '.join(names[0])} for example, has no two images of {source}")
    if len(known) < len(names):
        _log.warning("%d of %d listed pairs are not of images that are there", len(names) - len(known), len(names))
    return found


def _pairs(posed: PosedImages, chosen: Sequence[int], per_image: int) -> Iterator[tuple[int, int]]:
    """Each of the chosen images with those that share most points with it, as positions among the chosen."""
    place = np.full(len(posed.images), -1, dtype=np.int64)
    place[np.asarray(chosen)] = np.arange(len(chosen))
    points, images = posed.seen[:, 0], place[posed.seen[:, 1]]
    known = images >= 0
    offsets, others, _ = covisibility(points[known], images[known], posed.points, len(chosen), _MIN_SHARED)
    for index in range(len(chosen)):
        for other in others[offsets[index] : offsets[index + 1]][:per_image]:
            yield min(index, int(other)), max(index, int(other))


def _by_poses(
    posed: PosedImages, found: Sequence[tuple[int, str, Features]], tools: BuildTools, frame_id: str
) -> LandmarkMap:
    """Pairs are images whose views overlap by their poses, or that look alike, as in maps of recordings."""
    config = replace(tools.config, refine_poses=False, refine_intrinsics=False)
    recording = _numbered(str(PurePosixPath(posed.images[index].name).parent) for index, _, _ in found)
    keyframes = [
        Keyframe(
            posed.images[index].name,
            position * _SECOND_NS,
            recording[position],
            posed.images[index].camera,
            posed.images[index].map_from_camera,
            features,
            key,
        )
        for position, (index, key, features) in enumerate(found)
    ]
    placed = Placed(keyframes, frame_id)
    return build_from_keyframes(placed, tools.extractor.info, config, tools.progress, tools.workspace)


def _numbered(names: Iterable[str]) -> list[int]:
    """A number for each different name, in order of appearance."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]
