"""Searching the whole map: places that look like the query, one look after another, for as long as somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import LocalizerConfig
from hfnet_core.localization import covisibility, matching
from hfnet_core.localization.appearance.scales import at_other_scales
from hfnet_core.localization.correspondences import Correspondences, Query, joined
from hfnet_core.localization.hypothesis import Hypothesis, Look, Trial, hypothesis_of
from hfnet_core.localization.retrieval import Retriever
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Int32, Mode

__all__ = ["MapSearch"]

_FIRST_LOOK, _FIRST_LANDMARKS = 4, 600  # keyframes of a place, and landmarks of them, looked at before all of it
# Keypoints that match, as a share, below which other scales are asked; and how much better one must do to be believed.
_FEW, _CLEARLY = 0.06, 1.3
_PLAIN = ((0, 3), (0, 10), (10, 20))  # ranks of the keyframes matched one by one, in the second look
_RANKED = 64  # most similar keyframes among which another place is looked for
_AS_SIMILAR = 0.9  # times the similarity of the place found, that another must have to be looked at
# Similarity to keyframes of the place found, from which keyframes elsewhere are looked at: 0.80 to 1.0 for doubles
# (floors, rooms, doors of one plan), at most 0.67 in eleven maps without.
_TWIN, _ASKED_FOR_TWINS = 0.7, 3


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
        self._resembling: dict[int, NDArray[np.int64]] = {}

    def trials(self, query: Query) -> Iterator[Trial]:
        """One look after another: all views at their likeliest place at once, then at the next ones."""
        places = {view: self._places(query, view) for view in self._seeing(query)}
        looks: list[Look] = []
        while round_ := self._look(query, places):
            looks += [look for look, _ in round_]
            has_double = any(double for _, double in round_)
            yield from (self._trial(query, look, looks, has_double) for look, _ in round_)

    def second_look(self, query: Query) -> Iterator[Trial]:
        """In another way: each retrieved keyframe by itself, every keypoint with its most similar observation (after
        hloc, Sarlin et al.), which finds what the ratio test between landmarks threw away."""
        known: dict[tuple[int, int], Correspondences] = {}
        for first, last in _PLAIN:
            views = [view for view in self._seeing(query) if len(self._ranked(query, view)[0]) > first]
            plain = [self._plain(query, view, first, last, known) for view in views]
            yield from (replace(self._trial(query, look, plain, has_double=False), rough=True) for look in plain)

    def other_places(self, query: Query, found: Hypothesis) -> Iterator[Trial]:
        """What the place that resembles the views most among all others says, and the one that resembles the place
        found: perhaps it is a double of it.

        A map with two rooms of one plan may fill all retrieved images with views of one; and an image from beside what
        was mapped may resemble other places more than the one that it is found in.
        """
        here = self._around(found.keyframes)
        twin = self._twin(found.keyframes, here)
        for view in range(len(query.views)):
            for place in dict.fromkeys((self._alike(query, view, here), twin)):
                if place:
                    yield self.at(query, view, place)

    def at(self, query: Query, view: int, keyframes: tuple[int, ...]) -> Trial:
        """What one place says of one view."""
        look = Look(view, keyframes, self._match(query, view, keyframes))
        query.clock.lap("matching")
        return self._trial(query, look, [look], has_double=False)

    def _trial(self, query: Query, look: Look, looks: Sequence[Look], has_double: bool) -> Trial:
        hypothesis = hypothesis_of(query, look, looks, Mode.GLOBAL, self._config)
        return Trial(hypothesis, len(look.found), has_double, found=look.found)

    def _seeing(self, query: Query) -> list[int]:
        return [view for view, keypoints in enumerate(query.keypoints) if len(keypoints)]

    def _around(self, keyframes: Sequence[int] | NDArray[np.integer]) -> Int32:
        """Keyframes and all that share landmarks with them."""
        near = [np.asarray(keyframes, np.int32), *(self._map.covisible_with(keyframe)[0] for keyframe in keyframes)]
        return np.concatenate(near).astype(np.int32)

    def _alike(self, query: Query, view: int, here: Int32) -> tuple[int, ...]:
        """The few most similar keyframes of the most similar other place, none where it is not similar enough."""
        found, similarity = self._ranked(query, view)
        ours = np.isin(found, here)
        if not ours.any() or ours.all() or similarity[~ours][0] < _AS_SIMILAR * similarity[ours][0]:
            return ()
        return self._one_place(found[~ours])

    def _twin(self, keyframes: Sequence[int], here: Int32) -> tuple[int, ...]:
        """A few keyframes of one place elsewhere that resemble some of these keyframes, none where nothing does."""
        for keyframe in keyframes[:_ASKED_FOR_TWINS]:
            if keyframe not in self._resembling:
                found, similarity = self._retriever.query(self._map.place_descriptors[keyframe], _RANKED)
                self._resembling[keyframe] = found[similarity >= _TWIN]
            resembling = self._resembling[keyframe]
            others = resembling[~np.isin(resembling, here)]
            if len(others):
                return self._one_place(others)
        return ()

    def _one_place(self, keyframes: NDArray[np.int64]) -> tuple[int, ...]:
        """The first few of them that show what the first one shows."""
        own = np.isin(keyframes, self._around(keyframes[:1]))
        return tuple(int(keyframe) for keyframe in keyframes[own][:_FIRST_LOOK])

    def _ranked(self, query: Query, view: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The keyframes most similar to a view, and their similarity, best first; looked up once for each query."""
        if view not in query.ranked:
            descriptor = query.views[view].features.global_descriptor
            query.ranked[view] = self._retriever.query(descriptor, max(_RANKED, self._config.retrieved))
            query.clock.lap("retrieval")
        return query.ranked[view]

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
        config = self._config
        found, similarity = (ranked[: config.retrieved] for ranked in self._ranked(query, view))
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
        """Matches to the landmarks of keyframes; of a few keyframes only to those that are seen most often.

        Where hardly any keypoint matches, other scales are asked: a camera has about one distance from what it sees.
        """
        landmarks = query.landmarks_seen_by(self._map, tuple(keyframes))
        if len(keyframes) <= _FIRST_LOOK:
            landmarks = landmarks[covisibility.seen_most(self._map, landmarks, _FIRST_LANDMARKS)]
        own, descriptors = query.views[view].features.descriptors, unit(self._descriptors[landmarks])
        matches = matching.match_all(own, descriptors, landmarks, self._config.ratio, mutual=False)
        if len(matches) < _FEW * len(own):
            for scaled in at_other_scales(self._map, landmarks):
                other = matching.match_all(own, scaled, landmarks, self._config.ratio, mutual=False)
                matches = other if len(other) > _CLEARLY * len(matches) else matches
        return query.located(view, matches, self._map)

    def _plain(
        self, query: Query, view: int, first: int, last: int, known: dict[tuple[int, int], Correspondences]
    ) -> Look:
        """Every keypoint with the most similar observation of each of some retrieved keyframes.

        known: what views and keyframes had in common in looks before; grows.
        """
        keyframes = tuple(int(keyframe) for keyframe in self._ranked(query, view)[0][first:last])
        for keyframe in keyframes:
            if (view, keyframe) not in known:
                known[view, keyframe] = self._match_keyframe(query, view, keyframe)
        query.clock.lap("matching")
        return Look(view, keyframes, joined([known[view, keyframe] for keyframe in keyframes]))

    def _match_keyframe(self, query: Query, view: int, keyframe: int) -> Correspondences:
        rows, landmarks = self._map.observations_of(keyframe), self._map.landmarks_of(keyframe)
        descriptors, everyone = unit(self._map.observation_descriptors[rows]), np.arange(len(rows), dtype=np.int32)
        own = query.views[view].features.descriptors
        matches = matching.match_all(own, descriptors, everyone, ratio=np.inf)
        return query.located(view, matches.naming(landmarks), self._map)
