"""HPatches: where its files lie, how its images are brought to size, and the paper's numbers of a front end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.benchmarks.feature_protocols.pair_metrics import (
    Ranked,
    View,
    average_precision,
    descriptor_scores,
    detector_scores,
)
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import Array
from hfnet_core.images.pixels import as_uint8
from hfnet_core.images.reading import read_image
from hfnet_core.types import Features

__all__ = [
    "HOMOGRAPHY_PX",
    "PROTOCOLS",
    "Budget",
    "HPatchesScores",
    "Pair",
    "check_layout",
    "evaluate",
    "pairs_of",
    "warped",
]

_PAGE = "https://github.com/hpatches/hpatches-dataset (HPatches full sequences)"
_IMAGES = range(1, 7)
HOMOGRAPHY_PX = (1.0, 3.0, 5.0)
PROTOCOLS = ("640", "320x240", "640x480")
_RANSAC_PX = 3.0
_LONGEST = 640
_SPLITS = (("all", ""), ("illumination", "i_"), ("viewpoint", "v_"))


@dataclass(frozen=True)
class Budget:
    """keypoints: kept after non-maximum suppression with this radius, as the paper counts (500 and 8, or 300 and 4).
    border_px: keypoints nearer to the border are left out, 4 for SuperPoint in the paper."""

    keypoints: int = 500
    nms_px: int = 8
    border_px: int = 0

    def applied(self, features: Features) -> Features:
        """The strongest keypoints none of which lies in the square window of a stronger one."""
        inside: NDArray[np.bool_] = np.ones(len(features), bool)
        if self.border_px:
            limit = np.array([features.width - 1, features.height - 1]) - self.border_px
            far = (features.keypoints_px >= self.border_px) & (features.keypoints_px <= limit)
            inside = np.asarray(far.all(axis=1), bool)
        rows = np.flatnonzero(inside)
        cells = np.rint(features.keypoints_px[rows]).astype(np.int64)
        taken = np.zeros((features.height + 2 * self.nms_px + 4, features.width + 2 * self.nms_px + 4), bool)
        kept = []
        for row, (x, y) in zip(rows, np.maximum(cells, 0) + self.nms_px, strict=True):
            if not taken[y, x]:
                kept.append(row)
                taken[y - self.nms_px : y + self.nms_px + 1, x - self.nms_px : x + self.nms_px + 1] = self.nms_px > 0
            if len(kept) == self.keypoints:
                break
        return features.without_dense().where(np.array(kept, np.int64))


@dataclass(frozen=True, eq=False)
class Pair:
    """The first image of a scene and another one, with second_from_first [3, 3]."""

    scene: str
    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    second_from_first: Array


@dataclass(frozen=True)
class HPatchesScores:
    """As in the paper's tables, shares 0..1. homography: at HOMOGRAPHY_PX."""

    pairs: int
    repeatability: float
    localization_px: float
    detector_map: float
    matching_score: float
    descriptor_map: float
    homography: tuple[float, ...]


def check_layout(folder: Path, *, whole: bool = True) -> list[Path]:
    """The scenes of a download. whole: all files of each scene must be there.

    Raises DatasetError naming the first that is missing, how many are, and where the data come from.
    """
    scenes = sorted(path.parent for path in folder.glob("*/H_1_2")) if folder.is_dir() else []
    if not scenes:
        raise DatasetError(
            f"{folder}: holds no scene (a folder with 1.ppm ... 6.ppm and H_1_2 ... H_1_6); from {_PAGE}"
        )
    missing = [path for scene in scenes for path in _missing(scene)] if whole else []
    if missing:
        raise DatasetError(f"{missing[0]}: missing, and {len(missing) - 1} more files of HPatches; from {_PAGE}")
    return scenes


def _missing(scene: Path) -> Iterator[Path]:
    for number in _IMAGES:
        if _image(scene, number) is None:
            yield scene / f"{number}.ppm"
        if number > 1 and not (scene / f"H_1_{number}").is_file():
            yield scene / f"H_1_{number}"


def _image(scene: Path, number: int) -> Path | None:
    found = (scene / f"{number}{suffix}" for suffix in (".ppm", ".png", ".jpg"))
    return next((path for path in found if path.is_file()), None)


