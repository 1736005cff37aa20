"""Correspondences between overlapping photos of the pool: depth and real light, which homographies cannot teach.

The teacher's descriptors are matched (mutual nearest neighbours) and verified by a fundamental matrix. A cache file is
`<first>--<second>.npz` with `first` and `second` [M, 2] float32, native pixels; M = 0 for a pair that is of no use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.features.exchange.npz_arrays import read_arrays
from hfnet_core.files import make_folder, whole_file
from hfnet_core.training.data.pool import Pool, read_gray
from hfnet_core.training.data.teacher_keypoints import Teacher, TeacherKeypoints, cache_file

__all__ = ["PairMatches", "match_pairs", "pair_file", "read_pair_matches"]

_EPIPOLAR_PX = 1.5
_MIN_INLIERS = 40  # fewer are too often a repeated texture
_MIN_SHARE = 0.3  # of the mutual neighbours
_MIN_MOTION = 0.02  # of the image width: closer views teach no more than noise on one photo
_REMEMBERED = 48  # photos whose descriptors stay in memory; pairs are listed by group


class PairMatches(NamedTuple):
    """Photos `photos` (indices into the pool) show the same points at first and second [M, 2] pixels."""

    photos: tuple[int, int]
    first: NDArray[np.float32]
    second: NDArray[np.float32]


@runtime_checkable
class DescribingTeacher(Protocol):
    """A teacher that describes its keypoints as well: [K, D] unit vectors."""

    def describe(self, image: NDArray[np.uint8]) -> tuple[TeacherKeypoints, NDArray[np.float32]]: ...


def match_pairs(
    make_teacher: Callable[[], Teacher],
    pool: Pool,
    folder: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Fill the cache of matches; pairs that have a file are left alone. A teacher without descriptors gives none.

    make_teacher: called once, and only if a pair has no file yet.
    """
    make_folder(folder)
    teacher: Teacher | None = None

    @lru_cache(maxsize=_REMEMBERED)
    def described(photo: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert isinstance(teacher, DescribingTeacher)
        keypoints, descriptors = teacher.describe(read_gray(pool.photos[photo].path))
        return keypoints.xy, descriptors

    for done, (first, second) in enumerate(pool.pairs):
        path = pair_file(folder, pool, first, second)
        if not path.is_file():
            teacher = teacher or make_teacher()
            a = b = np.zeros((0, 2), np.float32)
            if isinstance(teacher, DescribingTeacher):
                width = read_gray(pool.photos[first].path).shape[1]
                a, b = _verified(*described(first), *described(second), width)
            with whole_file(path) as temporary:
                np.savez(temporary, first=a, second=b)
        report(done + 1, len(pool.pairs))


def read_pair_matches(pool: Pool, folder: Path) -> list[PairMatches]:
    """The useful pairs of a pool, from a cache filled by `match_pairs`."""
    found = []
    for first, second in pool.pairs:
        path = pair_file(folder, pool, first, second)
        if not path.is_file():
            raise DatasetError(f"{path} is missing: repeat hfnet train to match the pool's pairs first")
        try:
            stored = read_arrays(path, ("first", "second"), "matches of a pair")
            matches = PairMatches((first, second), stored["first"], stored["second"])
        except (DatasetError, KeyError) as error:
            raise DatasetError(f"{path} is damaged ({error}): delete it and repeat hfnet train") from error
        if len(matches.first):
            found.append(matches)
    return found


def _verified(
    first: NDArray[np.float32],
    first_descriptors: NDArray[np.float32],
    second: NDArray[np.float32],
    second_descriptors: NDArray[np.float32],
    width: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mutual nearest neighbours on a common epipolar geometry, or none."""
    nothing = np.zeros((0, 2), np.float32)
    if len(first) < _MIN_INLIERS or len(second) < _MIN_INLIERS:
        return nothing, nothing
    similarity = first_descriptors @ second_descriptors.T
    there, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    mutual = np.flatnonzero(back[there] == np.arange(len(first)))
    a, b = first[mutual], second[there[mutual]]
    if len(a) < _MIN_INLIERS:
        return nothing, nothing
    cv2.setRNGSeed(0)
    _, mask = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, _EPIPOLAR_PX, 0.999, 5000)
    inlier = np.zeros(len(a), bool) if mask is None else mask.ravel().astype(bool)
    if inlier.sum() < max(_MIN_INLIERS, _MIN_SHARE * len(a)):
        return nothing, nothing
    a, b = a[inlier], b[inlier]
    if np.median(np.linalg.norm(a - b, axis=1)) < _MIN_MOTION * width:
        return nothing, nothing
    return a, b


def pair_file(folder: Path, pool: Pool, first: int, second: int) -> Path:
    """Where the matches of two photos lie."""
    a, b = (cache_file(folder, pool.photos[index].name).name.removesuffix(".npz") for index in (first, second))
    return folder / f"{a}--{b}.npz"
