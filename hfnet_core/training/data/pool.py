"""The pool of training photos and, for each, its cached teacher keypoints.

Layout of a pool: `manifest.csv` (columns file, source_repo, license, group, width, height), `pairs.csv` (columns a,
b, group, f_inliers: overlapping views) and the images they name, relative to the pool's folder.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.files import read_file
from hfnet_core.images.encoded import decode
from hfnet_core.limits import IMAGE_FILE

__all__ = ["Photo", "Pool", "read_gray", "select_keypoints"]

# Licences that ask for no more than a name, as they begin; spaces are hyphens here.
_FREE = re.compile(
    r"CC0|CC-BY\b|Creative-Commons-(Attribution|Zero)|MIT\b|BSD\b|Apache|ISC\b|Unlicense|public-domain|"
    r"free-to-use-these-media-files-however-you-wish",
    re.IGNORECASE,
)
# What binds all the same: share-alike and Free Art, the GNU licences, non-commercial, no derivatives; and "image
# origins not itemised".
_BINDING = re.compile(
    r"BY-(SA|NC|ND)|share.?alike|GFDL|GPL|\bFAL\b|non-?commercial|no-?deriv|not-itemi[sz]ed", re.IGNORECASE
)
_REFERENCE_AREA = 640 * 480  # pixels; keypoint budgets are given per image of this size


@dataclass(frozen=True)
class Photo:
    """One photo of the pool: path, the group of photos it may overlap with, and its licence."""

    name: str
    path: Path
    group: str
    license: str


@dataclass(frozen=True)
class Pool:
    """Photos in the manifest's order, and index pairs (a, b) of overlapping views."""

    photos: tuple[Photo, ...]
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, folder: Path) -> Pool:
        """Read manifest and pairs; every image must be there."""
        photos = tuple(
            Photo(row["file"], folder / row["file"], row["group"], row["license"])
            for row in _rows(folder / "manifest.csv", {"file", "group", "license"})
        )
        if not photos:
            raise DatasetError(f"{folder / 'manifest.csv'} lists no image: training needs some")
        for photo in photos:
            if not photo.path.is_file():
                raise DatasetError(f"{photo.path} is missing though the manifest names it: complete the pool")
        index = {photo.name: number for number, photo in enumerate(photos)}
        pairs_file = folder / "pairs.csv"
        rows = _rows(pairs_file, {"a", "b"}) if pairs_file.is_file() else []
        for row in rows:
            if row["a"] not in index or row["b"] not in index:
                raise DatasetError(f"{pairs_file}: pair {row['a']}, {row['b']} names an image not in manifest.csv")
        return cls(photos, tuple((index[row["a"]], index[row["b"]]) for row in rows))

    def permissive(self) -> Pool:
        """Without photos under licences that bind what is made of them, or whose origin nobody has written down."""
        kept = [index for index, photo in enumerate(self.photos) if _is_free(photo.license)]
        place = {index: number for number, index in enumerate(kept)}
        pairs = tuple((place[a], place[b]) for a, b in self.pairs if a in place and b in place)
        return Pool(tuple(self.photos[index] for index in kept), pairs)

    @property
    def groups(self) -> NDArray[np.int64]:
        """Number of each photo's group, [photos]."""
        names = sorted({photo.group for photo in self.photos})
        return np.array([names.index(photo.group) for photo in self.photos], dtype=np.int64)


def _is_free(licence: str) -> bool:
    """Whether it is known, and asks for no more than a name."""
    text = re.sub(r"[\s_]+", "-", licence.strip().strip("\"'").strip())
    return _FREE.match(text) is not None and _BINDING.search(text) is None


def _rows(path: Path, needed: set[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise DatasetError(f"{path} is missing: give the folder of a training pool (with manifest.csv)")
    with path.open(newline="", encoding="utf-8") as table:
        reader = csv.DictReader(table)
        lacking = needed - set(reader.fieldnames or ())
        if lacking:
            raise DatasetError(f"{path} lacks the column {sorted(lacking)[0]!r}: is it a pool's table?")
        rows = []
        for row in reader:
            empty = next((name for name in sorted(needed) if row[name] is None), None)
            if empty is not None:
                raise DatasetError(f"{path}, line {reader.line_num}: has no {empty!r}; complete the row")
            rows.append(row)
        return rows


@lru_cache(maxsize=4096)
def read_gray(path: Path) -> NDArray[np.uint8]:
    """Gray image [H, W], 0..255; decoded once per process (a VGA photo takes 0.3 MB)."""
    image = decode(np.frombuffer(read_file(path, IMAGE_FILE), np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DatasetError(f"{path} is not a readable image: replace it or take it out of the manifest")
    return np.asarray(image, dtype=np.uint8)


def select_keypoints(
    xy: NDArray[np.float32],
    scores: NDArray[np.float32],
    image_area: int,
    budget: int,
    min_score: float,
    radius_px: float,
) -> NDArray[np.float32]:
    """The teacher keypoints [K, 2] worth learning: greedy non-maximum suppression, then the best by score.

    budget: keypoints per 640x480 pixels of image; min_score: absolute; radius_px: no two closer than this.
    """
    limit = round(budget * image_area / _REFERENCE_AREA)
    kept: list[int] = []
    cells: dict[tuple[int, int], list[int]] = {}
    for index in np.argsort(-scores, kind="stable"):
        if len(kept) >= limit or scores[index] < min_score:
            break
        x, y = float(xy[index, 0]), float(xy[index, 1])
        column, row = int(x // radius_px), int(y // radius_px)
        near = (i for dx in (-1, 0, 1) for dy in (-1, 0, 1) for i in cells.get((column + dx, row + dy), ()))
        if any((x - xy[i, 0]) ** 2 + (y - xy[i, 1]) ** 2 < radius_px**2 for i in near):
            continue
        kept.append(int(index))
        cells.setdefault((column, row), []).append(int(index))
    return xy[kept].astype(np.float32).reshape(-1, 2)
