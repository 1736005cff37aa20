"""`hfnet map update`: a map learns from a visit what it did not know, and forgets what is no longer there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import LocalizerConfig, MapBuildConfig, MapCareConfig
from hfnet_core.errors import ConfigError, MapError
from hfnet_core.localization.correspondences import View
from hfnet_core.maintenance.check import WEAK_INLIERS
from hfnet_core.maintenance.extend import add_placed, read_visits
from hfnet_core.maintenance.placing import Placed, Placing, place
from hfnet_core.maintenance.prune import Budget, map_bytes, prune_map
from hfnet_core.maintenance.updating.budget import limit_keyframes, without_landmarks
from hfnet_core.maintenance.updating.counting import Sighting, count_visit
from hfnet_core.maintenance.updating.held_back import Held, Recall, of_keyframes, recall_of
from hfnet_core.maintenance.updating.places import places_of
from hfnet_core.mapping.keyframes.reading import BuildTools, Reading
from hfnet_core.maps import statistics
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.visits.counts import Counts, carried, counted, counts_of, weights
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.options import BagOptions

__all__ = ["Limits", "Updated", "update_map", "update_with_keyframes"]

_HELD_BACK = 5  # each n-th image of a visit is asked and not learned from
_ROUNDS = 3  # of localizing what could not be localized in what the visit has added meanwhile
_ASKED = 40  # keyframes of the map itself that are asked before and after
_MAY_FALL = 0.1  # share of these that may be lost: of a place that changes, some of what was is no more


@dataclass(frozen=True)
class Limits:
    """What a map may have after an update; None for no limit."""

    max_keyframes: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.max_keyframes is not None and self.max_keyframes < 2:
            raise ConfigError(f"max_keyframes: {self.max_keyframes} is less than a map's two")


@dataclass(frozen=True, eq=False)
class Updated:
    """The new map, and what it took.

    images: of the visits, localized: in the old map. weak: of these, those that were not or hardly. learned: added as
    keyframes, of `out_of_reach` more nothing tells where they were taken. new: landmarks; forgotten: landmarks that the
    visits did not see again; learned_at, forgotten_at: where most of them are, see `places_of`. pruned: keyframes and
    landmarks given up for the budget. before, after: recall of the images held back; own_before, own_after: of the
    map's own keyframes.
    """

    landmark_map: LandmarkMap
    images: int
    localized: int
    weak: int
    learned: int
    out_of_reach: int
    new: int
    forgotten: int
    learned_at: tuple[str, ...]
    forgotten_at: tuple[str, ...]
    pruned: tuple[int, int]
    bytes_before: int
    bytes_after: int
    before: Recall
    after: Recall
    own_before: Recall
    own_after: Recall

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The report, for people."""
        return [
            ("images of the visits", f"{self.images}, {self.localized} localized before"),
            ("weak or lost", f"{self.weak}, {self.learned} keyframes learned, {self.out_of_reach} out of reach"),
            ("learned around", "; ".join(self.learned_at) or "nowhere"),
            ("landmarks", f"{self.new} new, {self.forgotten} forgotten"),
            ("forgotten around", "; ".join(self.forgotten_at) or "nowhere"),
            ("given up for the budget", f"{self.pruned[0]} keyframes, {self.pruned[1]} landmarks"),
            ("size", f"{self.bytes_before / 1e6:.1f} MB before, {self.bytes_after / 1e6:.1f} MB after"),
            ("held back, localized", f"{self.before} before, {self.after} after"),
            ("the map's own keyframes", f"{self.own_before} before, {self.own_after} after"),
        ]


