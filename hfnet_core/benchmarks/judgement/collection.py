"""Right and wrong hypotheses with what speaks for them: what the judgement is calibrated on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_core.benchmarks.judgement.image_families import Asked, Frame, families
from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.exchange.npz_arrays import read_arrays
from hfnet_core.features.sources import FeatureSource
from hfnet_core.files import whole_file
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.localization.confidence import DENSE
from hfnet_core.localization.judgement import Candidate
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.mapping.keyframes.workspace import key_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import pixel_scale, project
from hfnet_core.recordings.bags import Bag

__all__ = ["Hypotheses", "collect", "read_frames", "read_hypotheses", "source_key"]

_RIGHT = (0.25, 5.0)  # metres and degrees within which a pose is right,
_WRONG = (0.5, 10.0)  # and beyond which it is wrong; between them it is neither
# Landmarks that lie so near where the true pose puts them: the place is the right one, and how far a pose from distant
# landmarks is off is for its covariance to say.
_SAME_PX = 30.0
_NEAR_M, _NEAR_DEG = 0.15, 4.0  # standard deviations of priors around the truth
_HEADER = 1 << 20  # bytes of a map that hold the checksums of all others, unless it is very large


class Progress(Protocol):
    def __call__(self, stage: str, done: int, total: int, /) -> None: ...


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """numbers: [N, len(DENSE)] by the names of DENSE. right: [N]. image: [N] which image each is of. family, source:
    [N] text; error: [N, 2] metres and degrees from the nearest truth, infinite where there is none."""

    numbers: Array
    right: NDArray[np.bool_]
    image: NDArray[np.int64]
    family: NDArray[np.str_]
    source: NDArray[np.str_]
    error: Array

    def __len__(self) -> int:
        return len(self.right)

    def save(self, path: Path) -> None:
        """Raises DatasetError where it cannot be written."""
        with whole_file(path) as temporary:
            np.savez_compressed(temporary, **vars(self))

    @classmethod
    def joined(cls, parts: Sequence[Hypotheses]) -> Hypotheses:
        """All of several; images are renumbered."""
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
        offsets = np.cumsum([0, *(int(part.image.max(initial=-1)) + 1 for part in parts[:-1])])
        columns["image"] = np.concatenate([part.image + offset for part, offset in zip(parts, offsets, strict=True)])
        return cls(**columns)


def read_hypotheses(path: Path) -> Hypotheses:
    """Raises DatasetError for a file that `save` did not write."""
    names = tuple(field.name for field in fields(Hypotheses))
    stored = read_arrays(path, names, "hypotheses of `hfnet calibrate`")
    fits = len(stored) == len(names) and stored["right"].ndim == 1
    count = len(stored["right"]) if fits else 0
    shapes = {"numbers": (count, len(DENSE)), "error": (count, 2)}
    fits = fits and all(stored[name].shape == shapes.get(name, (count,)) for name in names)
    fits = fits and all(stored[name].dtype.kind == kind for name, kind in zip(names, "fbiUUf", strict=True))
    if not fits or not np.isfinite(stored["numbers"]).all() or np.isnan(stored["error"]).any():
        raise DatasetError(f"{path}: does not hold hypotheses as they are collected; delete it and collect them anew")
    return Hypotheses(**stored)


def source_key(map_file: Path, bag: Path, asked: tuple[object, ...]) -> str:
    """Eight digits that are others for another map, another recording, or whatever else is asked for (the network, the
    choice of images): what was collected for these are other hypotheses. Raises DatasetError for what cannot be read.
    """
    try:
        with map_file.open("rb") as file:
            header = file.read(_HEADER)
        parts = [bag] if bag.is_file() else sorted(path for path in bag.rglob("*") if path.is_file())
        sizes = map_file.stat().st_size, [(path.name, path.stat().st_size) for path in parts]
    except OSError as error:
        raise DatasetError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return key_of(header, sizes, asked)[:8]


def read_frames(bag: Path, every: int) -> list[Frame]:
    """Each `every`-th image of a recording that has a pose."""
    with Bag(bag) as recording:
        return [
            Frame(frame.image.copy(), frame.camera, frame.map_from_camera)
            for frame in recording.frames()
            if frame.index % every == 0 and frame.map_from_camera is not None
        ]


def collect(
    landmark_map: LandmarkMap,
    frames: Sequence[Frame],
    foreign: Sequence[NDArray[np.uint8]],
    extractor: FeatureSource,
    source: str,
    progress: Progress,
) -> Hypotheses:
    """Every hypothesis that the localizer would consider, of all families of images: searched for in the whole map and
    near priors, right and wrong ones."""
    localizer, rng = Localizer(landmark_map, LocalizerConfig()), np.random.default_rng(0)
    rows: list[tuple[Candidate, Asked, int]] = []
    asked = list(families(frames, foreign))
    for number, one in enumerate(asked):
        progress(f"hypotheses of {source}", number + 1, len(asked))
        try:
            views = [View(extractor.extract(one.image), one.camera)]
        except DatasetError:
            continue  # too dark or too small to have features
        for prior in (None, *_priors(one, landmark_map, rng)):
            rows += [(candidate, one, number) for candidate in localizer.candidates(views, prior)]
    return _table(rows, source)


def _priors(asked: Asked, landmark_map: LandmarkMap, rng: np.random.Generator) -> Iterator[Pose]:
    """One near the truth; of an image that shows no one place, one that is somewhere."""
    for truth in asked.truths[:1]:
        angle = rng.normal(0.0, np.radians(_NEAR_DEG), 3)
        turn = Pose.from_quat_xyzw([*(angle / 2), 1.0], rng.normal(0.0, _NEAR_M, 3))
        yield truth @ turn
    if landmark_map.keyframes and len(asked.truths) != 1:
        yield landmark_map.map_from_camera(int(rng.integers(landmark_map.keyframes)))


def _table(rows: Sequence[tuple[Candidate, Asked, int]], source: str) -> Hypotheses:
    errors = [_error(candidate.hypothesis.map_from_rig, asked.truths) for candidate, asked, _ in rows]
    numbers = [[candidate.evidence.numbers[name] for name in DENSE] for candidate, _, _ in rows]
    error = np.array(errors, np.float64).reshape(-1, 2)
    right = (error[:, 0] <= _RIGHT[0]) & (error[:, 1] <= _RIGHT[1])
    wrong = (error[:, 0] > _WRONG[0]) | (error[:, 1] > _WRONG[1])
    told = right | wrong & ~np.array([_shows_the_same(candidate, asked) for candidate, asked, _ in rows], bool)
    return Hypotheses(
        np.array(numbers, np.float64).reshape(-1, len(DENSE))[told],
        right[told],
        np.array([number for _, _, number in rows], np.int64)[told],
        np.array([asked.family for _, asked, _ in rows], np.str_)[told],
        np.full(int(told.sum()), source),
        error[told],
    )


def _shows_the_same(candidate: Candidate, asked: Asked) -> bool:
    """Whether a true pose puts most of the landmarks that were found about where this one does."""
    hypothesis = candidate.hypothesis
    points, camera = hypothesis.found.where(hypothesis.agreeing).points, asked.camera
    found, seen = project(points, hypothesis.map_from_rig, camera)
    for truth in asked.truths:
        meant, visible = project(points, truth, camera)
        near = np.linalg.norm(found - meant, axis=1) < _SAME_PX * pixel_scale(camera)
        if 2 * np.count_nonzero(near & seen & visible) > len(points):
            return True
    return False


def _error(pose: Pose, truths: Sequence[Pose]) -> tuple[float, float]:
    errors = [pose_error(pose, truth) for truth in truths]
    return min(errors, key=lambda error: error[0] + error[1] / 20.0, default=(np.inf, np.inf))
