"""A second witness: does the image show what the map expects where the pose says, beyond what the pose was fitted to?

Landmarks that the pose was not fitted to are projected, and the dense descriptors of the image are compared with theirs
there and at places around. A right pose predicts them; a wrong one, however many inliers it found, does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization import covisibility
from hfnet_core.localization.correspondences import Query
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import pixel_scale, project
from hfnet_core.types import Float32

__all__ = ["Witness", "verify"]

_PROJECTED, _MOST = 1500, 96  # landmarks projected, and asked; more tell little better
# From what the pose was fitted to, at the reference width: further than what the fit explains by itself, and not so far
# that somebody who stands in front of the rest of the place counts against it.
_APART_PX, _NEAR_PX = 12.0, 64.0
_AROUND_PX = 24.0  # where a landmark should not be found, at the reference width
_RING = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y], np.float32)
_CHANCE = 1.0 / (1 + len(_RING))


@dataclass(frozen=True)
class Witness:
    """What landmarks that a pose was not fitted to say of it.

    asked: how many. hits: for how many the image resembles the landmark more where it should be than at eight places
    around. contrast: mean similarity there, in standard deviations above that of exchanged landmarks.
    """

    asked: int = 0
    hits: int = 0
    contrast: float = 0.0

    @property
    def surprise(self) -> float:
        """Hits beyond chance, in standard deviations of chance."""
        spread = np.sqrt(max(self.asked, 1) * _CHANCE * (1.0 - _CHANCE))
        return float((self.hits - self.asked * _CHANCE) / spread)

    def __add__(self, other: Witness) -> Witness:
        return Witness(self.asked + other.asked, self.hits + other.hits, float(np.hypot(self.contrast, other.contrast)))


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
    map_from_camera = hypothesis.map_from_rig @ view.rig_from_camera
    landmarks, pixels = _independent(query, number, map_from_camera, hypothesis, landmark_map, cluster_size)
    if len(landmarks) < 2:
        return Witness()
    around = pixels[:, None] + np.concatenate([np.zeros((1, 2)), _AROUND_PX * _RING])
    scale = pixel_scale(view.camera)
    places = ((around.reshape(-1, 2) + 0.5) * scale - 0.5).astype(np.float32)
    assert view.features.dense is not None
    shown = view.features.dense.sample(places).reshape(len(landmarks), 1 + len(_RING), -1)
    expected = unit(landmark_map.landmark_descriptors[landmarks])
    similarity = np.einsum("npd,nd->np", shown, expected)
    hits = int((similarity[:, 0] > similarity[:, 1:].max(axis=1)).sum())
    return Witness(len(landmarks), hits, _contrast(shown[:, 0], expected, similarity[:, 0]))


def _contrast(shown: Float32, expected: Float32, similarity: NDArray[np.floating]) -> float:
    """Similarity with the right landmarks against that with exchanged ones, in standard errors of the mean."""
    count = len(shown)
    exchanged = np.concatenate([np.einsum("nd,nd->n", shown, np.roll(expected, shift, 0)) for shift in _shifts(count)])
    deviation = float(exchanged.std())
    return float((similarity.mean() - exchanged.mean()) / max(deviation, 1e-6) * np.sqrt(count))


def _shifts(count: int) -> tuple[int, ...]:
    return tuple(sorted({max(1, count // 5), max(1, count // 3), max(1, count // 2)}))


def _independent(
    query: Query,
    number: int,
    map_from_camera: Pose,
    hypothesis: Hypothesis,
    landmark_map: LandmarkMap,
    cluster_size: int,
) -> tuple[NDArray[np.int32], Array]:
    """Landmarks that neighbouring keyframes see and the pose was not fitted to, and where [N, 2] they should be."""
    near = covisibility.nearby_keyframes(landmark_map, map_from_camera, cluster_size)
    keyframes = tuple(dict.fromkeys(near + hypothesis.keyframes[:cluster_size]))
    landmarks = covisibility.landmarks_seen_by(landmark_map, keyframes)
    support = hypothesis.found.where(hypothesis.agreeing)
    landmarks = landmarks[~np.isin(landmarks, support.landmarks)]
    landmarks = landmarks[covisibility.seen_most(landmark_map, landmarks, _PROJECTED)]
    pixels, visible = project(landmark_map.landmarks_xyz[landmarks], map_from_camera, query.cameras[number])
    landmarks, pixels = landmarks[visible], pixels[visible]
    fitted = support.pixels[support.views == number]
    if len(fitted) and len(pixels):
        distance = cKDTree(fitted).query(pixels, distance_upper_bound=_NEAR_PX)[0]
        chosen = (distance > _APART_PX) & (distance < _NEAR_PX)
        landmarks, pixels = landmarks[chosen], pixels[chosen]
    often = covisibility.seen_most(landmark_map, landmarks, _MOST)
    return landmarks[often], pixels[often]
