"""Whether an image tells two places apart that the map knows to look alike.

One of them explains more of the image than the other already because it was mapped from nearer by. What tells them
apart is only what both have mapped and one shows otherwise: so the keypoints that one explains are asked of the
landmarks that the other has there, seen as the image sees them. A part of the image suffices: a picture beside a lift
that looks the same on every floor. Or all of it shows far less of what the map has at one place than at the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization import covisibility
from hfnet_core.localization.correspondences import Correspondences, Query
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.uncertainty.covariance import GRID, cells
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import project
from hfnet_core.types import Int32

__all__ = ["Shown", "is_hardly_mapped", "told_apart"]

_NEAR_PX = 12.0  # at the reference width: what lies closer shows the same thing
_AS_ALIKE = 0.2  # cosine by which a keypoint may resemble the other place's landmarks less
# Observations from about where the image was taken: degrees between the rays, logarithm of the ratio of distances.
_ANGLE_DEG, _SCALE = 20.0, 0.4
# Of a part of the image, keypoints that the other place knows something of and does not show, less what it shows as
# well, which counts more: where rendered places are the same, however badly mapped, at most 36, and 23 of the wrong
# one; where a tenth of the image differs, 24 to 79.
_TOLD, _SAME = 36.0, 1.5
# What an image shows of one place, as a share of what it shows of the other, and by how many landmarks that is less:
# of rendered places that are the same the one it was taken in has a share of 0.63 or more, of real ones mapped again,
# with landmarks a few centimetres off, nine in ten have 0.7; panels of a corridor that repeat each metre 0.1 to 0.7.
_LESS, _FEWER = 0.5, 60.0
# Of what may be expected at a place, so much at its double leaves open which one is shown; less, and it lies where
# nothing is, as a repetition of what repeats.
_HARDLY = (0.03, 0.5)
_ROWS, _COLUMNS = (  # first and beyond the last of parts of the image, at least two cells high and wide
    np.array([(a, b) for a in range(count + 1) for b in range(a + 2, count + 1)]).T for count in GRID
)


@dataclass(frozen=True)
class Shown:
    """Of the landmarks around a pose, as many as may be expected, given from where the map saw them; and of these, how
    many the images show."""

    expected: float
    seen: float

    def far_less_than(self, other: Shown) -> bool:
        """Whether it is so little, and so much would be expected, that the images do not show this place."""
        usual = self.expected * other.seen / max(other.expected, 1.0)
        return self.seen < _LESS * usual and usual - self.seen >= _FEWER


def is_hardly_mapped(expected: float, *, beside: float) -> bool:
    """Whether the map has so few landmarks of a place, of those that may be expected, beside those of another one, that
    images which show the other could as well show this one."""
    least, enough = _HARDLY
    return least * beside < expected < enough * beside


def told_apart(query: Query, one: Hypothesis, other: Hypothesis, landmark_map: LandmarkMap) -> bool:
    """Whether the place that explains more of the images shows what the other one does not."""
    if one.guided < other.guided:
        one, other = other, one
    return any(_shows_otherwise(query, view, one, other, landmark_map) >= _TOLD for view in range(len(query.views)))


def _shows_otherwise(query: Query, view: int, one: Hypothesis, other: Hypothesis, landmark_map: LandmarkMap) -> float:
    """Of the keypoints of a view that one place explains and the other knows something of: by how much those that it
    does not show outweigh the others, in the part of the image where they do most."""
    explained = one.found.where(one.agreeing & (one.found.views == view))
    shown = other.found.where(other.agreeing & (other.found.views == view))
    map_from_camera = other.map_from_rig @ query.views[view].rig_from_camera
    rows, pixels = _observations(query, view, map_from_camera, other.keyframes, landmark_map)
    if not len(explained) or not len(rows):
        return 0.0
    near = cKDTree(pixels).query_ball_point(explained.pixels, _NEAR_PX)
    asked = np.array([len(found) > 0 for found in near])
    best = _most_alike(query, view, explained, near, unit(landmark_map.observation_descriptors[rows]))
    own = query.views[view].features.descriptors[explained.keypoints]
    alike = (own * unit(landmark_map.landmark_descriptors[explained.landmarks])).sum(axis=1)
    same = (best > alike - _AS_ALIKE) | np.isin(explained.keypoints, shown.keypoints)
    where = cells(explained.pixels[asked], query.cameras[view])
    speaks = np.bincount(where, weights=np.where(same[asked], -_SAME, 1.0), minlength=GRID[0] * GRID[1])
    return _most(speaks.astype(np.float64))


def _most(of_cells: Array) -> float:
    """The largest sum over a rectangle of cells."""
    summed = np.pad(of_cells.reshape(GRID).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    (top, bottom), (left, right) = _ROWS, _COLUMNS
    rows = summed[bottom] - summed[top]
    return float((rows[:, right] - rows[:, left]).max())


def _most_alike(
    query: Query, view: int, explained: Correspondences, near: list[list[int]], descriptors: NDArray[np.float32]
) -> Array:
    """[N] cosine of each keypoint and the observation near it that it resembles most, -1 without one."""
    counts = np.array([len(found) for found in near])
    flat, owner = (
        np.concatenate([np.asarray(found, np.int64) for found in near]),
        np.repeat(np.arange(len(near)), counts),
    )
    own = query.views[view].features.descriptors[explained.keypoints]
    out = np.full(len(near), -1.0)
    np.maximum.at(out, owner, (own[owner] * descriptors[flat]).sum(axis=1))
    return out


def _observations(
    query: Query, view: int, map_from_camera: Pose, keyframes: tuple[int, ...], landmark_map: LandmarkMap
) -> tuple[NDArray[np.int64], Array]:
    """Observations of what a camera there should see, made from about there; and where [N, 2] it should see them."""
    around = covisibility.nearby_keyframes(landmark_map, map_from_camera, len(keyframes))
    landmarks = query.landmarks_seen_by(landmark_map, tuple(dict.fromkeys(keyframes + around)))
    pixels, visible = project(landmark_map.landmarks_xyz[landmarks], map_from_camera, query.cameras[view])
    landmarks, pixels = landmarks[visible], pixels[visible]
    rows, owner = _rows(landmarks, landmark_map)
    points = landmark_map.landmarks_xyz[landmarks].astype(np.float64)[owner]
    then = points - landmark_map.keyframe_poses[landmark_map.observation_keyframes[rows]][:, :, 3]
    now = points - map_from_camera.translation
    far_then, far_now = np.linalg.norm(then, axis=1), np.linalg.norm(now, axis=1)
    cosine = (then * now).sum(axis=1) / np.maximum(far_then * far_now, 1e-9)
    scale = np.abs(np.log(np.maximum(far_then, 1e-9) / np.maximum(far_now, 1e-9)))
    comparable = (cosine > np.cos(np.radians(_ANGLE_DEG))) & (scale < _SCALE)
    return rows[comparable], pixels[owner[comparable]]


def _rows(landmarks: Int32, landmark_map: LandmarkMap) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Observations of landmarks, and of which of them each is."""
    starts, ends = landmark_map.landmark_offsets[landmarks], landmark_map.landmark_offsets[landmarks + 1]
    owner = np.repeat(np.arange(len(landmarks)), ends - starts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(ends - starts) - (ends - starts), ends - starts)
    return starts[owner] + within, owner
