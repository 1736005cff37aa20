"""Places of a map that look alike: keyframes which another place, or the next door of a corridor, shows as well.

One image cannot tell them apart. What is found here is stored in the map, and looked at whenever one of the places is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import Query, View
from hfnet_core.localization.covisibility import nearby_keyframes
from hfnet_core.localization.hypothesis import Hypothesis, Look, hypothesis_of, is_elsewhere
from hfnet_core.localization.matching import Matches
from hfnet_core.localization.nearby import NearSearch
from hfnet_core.localization.retrieval import Retriever
from hfnet_core.localization.search import MapSearch
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.progress import Progress, silent
from hfnet_core.types import Features, Mode, Scaled

__all__ = ["features_of", "with_look_alikes"]

_RANKED = 64  # most similar keyframes among which other places are looked for
_PLACES, _TOGETHER = 3, 4  # other places looked at for a keyframe, and keyframes of each
_SIMILAR = 0.7  # times the similarity of its most similar neighbour, that another place must have to be looked at
_DECIMALS = 6  # of stored poses: where to look, the same byte by byte
_ASKED = 500  # observations of a keyframe: enough to tell, and quicker than all
_SHARE = 0.35  # of what the keyframe or the place shows that the other must explain; of an image it is about half
# What repeats within a place is asked for apart, among the landmarks of so many keyframes around: nothing nearer to the
# keyframe's own landmarks than that, of their distance too, counts as another; it resembles the keypoints about as much
# (cosine), and the pose from which it does must explain so much of what the keyframe's own pose explains.
_AROUND, _APART_M, _APART, _AS_ALIKE, _REPEATED = 12, 0.5, 0.2, 0.2, 0.3
_TRIED = 1000  # triples: a tenth of them agree where something repeats, and mostly nothing does


def with_look_alikes(landmark_map: LandmarkMap, progress: Progress = silent) -> LandmarkMap:
    """The map with its look-alike places, found anew."""
    search = _Search(landmark_map)
    found: dict[int, list[Pose]] = {}
    for keyframe in range(landmark_map.keyframes):
        for there in search.doubles(keyframe):
            _note(found, keyframe, there)
            other = search.nearest(there)
            if other is not None:  # which shows this place in turn, however few keyframes it has itself
                here_from_there = landmark_map.map_from_camera(keyframe) @ there.inverse()
                _note(found, other, here_from_there @ landmark_map.map_from_camera(other))
        progress("looking for places that look alike", keyframe + 1, landmark_map.keyframes)
    rows = [(keyframe, there.matrix()[:3]) for keyframe in sorted(found) for there in found[keyframe]]
    return replace(
        landmark_map,
        alike_keyframes=np.array([keyframe for keyframe, _ in rows], np.int32),
        alike_poses=np.round(np.array([pose for _, pose in rows], np.float64).reshape(-1, 3, 4), _DECIMALS),
    )


def _note(found: dict[int, list[Pose]], keyframe: int, there: Pose) -> None:
    known = found.setdefault(keyframe, [])
    if all(is_elsewhere(there, one) for one in known):
        known.append(there)


class _Search:
    """Asks for keyframes as if they were images, everywhere but where they are."""

    def __init__(self, landmark_map: LandmarkMap) -> None:
        config = LocalizerConfig(tracking=False)
        self._map, self._least = landmark_map, config.min_inliers
        self._quickly = replace(config, ransac_iterations=_TRIED)
        self._search, self._near = MapSearch(landmark_map, config), NearSearch(landmark_map, config)
        self._retriever = Retriever(landmark_map.place_descriptors)

    def doubles(self, keyframe: int) -> Iterator[Pose]:
        """Poses elsewhere from which the map shows what a keyframe does."""
        here, camera = self._map.map_from_camera(keyframe), self._map.cameras[self._map.keyframe_cameras[keyframe]]
        whole = features_of(self._map, keyframe)
        rows = _some(len(whole))
        if len(rows) < self._least:
            return
        query = Query.of([View(whole.where(rows), camera)], self._map)
        for found in self._found(query, keyframe):
            if found is None or not is_elsewhere(found.map_from_rig, here):
                continue
            refined = self._near.refine(query, found)
            if self._explains(refined, len(rows)) and is_elsewhere(refined.map_from_rig, here):
                yield refined.map_from_rig
        repeated = self._repeated(query, keyframe, self._map.landmarks_of(keyframe)[rows])
        if repeated is not None and is_elsewhere(repeated, here):
            yield repeated

    def nearest(self, there: Pose) -> int | None:
        """The keyframe that looks most nearly as a camera there would."""
        near = nearby_keyframes(self._map, there, 1)
        return near[0] if near else None

    def _explains(self, hypothesis: Hypothesis, observations: int) -> bool:
        return hypothesis.inliers >= self._least and hypothesis.guided >= _SHARE * min(observations, hypothesis.asked)

    def _found(self, query: Query, keyframe: int) -> Iterator[Hypothesis | None]:
        """At the other places that are most similar, and where the most similar neighbour at some distance is."""
        found, similarity = self._retriever.query(query.views[0].features.global_descriptor, _RANKED)
        neighbours = self._neighbours(keyframe)
        ours = np.isin(found, neighbours) & (found != keyframe)
        usual = similarity[ours][0] if ours.any() else similarity[0]
        others = found[~np.isin(found, neighbours) & (similarity >= _SIMILAR * usual)]
        for _ in range(_PLACES):
            if not len(others):
                break
            own = np.isin(others, self._neighbours(int(others[0])))
            yield self._search.at(query, 0, tuple(int(other) for other in others[own][:_TOGETHER])).hypothesis
            others = others[~own]
        here = self._map.map_from_camera(keyframe)
        apart = (int(other) for other in found[ours] if is_elsewhere(self._map.map_from_camera(int(other)), here))
        for other in islice(apart, 1):  # of repeated structure, which keyframes of one place show
            yield self._near.trial(query, self._map.map_from_camera(other), Mode.GLOBAL).hypothesis

    def _repeated(self, query: Query, keyframe: int, own: NDArray[np.int32]) -> Pose | None:
        """The pose from which a keyframe's surroundings show once more what it shows: the next panel of a wall, which
        may be nearer than any keyframe that would have to be there. own: landmarks of its keypoints."""
        here = self._map.map_from_camera(keyframe)
        around = (keyframe, *self._map.covisible_with(keyframe)[0][:_AROUND].tolist())
        another = _Another(self._map.landmarks_xyz, own, here)
        found = query.located(0, self._others_alike(query, another, around), self._map)
        look = Look(0, around, found)
        there = hypothesis_of(query, look, [look], Mode.GLOBAL, self._quickly) if len(found) >= self._least else None
        if there is None or there.inliers < self._least:
            return None
        refined = self._near.refine(query, there)
        usual = self._near.trial(query, here, Mode.GLOBAL).hypothesis
        shown = refined.found.where(refined.agreeing)
        others = shown.where(another.instead(shown.keypoints, shown.landmarks)).count  # far things show from here, too
        enough = usual is not None and min(others, refined.guided) >= max(_REPEATED * usual.explained, self._least)
        return refined.map_from_rig if enough else None

    def _others_alike(self, query: Query, another: _Another, around: tuple[int, ...]) -> Matches:
        """Of each keypoint the most similar landmark that is not where its own is."""
        descriptors, landmarks = query.views[0].features.descriptors, query.landmarks_seen_by(self._map, around)
        similarity = descriptors @ unit(self._map.landmark_descriptors[landmarks]).T
        alike = np.einsum("ij,ij->i", descriptors, unit(self._map.landmark_descriptors[another.own]))
        similarity[~another.table(landmarks)] = -1.0
        best = similarity.argmax(axis=1)
        most = similarity[np.arange(len(best)), best]
        kept = np.flatnonzero(most > alike - _AS_ALIKE)
        return Matches(kept, landmarks[best[kept]], most[kept], np.ones(len(kept), bool))

    def _neighbours(self, keyframe: int) -> NDArray[np.int32]:
        return np.append(self._map.covisible_with(keyframe)[0], np.int32(keyframe))


class _Another:
    """Which landmarks show something else than the keypoints of a keyframe do. own: [K] the landmarks of these."""

    def __init__(self, landmarks_xyz: NDArray[np.floating], own: NDArray[np.int32], map_from_camera: Pose) -> None:
        self.own, self._xyz = own, landmarks_xyz
        self._own_xyz = landmarks_xyz[own].astype(np.float64)
        away_m = np.linalg.norm(self._own_xyz - map_from_camera.translation, axis=1)
        self._least_m = np.maximum(_APART_M, _APART * away_m)

    def table(self, landmarks: NDArray[np.integer]) -> NDArray[np.bool_]:
        """[K, L] of all keypoints and landmarks [L]."""
        apart_m = cdist(self._own_xyz, self._xyz[landmarks].astype(np.float64))
        return np.asarray(apart_m >= self._least_m[:, None])

    def instead(self, keypoints: NDArray[np.integer], landmarks: NDArray[np.integer]) -> NDArray[np.bool_]:
        """[N] of pairs of both."""
        apart_m = np.linalg.norm(self._own_xyz[keypoints] - self._xyz[landmarks], axis=1)
        return np.asarray(apart_m >= self._least_m[keypoints])


def _some(count: int) -> NDArray[np.int64]:
    """At most _ASKED of so many keypoints, evenly chosen."""
    return np.unique(np.linspace(0, count - 1, min(count, _ASKED)).astype(np.int64))


def features_of(landmark_map: LandmarkMap, keyframe: int) -> Features:
    """What the map stores of a keyframe, as a query."""
    rows = landmark_map.observations_of(keyframe)
    camera = landmark_map.cameras[landmark_map.keyframe_cameras[keyframe]]
    return Features(
        np.array(landmark_map.observation_px[rows]),
        np.ones(len(rows), dtype=np.float32),
        unit(landmark_map.observation_descriptors[rows]),
        np.array(landmark_map.global_descriptors[keyframe]),
        camera.width,
        camera.height,
        scaled=_scaled_of(landmark_map, keyframe),
    )


def _scaled_of(landmark_map: LandmarkMap, keyframe: int) -> Scaled | None:
    """Of a keyframe's observations; the map knows them of the landmarks only, as means."""
    if not len(landmark_map.scale_factors):
        return None
    landmarks = landmark_map.landmarks_of(keyframe)
    described = [unit(rows[landmarks]).astype(np.float16) for rows in landmark_map.scaled_descriptors]
    return Scaled(tuple(landmark_map.scale_factors.tolist()), np.stack(described))
