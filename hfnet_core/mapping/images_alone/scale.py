"""Metres and the frame of a structure that images alone gave up to a similarity.

Scale comes from distances, never from absolute positions: odometry is right over a few metres and wrong over a
hundred, and a distance between two cameras is also what a person can measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import Array, Pose, Similarity
from hfnet_core.mapping.keyframes.known_distance import KnownDistance, known_distance

__all__ = [
    "Scale",
    "align",
    "require_scale_source",
    "scale_from_baselines",
    "scale_from_distance",
    "scale_from_odometry",
    "spread_of",
    "turned_deg",
]

_LONGEST_WINDOW_M = 20.0  # a heading that drifts by 1 degree per metre shortens such a chord by half a percent
_WINDOWS = 3  # each half as long as the one before
_MIN_PAIRS = 5
_MIN_BASELINES = 3
_MIN_WAY_M = 0.1  # odometry that says less says nothing
_MAX_SPREAD = 0.25  # of the ratios: beyond, images and odometry tell of different drives


@dataclass(frozen=True)
class Scale:
    """Metres per unit of the structure. spread: relative standard deviation of a single measurement, 0 if unknown.

    pairs: distances compared.
    """

    factor: float
    spread: float
    pairs: int


def require_scale_source(config: MapBuildConfig, what: str, *, told: bool, why: str = "") -> None:
    """Raises ConfigError where nothing would tell how large a place is that images alone (`what`) show.

    told: odometry, GPS or several cameras may tell. why: they do not.
    """
    if not (told or config.scale_free or known_distance(config.known_distance)):
        found = f"no poses ({why})" if why else "no poses"
        raise ConfigError(
            f"{what}: {found}, and images alone show no scale: pass --poses FILE (TUM); or `hfnet map build` with "
            "--known-distance 'IMAGE_A IMAGE_B METRES' between two cameras, or --scale-free for arbitrary metres"
        )


def scale_from_odometry(
    structure: Sequence[Pose | None], odometry: Sequence[Pose | None], recordings: Sequence[int]
) -> Scale:
    """Metres per unit from the distances travelled in windows, robust to drift and to up to half of wrong distances.

    structure: structure_from_camera; odometry: odom_from_camera; recordings: which one each is of; all in order of
    time. The factor minimises sum |odometry distance - factor * structure distance|: a weighted median of ratios.
    Raises DatasetError where the two have too little in common.
    """
    pairs = np.array(_windows(structure, odometry, recordings)).reshape(-1, 2)
    pairs = pairs[pairs.min(axis=1) > 0]
    if len(pairs) < _MIN_PAIRS:
        raise DatasetError(
            f"odometry gives no scale: it has moved in {len(pairs)} windows of the {len(structure)} keyframes, "
            f"{_MIN_PAIRS} are needed; pass --known-distance instead"
        )
    return _fitted(pairs, "odometry")


def scale_from_baselines(pairs: Sequence[tuple[Pose, Pose, float]]) -> Scale:
    """Metres per unit from cameras a known distance apart: (structure_from_camera of two images taken at once, metres).

    Raises DatasetError where they are few or disagree.
    """
    found = np.array([(np.linalg.norm(a.translation - b.translation), metres) for a, b, metres in pairs]).reshape(-1, 2)
    found = found[found.min(axis=1) > 0]
    if len(found) < _MIN_BASELINES:
        raise DatasetError(
            f"the distance of the cameras gives no scale: {len(found)} pairs of images taken at once, {_MIN_BASELINES} "
            "are needed; pass --known-distance, or --scale-free"
        )
    return _fitted(found, "the distance of the cameras")


def _fitted(pairs: Array, what: str) -> Scale:
    """The scale of distances [N, 2] in units and metres."""
    units, metres = pairs.T
    ratios = metres / units
    factor = _weighted_median(ratios, units)
    spread = 1.4826 * _weighted_median(np.abs(ratios / factor - 1), units)  # of the median deviation, for a normal law
    if spread > _MAX_SPREAD:
        raise DatasetError(
            f"{what} and images disagree about distances by {spread:.0%}: does it belong to these cameras, and to the "
            "clock of the images? Pass --known-distance to do without it"
        )
    return Scale(factor, spread, len(pairs))


def _windows(
    structure: Sequence[Pose | None], odometry: Sequence[Pose | None], recordings: Sequence[int]
) -> list[tuple[float, float]]:
    """(structure distance, odometry distance) of the ends of windows of several lengths."""
    out = []
    for recording in sorted(set(recordings)):
        both = [
            (one.translation, other.translation)
            for one, other, owner in zip(structure, odometry, recordings, strict=True)
            if owner == recording and one is not None and other is not None
        ]
        if len(both) < 2:
            continue
        centres, ways = (np.array(side) for side in zip(*both, strict=True))
        steps, said = (np.linalg.norm(np.diff(side, axis=0), axis=1) for side in (centres, ways))
        if said.sum() < _MIN_WAY_M or not steps.any():
            continue
        # The way is measured in the structure, which does not jump as odometry may.
        way = np.concatenate([[0.0], np.cumsum(steps)])
        metres_per_unit = float(np.median(said[steps > 0] / steps[steps > 0]))
        longest = way[-1] / 3  # a jump of the odometry then spoils a third
        if metres_per_unit > 0:
            longest = min(longest, _LONGEST_WINDOW_M / metres_per_unit)
        for length in longest / 2.0 ** np.arange(_WINDOWS):
            ends = np.searchsorted(way, way + length)
            first = np.flatnonzero(ends < len(way))
            last = ends[first]
            out += list(
                zip(
                    np.linalg.norm(centres[last] - centres[first], axis=1),
                    np.linalg.norm(ways[last] - ways[first], axis=1),
                    strict=True,
                )
            )
    return out


def scale_from_distance(first: Pose | None, second: Pose | None, known: KnownDistance) -> Scale:
    """Metres per unit from one distance between two images (structure_from_camera, None if not in the structure)."""
    if first is None or second is None:
        missing = known.second if first is not None else known.first
        raise DatasetError(
            f"known_distance: image {missing[0]}/{missing[1]} could not be put together with the others; name another"
        )
    apart = float(np.linalg.norm(first.translation - second.translation))
    if apart <= 0:
        raise DatasetError("known_distance: the two images were taken from the same place; name two that are far apart")
    return Scale(known.metres / apart, 0.0, 1)


def align(structure: Sequence[Pose | None], odometry: Sequence[Pose | None], scale: Scale) -> Similarity:
    """The similarity of the given scale that brings the structure into the odometry's frame.

    Orientations decide the rotation, so that a straight drive, whose positions leave the roll open, is levelled as
    well; the position is the median. Poses without a partner are passed over.
    """
    both = [
        (one, other) for one, other in zip(structure, odometry, strict=True) if one is not None and other is not None
    ]
    turns = Rotation.from_matrix(np.array([other.rotation @ one.rotation.T for one, other in both]))
    rotation = _robust_mean(turns).as_matrix()
    residuals = [other.translation - scale.factor * rotation @ one.translation for one, other in both]
    return Similarity(scale.factor, Pose(rotation, np.median(residuals, axis=0)))


def turned_deg(structure: Sequence[Pose | None], odometry: Sequence[Pose | None]) -> float:
    """The angle between the ways that a camera takes as images and as odometry tell it, each seen from the camera.

    The median over all steps, weighted by their length; 0 where the odometry has hardly moved. In order of time.
    """
    both = [
        (one, other) for one, other in zip(structure, odometry, strict=True) if one is not None and other is not None
    ]
    steps, said = (_steps([pair[side] for pair in both]) for side in (0, 1))
    lengths, metres = np.linalg.norm(steps, axis=1), np.linalg.norm(said, axis=1)
    moved = (lengths > 0) & (metres > 0)
    if metres.sum() < _MIN_WAY_M or not moved.any():
        return 0.0
    cosines = (steps[moved] * said[moved]).sum(axis=1) / (lengths[moved] * metres[moved])
    return _weighted_median(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))), lengths[moved])


def _steps(poses: Sequence[Pose]) -> Array:
    """From each camera to the next one in its own axes [N - 1, 3]."""
    steps = [before.rotation.T @ (after.translation - before.translation) for before, after in pairwise(poses)]
    return np.array(steps).reshape(-1, 3)


def _robust_mean(turns: Rotation) -> Rotation:
    """Mean of those rotations that lie near the one closest to all."""
    step = max(1, len(turns) // 200)  # candidates: enough to meet a good one
    angles = np.array([(turns * candidate.inv()).magnitude() for candidate in turns[::step]])
    near = angles[np.argmin(angles.sum(axis=1))]
    kept = np.flatnonzero(near <= max(3 * float(np.median(near)), 1e-6))
    return turns[kept].mean()


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def spread_of(centres: NDArray[np.float64]) -> float:
    """Root mean square distance of points [N, 3] from their mean."""
    return float(np.sqrt(((centres - centres.mean(axis=0)) ** 2).sum(axis=1).mean()))