@dataclass(frozen=True, eq=False)
class _Visit:
    """A reading with what localizing its keyframes said, and which are held back."""

    reading: Reading
    placing: Placing
    held: NDArray[np.bool_]

    @property
    def drive(self) -> int:
        """Which bag it is of: several cameras make one visit."""
        first = self.reading.keyframes[0]
        return first.recording if first.drive is None else first.drive

    @property
    def sightings(self) -> list[Sighting]:
        """Of every image whose pose a robot would have taken."""
        least = LocalizerConfig.min_confidence
        found = sorted(self.placing.results.items())
        return [Sighting(self.reading.keyframes[k].camera, one) for k, one in found if one.confidence >= least]

    @property
    def weak(self) -> NDArray[np.bool_]:
        """[M] images that a robot would not have localized, or with little to spare."""
        out = np.ones(len(self.reading.keyframes), dtype=bool)
        for index, found in self.placing.results.items():
            out[index] = found.confidence < LocalizerConfig.min_confidence or found.inliers < WEAK_INLIERS
        return out

    @property
    def held_back(self) -> list[Held]:
        """Images to ask, with their places as far as they are known."""
        where = {item.keyframe.name: item.map_from_camera for item in self.placing.placed}
        chosen = (self.reading.keyframes[index] for index in np.flatnonzero(self.held).tolist())
        return [Held(View(item.features, item.camera, ranges=item.ranges), where.get(item.name)) for item in chosen]


def update_map(
    landmark_map: LandmarkMap,
    bags: Sequence[Path],
    tools: BuildTools,
    limits: Limits | None = None,
    options: BagOptions | Sequence[BagOptions] | None = None,
) -> Updated:
    """Take in visits to a map's place; its frame stays.

    Learned are the stretches where localization was weak or failed: their images are localized in the map, by the
    odometry from images that are, or in what the visit has added meanwhile. Raises as `extend_map` does, and MapError
    where the map would become worse for the images that it does not learn from.
    """
    readings = read_visits(landmark_map, bags, tools, options)
    return update_with_keyframes(landmark_map, readings, tools.config, limits, tools.progress)