def pairs_of(scene: Path, protocol: str = "640", longest_px: int = _LONGEST) -> Iterator[Pair]:
    """Pairs of a scene, brought to size: "640" a longer side of 640 (or longest_px); "320x240" and "640x480" scaled
    until they cover it, then cut in the middle. Raises ConfigError for another protocol, DatasetError for damaged
    files."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    path = _image(scene, 1)
    if path is None:
        raise DatasetError(f"{scene}: no image 1")
    first, first_from_file = _sized(read_image(path), protocol, longest_px)
    for number in _IMAGES[1:]:
        path, matrix = _image(scene, number), scene / f"H_1_{number}"
        if path is None or not matrix.is_file():
            continue
        second, second_from_file = _sized(read_image(path), protocol, longest_px)
        homography = _matrix(matrix)
        yield Pair(scene.name, first, second, second_from_file @ homography @ np.linalg.inv(first_from_file))


def _matrix(path: Path) -> Array:
    try:
        found = np.loadtxt(path).reshape(3, 3)
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path}: is not a 3x3 matrix; restore the file") from error
    if not np.isfinite(found).all() or abs(np.linalg.det(found)) < 1e-12:
        raise DatasetError(f"{path}: is no homography; restore the file")
    return np.asarray(found, float)


def _sized(image: NDArray[Any], protocol: str, longest_px: int) -> tuple[NDArray[np.uint8], Array]:
    """An image in a protocol's size, and sized_from_file [3, 3] for pixel centres."""
    height, width = image.shape[:2]
    if protocol == "640":
        scale, wanted = longest_px / max(height, width), [0, 0]
    else:
        wanted = [int(side) for side in protocol.split("x")]
        scale = max(wanted[0] / width, wanted[1] / height)
    size = (max(round(width * scale), wanted[0]), max(round(height * scale), wanted[1]))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    smaller = as_uint8(np.asarray(cv2.resize(image, size, interpolation=how)))
    sx, sy = size[0] / width, size[1] / height
    left, top = ((size[axis] - wanted[axis]) // 2 if wanted[axis] else 0 for axis in (0, 1))
    if wanted[0]:
        smaller = np.ascontiguousarray(smaller[top : top + wanted[1], left : left + wanted[0]])
    return smaller, np.array([[sx, 0, 0.5 * sx - 0.5 - left], [0, sy, 0.5 * sy - 0.5 - top], [0, 0, 1.0]])


@dataclass(frozen=True, eq=False)
class _OfPair:
    scene: str
    detector: tuple[float, float]
    detected: Ranked
    matching_score: float
    matched: Ranked
    corner_px: float


def evaluate(
    extract: Callable[[NDArray[Any]], Features],
    scenes: Sequence[Path],
    budget: Budget | None = None,
    protocol: str = "640",
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, HPatchesScores]:
    """Scores over all scenes and, where their names tell (i_, v_), over those of illumination and of viewpoint.

    extract: with more keypoints than the budget, which is what suppression then leaves.
    """
    budget = budget or Budget()
    rows: list[_OfPair] = []
    for scene in scenes:
        progress(scene.name)
        first: Features | None = None
        for pair in pairs_of(scene, protocol):
            if first is None:  # of all pairs of the scene
                first = budget.applied(extract(pair.first))
            rows.append(_measure(pair, first, budget.applied(extract(pair.second))))
    if not rows:
        raise DatasetError("no scene has two images and a homography between them")
    out = {}
    for name, prefix in _SPLITS:
        chosen = [row for row in rows if row.scene.startswith(prefix)]
        if chosen and (not prefix or len(chosen) < len(rows)):
            out[name] = _averaged(chosen)
    return out


def _measure(pair: Pair, a: Features, b: Features) -> _OfPair:
    back = np.asarray(np.linalg.inv(pair.second_from_first), float)
    first, second = (
        _view(a, b, pair.second_from_first),
        _view(b, a, back),
    )
    detector = detector_scores(first, second)
    matching = descriptor_scores(second, first)  # the paper's pairs are (image i, image 1)
    source, target = a.keypoints_px[matching.matches] if len(a) else a.keypoints_px, b.keypoints_px
    corner = _corner_error(source, target, pair) if len(a) and len(b) >= 4 else np.inf
    return _OfPair(
        pair.scene,
        (detector.repeatability, detector.localization_px),
        detector.ranked,
        matching.matching_score,
        matching.ranked,
        corner,
    )


def _view(own: Features, other: Features, other_from_own: Array) -> View:
    there = warped(np.asarray(own.keypoints_px, float), other_from_own)
    limit = np.array([other.width - 1, other.height - 1])
    return View(own, there, np.asarray(((there >= 0) & (there <= limit)).all(axis=1), bool))


def warped(points: Array, homography: Array) -> Array:
    """Points [N, 2] through a homography; infinite where it sends them beyond its horizon."""
    moved = np.column_stack([points, np.ones(len(points))]) @ homography.T
    with np.errstate(divide="ignore", invalid="ignore"):
        out: Array = np.where(moved[:, 2:] > 0, moved[:, :2] / moved[:, 2:], np.inf)
    return out


def _corner_error(source: NDArray[np.float32], target: NDArray[np.float32], pair: Pair) -> float:
    """Mean distance of the first image's corners as the matches and as the truth move them, pixels."""
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(source, target, cv2.RANSAC, _RANSAC_PX)
    if found is None:
        return np.inf
    height, width = pair.first.shape[:2]
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], float)
    error = np.linalg.norm(warped(corners, np.asarray(found, float)) - warped(corners, pair.second_from_first), axis=1)
    return float(error.mean()) if np.isfinite(error).all() else np.inf


def _averaged(rows: Sequence[_OfPair]) -> HPatchesScores:
    repeatability, localization = np.array([row.detector for row in rows]).T
    corners = np.array([row.corner_px for row in rows])
    known = localization[np.isfinite(localization)]
    return HPatchesScores(
        len(rows),
        float(repeatability.mean()),
        float(known.mean()) if len(known) else float("nan"),
        average_precision([row.detected for row in rows]),
        float(np.mean([row.matching_score for row in rows])),
        average_precision([row.matched for row in rows]),
        tuple(float((corners < limit).mean()) for limit in HOMOGRAPHY_PX),
    )
