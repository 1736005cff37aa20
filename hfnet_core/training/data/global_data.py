"""Batches for the global stage: places, each seen in several views, with the overlap known or unknown for every two.

A place is one photo cropped `views` times, two photos whose overlap is verified, cropped `views` / 2 times each, or a
rendered room.
Batch number k is a pure function of (seed, k).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hfnet_core.errors import ConfigError
from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.training.data.augmentation import CropRange, photometric, random_homography, warp_image, warp_points
from hfnet_core.training.data.light import other_light
from hfnet_core.training.data.pair_matches import PairMatches
from hfnet_core.training.data.pool import Pool, read_gray
from hfnet_core.training.data.rooms import render_room

__all__ = ["GlobalBatch", "GlobalBatches", "GlobalDataSettings", "place_groups"]

_CELLS = 4  # each way: a view of a real pair has in common what holds a verified match, by so many squared parts of it
_CERTAIN = 0.25  # share of a view
_DISTINCT_SHARE = 0.2  # a group with a smaller share of photos in pairs.csv is a collection of different places


@dataclass(frozen=True)
class GlobalDataSettings:
    """What one batch of the global stage holds.

    places, views: of each batch; sizes: crop sizes (width, height), one drawn per batch; real_pairs: share of places
    made of two overlapping photos; rooms: share of places that are rendered rooms, in batches that are wider than high;
    shift: largest distance of a crop's middle from the place's, in crop sides; clean: share of crops without
    photometric noise; other_light: share of views at night, by lamps, in shadow...; points: most dense correspondences
    per place, of which a room has none.
    crops.scale is relative to the scale at which the whole photo would just cover the crop.
    """

    places: int = 10
    views: int = 4
    sizes: tuple[tuple[int, int], ...] = ((320, 240), (384, 288), (448, 336), (288, 384))
    real_pairs: float = 0.3
    rooms: float = 0.0
    shift: float = 0.7
    clean: float = 0.1
    other_light: float = 0.0
    points: int = 48
    crops: CropRange = field(
        default_factory=lambda: CropRange(scale=(0.95, 2.4), rotation_deg=15.0, perspective=0.12, tilt=1.4)
    )

    def __post_init__(self) -> None:
        if self.views % 2:
            raise ConfigError(f"views={self.views}: give an even number, half for each photo of a real pair")
        if any(side % DETECTOR_CELL for size in self.sizes for side in size):
            raise ConfigError(f"sizes={self.sizes}: every side must be a multiple of {DETECTOR_CELL}")


class GlobalBatch(NamedTuple):
    """images: [N, 1, H, W] uint8, N = places * views; overlap: [N, N] share of view i's pixels seen in view j (smaller
    of both directions), NaN where unknown; group: [N], views of one group may overlap even if of different places.

    a_view, b_view: [M] views of corresponding points; a_xy, b_xy: [M, 2] their pixels.
    """

    images: Tensor
    overlap: Tensor
    group: Tensor
    a_view: Tensor
    b_view: Tensor
    a_xy: Tensor
    b_xy: Tensor


def place_groups(pool: Pool) -> NDArray[np.int64]:
    """Group id [photos] such that photos of different groups never show the same place.

    The pool's groups, but a group whose photos hardly ever pair up is split into its connected components.
    """
    groups = pool.groups
    linked = np.isin(np.arange(len(groups)), np.array(pool.pairs, np.int64))
    component = np.arange(len(groups))
    for a, b in pool.pairs:
        component[component == component[b]] = component[a]
    result: NDArray[np.int64] = groups.copy()
    for group in np.unique(groups):
        members = groups == group
        if linked[members].mean() < _DISTINCT_SHARE:
            result[members] = len(groups) + component[members]
    return result


class GlobalBatches(Dataset[GlobalBatch]):
    """Map-style dataset of whole batches; index = step."""

    def __init__(
        self,
        pool: Pool,
        settings: GlobalDataSettings,
        seed: int,
        length: int,
        matches: Sequence[PairMatches] = (),
    ) -> None:
        """matches: the pairs of photos that overlap for certain; without any, places are single photos."""
        self.pool, self.settings, self.seed, self.length = pool, settings, seed, length
        self.matches = matches
        self.groups = place_groups(pool)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> GlobalBatch:
        cv2.setNumThreads(1)
        settings = self.settings
        rng = np.random.default_rng((self.seed, 1, step))
        size = settings.sizes[int(rng.integers(len(settings.sizes)))]
        places = []
        for number in range(settings.places):
            if settings.rooms and size[0] > size[1] and rng.random() < settings.rooms:
                room = self._room(rng, 2 * len(self.pool.photos) + step * settings.places + number, size)
                if room is not None:
                    places.append(room)
                    continue
            if self.matches and rng.random() < settings.real_pairs:
                pair = self.matches[int(rng.integers(len(self.matches)))]
            else:
                photo = self._photo(step * settings.places + number)
                pair = PairMatches((photo, photo), np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))
            places.append(self._place(rng, pair, size))
        return _collate(places)

    def _photo(self, place: int) -> int:
        count = len(self.pool.photos)
        return int(np.random.default_rng((self.seed, 8, place // count)).permutation(count)[place % count])

    def _place(self, rng: np.random.Generator, pair: PairMatches, size: tuple[int, int]) -> _Place:
        settings, (first, second) = self.settings, pair.photos
        half = settings.views // 2
        photos = [first] * half + [second] * (settings.views - half)
        images, homographies = [], []
        for photo in photos:
            image = read_gray(self.pool.photos[photo].path)
            # Views of a real pair stay wide, so that most of them see what its photos have in common.
            homography = _view_homography(rng, image, size, settings, wide=first != second)
            crop, _ = warp_image(image, homography, size, border=int(rng.integers(256)))
            crop = crop if rng.random() < settings.clean else photometric(rng, crop)
            images.append(self._lit(rng, crop))
            homographies.append(homography)
        overlap = np.full((settings.views, settings.views), np.nan, np.float32)
        points = []
        for i in range(settings.views):
            for j in range(settings.views):
                if (i < half) == (j < half) or first == second:
                    overlap[i, j] = 1.0 if i == j else _overlap(homographies[i], homographies[j], size)
                    if i < j:
                        points.append(_correspondences(rng, i, j, homographies, size, settings.points // 2))
                else:
                    seen = pair.first if i < half else pair.second, pair.second if i < half else pair.first
                    both = _seen_in_both((homographies[i], homographies[j]), seen, size)
                    overlap[i, j] = _verified_overlap(both[0], size)
                    if i < j:
                        chosen = rng.permutation(len(both[0]))[: settings.points // 2]
                        points.append((i, j, both[0][chosen], both[1][chosen]))
        overlap = np.minimum(overlap, overlap.T)
        return _Place(images, overlap, int(self.groups[first]), points)

    def _room(self, rng: np.random.Generator, group: int, size: tuple[int, int]) -> _Place | None:
        """None for a room of which too few views were found. group: that no other place has."""
        found = render_room(self.pool, rng, self.settings.views)
        if len(found.images) < self.settings.views:
            return None
        images = [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) for image in found.images]
        return _Place([self._lit(rng, image) for image in images], found.overlap.astype(np.float32), group, [])

    def _lit(self, rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """In other light, where it is asked for and falls so."""
        share = self.settings.other_light
        return other_light(rng, image) if share and rng.random() < share else image


class _Place(NamedTuple):
    images: list[NDArray[np.uint8]]
    overlap: NDArray[np.float32]
    group: int
    points: list[tuple[int, int, NDArray[np.float32], NDArray[np.float32]]]


def _view_homography(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    size: tuple[int, int],
    settings: GlobalDataSettings,
    wide: bool,
) -> NDArray[np.float64]:
    height, width = image.shape
    cover = max(size[0] / width, size[1] / height)
    low, high = settings.crops.scale
    limits = CropRange(
        (low * cover, (min(high, 1.3) if wide else high) * cover),
        settings.crops.rotation_deg,
        settings.crops.perspective,
        settings.crops.tilt,
    )
    reach = settings.shift * (0.3 if wide else 1.0)
    middle = (np.array([width, height]) - 1) / 2 + rng.uniform(-reach, reach, 2) * np.array([width, height]) / 2
    return random_homography(rng, (float(middle[0]), float(middle[1])), size, limits)


def _grid(size: tuple[int, int], steps: int) -> NDArray[np.float32]:
    x, y = np.meshgrid(np.linspace(0, size[0] - 1, steps), np.linspace(0, size[1] - 1, steps))
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def _inside(xy: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray(((xy >= 0) & (xy <= np.array(size, np.float32) - 1)).all(axis=1), dtype=np.bool_)


def _overlap(first: NDArray[np.float64], second: NDArray[np.float64], size: tuple[int, int]) -> float:
    moved = warp_points(second @ np.linalg.inv(first), _grid(size, 12))
    return float(_inside(moved, size).mean())


def _seen_in_both(
    homographies: tuple[NDArray[np.float64], NDArray[np.float64]],
    matches: tuple[NDArray[np.float32], NDArray[np.float32]],
    size: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Matches [M, 2] of two photos where two views of them, one each, show them; those that both show."""
    first, second = (warp_points(homography, xy) for homography, xy in zip(homographies, matches, strict=True))
    both = _inside(first, size) & _inside(second, size)
    return first[both], second[both]


