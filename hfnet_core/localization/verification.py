"""A second witness: does the image show what the map expects where the pose says, beyond what the pose was fitted to?

Landmarks that the pose was not fitted to are projected, and the dense descriptors of the image are compared with theirs
there and at places around. A right pose predicts them; a wrong one, however many inliers it found, does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.geometry import Array
from hfnet_core.localization import covisibility
from hfnet_core.localization.appearance.viewing import findable
from hfnet_core.localization.correspondences import Query
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.uncertainty.covariance import cells
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import pixel_scale, project

__all__ = ["Witness", "verify"]

_PROJECTED = 700  # landmarks looked at
_ASKED = 6  # in each cell of the image: neighbours say the same
# At the reference width: distance from what the pose was fitted to, and to where a landmark should not be found.
_APART_PX = 12.0
_RING = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y], np.float32)
_CHANCE = 1.0 / (1 + len(_RING))
# Share of hits where a pose is right, of landmarks seen as the map saw them: straight in how much the inliers stand out
# in this image (right poses of six recordings), so that a sharp image in which only one thing fits speaks against it
# more than a blurred one. Of others less, down to chance: from another side, nobody finds them.
_HITS, _LEAST_HITS, _MOST_HITS = (0.22, 1.04), 0.2, 0.85
_FINDABLE = 0.35  # landmarks less findable than this are not asked
_INLIERS, _STAND_OUT, _WORTH = 48, 0.3, 4.0  # inliers asked how much they stand out; what is usual, worth so many
_ALIKE = 0.4  # times what the inliers stand out: a cell that does so much shows what the map expects
# Logarithm of the odds that one cell may speak for or against a pose: its landmarks err together, and somebody who
# stands in front of it must not outvote the rest.
_AGAINST, _FOR = -2.0, 2.0


@dataclass(frozen=True)
class Witness:
    """What landmarks that a pose was not fitted to say of it.

    asked: how many. hits: for how many the image resembles the landmark more where it should be than at eight places
    around. agreement: logarithm of the odds by which that speaks for the pose, given how much its inliers stand out,
    bounded in each cell of the image and summed over the cells. cells: how many were asked, and alike: in how many the
    landmarks stand out nearly as much as the inliers.
    """

    asked: int = 0
    hits: int = 0
    agreement: float = 0.0
    cells: int = 0
    alike: int = 0

    def __add__(self, other: Witness) -> Witness:
        return Witness(
            self.asked + other.asked,
            self.hits + other.hits,
            self.agreement + other.agreement,
            self.cells + other.cells,
            self.alike + other.alike,
        )


def verify(query: Query, hypothesis: Hypothesis, landmark_map: LandmarkMap) -> Witness | None:
    """Of all views that have dense descriptors; None where none has."""
    views = [number for number, view in enumerate(query.views) if view.features.dense is not None]
    if not views:
        return None
    out = Witness()
    for number in views:
        out = out + _of_view(query, number, hypothesis, landmark_map)
    return out


def _of_view(query: Query, number: int, hypothesis: Hypothesis, landmark_map: LandmarkMap) -> Witness:
    landmarks, pixels, likely = _independent(query, number, hypothesis, landmark_map)
    where = cells(pixels, query.cameras[number])
    chosen = _few_of_each(where)
    landmarks, pixels, likely, where = landmarks[chosen], pixels[chosen], likely[chosen], where[chosen]
    if not len(landmarks):
        return Witness()
    inliers, places = _inliers(query, number, hypothesis, landmark_map)
    similarity = _similarity(query, number, landmark_map, np.r_[landmarks, inliers], np.concatenate([pixels, places]))
    stands_out = similarity[:, 0] - similarity[:, 1:].mean(axis=1)
    usual = max(float(stands_out[len(landmarks) :].sum() + _WORTH * _STAND_OUT) / (len(inliers) + _WORTH), 0.0)
    similarity, stands_out = similarity[: len(landmarks)], stands_out[: len(landmarks)]
    hits = similarity[:, 0] > similarity[:, 1:].max(axis=1)
    count = np.bincount(where)
    alike = np.bincount(where, weights=stands_out) > _ALIKE * usual * np.bincount(where, weights=likely)
    agreement = _agreement(hits, where, usual, likely)
    return Witness(len(landmarks), int(hits.sum()), agreement, int((count > 0).sum()), int(alike.sum()))


def _similarity(
    query: Query,
    number: int,
    landmark_map: LandmarkMap,
    landmarks: NDArray[np.int32],
    pixels: Array,
) -> Array:
    """[N, 9] cosine of landmarks and the image where they should be [N, 2], then around it.

    Landmarks as they were mapped, whatever scale suits this view: described at half the size, places around look alike.
    """
    view = query.views[number]
    around = pixels[:, None] + np.concatenate([np.zeros((1, 2)), _APART_PX * _RING])
    scale = pixel_scale(view.camera)
    places = ((around.reshape(-1, 2) + 0.5) * scale - 0.5).astype(np.float32)
    assert view.features.dense is not None
    shown = view.features.dense.sample(places).reshape(len(landmarks), 1 + len(_RING), -1)
    return np.asarray(np.einsum("npd,nd->np", shown, unit(landmark_map.landmark_descriptors[landmarks])))


def _inliers(
    query: Query, number: int, hypothesis: Hypothesis, landmark_map: LandmarkMap
) -> tuple[NDArray[np.int32], Array]:
    """Some landmarks that the pose was fitted to, and where [N, 2] it puts them: what surely is there stands out so
    much in this image."""
    support = hypothesis.found.where(hypothesis.agreeing)
    landmarks = support.landmarks[support.views == number]
    landmarks = landmarks[:: max(len(landmarks) // _INLIERS, 1)]
    map_from_camera = hypothesis.map_from_rig @ query.views[number].rig_from_camera
    pixels, visible = project(landmark_map.landmarks_xyz[landmarks], map_from_camera, query.cameras[number])
    return landmarks[visible], pixels[visible]


def _agreement(hits: NDArray[np.bool_], where: NDArray[np.int64], usual: float, likely: Array) -> float:
    """Log odds of hits [N] in cells [N], each cell's bounded; usual: how much inliers stand out; likely: how findable
    each landmark is."""
    best = float(np.clip(_HITS[0] + _HITS[1] * usual, _LEAST_HITS, _MOST_HITS))
    share = _CHANCE + (best - _CHANCE) * likely
    each = np.where(hits, np.log(share / _CHANCE), np.log((1.0 - share) / (1.0 - _CHANCE)))
    return float(np.clip(np.bincount(where, weights=each), _AGAINST, _FOR).sum())


def _few_of_each(where: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the first few of each cell."""
    order = np.argsort(where, kind="stable")
    sorted_cells = where[order]
    first = np.searchsorted(sorted_cells, sorted_cells)
    return order[np.arange(len(order)) - first < _ASKED]


