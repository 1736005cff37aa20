"""Localization of several cameras on one rigid body: each is searched and matched alone, one pose is solved for all.

The stages of one image are those of Localizer, the pose and its judgement are of all images together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization import covisibility, rig_pose
from hfnet_core.localization.localizer import (
    GUIDED_RADIUS_PX,
    NEAR_ROUNDS,
    OVERWHELMING,
    SAME_PLACE_DEG,
    SAME_PLACE_M,
    WELL_WITHIN,
    Localizer,
    Query,
    Stopwatch,
    calibrated,
    weakness,
)
from hfnet_core.localization.matching import Matches
from hfnet_core.localization.pose import Solution
from hfnet_core.localization.rig_pose import Correspondences, Rig
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Features, Localization, Localized, Mode, NotLocalized, Reason

__all__ = ["Rig", "RigLocalizer"]

Places = Iterator[tuple[tuple[int, ...], bool]]


@dataclass(frozen=True, eq=False)
class _Shot:
    """What a rig saw at one time: a query for each camera that has an image, and the time spent on all of them."""

    rig: Rig
    queries: dict[int, Query]
    clock: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True, eq=False)
class _Hypothesis:
    """A solved pose with its correspondences, and the evidence for it.

    inliers: matched keypoints that agree with it and were found without knowing it, of `matches` such keypoints;
    covered: the share of cells they occupy. `found` may be guided by the pose.
    """

    mode: Mode
    solution: Solution
    found: Correspondences
    inliers: int
    matches: int
    covered: float
    keyframes: tuple[int, ...]

    @property
    def map_from_rig(self) -> Pose:
        return self.solution.map_from_camera


class RigLocalizer:
    """Localizes a rig in one map. Stateless between calls and safe to share between threads."""

    def __init__(self, landmark_map: LandmarkMap, config: LocalizerConfig | None = None) -> None:
        self._one = Localizer(landmark_map, config)
        self.map, self.config = landmark_map, self._one.config

    def localize(self, features: Sequence[Features | None], rig: Rig, prior: Pose | None = None) -> Localization:
        """The pose of the rig, as `map_from_camera` of the answer and its covariance, or why there is none.

        features: of each camera of the rig, None for one without an image. prior: expected map_from_rig; with it only
        landmarks near their expected place are matched. A camera that sees nothing of the map costs time and nothing
        else. Raises ConfigError if features and cameras differ in number or size or something is not finite, MapError
        if the descriptors are of another model.
        """
        if len(features) != len(rig.cameras):
            raise ConfigError(f"features of {len(features)} images for a rig of {len(rig.cameras)} cameras")
        if prior is not None and not prior.is_finite():
            raise ConfigError("the expected pose is not finite")
        rig = Rig(tuple(self.map.calibration_for(camera) for camera in rig.cameras), rig.rig_from_cameras)
        seen = {view: Query(found, rig.cameras[view]) for view, found in enumerate(features) if found is not None}
        shot = _Shot(rig, seen)
        refusal = self._refuse_input(shot)
        if refusal is not None:
            return refusal
        found = self._search_map(shot) if prior is None else self._search_near(shot, prior)
        if isinstance(found, NotLocalized):
            return found
        return self._judge(shot, self._refine(shot, found))

    def _refuse_input(self, shot: _Shot) -> NotLocalized | None:
        for query in shot.queries.values():
            query.check(self.map)
        if self.map.landmarks == 0 or self.map.keyframes == 0:
            return NotLocalized(Reason.EMPTY_MAP)
        keypoints = sum(len(query.features) for query in shot.queries.values())
        if keypoints < self.config.min_inliers:
            return NotLocalized(Reason.TOO_FEW_KEYPOINTS, f"{keypoints}, need {self.config.min_inliers}")
        return None

    def _search_map(self, shot: _Shot) -> _Hypothesis | NotLocalized:
        """All cameras look at their likeliest place at once, then at the next ones, until the evidence suffices."""
        searches = {view: self._one._places(query) for view, query in shot.queries.items() if len(query.features)}
        looks: list[Correspondences] = []
        keyframes: dict[int, None] = {}  # an ordered set
        best: _Hypothesis | None = None
        rounds = 0
        while looked := self._look(shot, searches):
            rounds += 1
            looks += [found for _, found, _ in looked]
            keyframes.update(dict.fromkeys(keyframe for place, _, _ in looked for keyframe in place))
            hypothesis = self._solve(shot, rig_pose.joined(looks), tuple(keyframes), Mode.GLOBAL)
            if hypothesis is not None and (best is None or hypothesis.inliers >= best.inliers):
                best = hypothesis
            has_double = any(double for _, _, double in looked)
            if best is not None and not has_double and self._weakness(best, OVERWHELMING) is None:
                break
        if best is None:
            return self._nothing(shot, looks, "")
        return best if rounds == 1 else self._refuse_double(shot, rig_pose.joined(looks), best)

    def _look(self, shot: _Shot, searches: dict[int, Places]) -> list[tuple[tuple[int, ...], Correspondences, bool]]:
        """Match every camera in its next place; those that have no other give nothing."""
        out = []
        for view, places in searches.items():
            place, has_double = next(places, ((), False))
            shot.clock.lap("retrieval")
            if place:
                found = self._located(shot, view, self._one._match_place(shot.queries[view], place))
                out.append((place, found, has_double))
                shot.clock.lap("matching")
        return out

    def _refuse_double(self, shot: _Shot, found: Correspondences, best: _Hypothesis) -> _Hypothesis | NotLocalized:
        """The best hypothesis, unless what contradicts it agrees on another pose about as well."""
        if self._weakness(best) is not None:
            return best
        contradicting = ~rig_pose.agreeing(found, shot.rig, best.map_from_rig, self.config)
        rival = self._solve(shot, found.where(contradicting), best.keyframes, Mode.GLOBAL)
        if rival is None or rival.inliers < self.config.ambiguity_ratio * best.inliers:
            return best
        metres, degrees = pose_error(best.map_from_rig, rival.map_from_rig)
        if metres <= SAME_PLACE_M and degrees <= SAME_PLACE_DEG:
            return best
        return _refused(shot, Reason.AMBIGUOUS, f"{best.inliers} and {rival.inliers} inliers", best)

    def _search_near(self, shot: _Shot, prior: Pose) -> _Hypothesis | NotLocalized:
        """A pose near the prior; where the first answer is not quite there, a pose near that, until both agree."""
        for _ in range(NEAR_ROUNDS):
            found, keyframes = self._match_near(shot, prior, self.config.tracking_radius_px)
            shot.clock.lap("matching")
            hypothesis = self._solve(shot, found, keyframes, Mode.TRACKING)
            if hypothesis is None:
                break
            support = found.where(hypothesis.solution.inliers)
            moved_px = float(np.median(rig_pose.errors_px(support, shot.rig, prior)))
            if moved_px <= WELL_WITHIN * self.config.tracking_radius_px:
                return hypothesis
            prior = hypothesis.map_from_rig
        return self._nothing(shot, [found], " near the prior")

    def _nothing(self, shot: _Shot, looks: Sequence[Correspondences], where: str) -> NotLocalized:
        matches = rig_pose.joined(looks).count if looks else 0
        reason = Reason.TOO_FEW_MATCHES if matches < self.config.min_inliers else Reason.NO_CONSENSUS
        return NotLocalized(reason, f"{matches} matches{where}", matches, timings_s=shot.clock.seconds)

    def _match_near(
        self, shot: _Shot, map_from_rig: Pose, radius_px: float, known: tuple[int, ...] = ()
    ) -> tuple[Correspondences, tuple[int, ...]]:
        """Guided matches of all cameras, and the keyframes (`known` ones and those around) they come from."""
        found, keyframes = [], dict.fromkeys(known)
        for view, query in shot.queries.items():
            map_from_camera = map_from_rig @ shot.rig.rig_from_cameras[view]
            near = covisibility.nearby_keyframes(self.map, map_from_camera, self.config.cluster_size)
            keyframes.update(dict.fromkeys(near))
            looked_at = tuple(dict.fromkeys(known + near))
            matches = self._one._match_near(query, map_from_camera, looked_at, radius_px)
            found.append(self._located(shot, view, matches))
        return rig_pose.joined(found), tuple(keyframes)

    def _located(self, shot: _Shot, view: int, matches: Matches) -> Correspondences:
        keypoints_px = shot.queries[view].features.keypoints_px
        return rig_pose.locate(view, shot.rig, keypoints_px, matches, self.map.landmarks_xyz)

    def _solve(self, shot: _Shot, found: Correspondences, keyframes: tuple[int, ...], mode: Mode) -> _Hypothesis | None:
        solution = rig_pose.solve(found, shot.rig, self.config)
        shot.clock.lap("pose")
        if solution is None:
            return None
        evidence, matches = found.where(solution.inliers & found.unguided), found.where(found.unguided)
        heard = [view for view in shot.queries if self._is_heard(evidence.of(view), matches.of(view))]
        evidence, matches = evidence.of(*heard), matches.of(*heard)
        covered = rig_pose.coverage(evidence, shot.rig)
        return _Hypothesis(mode, solution, found, evidence.count, matches.count, covered, keyframes)

    def _is_heard(self, evidence: Correspondences, matches: Correspondences) -> bool:
        """Whether a camera counts: one whose matches disagree with the pose for the most part says nothing of it."""
        return evidence.count >= max(self.config.min_inlier_ratio * matches.count, 1)

    def _refine(self, shot: _Shot, first: _Hypothesis) -> _Hypothesis:
        """Match once more, guided by the pose; keep what explains more.

        A pose found near a prior was matched that way already, and is only polished.
        """
        if first.mode is Mode.TRACKING:
            return self._polish(shot, first, first.found)
        found, keyframes = self._match_near(shot, first.map_from_rig, GUIDED_RADIUS_PX, first.keyframes)
        refined = self._polish(shot, first, found)
        if refined.solution.count < first.solution.count:
            return self._polish(shot, first, first.found)
        return replace(refined, keyframes=keyframes)

    def _polish(self, shot: _Shot, first: _Hypothesis, found: Correspondences) -> _Hypothesis:
        """The hypothesis at the minimum of the reprojection errors, or as it was where there is none."""
        solution = rig_pose.polish(found, shot.rig, first.map_from_rig, self.config)
        shot.clock.lap("refinement")
        return first if solution is None else replace(first, solution=solution, found=found)

    def _weakness(self, hypothesis: _Hypothesis, factor: float = 1.0) -> str | None:
        return weakness(self.config, hypothesis.inliers, hypothesis.matches, hypothesis.covered, factor)

    def _judge(self, shot: _Shot, hypothesis: _Hypothesis) -> Localization:
        weak = self._weakness(hypothesis)
        if weak is not None:
            return _refused(shot, Reason.WEAK_EVIDENCE, weak, hypothesis)
        support = hypothesis.found.where(hypothesis.solution.inliers)
        covariance, rms_px = rig_pose.pose_covariance(support, shot.rig, hypothesis.map_from_rig)
        shot.clock.lap("covariance")
        if not np.isfinite(covariance).all():
            return _refused(shot, Reason.WEAK_EVIDENCE, "the inliers do not determine the pose", hypothesis)
        keypoints_px = np.zeros((len(support), 2), np.float32)
        for view, query in shot.queries.items():
            own = support.views == view
            keypoints_px[own] = query.features.keypoints_px[support.keypoints[own]]
        return Localized(
            map_from_camera=hypothesis.map_from_rig,
            covariance=calibrated(covariance, self.map),
            mode=hypothesis.mode,
            inliers=hypothesis.inliers,
            matches=hypothesis.matches,
            keypoints_px=keypoints_px,
            landmarks=support.landmarks,
            keyframes=hypothesis.keyframes,
            coverage=rig_pose.coverage(support, shot.rig),
            reprojection_px=rms_px,
            timings_s=shot.clock.seconds,
            views=support.views,
        )


def _refused(shot: _Shot, reason: Reason, detail: str, best: _Hypothesis) -> NotLocalized:
    return NotLocalized(reason, detail, best.matches, best.inliers, best.keyframes, shot.clock.seconds)
