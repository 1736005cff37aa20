"""Batches for the local stage: pairs of crops of one photo, or of two overlapping ones, with detector targets and
corresponding points.

Batch number k is a pure function of (seed, k): a resumed run sees exactly the batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.utils.data import Dataset

from hfnet_core.errors import ConfigError
from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.training.data.augmentation import (
    CropRange,
    crop_pair,
    cut_out,
    photometric,
    random_homography,
    warp_image,
    warp_points,
)
from hfnet_core.training.data.labels import cell_validity, soft_labels
from hfnet_core.training.data.light import other_light
from hfnet_core.training.data.pair_matches import PairMatches
from hfnet_core.training.data.pool import Pool, read_gray, select_keypoints
from hfnet_core.training.data.teacher_keypoints import cache_file, read_keypoints
from hfnet_core.training.data.tracks import PhotoTracks
from hfnet_core.training.data.wide import WideSettings, reduced, strongest, wide_pair

__all__ = ["LocalBatch", "LocalBatches", "LocalDataSettings", "LocalSources"]

_SAME_PX = 0.5  # the teacher's keypoint and where it was seen by a track


@dataclass(frozen=True)
class LocalDataSettings:
    """What one batch of the local stage holds.

    pairs: photos per batch, two crops each; crop_px: side of the square crops, a multiple of 8; points: most
    correspondences per pair; shift: largest distance of the crops' middles, in crop sides; clean: share of crops
    without photometric noise; other_light: share of crops in light that the photo was not taken in (night, lamps, ...),
    which grows with `wide`; overlapping: share of pairs that are two overlapping photos instead of one (where the
    pool has any), with smaller distortions `gentle`; budget, min_score, radius_px: which teacher keypoints become
    labels (see `select_keypoints`); wide: pairs that differ much in scale and angle.
    """

    pairs: int = 8
    crop_px: int = 256
    points: int = 128
    shift: float = 0.3
    clean: float = 0.15
    other_light: float = 0.0
    overlapping: float = 0.3
    unwarped: float = 0.0
    budget: int = 1200
    min_score: float = 0.15
    radius_px: float = 3.0
    crops: CropRange = field(default_factory=CropRange)
    gentle: CropRange = field(
        default_factory=lambda: CropRange(scale=(0.8, 1.4), rotation_deg=15.0, perspective=0.06, tilt=1.3)
    )
    wide: WideSettings | None = None

    def __post_init__(self) -> None:
        if self.crop_px % DETECTOR_CELL:
            raise ConfigError(f"crop_px={self.crop_px} is not a multiple of {DETECTOR_CELL}")


class LocalSources(NamedTuple):
    """What batches are drawn from: photos, what the teacher found in them, pairs of photos that show the same, and by
    photo the points whose places several photos tell."""

    pool: Pool
    teacher_folder: Path
    matches: Sequence[PairMatches] = ()
    tracks: Mapping[int, PhotoTracks] = {}


class LocalBatch(NamedTuple):
    """Crops 2i and 2i+1 are the two views of pair i.

    images: [2B, 1, H, W] uint8; targets: [2B, 65, H/8, W/8]; valid: [2B, H/8, W/8] bool, cells that show the photo;
    pair: [M] the pair i of each correspondence; first, second: [M, 2] its pixel in crop 2i and in crop 2i+1;
    second_from_first: [B, 3, 3] float32, homographies from crop 2i to crop 2i+1, NaN for crops of two photos.
    """

    images: Tensor
    targets: Tensor
    valid: Tensor
    pair: Tensor
    first: Tensor
    second: Tensor
    second_from_first: Tensor


class LocalBatches(Dataset[LocalBatch]):
    """Map-style dataset of whole batches; index = step."""

    def __init__(self, sources: LocalSources, settings: LocalDataSettings, seed: int, length: int) -> None:
        self.sources, self.pool, self.settings = sources, sources.pool, settings
        self.seed, self.length = seed, length
        self._keypoints: dict[int, NDArray[np.float32]] = {}
        for photo in self.pool.photos:
            if not cache_file(sources.teacher_folder, photo.name).is_file():
                read_keypoints(sources.teacher_folder, photo.name)  # says what is missing, before any worker starts

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> LocalBatch:
        cv2.setNumThreads(1)
        settings, count = self.settings, len(self.pool.photos)
        rng = np.random.default_rng((self.seed, step))
        # Epochs: each photo once, in an order of its own per epoch.
        places = step * settings.pairs + np.arange(settings.pairs)
        chosen = [
            int(np.random.default_rng((self.seed, 7, place // count)).permutation(count)[place % count])
            for place in places
        ]
        return _collate([self._pair(rng, photo, step) for photo in chosen])

    def keypoints(self, photo: int) -> NDArray[np.float32]:
        """The label keypoints [K, 2] of a photo, in its pixels: where the teacher saw them, or their points lie."""
        if photo not in self._keypoints:
            entry, settings = self.pool.photos[photo], self.settings
            area = read_gray(entry.path).size
            xy, scores = read_keypoints(self.sources.teacher_folder, entry.name)
            chosen = select_keypoints(xy, scores, area, settings.budget, settings.min_score, settings.radius_px)
            self._keypoints[photo] = _placed(chosen, self.sources.tracks.get(photo))
        return self._keypoints[photo]

    def _pair(self, rng: np.random.Generator, photo: int, step: int) -> _View:
        matches = self.sources.matches
        if matches and rng.random() < self.settings.overlapping:
            return self._overlapping(rng, matches[int(rng.integers(len(matches)))], step)
        image, keypoints = read_gray(self.pool.photos[photo].path), self.keypoints(photo)
        size, image_size = (self.settings.crop_px, self.settings.crop_px), (image.shape[1], image.shape[0])
        wide = self.settings.wide
        if wide is not None and rng.random() < wide.share:
            homographies = wide_pair(rng, image_size, size, *wide.at(step))
        else:
            homographies = crop_pair(rng, image_size, size, self.settings.crops, self.settings.shift)
            if self.settings.unwarped and rng.random() < self.settings.unwarped:
                homographies = (cut_out(homographies[0], image_size, size), homographies[1])
        return self._view(rng, (photo, photo), homographies, (keypoints, keypoints), step)

    def _overlapping(self, rng: np.random.Generator, matches: PairMatches, step: int) -> _View:
        """Crops of two photos around one of their common points."""
        size = (self.settings.crop_px, self.settings.crop_px)
        centre = int(rng.integers(len(matches.first)))
        offset = rng.uniform(-self.settings.shift, self.settings.shift, 2) * np.array(size) / 2
        homographies = tuple(
            random_homography(rng, (float(x), float(y)), size, self.settings.gentle)
            for x, y in (matches.first[centre], matches.second[centre] + offset)
        )
        return self._view(rng, matches.photos, homographies, (matches.first, matches.second), step)

    def _view(
        self,
        rng: np.random.Generator,
        photos: tuple[int, int],
        homographies: Sequence[NDArray[np.float64]],
        common: tuple[NDArray[np.float32], NDArray[np.float32]],
        step: int,
    ) -> _View:
        """Two crops, their labels, and some of the points that `common` [M, 2] each names in both photos."""
        size = (self.settings.crop_px, self.settings.crop_px)
        crops, targets, valid, places = [], [], [], []
        for photo, homography, points in zip(photos, homographies, common, strict=True):
            image = read_gray(self.pool.photos[photo].path)
            border = int(rng.integers(256))
            source = (image, homography) if self.settings.wide is None else reduced(image, homography, size)
            crop, inside = warp_image(*source, size, border=border)
            crops.append(self._lit(rng, crop, step))
            labelled = self.keypoints(photo)
            if self.settings.wide is not None:
                labelled = strongest(labelled, homography, size)
            targets.append(soft_labels(warp_points(homography, labelled), size))
            valid.append(cell_validity(inside))
            places.append(warp_points(homography, points))
        both = np.flatnonzero(_within(places[0], size) & _within(places[1], size))
        both = rng.permutation(both)[: self.settings.points]
        plane = homographies[1] @ np.linalg.inv(homographies[0]) if photos[0] == photos[1] else np.full((3, 3), np.nan)
        return _View(crops, targets, valid, places[0][both], places[1][both], plane / plane[2, 2])

    def _lit(self, rng: np.random.Generator, crop: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
        """The crop in some light, from a camera with its noise."""
        settings = self.settings
        if settings.other_light and rng.random() < settings.other_light:
            crop = other_light(rng, crop, 1.0 if settings.wide is None else settings.wide.grown(step))
        return crop if rng.random() < settings.clean else photometric(rng, crop)


class _View(NamedTuple):
    crops: list[NDArray[np.uint8]]
    targets: list[NDArray[np.float32]]
    valid: list[NDArray[np.bool_]]
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    second_from_first: NDArray[np.float64]


def _placed(keypoints: NDArray[np.float32], tracks: PhotoTracks | None) -> NDArray[np.float32]:
    """Keypoints [K, 2], those of tracks where their points lie."""
    if tracks is None or not len(tracks.point) or not len(keypoints):
        return keypoints
    distance, nearest = cKDTree(tracks.seen).query(keypoints)
    return np.where((distance < _SAME_PX)[:, None], tracks.place[nearest], keypoints)


def _within(xy: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    margin = 2.0  # a border pixel's descriptor sees mostly padding
    with np.errstate(invalid="ignore"):
        return np.asarray(
            ((xy >= margin) & (xy <= np.array(size, np.float32) - 1 - margin)).all(axis=1), dtype=np.bool_
        )


def _collate(views: list[_View]) -> LocalBatch:
    return LocalBatch(
        images=torch.from_numpy(np.stack([crop for view in views for crop in view.crops])[:, None]),
        targets=torch.from_numpy(np.stack([target for view in views for target in view.targets])),
        valid=torch.from_numpy(np.stack([valid for view in views for valid in view.valid])),
        pair=torch.from_numpy(np.repeat(np.arange(len(views)), [len(view.first) for view in views])),
        first=torch.from_numpy(np.concatenate([view.first for view in views])),
        second=torch.from_numpy(np.concatenate([view.second for view in views])),
        second_from_first=torch.from_numpy(np.stack([view.second_from_first for view in views]).astype(np.float32)),
    )
