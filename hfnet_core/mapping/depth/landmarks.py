"""Landmarks where triangulation has none: keypoints that a depth image puts into space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array, Pose
from hfnet_core.mapping.depth.scale import Seen
from hfnet_core.projection import rays_of
from hfnet_core.types import Camera, Ranges

__all__ = ["MeasuredView", "Points", "fill_up", "seen_of"]

_EXACT = 0.05  # relative standard deviation of a distance that makes a landmark
_AGREE = 3.0  # standard deviations by which two measurements of one point may differ, beside
_AGREE_M = 0.03  # what poses are off by


@dataclass(frozen=True, eq=False)
class Points:
    """Landmarks of a scene. xyz: [L, 3]. rows: [O, 3] landmark, view, keypoint. sigma_m: [L] standard deviation of the
    distance where a depth image told it, 0 where it was triangulated."""

    xyz: Array
    rows: NDArray[np.int64]
    sigma_m: Array


@dataclass(frozen=True, eq=False)
class MeasuredView:
    """A view of a scene. keypoints_px: [K, 2]. ranges: of them, None without depth."""

    camera: Camera
    map_from_camera: Pose
    keypoints_px: NDArray[np.float32]
    ranges: Ranges | None


@dataclass(frozen=True, eq=False)
class _Measured:
    """A keypoint that depth puts at `xyz`."""

    view: int
    keypoint: int
    xyz: Array
    sigma_m: float


def seen_of(points: Points, views: Sequence[MeasuredView]) -> list[Seen]:
    """Of each view the keypoints that triangulated landmarks have, and how far away these are along its axis."""
    rows = points.rows[points.sigma_m[points.rows[:, 0]] == 0]
    rows = rows[np.argsort(rows[:, 1], kind="stable")]
    ends = np.cumsum(np.bincount(rows[:, 1], minlength=len(views)))
    return [
        (own[:, 2], view.map_from_camera.inverse().apply(points.xyz[own[:, 0]])[:, 2])
        for view, own in zip(views, np.split(rows, ends[:-1]), strict=True)
    ]


def fill_up(
    points: Points,
    views: Sequence[MeasuredView],
    matches: Callable[[], Mapping[tuple[int, int], NDArray[np.int32]]],
    per_view: int,
) -> Points:
    """The landmarks, and more in views that see fewer than `per_view`.

    matches: gives keypoints [N, 2] of two views that show the same; measurements of one point are joined by them.
    Points that several views measured come first, then the strongest keypoints, which views list first.
    """
    if per_view == 0 or all(view.ranges is None for view in views):
        return points
    taken = [np.zeros(len(view.keypoints_px), dtype=bool) for view in views]
    missing = np.full(len(views), per_view)
    for _, number, keypoint in points.rows:
        taken[number][keypoint] = True
    missing -= np.bincount(points.rows[:, 1], minlength=len(views))
    measured = [_measured(number, view, taken[number]) for number, view in enumerate(views)]
    xyz, rows, sigmas = [points.xyz], [points.rows], [points.sigma_m]
    count = len(points.xyz)
    for group in _groups(measured, matches(), taken):
        if not any(missing[one.view] > 0 for one in group):
            continue
        weights = np.array([one.sigma_m**-2.0 for one in group])
        xyz.append(np.average([one.xyz for one in group], axis=0, weights=weights)[None])
        rows.append(np.array([(count, one.view, one.keypoint) for one in group], dtype=np.int64))
        sigmas.append(np.array([weights.sum() ** -0.5]))
        for one in group:
            missing[one.view] -= 1
        count += 1
    return Points(np.concatenate(xyz), np.concatenate(rows), np.concatenate(sigmas))


def _measured(number: int, view: MeasuredView, taken: NDArray[np.bool_]) -> dict[int, _Measured]:
    """By keypoint, in the order of the keypoints: what depth tells of those that are no landmark."""
    if view.ranges is None:
        return {}
    metres, sigma_m = view.ranges.metres.astype(np.float64), view.ranges.sigma_m.astype(np.float64)
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero(~taken & (sigma_m <= _EXACT * metres))  # False for NaN
    rays = rays_of(view.camera, view.keypoints_px[rows])
    ahead = rays[:, 2] > 0
    rows, rays = rows[ahead], rays[ahead]
    xyz = view.map_from_camera.apply(rays * (metres[rows] / rays[:, 2])[:, None])
    return {
        int(row): _Measured(number, int(row), place, float(sigma_m[row]))
        for row, place in zip(rows, xyz, strict=True)
        if np.isfinite(place).all()
    }


def _groups(
    measured: Sequence[Mapping[int, _Measured]],
    matches: Mapping[tuple[int, int], NDArray[np.int32]],
    taken: Sequence[NDArray[np.bool_]],
) -> Iterator[list[_Measured]]:
    """Measurements of one point each, at most one of a view, those of most views first."""
    owner: dict[tuple[int, int], int] = {}
    groups: list[list[_Measured]] = []
    repeated = [own.copy() for own in taken]  # matched with a keypoint that is a landmark: it would be one twice
    for (first, second), pairs in sorted(matches.items()):
        repeated[first][pairs[taken[second][pairs[:, 1]], 0]] = True
        repeated[second][pairs[taken[first][pairs[:, 0]], 1]] = True
        for one_row, other_row in pairs.tolist():
            one, other = measured[first].get(one_row), measured[second].get(other_row)
            if one is not None and other is not None and _agree(one, other):
                _join(groups, owner, one, other)
    yield from sorted((group for group in groups if len(group) > 1), key=lambda group: -len(group))
    grouped = {(item.view, item.keypoint) for group in groups if len(group) > 1 for item in group}
    for number, own in enumerate(measured):
        alone = (one for row, one in own.items() if not repeated[number][row] and (number, row) not in grouped)
        yield from ([one] for one in alone)


def _agree(one: _Measured, other: _Measured) -> bool:
    apart = float(np.linalg.norm(one.xyz - other.xyz))
    return apart <= _AGREE * float(np.hypot(one.sigma_m, other.sigma_m)) + _AGREE_M


def _join(groups: list[list[_Measured]], owner: dict[tuple[int, int], int], one: _Measured, other: _Measured) -> None:
    """Put two measurements into one group, unless that would have two of one view."""
    places = []
    for item in (one, other):
        place = owner.setdefault((item.view, item.keypoint), len(groups))
        if place == len(groups):
            groups.append([item])
        places.append(place)
    into, found = places
    if into == found or {item.view for item in groups[into]} & {item.view for item in groups[found]}:
        return
    groups[into].extend(groups[found])
    for item in groups[found]:
        owner[item.view, item.keypoint] = into
    groups[found] = []
