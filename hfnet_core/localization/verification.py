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
from hfnet_core.localization.appearance.scales import suiting
from hfnet_core.localization.correspondences import Query
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.uncertainty.covariance import cells
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import pixel_scale, project

__all__ = ["Witness", "verify"]

_PROJECTED = 1000  # landmarks looked at
_ASKED = 8  # in each cell of the image: neighbours say the same
# At the reference width: distance from what the pose was fitted to, and to where a landmark should not be found.
_APART_PX = 12.0
_RING = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y], np.float32)
_CHANCE = 1.0 / (1 + len(_RING))
_USUAL = 0.4  # share of hits where a pose is right
# Logarithm of the odds that one cell may speak for or against a pose: its landmarks err together, and somebody who
# stands in front of it must not outvote the rest.
_AGAINST, _FOR = -1.0, 2.0


@dataclass(frozen=True)
class Witness:
    """What landmarks that a pose was not fitted to say of it.

    asked: how many. hits: for how many the image resembles the landmark more where it should be than at eight places
    around. agreement: logarithm of the odds by which that speaks for the pose, bounded in each cell of the image and
    summed over the cells.
    """

    asked: int = 0
    hits: int = 0
    agreement: float = 0.0

    def __add__(self, other: Witness) -> Witness:
        return Witness(self.asked + other.asked, self.hits + other.hits, self.agreement + other.agreement)


def verify(query: Query, hypothesis: Hypothesis, landmark_map: LandmarkMap, cluster_size: int) -> Witness | None:
    """Of all views that have dense descriptors; None where none has."""
    views = [number for number, view in enumerate(query.views) if view.features.dense is not None]
    if not views:
        return None
    out = Witness()
    for number in views:
        out = out + _of_view(query, number, hypothesis, landmark_map, cluster_size)
    return out


def _of_view(
    query: Query, number: int, hypothesis: Hypothesis, landmark_map: LandmarkMap, cluster_size: int
) -> Witness:
    view = query.views[number]
    landmarks, pixels = _independent(query, number, hypothesis, landmark_map, cluster_size)
    where = cells(pixels, query.cameras[number])
    chosen = _few_of_each(where)
    landmarks, pixels, where = landmarks[chosen], pixels[chosen], where[chosen]
    if not len(landmarks):
        return Witness()
    around = pixels[:, None] + np.concatenate([np.zeros((1, 2)), _APART_PX * _RING])
    scale = pixel_scale(view.camera)
    places = ((around.reshape(-1, 2) + 0.5) * scale - 0.5).astype(np.float32)
    assert view.features.dense is not None
    shown = view.features.dense.sample(places).reshape(len(landmarks), 1 + len(_RING), -1)
    expected = suiting(landmark_map, landmarks, hypothesis.map_from_rig @ view.rig_from_camera, query.cameras[number])
    similarity = np.einsum("npd,nd->np", shown, expected)
    hits = similarity[:, 0] > similarity[:, 1:].max(axis=1)
    return Witness(len(landmarks), int(hits.sum()), _agreement(hits, where))


def _agreement(hits: NDArray[np.bool_], where: NDArray[np.int64]) -> float:
    """Log odds of hits [N] in cells [N], each cell's bounded."""
    each = np.where(hits, np.log(_USUAL / _CHANCE), np.log((1.0 - _USUAL) / (1.0 - _CHANCE)))
    return float(np.clip(np.bincount(where, weights=each), _AGAINST, _FOR).sum())


def _few_of_each(where: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the first few of each cell."""
    order = np.argsort(where, kind="stable")
    sorted_cells = where[order]
    first = np.searchsorted(sorted_cells, sorted_cells)
    return order[np.arange(len(order)) - first < _ASKED]


def _independent(
    query: Query, number: int, hypothesis: Hypothesis, landmark_map: LandmarkMap, cluster_size: int
) -> tuple[NDArray[np.int32], Array]:
    """Landmarks that neighbouring keyframes see and the pose was not fitted to, and where [N, 2] they should be.

    Those that are seen most often come first.
    """
    map_from_camera = hypothesis.map_from_rig @ query.views[number].rig_from_camera
    keyframes = covisibility.nearby_keyframes(landmark_map, map_from_camera, cluster_size)
    landmarks = covisibility.landmarks_seen_by(landmark_map, keyframes)
    seen = landmark_map.landmark_offsets[landmarks + 1] - landmark_map.landmark_offsets[landmarks]
    landmarks = landmarks[np.argsort(-seen, kind="stable")[:_PROJECTED]]
    pixels, apart = project(landmark_map.landmarks_xyz[landmarks], map_from_camera, query.cameras[number])
    support = hypothesis.found.where(hypothesis.agreeing)
    fitted = support.pixels[support.views == number]
    if len(fitted) and len(pixels):
        apart &= ~np.isin(landmarks, support.landmarks)
        landmarks, pixels = landmarks[apart], pixels[apart]
        apart = cKDTree(fitted).query(pixels, distance_upper_bound=_APART_PX)[0] > _APART_PX
    return landmarks[apart], pixels[apart]
