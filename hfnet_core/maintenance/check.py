"""How good is a map? Keyframes are held back in turn and localized in the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from numpy.typing import NDArray

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.mapping.look_alikes import features_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.subset import keep_keyframes, kept_landmarks
from hfnet_core.types import Localization, Localized

__all__ = ["HeldBack", "MapCheck", "check_map"]

_FOLDS = 5  # each keyframe is held back once, a fifth of them at a time
WEAK_INLIERS = 50  # fewer make a place that a change of light or furniture may lose


@dataclass(frozen=True)
class HeldBack:
    """One keyframe localized without itself. Errors are against its pose in the map, None where it was not found.

    sigma_m: what the localization said of its own position (standard deviation, worst axis).
    """

    keyframe: int
    error_m: float | None
    error_deg: float | None
    inliers: int
    reason: str
    sigma_m: float | None = None


@dataclass(frozen=True, eq=False)
class MapCheck:
    """held_back: one for each keyframe. components: parts of the map that share no landmarks with each other. hits:
    [L] how many held-back keyframes found each landmark."""

    held_back: tuple[HeldBack, ...]
    components: int
    hits: NDArray[np.int64]

    @property
    def localized(self) -> list[HeldBack]:
        """The keyframes that were found without their own help."""
        return [item for item in self.held_back if item.error_m is not None]

    @property
    def weak(self) -> list[HeldBack]:
        """Keyframes that were lost, or found with little to spare, weakest first."""
        return sorted((item for item in self.held_back if item.inliers < WEAK_INLIERS), key=lambda item: item.inliers)


def check_map(
    landmark_map: LandmarkMap,
    progress: Callable[[int, int], None] = lambda done, total: None,
    queries: LandmarkMap | None = None,
) -> MapCheck:
    """Localize every keyframe in the map without it and its fold.

    The query is what the map stores of the keyframe: keypoints that became landmarks. A new image also has keypoints
    that never did, so this is the map's own consistency and coverage, an upper bound of what a new drive will see.
    queries: another map in the same frame, whose keyframes are asked for instead; those of the same name are held back.
    """
    asked = landmark_map if queries is None else queries
    count = asked.keyframes
    folds = np.arange(count) % min(_FOLDS, max(count, 1))
    results: list[HeldBack] = []
    hits = np.zeros(landmark_map.landmarks, dtype=np.int64)
    for fold in np.unique(folds):
        absent = {asked.keyframe_names[index] for index in np.flatnonzero(folds == fold)}
        kept = np.array([name not in absent for name in landmark_map.keyframe_names], dtype=bool)
        localizer = Localizer(keep_keyframes(landmark_map, kept), LocalizerConfig(tracking=False))
        original = np.flatnonzero(kept_landmarks(landmark_map, kept))
        for keyframe in np.flatnonzero(folds == fold):
            camera = asked.cameras[asked.keyframe_cameras[keyframe]]
            found = localizer.localize([View(features_of(asked, int(keyframe)), camera)])
            results.append(_judged(asked, int(keyframe), found))
            if isinstance(found, Localized):
                hits[original[found.landmarks]] += 1
            progress(len(results), count)
    return MapCheck(tuple(sorted(results, key=lambda item: item.keyframe)), _components(landmark_map), hits)


def _judged(asked: LandmarkMap, keyframe: int, found: Localization) -> HeldBack:
    if not isinstance(found, Localized):
        return HeldBack(keyframe, None, None, found.inliers, str(found))
    metres, degrees = pose_error(found.map_from_camera, asked.map_from_camera(keyframe))
    sigma_m = float(np.sqrt(np.linalg.eigvalsh(found.covariance[:3, :3])[-1]))
    return HeldBack(keyframe, metres, degrees, found.inliers, "", sigma_m)


def _components(landmark_map: LandmarkMap) -> int:
    count = landmark_map.keyframes
    graph = scipy.sparse.csr_matrix(
        (landmark_map.covisible_weights, _as_int32(landmark_map.covisible_keyframes), landmark_map.covisible_offsets),
        shape=(count, count),
    )
    return int(scipy.sparse.csgraph.connected_components(graph, directed=False)[0])


def _as_int32(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """A writable copy: scipy refuses memory-mapped indices."""
    return np.array(values, dtype=np.int32)
