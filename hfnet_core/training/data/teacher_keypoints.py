"""Teachers: networks whose keypoints the student learns, and the cache of what they found in each photo.

A cache file is `<photo name with / replaced by __>.npz` with `keypoints` [K, 2] float32, native pixels with (0, 0) at
the centre of the top-left one, and `scores` [K] float32, larger is better.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.features.exchange.npz_arrays import read_arrays
from hfnet_core.files import make_folder, whole_file
from hfnet_core.training.data.pool import Pool, read_gray

__all__ = ["Teacher", "TeacherKeypoints", "cache_file", "read_keypoints", "run_teacher"]


class TeacherKeypoints(NamedTuple):
    """xy: [K, 2] pixels, scores: [K], both float32."""

    xy: NDArray[np.float32]
    scores: NDArray[np.float32]


class Teacher(Protocol):
    """Anything that finds keypoints in a gray image [H, W] uint8."""

    def __call__(self, image: NDArray[np.uint8]) -> TeacherKeypoints: ...


def cache_file(folder: Path, name: str) -> Path:
    """Where the teacher's keypoints of the photo `name` lie."""
    return folder / (name.removeprefix("img/").replace("/", "__") + ".npz")


def read_keypoints(folder: Path, name: str) -> TeacherKeypoints:
    """The cached keypoints of a photo."""
    path = cache_file(folder, name)
    if not path.is_file():
        raise DatasetError(f"{path} is missing: run the teacher over the pool first (hfnet train --teacher-weights)")
    try:
        found = read_arrays(path, ("keypoints", "scores"), "keypoints of a teacher")
        return TeacherKeypoints(found["keypoints"], found["scores"])
    except (DatasetError, KeyError) as error:
        raise DatasetError(f"{path} is damaged ({error}): delete it and run the teacher again") from error


def run_teacher(
    make_teacher: Callable[[], Teacher],
    pool: Pool,
    folder: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Fill the cache: photos that have a file already are left alone, so a killed pass goes on.

    make_teacher: called once, and only if a photo has no file yet.
    """
    make_folder(folder)
    teacher: Teacher | None = None
    for done, photo in enumerate(pool.photos):
        path = cache_file(folder, photo.name)
        if not path.is_file():
            teacher = teacher or make_teacher()
            found = teacher(read_gray(photo.path))
            with whole_file(path) as temporary:
                np.savez(temporary, keypoints=found.xy, scores=found.scores)
        report(done + 1, len(pool.photos))
