"""Retrieval judged by where images were taken: NCLT as in the paper, and any two folders with poses.

Positive: taken within a distance and looking within an angle of the query. Recall@N: the share of the queries that have
a positive for which one is among the N most similar.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.files import read_text
from hfnet_core.geometry import Array
from hfnet_core.images.reading import read_image
from hfnet_core.recordings.image_folder import list_folder
from hfnet_core.types import Float32

__all__ = [
    "AT",
    "Place",
    "PoseRecall",
    "Positive",
    "as_nclt",
    "describe_places",
    "folder_places",
    "nclt_places",
    "read_nclt",
    "recall_by_pose",
]

_log = logging.getLogger(__name__)
AT = (1, 2, 5, 10, 20, 30)
_NCLT_CAMERA = "lb3/Cam4"
_NCLT_HEIGHT, _NCLT_WIDTH = 640, 488
_NEAREST_US = 200_000  # a pose this far from an image in time is none of it
_PAGE = "http://robots.engin.umich.edu/nclt (images and ground truth)"


@dataclass(frozen=True)
class Positive:
    """What counts as the same view: closer than this, looking less than this apart."""

    metres: float = 10.0
    degrees: float = 90.0


class Place(NamedTuple):
    """An image and from where it was taken. position: [3] metres. direction: [3] unit vector of its gaze."""

    path: Path
    position: Array
    direction: Array


@dataclass(frozen=True)
class PoseRecall:
    """queries: those with a positive, of `asked`. recall: at each of `at`."""

    asked: int
    queries: int
    at: tuple[int, ...]
    recall: tuple[float, ...]


def recall_by_pose(
    queries: Float32,
    query_places: Sequence[Place],
    database: Float32,
    database_places: Sequence[Place],
    positive: Positive | None = None,
    at: Sequence[int] = AT,
) -> PoseRecall:
    """Recall of unit descriptors [Q, G] in a database [D, G]. Raises DatasetError where no query has a positive."""
    right = _positives(query_places, database_places, positive or Positive())
    asked = np.flatnonzero(right.any(axis=1))
    if not len(asked):
        raise DatasetError("no query was taken near an image of the database: are their poses in one frame?")
    order = np.argsort(-(queries[asked] @ database.T), axis=1, kind="stable")[:, : max(at)]
    hits = np.take_along_axis(right[asked], order, axis=1)
    recall = tuple(float(hits[:, :count].any(axis=1).mean()) for count in at)
    return PoseRecall(len(query_places), len(asked), tuple(at), recall)


def _positives(queries: Sequence[Place], database: Sequence[Place], positive: Positive) -> NDArray[np.bool_]:
    """[Q, D] which images of the database show what a query does."""
    positions, directions = (
        np.array([getattr(place, name) for place in queries]) for name in ("position", "direction")
    )
    others, gazes = (np.array([getattr(place, name) for place in database]) for name in ("position", "direction"))
    distance = np.linalg.norm(positions[:, None] - others[None], axis=2)
    angle = np.degrees(np.arccos(np.clip(directions @ gazes.T, -1, 1)))
    return np.asarray((distance < positive.metres) & (angle < positive.degrees), bool)


def describe_places(
    describe: Callable[[NDArray[Any]], Float32],
    places: Sequence[Place],
    prepare: Callable[[NDArray[Any]], NDArray[Any]],
) -> tuple[Float32, list[Place]]:
    """Global descriptors [N, G] and the places whose image could be used; others are a line in the log."""
    rows, kept = [], []
    for place in places:
        try:
            rows.append(describe(prepare(read_image(place.path))))
        except DatasetError as error:
            _log.warning("left out: %s", error)
            continue
        kept.append(place)
    if not rows:
        raise DatasetError(
            f"none of {len(places)} images can be used, {places[0].path if places else 'none'} for example"
        )
    return np.stack(rows), kept


def folder_places(folder: Path, poses: Path | None = None) -> list[Place]:
    """Images of a folder with poses in a TUM file (map_from_camera), `poses_tum.txt` where none is named."""
    frames = list_folder(folder, poses or folder / "poses_tum.txt", rate_hz=1.0)
    posed = [(frame.path, frame.map_from_camera) for frame in frames]
    return [Place(path, pose.translation, pose.rotation[:, 2]) for path, pose in posed if pose is not None]


def nclt_places(root: Path, sequence: str, every: int = 1) -> list[Place]:
    """Images of camera 4 of an NCLT sequence with its poses (`pose_SEQUENCE.csv`: microseconds, x, y, angle).

    Raises DatasetError for missing files, naming where they come from; images without a pose are left out.
    """
    folder = root / sequence / _NCLT_CAMERA
    files = sorted(path for path in folder.glob("*.tiff") if path.stem.isdigit())[::every] if folder.is_dir() else []
    if not files:
        raise DatasetError(f"{folder}: holds no images TIME.tiff; from {_PAGE}")
    stamps, rows = read_nclt(root / f"pose_{sequence}.csv")
    out = []
    for path in files:
        after = int(np.clip(np.searchsorted(stamps, int(path.stem)), 1, len(stamps) - 1))
        index = min((after - 1, after), key=lambda number: abs(int(stamps[number]) - int(path.stem)))
        if abs(int(stamps[index]) - int(path.stem)) <= _NEAREST_US:
            x, y, angle = rows[index]
            out.append(Place(path, np.array([x, y, 0.0]), np.array([np.cos(angle), np.sin(angle), 0.0])))
    if not out:
        raise DatasetError(f"{folder}: none of its {len(files)} images has a pose in pose_{sequence}.csv")
    return out


def read_nclt(path: Path) -> tuple[NDArray[np.int64], Array]:
    """(microseconds [N] in order, x y angle [N, 3] in metres and radians). Raises DatasetError naming the line."""
    times, rows = [], []
    for number, line in enumerate(read_text(path, "poses of NCLT").splitlines(), start=1):
        words = line.replace(",", " ").split("#")[0].split()
        if not words:
            continue
        try:
            time, *pose = int(float(words[0])), *(float(word) for word in words[1:4])
        except (ValueError, OverflowError) as error:
            raise DatasetError(f"{path}, line {number}: is not TIME, x, y, angle") from error
        if len(pose) != 3 or not np.isfinite(pose).all():
            raise DatasetError(f"{path}, line {number}: is not TIME, x, y, angle")
        times.append(time)
        rows.append(pose)
    if len(times) < 2:
        raise DatasetError(f"{path}: has fewer than two poses")
    order = np.argsort(times, kind="stable")
    return np.array(times, np.int64)[order], np.array(rows, float)[order]


def as_nclt(image: NDArray[Any]) -> NDArray[Any]:
    """An image of NCLT's camera upright and in the paper's size, 488x640."""
    turned = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
    return np.asarray(cv2.resize(turned, (_NCLT_WIDTH, _NCLT_HEIGHT), interpolation=cv2.INTER_AREA))