def _independent(
    query: Query, number: int, hypothesis: Hypothesis, landmark_map: LandmarkMap
) -> tuple[NDArray[np.int32], Array, Array]:
    """Landmarks that the keyframes around see and the pose was not fitted to, where [N, 2] they should be, and how
    findable [N] they are, the most findable first.
    """
    map_from_camera = hypothesis.map_from_rig @ query.views[number].rig_from_camera
    landmarks = query.landmarks_seen_by(landmark_map, hypothesis.keyframes)
    landmarks = landmarks[covisibility.seen_most(landmark_map, landmarks, _PROJECTED)]
    pixels, apart = project(landmark_map.landmarks_xyz[landmarks], map_from_camera, query.cameras[number])
    support = hypothesis.found.where(hypothesis.agreeing)
    fitted = support.pixels[support.views == number]
    if len(fitted) and len(pixels):
        apart &= ~np.isin(landmarks, support.landmarks)
        landmarks, pixels = landmarks[apart], pixels[apart]
        apart = cKDTree(fitted).query(pixels, distance_upper_bound=_APART_PX)[0] > _APART_PX
    landmarks, pixels = landmarks[apart], pixels[apart]
    likely = findable(landmark_map, landmarks, map_from_camera, query.cameras[number])
    order = np.argsort(-likely, kind="stable")[: np.count_nonzero(likely >= _FINDABLE)]
    return landmarks[order], pixels[order], likely[order]