def update_with_keyframes(
    landmark_map: LandmarkMap,
    readings: Sequence[Reading],
    config: MapBuildConfig,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Updated:
    """`update_map` of keyframes, of which odometry_from_camera counts, not map_from_camera."""
    visits = [_visit(landmark_map, reading, progress) for reading in readings]
    counts = counts_of(landmark_map)
    for _, together in itertools.groupby(visits, key=lambda visit: visit.drive):
        seen = count_visit(landmark_map, [one for visit in together for one in visit.sightings])
        counts = Counts(counts.hits + seen.hits, counts.misses + seen.misses)
    grown, learned, out_of_reach = landmark_map, 0, 0
    for visit in visits:
        grown, added, left = _learn(grown, visit, config, progress)
        learned, out_of_reach = learned + added, out_of_reach + left
    grown = counted(grown, carried(landmark_map, counts, grown))
    forgotten = weights(counts_of(grown)) < MapCareConfig.min_landmark_weight
    kept = without_landmarks(grown, forgotten)
    limited = _within(kept, limits or Limits())
    held = [item for visit in visits for item in visit.held_back]
    own = _own_recall(landmark_map, limited)
    updated = Updated(
        landmark_map=limited,
        images=sum(len(visit.reading.keyframes) for visit in visits),
        localized=sum(len(visit.sightings) for visit in visits),
        weak=sum(int(visit.weak.sum()) for visit in visits),
        learned=learned,
        out_of_reach=out_of_reach,
        new=max(0, grown.landmarks - landmark_map.landmarks),
        forgotten=int(forgotten.sum()),
        learned_at=places_of(
            grown, grown.keyframe_poses[~np.isin(grown.keyframe_names, landmark_map.keyframe_names), :, 3]
        ),
        forgotten_at=places_of(grown, grown.landmarks_xyz[forgotten]),
        pruned=(kept.keyframes - limited.keyframes, kept.landmarks - limited.landmarks),
        bytes_before=map_bytes(landmark_map),
        bytes_after=map_bytes(limited),
        before=recall_of(landmark_map, held),
        after=recall_of(limited, held),
        own_before=own[0],
        own_after=own[1],
    )
    _refuse_worse(updated)
    return replace(updated, landmark_map=_with_history(limited, updated))


def _visit(landmark_map: LandmarkMap, reading: Reading, progress: Progress) -> _Visit:
    held = np.arange(len(reading.keyframes)) % _HELD_BACK == _HELD_BACK // 2
    return _Visit(reading, place(landmark_map, reading.keyframes, progress), held)


def _learn(
    landmark_map: LandmarkMap, visit: _Visit, config: MapBuildConfig, progress: Progress
) -> tuple[LandmarkMap, int, int]:
    """The map with the weak stretches of a visit, how many keyframes that added, and how many nothing could place."""
    weak = visit.weak
    beside = weak.copy()  # with the images before and after, which tie a stretch to what is known
    beside[1:] |= weak[:-1]
    beside[:-1] |= weak[1:]
    wanted = [visit.reading.keyframes[index] for index in np.flatnonzero(beside & ~visit.held).tolist()]
    if not (weak & ~visit.held).any():
        return landmark_map, 0, 0
    placed = {item.keyframe.name: item for item in visit.placing.placed}
    grown, learned = landmark_map, 0
    for number in range(_ROUNDS):
        if number:
            placed = {item.keyframe.name: item for item in place(grown, wanted, progress).placed}
        found = [placed[item.name] for item in wanted if item.name in placed]
        if not found:
            break
        grown = _added(grown, visit.reading, found, number == 0, config, progress)
        learned += len(found)
        wanted = [item for item in wanted if item.name not in placed]
        if not wanted:
            break
    return grown, learned, len(wanted)


def _added(
    landmark_map: LandmarkMap,
    reading: Reading,
    found: Sequence[Placed],
    first: bool,
    config: MapBuildConfig,
    progress: Progress,
) -> LandmarkMap:
    placing = Placing(tuple(found), sum(item.carried_m == 0 for item in found), 0, 0, ())
    told = replace(reading, keyframes=[item.keyframe for item in found])
    extended = add_placed(landmark_map, [told], [placing], config, progress).landmark_map
    if first:
        return extended
    recordings = landmark_map.provenance.get("recordings", [])  # the visit is told already
    return replace(extended, provenance={**extended.provenance, "recordings": recordings})


def _within(landmark_map: LandmarkMap, limits: Limits) -> LandmarkMap:
    """Raises MapError where the landmarks that keyframes keep at least exceed the limit."""
    counts = counts_of(landmark_map)
    if limits.max_keyframes is not None:
        landmark_map = limit_keyframes(landmark_map, limits.max_keyframes, weights(counts))
        counts = counts_of(landmark_map)
    if limits.max_bytes is None:
        return landmark_map
    useful = np.maximum(counts.hits.astype(np.int64) - counts.misses, 0)
    return prune_map(landmark_map, useful, Budget(max_bytes=limits.max_bytes))


def _own_recall(before: LandmarkMap, after: LandmarkMap) -> tuple[Recall, Recall]:
    """Of keyframes that both maps have, each map without them."""
    shared = np.flatnonzero(np.isin(before.keyframe_names, after.keyframe_names))
    some = shared[:: max(1, len(shared) // _ASKED)][1::2]  # evenly, and none of them next to each other
    old, held = of_keyframes(before, some)
    names = {before.keyframe_names[index] for index in some}
    theirs = np.array([index for index, name in enumerate(after.keyframe_names) if name in names], dtype=np.int64)
    new, _ = of_keyframes(after, theirs)
    return recall_of(old, held), recall_of(new, held)


def _refuse_worse(updated: Updated) -> None:
    """Raises MapError."""
    before, after, own = updated.before, updated.after, updated.own_after
    allowed = updated.own_before.right - _MAY_FALL * max(updated.own_before.asked, 1)
    if after.right < before.right or after.wrong > before.wrong:
        raise MapError(
            f"the update is refused: of the images held back, {before} were localized before and {after} after; the "
            "map stays as it is"
        )
    if own.right < allowed or own.wrong > updated.own_before.wrong:
        raise MapError(
            f"the update is refused: of the map's own keyframes, {updated.own_before} were localized before and {own} "
            "after; the map stays as it is"
        )


def _with_history(landmark_map: LandmarkMap, updated: Updated) -> LandmarkMap:
    step: dict[str, Any] = {
        "step": "update",
        "images": updated.images,
        "localized": updated.localized,
        "weak": updated.weak,
        "learned": updated.learned,
        "forgotten_landmarks": updated.forgotten,
        "held_back": [updated.before.asked, updated.before.right, updated.after.right],
    }
    told = landmark_map.provenance
    counts = statistics.counts(landmark_map.keyframes, landmark_map.landmarks, landmark_map.observations)
    return replace(
        landmark_map,
        provenance={
            **told,
            "statistics": {**told.get("statistics", {}), **counts},
            "history": [*told.get("history", []), step],
        },
    )