def _verified_overlap(xy: NDArray[np.float32], size: tuple[int, int]) -> float:
    """At least so much of a view (width, height) another sees: the share of its parts that hold a match [M, 2] of both.

    NaN, unknown, where they hold few: what has no texture has no matches, and two views of one place are no negatives.
    """
    parts = np.minimum((xy / np.array(size) * _CELLS).astype(int), _CELLS - 1)
    share = len(np.unique(parts @ [1, _CELLS])) / _CELLS**2
    return share if share >= _CERTAIN else float("nan")


def _correspondences(
    rng: np.random.Generator, i: int, j: int, homographies: list[NDArray[np.float64]], size: tuple[int, int], count: int
) -> tuple[int, int, NDArray[np.float32], NDArray[np.float32]]:
    xy = (rng.random((4 * count, 2)) * (np.array(size) - 1)).astype(np.float32)
    moved = warp_points(homographies[j] @ np.linalg.inv(homographies[i]), xy)
    seen = np.flatnonzero(_inside(moved, size))[:count]
    return i, j, xy[seen], moved[seen]


def _collate(places: list[_Place]) -> GlobalBatch:
    views = len(places[0].images)
    total = len(places) * views
    overlap = np.zeros((total, total), np.float32)
    nothing, no_xy = np.zeros(0, np.int64), np.zeros((0, 2), np.float32)
    a_view, b_view, a_xy, b_xy = [nothing], [nothing], [no_xy], [no_xy]
    group = np.repeat([place.group for place in places], views)
    overlap[group[:, None] == group[None, :]] = np.nan
    for number, place in enumerate(places):
        start = number * views
        overlap[start : start + views, start : start + views] = place.overlap
        for i, j, first, second in place.points:
            a_view.append(np.full(len(first), start + i))
            b_view.append(np.full(len(first), start + j))
            a_xy.append(first)
            b_xy.append(second)
    return GlobalBatch(
        torch.from_numpy(np.stack([image for place in places for image in place.images])[:, None]),
        torch.from_numpy(overlap),
        torch.from_numpy(group),
        torch.from_numpy(np.concatenate(a_view)),
        torch.from_numpy(np.concatenate(b_view)),
        torch.from_numpy(np.concatenate(a_xy)),
        torch.from_numpy(np.concatenate(b_xy)),
    )
