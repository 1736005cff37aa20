"""Matching around a pose: a search near an expected one, and the refinement of a found one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose
from hfnet_core.localization import covisibility, matching, pose
from hfnet_core.localization.appearance.scales import suiting
from hfnet_core.localization.appearance.viewing import findable
from hfnet_core.localization.correspondences import Correspondences, Query, joined
from hfnet_core.localization.hypothesis import AS_GOOD, Hypothesis, Look, Trial, hypothesis_of, is_elsewhere
from hfnet_core.localization.twins.places import Shown, is_hardly_mapped
from hfnet_core.localization.windows import Windows, everywhere, of_matches, where_they_may_be
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import project
from hfnet_core.types import Int32, Mode

__all__ = ["NearSearch"]

_GUIDED_RADIUS_PX, _GUIDED_RATIO = 12.0, 0.95  # second matching pass around a solved pose
# Where its first inliers do not tell a pose well: windows that are searched at most; for what share of the landmarks
# that matters, as some of them tell; shares of their windows, one after another, up to which matches agree.
_WIDEST_PX, _FEW, _SAMPLED, _ANNEALED = 48.0, 0.2, 150, (1.0, 0.5, 0.25)
_BY_CHANCE = 0.4  # share of what is near that agrees, below which it says nothing: a quarter does of what is drawn
_ALIKE, _THOROUGH = 6, 2  # places looked at that the map knows to be alike, and times the landmarks asked there
_SHOWN_PX = 30.0  # windows for what an image shows of a place, however exactly that was mapped
_ROUNDS, _WELL_WITHIN = 3, 0.5  # searches around a prior; share of their radius that inliers may have moved


class NearSearch:
    """Guided matching in one map."""

    def __init__(self, landmark_map: LandmarkMap, config: LocalizerConfig) -> None:
        self._map, self._config = landmark_map, config

    def trial(self, query: Query, map_from_rig: Pose, mode: Mode = Mode.TRACKING, thoroughly: bool = False) -> Trial:
        """A pose near the expected one that lies well within the search windows. thoroughly: among more landmarks.

        Where it explains the image only at their edge, they may have cut off what contradicts it: then once more
        around the pose found.
        """
        expected, radius_px = map_from_rig, self._config.tracking_radius_px
        matches = 0
        for _ in range(_ROUNDS):
            looks = self._looks(query, expected, everywhere(radius_px), thoroughly=thoroughly)
            matches = sum(len(look.found) for look in looks)
            query.clock.lap("matching")
            found = [hypothesis_of(query, look, looks, mode, self._config) for look in looks]
            best = max((one for one in found if one is not None), key=lambda one: one.inliers, default=None)
            if best is None:
                break
            if _moved_px(query, best, expected) <= _WELL_WITHIN * radius_px:
                return Trial(best, matches)
            expected = best.map_from_rig
        return Trial(None, matches)

    def alike(self, found: Hypothesis, keyframes: Sequence[int] | None = None) -> list[Pose]:
        """Where the rig would be in the places that the map knows to look like the one found, by the keyframes given or
        by all that it was found with."""
        places: list[Pose] = []
        for keyframe in found.keyframes if keyframes is None else keyframes:
            for there_from_here in self._map.look_alikes_of(keyframe):
                there = there_from_here @ found.map_from_rig
                if len(places) < _ALIKE and all(is_elsewhere(there, one) for one in (*places, found.map_from_rig)):
                    places.append(there)
        return places

    def hardly_mapped(self, query: Query, found: Hypothesis) -> bool:
        """Whether of a place that looks like the one found the map has too little to tell them apart.

        Asked of the keyframes around: seen from one of another place, what looks like that lies where nothing is.
        """
        around: dict[int, None] = {}
        for view in query.views:
            map_from_camera = found.map_from_rig @ view.rig_from_camera
            near = covisibility.nearby_keyframes(self._map, map_from_camera, self._config.cluster_size)
            around.update(dict.fromkeys(near))
        here = self._expected(query, found.map_from_rig)
        hardly = [
            place
            for place in self.alike(found, tuple(around))
            if is_hardly_mapped(self._expected(query, place), beside=here)
        ]
        if not hardly:
            return False
        shown = self.shown(query, found.map_from_rig)
        return not all(self.shown(query, place).far_less_than(shown) for place in hardly)

    def shown(self, query: Query, map_from_rig: Pose, known: tuple[int, ...] = ()) -> Shown:
        """How much of what the map has around a pose, and in the keyframes known, the images show, wherever in wide
        windows: a place is no other one for being mapped less exactly. Places compared are asked alike."""
        expected = seen = 0.0
        for look in self._looks(query, map_from_rig, everywhere(_SHOWN_PX), known):
            expected += self._findable(query, look.view, map_from_rig, look.wanted)
            seen += self._findable(query, look.view, map_from_rig, look.found.landmarks)
        query.clock.lap("matching")
        return Shown(expected, seen)

    def _expected(self, query: Query, map_from_rig: Pose) -> float:
        """What `shown` would expect, without a look at the images."""
        out = 0.0
        for number, view in enumerate(query.views):
            map_from_camera = map_from_rig @ view.rig_from_camera
            keyframes = self._around(map_from_camera, ())
            landmarks, _ = self._asked(query, number, map_from_camera, keyframes, self._config.guided_landmarks)
            out += self._findable(query, number, map_from_rig, landmarks)
        return out

    def _findable(self, query: Query, view: int, map_from_rig: Pose, landmarks: Int32) -> float:
        """As many of them as a view may show, given from where the map saw them."""
        map_from_camera = map_from_rig @ query.views[view].rig_from_camera
        return float(findable(self._map, landmarks, map_from_camera, query.cameras[view]).sum())

    def refine(self, query: Query, first: Hypothesis) -> Hypothesis:
        """Match once more, guided by the pose, among the landmarks of its neighbourhood; keep what explains more.

        A pose found near a prior was matched that way already, and is only polished. Evidence must hold both ways: the
        first pass asked for the landmarks that keypoints resemble most, this one for the keypoints that landmarks do.
        """
        if first.near:
            polished = self._polish(query, first, first.found)
            return replace(polished, guided=polished.explained)
        looks = self._looks(query, first.map_from_rig, everywhere(_GUIDED_RADIUS_PX), first.keyframes)
        refined = self._polish(query, first, joined([look.found for look in looks]))
        asked = sum(look.asked for look in looks)
        if refined.explained < first.explained:
            return replace(self._polish(query, first, first.found), guided=refined.explained, asked=asked)
        mutual = refined.found.where(refined.agreeing & refined.found.unguided)
        evidence = mutual if len(mutual) < first.inliers else first.evidence
        keyframes = tuple(dict.fromkeys(keyframe for look in looks for keyframe in look.keyframes))
        return replace(refined, keyframes=keyframes, evidence=evidence, guided=refined.explained, asked=asked)

    def look_wider(self, query: Query, first: Hypothesis, refined: Hypothesis) -> Hypothesis:
        """The refined hypothesis, or what is found in wider windows where its first inliers do not tell the pose well.

        What is near moves in the image by more than what is far away: it may have been looked for in the wrong place,
        and matched with what happens to be there.
        """
        if first.near:  # matched in wide windows already
            return refined
        support = first.found.where(first.agreeing)
        windows = where_they_may_be(support, query, first.map_from_rig, _GUIDED_RADIUS_PX, _WIDEST_PX)
        if not self._is_vague(query, first, windows):
            return refined
        better = self._better(refined, self._annealed(query, first, windows))
        near = of_matches(better.found, windows) > _GUIDED_RADIUS_PX
        if better.agreeing[near].sum() >= _BY_CHANCE * near.sum():
            return better
        return self._polish(query, better, better.found.where(~near))  # planks, tiles: they fit in several places

    def _is_vague(self, query: Query, first: Hypothesis, windows: Windows) -> bool:
        """Whether more than a few of the landmarks that should be seen may be outside the usual windows."""
        landmarks = query.landmarks_seen_by(self._map, first.keyframes)
        points = self._map.landmarks_xyz[landmarks[:: max(len(landmarks) // _SAMPLED, 1)]].astype(np.float64)
        seen = outside = 0
        for number, view in enumerate(query.views):
            _, visible = project(points, first.map_from_rig @ view.rig_from_camera, query.cameras[number])
            seen += int(visible.sum())
            outside += np.count_nonzero(np.greater(windows(number, points[visible]), _GUIDED_RADIUS_PX))
        query.clock.lap("refinement")
        return outside > _FEW * seen

    def _better(self, known: Hypothesis, other: Hypothesis) -> Hypothesis:
        """Of two poses that one look led to the one that explains more; the other is its alternative if it is about as
        good. More evidence it is not: a wider search finds more by chance."""
        best, worst = (other, known) if other.explained > known.explained else (known, other)
        as_good = worst.explained >= AS_GOOD * best.explained
        return replace(
            known,
            map_from_rig=best.map_from_rig,
            found=best.found,
            agreeing=best.agreeing,
            alternative=worst.map_from_rig if as_good else None,
        )

    def _annealed(self, query: Query, first: Hypothesis, windows: Windows) -> Hypothesis:
        """The pose that explains what wide windows show best, starting with errors as large as these."""
        looks = self._looks(query, first.map_from_rig, windows, first.keyframes)
        seen, found = joined([look.found for look in looks]), first
        searched_px = of_matches(seen, windows)
        for share in _ANNEALED:
            limits_px = np.maximum(share * searched_px, self._config.reprojection_error_px)
            solution = pose.polish(seen, query, found.map_from_rig, self._config, limits_px)
            found = found.solved(solution, seen)
        query.clock.lap("refinement")
        looks = self._looks(query, found.map_from_rig, everywhere(_GUIDED_RADIUS_PX), first.keyframes)
        return self._polish(query, found, joined([look.found for look in looks]))

    def _polish(self, query: Query, first: Hypothesis, found: Correspondences) -> Hypothesis:
        """The hypothesis at the minimum of the reprojection errors, or as it was where there is none."""
        solution = pose.polish(found, query, first.map_from_rig, self._config)
        query.clock.lap("refinement")
        return first.solved(solution, found)

    def _looks(
        self,
        query: Query,
        map_from_rig: Pose,
        windows: Windows,
        known: tuple[int, ...] = (),
        thoroughly: bool = False,
    ) -> list[Look]:
        """Guided matches of all views, and the keyframes (`known` ones and those around) they come from."""
        out = []
        for number, view in enumerate(query.views):
            map_from_camera = map_from_rig @ view.rig_from_camera
            keyframes = self._around(map_from_camera, known)
            most = self._config.guided_landmarks * (_THOROUGH if thoroughly else 1)
            out.append(self._look(query, number, map_from_camera, keyframes, windows, most))
        return out

    def _around(self, map_from_camera: Pose, known: tuple[int, ...]) -> tuple[int, ...]:
        near = covisibility.nearby_keyframes(self._map, map_from_camera, self._config.cluster_size)
        return tuple(dict.fromkeys(known + near))

    def _asked(
        self, query: Query, view: int, map_from_camera: Pose, keyframes: tuple[int, ...], most: int
    ) -> tuple[Int32, Array]:
        """Landmarks to look for, and where [N, 2] they should be."""
        landmarks = query.landmarks_seen_by(self._map, keyframes)
        projections, visible = project(self._map.landmarks_xyz[landmarks], map_from_camera, query.cameras[view])
        landmarks, projections = landmarks[visible], projections[visible]
        chosen = covisibility.seen_most_of_each_distance(self._map, landmarks, map_from_camera.translation, most)
        return landmarks[chosen], projections[chosen]

    def _look(
        self, query: Query, view: int, map_from_camera: Pose, keyframes: tuple[int, ...], windows: Windows, most: int
    ) -> Look:
        landmarks, projections = self._asked(query, view, map_from_camera, keyframes, most)
        keypoints, descriptors = query.keypoints[view], query.views[view].features.descriptors
        expected = suiting(self._map, landmarks, map_from_camera, query.cameras[view])
        radius_px = windows(view, self._map.landmarks_xyz[landmarks].astype(np.float64))
        matches = matching.match_guided(
            keypoints, descriptors, projections, expected, landmarks, radius_px, _GUIDED_RATIO
        )
        return Look(view, keyframes, query.located(view, matches, self._map), landmarks)


def _moved_px(query: Query, hypothesis: Hypothesis, expected: Pose) -> float:
    """How far the image shows the inliers from where the prior expected them, median at the reference width.

    Of several views the one that moved most: its windows may have been in the wrong place. One without inliers counts
    by where its camera's axis points.
    """
    support = hypothesis.found.where(hypothesis.agreeing)
    moved = pose.errors_px(support, query, expected)
    out = 0.0
    for number in range(len(query.views)):
        own = moved[(support.views == number) & np.isfinite(moved)]
        out = max(
            out, float(np.median(own)) if len(own) else _turned_px(query, number, hypothesis.map_from_rig, expected)
        )
    return out


def _turned_px(query: Query, view: int, map_from_rig: Pose, expected: Pose) -> float:
    """How far a turn from one pose to another moves what is far away, in pixels of a view at the reference width."""
    cosine = np.trace(map_from_rig.rotation.T @ expected.rotation) / 2.0 - 0.5
    return float(np.arccos(np.clip(cosine, -1.0, 1.0))) * query.cameras[view].focal_length[0]
