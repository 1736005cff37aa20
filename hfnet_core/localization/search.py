"""Searching the whole map: places that look like the query, one look after another, until the evidence suffices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hfnet_core.config import LocalizerConfig
from hfnet_core.localization import covisibility, judgement, matching
from hfnet_core.localization.correspondences import Correspondences, Query
from hfnet_core.localization.hypothesis import Hypothesis, Look, hypothesis_of
from hfnet_core.localization.retrieval import Retriever
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Mode, NotLocalized, Reason

__all__ = ["MapSearch"]

_FIRST_LOOK, _FIRST_LANDMARKS = 4, 600  # keyframes of a place, and landmarks of them, looked at before all of it


@dataclass(frozen=True)
class _Place:
    """Keyframes to look at together, and whether another place resembles the view as much: perhaps a double."""

    keyframes: tuple[int, ...]
    has_double: bool


class MapSearch:
    """Retrieval, covisibility, matching and pose, place after place."""

    def __init__(self, landmark_map: LandmarkMap, config: LocalizerConfig) -> None:
        self._map, self._config = landmark_map, config
        self._retriever = Retriever(landmark_map.place_descriptors)
        self._descriptors = landmark_map.landmark_descriptors

    def __call__(self, query: Query) -> Hypothesis | NotLocalized:
        """The place of the map with the most evidence, if no other place has nearly as much.

        All views look at their likeliest place at once, then at the next ones.
        """
        places = {view: self._places(query, view) for view in range(len(query.views)) if len(query.keypoints[view])}
        looks: list[Look] = []
        hypotheses: list[Hypothesis] = []
        while round_ := self._look(query, places):
            looks += [look for look, _ in round_]
            found = [hypothesis_of(query, look, looks, Mode.GLOBAL, self._config) for look, _ in round_]
            hypotheses += [hypothesis for hypothesis in found if hypothesis is not None]
            has_double = any(double for _, double in round_)
            if not has_double and any(judgement.overwhelming(query, one, self._config) for one in found if one):
                break
        if not hypotheses:
            return self._nothing(query, looks)
        return self._best(query, hypotheses)

    def _look(self, query: Query, places: dict[int, Iterator[_Place]]) -> list[tuple[Look, bool]]:
        """Match every view in its next place; those that have no other give nothing."""
        out = []
        for view, following in places.items():
            place = next(following, None)
            if place is not None:
                found = self._match(query, view, place.keyframes)
                out.append((Look(view, place.keyframes, found), place.has_double))
                query.clock.lap("matching")
        return out

    def _places(self, query: Query, view: int) -> Iterator[_Place]:
        config, descriptor = self._config, query.views[view].features.global_descriptor
        found, similarity = self._retriever.query(descriptor, config.retrieved)
        query.clock.lap("retrieval")
        likeness = {int(keyframe): float(value) for keyframe, value in zip(found, similarity, strict=True)}
        places = covisibility.cluster(self._map, list(likeness), list(likeness.values()))
        query.clock.lap("covisibility")
        for index, place in enumerate(places[: config.max_clusters]):
            usual = float(np.median([likeness[keyframe] for keyframe in place]))
            following = places[index + 1] if index + 1 < len(places) else ()
            has_double = any(likeness[keyframe] >= usual for keyframe in following)
            if len(place) > _FIRST_LOOK:  # the most similar ones usually suffice, and cost less
                yield _Place(place[:_FIRST_LOOK], has_double)
            yield _Place(covisibility.grow(self._map, place, config.cluster_size), has_double)

    def _match(self, query: Query, view: int, keyframes: Sequence[int]) -> Correspondences:
        """Matches to the landmarks of keyframes; of a few keyframes only to those that are seen most often."""
        landmarks = covisibility.landmarks_seen_by(self._map, keyframes)
        if len(keyframes) <= _FIRST_LOOK:
            landmarks = landmarks[covisibility.seen_most(self._map, landmarks, _FIRST_LANDMARKS)]
        own, descriptors = query.views[view].features.descriptors, unit(self._descriptors[landmarks])
        matches = matching.match_all(own, descriptors, landmarks, self._config.ratio, mutual=False)
        return query.located(view, matches, self._map)

    def _nothing(self, query: Query, looks: Sequence[Look]) -> NotLocalized:
        most = max((len(look.found) for look in looks), default=0)
        reason = Reason.NO_CONSENSUS if most >= self._config.min_inliers else Reason.TOO_FEW_MATCHES
        return NotLocalized(reason, f"{most} matches", most, timings_s=query.clock.seconds)

    def _best(self, query: Query, hypotheses: Sequence[Hypothesis]) -> Hypothesis | NotLocalized:
        best, *others = sorted(hypotheses, key=lambda hypothesis: -hypothesis.inliers)
        enough = self._config.ambiguity_ratio * best.inliers
        rival = next((other for other in others if other.elsewhere(best) and other.inliers >= enough), None)
        if rival is not None and judgement.weakness(query, best, self._config) is None:
            return judgement.refused(query, Reason.AMBIGUOUS, f"{best.inliers} and {rival.inliers} inliers", best)
        return best
