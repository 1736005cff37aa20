"""Hierarchical localization: retrieval, covisibility, matching, pose, refinement, verification,
judgement.

Source: Sarlin et al., CVPR 2019, section 3 and its supplementary material; refinement by a second, guided matching pass
and the judgement of a pose are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose, pose_difference, pose_error
from hfnet_core.localization import judgement
from hfnet_core.localization.appearance.distinctness import Distinctness
from hfnet_core.localization.confidence import evidence_of, log_odds, misfit
from hfnet_core.localization.correspondences import Correspondences, Query, View, joined
from hfnet_core.localization.hypothesis import Hypothesis, Trial, is_elsewhere
from hfnet_core.localization.judgement import Candidate
from hfnet_core.localization.nearby import NearSearch
from hfnet_core.localization.search import MapSearch
from hfnet_core.localization.twins.places import Shown, told_apart
from hfnet_core.localization.twins.planar import second_pose
from hfnet_core.localization.uncertainty.focal import Uncertainty, uncertainty_of
from hfnet_core.localization.uncertainty.ranges import depth_contradiction
from hfnet_core.localization.verification import verify
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Localization, Matched, Mode, NotLocalized, Reason

__all__ = ["Localizer", "View"]

_CONTRADICTED = 10.0  # log odds that depths which do not fit take from a pose, so that others come before it
_THERE_M, _THERE_DEG = 1.0, 30.0  # from where a look-alike should be: either pose may be a little off
_LEAST_INLIERS = 6  # of a hypothesis that is worth refining
_WORTH_A_LOOK = -3.0  # log odds of a candidate around which it is looked once more
# Of the best pose's inliers, as many a double must have: 0.04 and 0.11 where a facade repeats its windows 12 m on, of
# which the map shows little; what is said of rendered look-alikes does not change by it.
_AS_STRONG = 0.15
_WORTH_IT = 30  # keypoints that a hypothesis explains which is worth wider windows


class Localizer:
    """Localizes one camera, or several on one rigid body, in one map.

    Stateless between calls and safe to share between threads.
    """

    def __init__(self, landmark_map: LandmarkMap, config: LocalizerConfig | None = None) -> None:
        self.map = landmark_map
        self.config = config or LocalizerConfig()
        self._search = MapSearch(landmark_map, self.config)
        self._near = NearSearch(landmark_map, self.config)
        self._distinctness = Distinctness(landmark_map)

    def localize(self, views: Sequence[View], prior: Pose | None = None, trust: float = 0.0) -> Localization:
        """The pose of the rig (of one camera: the camera's), or the reason why there is none.

        views: what each camera shows; one without an image is left out, one that sees nothing of the map costs time
        and nothing else. prior: expected map_from_rig; with it only landmarks near their expected place are matched
        and no other place is considered. Without it the whole map is searched. trust: natural logarithm of the odds by
        which knowing the prior speaks for a pose near it, 0 for a mere guess. Raises ConfigError if something is not
        finite, MapError if the descriptors are of another model.
        """
        query = Query.of(views, self.map)
        refusal = self._refuse(query, prior)
        if refusal is not None:
            return refusal
        candidates, looked = self._examine(query, prior, trust)
        matched = _matched(query, looked)
        if not candidates:
            most = max((trial.matches for trial in looked), default=0)
            return replace(self._nothing(query, most, prior), matched=matched)
        best = judgement.likeliest(candidates, self.config)
        if prior is None and judgement.weakness(best, self.config) is None:
            candidates = self._with_doubles(query, best, candidates)
        return replace(judgement.judge(query, candidates, self.map, self.config), matched=matched)

    def candidates(self, views: Sequence[View], prior: Pose | None = None) -> list[Candidate]:
        """Everything that localize() would consider if nothing convinced it; for calibrating the judgement."""
        query = Query.of(views, self.map)
        if self._refuse(query, prior) is not None:
            return []
        known: list[Candidate] = []
        out: list[Candidate] = []
        for trial in self._trials(query, prior, known, everywhere=True):
            found = self._hypothesis(query, trial)
            if found is not None:
                *others, best = self._candidates(query, found)
                known += [*others, best]
                out += [] if judgement.rivals(best, others, self.config) else [best]
        return out

    def _trials(
        self, query: Query, prior: Pose | None, known: Sequence[Candidate], everywhere: bool = False
    ) -> Iterator[Trial]:
        """What to look at: around a prior, or place after place and then more closely.

        known: the candidates so far; grows while the trials are examined. everywhere: look at all places even if one
        of them is told.
        """
        if prior is not None:
            yield self._near.trial(query, prior)
            return
        for trial in self._search.trials(query):
            yield trial
            told = known and judgement.tells_the_place(known[-1], known[:-1], self.config)
            if told and not trial.has_double and not everywhere:
                break  # how exactly the pose is known, no other place tells
        yield from self._closer(query, known)
        yield from self._search.second_look(query)
        yield from self._closer(query, known)

    def _closer(self, query: Query, known: Sequence[Candidate]) -> Iterator[Trial]:
        """Around the likeliest candidate: from a better pose, more of the image is found."""
        best = max(known, key=lambda candidate: candidate.log_odds, default=None)
        if best is not None and best.log_odds > _WORTH_A_LOOK:
            yield self._near.trial(query, best.hypothesis.map_from_rig, Mode.GLOBAL)

    def _examine(self, query: Query, prior: Pose | None, trust: float = 0.0) -> tuple[list[Candidate], list[Trial]]:
        """Refine and verify what is found, until something is beyond doubt or time is up; and what was looked at."""
        candidates: list[Candidate] = []
        looked: list[Trial] = []
        for number, trial in enumerate(self._trials(query, prior, candidates)):
            looked.append(trial)
            hypothesis = self._hypothesis(query, trial)
            if hypothesis is not None:
                candidates += self._candidates(query, hypothesis, trust)
                if not trial.has_double and judgement.convinces(candidates[-1], candidates[:-1], self.config):
                    break
            every_view_looked = number + 1 >= len(query.views)
            spent_s = query.clock.computed_s
            if every_view_looked and spent_s * (number + 2) / (number + 1) > 1e-3 * self.config.search_budget_ms:
                break  # another one like these would take too long
        return candidates, looked

    def _with_doubles(self, query: Query, best: Candidate, known: Sequence[Candidate]) -> list[Candidate]:
        """The candidates and what places say that look like the one found: those that the map knows, or else the one
        that resembles the image most. All are looked at: the first of them convinces no more than the others."""
        places = self._near.alike(best.hypothesis)
        new = [there for there in places if all(is_elsewhere(there, one.hypothesis.map_from_rig) for one in known)]
        found = self._all(query, (self._near.trial(query, there, Mode.GLOBAL, thoroughly=True) for there in new))
        candidates = [*known, *(found or self._of_other_places(query, best))]
        if not places:
            return candidates
        here = self._shown(query, best)
        there = [one for one in candidates if self._is_there(one, best, places)]
        unlike = [
            one
            for one in there
            if told_apart(query, best.hypothesis, one.hypothesis, self.map)
            or self._shown(query, one).far_less_than(here)
        ]
        least = _AS_STRONG * best.evidence.inliers
        doubles = [one for one in there if one not in unlike and one.evidence.inliers >= least]
        hardly = self._near.hardly_mapped(query, best.hypothesis)
        query.clock.lap("judgement")
        out = [replace(one, told_apart=True) if one in unlike else one for one in candidates]
        out = judgement.level(out, [best, *doubles]) if doubles else out
        return [replace(one, repeated=True, hardly_mapped=hardly) for one in out]

    def _shown(self, query: Query, candidate: Candidate) -> Shown:
        return self._near.shown(query, candidate.hypothesis.map_from_rig, candidate.hypothesis.keyframes)

    def _of_other_places(self, query: Query, best: Candidate) -> list[Candidate]:
        """What other places say that the map does not know to be alike. Where one explains about as much, it and the
        one found are looked at equally closely."""
        found = self._all(query, self._search.other_places(query, best.hypothesis))
        enough = self.config.ambiguity_ratio * best.hypothesis.explained
        others = [one.hypothesis for one in found if one.hypothesis.elsewhere(best.hypothesis)]
        as_good = [other for other in others if other.explained >= enough]
        closely = [best.hypothesis, *as_good] if as_good else []
        trials = (self._near.trial(query, one.map_from_rig, Mode.GLOBAL, thoroughly=True) for one in closely)
        return [*found, *self._all(query, trials)]

    def _is_there(self, one: Candidate, best: Candidate, places: Sequence[Pose]) -> bool:
        """Whether it is at one of these places."""
        off = (pose_error(one.hypothesis.map_from_rig, place) for place in places)
        elsewhere = one.hypothesis.elsewhere(best.hypothesis)
        return elsewhere and any(metres < _THERE_M and degrees < _THERE_DEG for metres, degrees in off)

    def _all(self, query: Query, trials: Iterable[Trial]) -> list[Candidate]:
        hypotheses = (self._hypothesis(query, trial) for trial in trials)
        return [one for other in hypotheses if other is not None for one in self._candidates(query, other)]

    def _hypothesis(self, query: Query, trial: Trial) -> Hypothesis | None:
        """What a trial found, if that is worth a closer look; of a rough one what is found around it."""
        found = trial.hypothesis
        if found is not None and trial.rough:
            found = self._near.trial(query, found.map_from_rig, found.mode).hypothesis
        return found if found is not None and found.inliers >= _LEAST_INLIERS else None

    def _candidates(self, query: Query, hypothesis: Hypothesis, trust: float = 0.0) -> list[Candidate]:
        """A hypothesis judged; with the second pose of the plane that it was fitted to, if it has one. The likelier one
        is the last."""
        first = self._candidate(query, hypothesis, trust)
        mirrored = second_pose(query, first.hypothesis, self.config)
        query.clock.lap("judgement")
        if mirrored is None:
            return [first]
        found = [first, self._candidate(query, mirrored, trust)]
        found.sort(key=lambda candidate: candidate.log_odds)
        return [replace(one, mirrored=True) for one in found]

    def _candidate(self, query: Query, hypothesis: Hypothesis, trust: float = 0.0) -> Candidate:
        refined = self._near.refine(query, hypothesis)
        if refined.explained >= _WORTH_IT:
            refined = self._near.look_wider(query, hypothesis, refined)
        witness = verify(query, refined, self.map)
        query.clock.lap("verification")
        known = self._uncertainty(query, refined)
        support = refined.found.where(refined.agreeing)
        evidence = evidence_of(query, refined, witness, known.fits, self.map, self._distinctness)
        against = depth_contradiction(support, query, refined.map_from_rig, self.map)
        odds = log_odds(evidence, self.map.model_hash) + trust - (_CONTRADICTED if against else 0.0)
        return Candidate(
            refined, evidence, odds, known, contradiction=against, misfit=misfit(evidence, self.map.model_hash)
        )

    def _uncertainty(self, query: Query, refined: Hypothesis) -> Uncertainty:
        support = refined.found.where(refined.agreeing)
        known = uncertainty_of(support, query, refined.map_from_rig, self.map)
        if refined.alternative is not None:
            known = known.or_off_by(pose_difference(refined.map_from_rig, refined.alternative))
        query.clock.lap("covariance")
        return known

    def _nothing(self, query: Query, matches: int, prior: Pose | None) -> NotLocalized:
        reason = Reason.TOO_FEW_MATCHES if matches < self.config.min_inliers else Reason.NO_CONSENSUS
        where = "" if prior is None else " near the prior"
        return NotLocalized(reason, f"{matches} matches{where}", matches, timings_s=query.clock.seconds)

    def _refuse(self, query: Query, prior: Pose | None) -> NotLocalized | None:
        if prior is not None and not prior.is_finite():
            raise ConfigError("the expected pose is not finite")
        if self.map.landmarks == 0 or self.map.keyframes == 0:
            return NotLocalized(Reason.EMPTY_MAP)
        if query.keypoint_count < self.config.min_inliers:
            return NotLocalized(Reason.TOO_FEW_KEYPOINTS, f"{query.keypoint_count}, need {self.config.min_inliers}")
        return None


def _matched(query: Query, looked: Sequence[Trial]) -> Matched | None:
    """Of each view, the matches of the look that found most."""
    widest: dict[int, Correspondences] = {}
    for trial in looked:
        found = trial.found
        if found is None or trial.rough or not len(found):
            continue
        view = int(found.views[0])
        if view not in widest or len(found) > len(widest[view]):
            widest[view] = found
    if not widest:
        return None
    found = joined(list(widest.values()))
    return Matched(query.image_px(found), found.landmarks, found.views)
