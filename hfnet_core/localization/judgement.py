"""Whether a pose is believed, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, pose_difference
from hfnet_core.localization.confidence import Evidence
from hfnet_core.localization.correspondences import Query
from hfnet_core.localization.hypothesis import AS_GOOD, SAME_PLACE_DEG, SAME_PLACE_M, Hypothesis
from hfnet_core.localization.uncertainty.focal import Uncertainty
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Localization, Localized, NotLocalized, Reason

__all__ = [
    "CONVINCING",
    "PLAUSIBLE",
    "Candidate",
    "convinces",
    "judge",
    "level",
    "likeliest",
    "rivals",
    "tells_the_place",
    "weakness",
]

_NOTABLE_FOCAL = 2.0  # times what is usual, from which a focal length is named
_FRAME = 2.0**0.5  # times the disagreement of keyframes with their given poses: a query errs with its own, too
_EXACTLY = 0.98  # lowest exactness of an accepted pose
PLAUSIBLE = 0.5  # probability from which another pose counts against the best
CONVINCING = 0.7  # times what must be explained to be as good a pose, for one that would be believed by itself
_REPEATED = 2.3  # log odds that are asked beyond, where the map shows a place more than once: tenfold
_SAME = 16.8  # squared distance in standard deviations of what may be one pose: 99 %, six degrees of freedom
_NEARBY_M = 1.0  # farther apart than this is somewhere else, however little is known
_APART = 7.0  # log odds between the two poses of a plane from which only one is believed


@dataclass(frozen=True, eq=False)
class Candidate:
    """A refined hypothesis, what speaks for it, and the logarithm of the odds that it is right.

    mirrored: one of the two poses of a plane. They show the plane alike, so that little can speak against either.
    contradiction: what depth images say against it, "" for nothing. misfit: log odds that another focal length takes
    from it: that speaks against its calibration, and a place is no less a rival. told_apart: the image shows something
    else than the map has there. repeated: the map knows places that look like this one, and there may be one more that
    it does not hold. hardly_mapped: of one of these it has too little to tell.
    """

    hypothesis: Hypothesis
    evidence: Evidence
    log_odds: float
    uncertainty: Uncertainty
    mirrored: bool = False
    contradiction: str = ""
    misfit: float = 0.0
    told_apart: bool = False
    repeated: bool = False
    hardly_mapped: bool = False

    @property
    def confidence(self) -> float:
        """Probability of being the right place, 0..1; how exactly the pose is known its covariance says."""
        return _probability(self.log_odds)

    @property
    def of_place(self) -> float:
        """Log odds of being the right place, whatever the calibration."""
        return self.log_odds + self.misfit

    @cached_property
    def exactness(self) -> float:
        """Probability that the pose is off by less than what makes it another one, 0..1."""
        return self.uncertainty.within(SAME_PLACE_M, SAME_PLACE_DEG)


def judge(
    query: Query, candidates: Sequence[Candidate], landmark_map: LandmarkMap, config: LocalizerConfig
) -> Localization:
    """The answer: the likeliest pose with its covariance, or why none is believed. There is at least one candidate.

    Where another place explains the images about as well, both are told and none is believed.
    """
    best = likeliest(candidates, config)
    others = sorted((other for other in candidates if other is not best), key=lambda other: -other.log_odds)
    best = _as_vague_as(best, others)
    lacks = weakness(best, config)
    if lacks is not None:
        return _refused(query, Reason.WEAK_EVIDENCE, lacks, best)
    answer = _answer(query, best, landmark_map)
    doubles = rivals(best, others, config)
    if isinstance(answer, NotLocalized):
        return answer
    if not doubles:
        lacks = _weak_where_repeated(best, config)
        return answer if lacks is None else _refused(query, Reason.WEAK_EVIDENCE, lacks, best)
    told = [_answer(query, rival, landmark_map) for rival in doubles]
    explained = " and ".join(str(one.hypothesis.guided) for one in (best, *doubles))
    places = (answer, *(one for one in told if isinstance(one, Localized)))
    return _refused(query, Reason.AMBIGUOUS, f"{explained} keypoints explained", best, places)


def likeliest(candidates: Sequence[Candidate], config: LocalizerConfig) -> Candidate:
    """The one to answer with: of those at the likeliest place that nothing is missing from, if there are any, the one
    that explains most. How likely a place is says little of which of two poses a step apart is the better one."""
    first, *others = sorted(candidates, key=lambda candidate: -candidate.log_odds)
    here = [first, *(other for other in others if not _elsewhere(other, first))]
    whole = [one for one in here if weakness(one, config) is None]
    return max(whole, key=lambda one: one.hypothesis.explained, default=first)


def _as_vague_as(best: Candidate, others: Sequence[Candidate]) -> Candidate:
    """The candidate known no better than it agrees with the others of its place that explain about as much."""
    ours = best.hypothesis
    likely = (other for other in others if other.confidence >= PLAUSIBLE)
    here = (other.hypothesis for other in likely if not _elsewhere(other, best))
    as_good = (other for other in here if other.explained >= AS_GOOD * ours.explained)
    apart = [pose_difference(ours.map_from_rig, other.map_from_rig) for other in as_good]
    if not apart:
        return best
    furthest = max(apart, key=lambda difference: float(np.linalg.norm(difference[:3])))
    return replace(best, uncertainty=best.uncertainty.or_off_by(furthest))


def tells_the_place(candidate: Candidate, others: Sequence[Candidate], config: LocalizerConfig) -> bool:
    """Whether it is likely enough, and no other place explains nearly as much."""
    return candidate.confidence >= config.min_confidence and not rivals(candidate, others, config)


def convinces(candidate: Candidate, others: Sequence[Candidate], config: LocalizerConfig) -> bool:
    """Whether nothing is missing from it, and no other pose, near by or elsewhere, explains nearly as much."""
    alone = candidate.hypothesis.alternative is None and not rivals(candidate, others, config)
    return alone and weakness(candidate, config) is None


def weakness(candidate: Candidate, config: LocalizerConfig) -> str | None:
    """What is missing for acceptance, or None."""
    return candidate.contradiction or _weak_evidence(candidate, config)


def _weak_evidence(candidate: Candidate, config: LocalizerConfig) -> str | None:
    evidence = candidate.evidence
    ratio = evidence.inliers / max(evidence.matches, 1)
    focal = "" if evidence.focal < _NOTABLE_FOCAL else ", and another focal length would fit better"
    if candidate.confidence < config.min_confidence:
        told = f"confidence {candidate.confidence:.4f}, need {config.min_confidence:g}: {evidence.inliers} inliers"
        return told + focal
    if candidate.exactness < _EXACTLY:
        told = f"{evidence.inliers} inliers do not tell the pose to {SAME_PLACE_M:g} m and {SAME_PLACE_DEG:g} degrees"
        return told + focal
    if evidence.inliers < config.min_inliers:
        return f"{evidence.inliers} inliers, need {config.min_inliers}"
    if ratio < config.min_inlier_ratio:
        return f"inlier ratio {ratio:.2f}, need {config.min_inlier_ratio:.2f}"
    if evidence.coverage < config.min_coverage:
        return f"inliers cover {evidence.coverage:.2f} of the image, need {config.min_coverage:.2f}"
    return None


def _weak_where_repeated(best: Candidate, config: LocalizerConfig) -> str | None:
    if best.hardly_mapped:
        return "of a place that looks like this one the map has too little to tell them apart: map it as well"
    if not best.repeated or _probability(best.log_odds - _REPEATED) >= config.min_confidence:
        return None
    return f"confidence {best.confidence:.5f} is too little where the map knows places that look like this one"


def rivals(best: Candidate, others: Sequence[Candidate], config: LocalizerConfig) -> list[Candidate]:
    """The best one at each other place that explains nearly as much, compared after the guided pass.

    Of one that would be believed by itself half as much suffices: the wrong one may have been mapped from nearer by.
    """
    found: list[Candidate] = []
    for other in others:
        likely = (
            other.log_odds >= best.log_odds - _APART if other.mirrored else _probability(other.of_place) >= PLAUSIBLE
        )
        by_itself = not (other.mirrored or other.told_apart)
        convincing = by_itself and _probability(other.of_place) >= config.min_confidence
        ratio = config.ambiguity_ratio * (CONVINCING if convincing else 1.0)
        as_good = likely and _explains_as_much(other, best, ratio)
        if as_good and all(_elsewhere(other, one) for one in (best, *found)):
            found.append(other)
    return found


def _probability(log_odds: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0))))


def _elsewhere(one: Candidate, other: Candidate) -> bool:
    """Whether two are different answers, and not one that is not known exactly."""
    if not one.hypothesis.elsewhere(other.hypothesis):
        return False
    apart = pose_difference(one.hypothesis.map_from_rig, other.hypothesis.map_from_rig)
    spread = one.uncertainty.covariance + other.uncertainty.covariance
    if np.linalg.norm(apart[:3]) > _NEARBY_M or not np.isfinite(spread).all():
        return True
    return bool(apart @ np.linalg.solve(spread, apart) > _SAME)


def level(candidates: Sequence[Candidate], doubles: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, those among them that nothing tells apart made equal: what speaks for one speaks for the others,
    whichever was mapped from nearer by."""
    log_odds = max(one.log_odds for one in doubles)
    guided = max(one.hypothesis.guided for one in doubles)
    return [
        replace(one, log_odds=log_odds, hypothesis=replace(one.hypothesis, guided=guided)) if one in doubles else one
        for one in candidates
    ]


def _explains_as_much(other: Candidate, best: Candidate, ratio: float) -> bool:
    """Of the keypoints; or of what the map knows of the place: one room may be mapped more densely than its double."""
    ours, theirs = best.hypothesis, other.hypothesis
    if theirs.guided >= ratio * ours.guided:
        return True
    return not other.mirrored and theirs.guided * ours.asked >= ratio * ours.guided * theirs.asked > 0


def _answer(query: Query, candidate: Candidate, landmark_map: LandmarkMap) -> Localization:
    hypothesis, evidence, known = candidate.hypothesis, candidate.evidence, candidate.uncertainty
    if not np.isfinite(known.covariance).all():
        return _refused(query, Reason.WEAK_EVIDENCE, "the inliers do not determine the pose", candidate)
    support = hypothesis.found.where(hypothesis.agreeing)
    unused = hypothesis.found.where(~hypothesis.agreeing)
    return Localized(
        map_from_camera=hypothesis.map_from_rig,
        covariance=_with_frame(known.covariance, landmark_map),
        mode=hypothesis.mode,
        inliers=evidence.inliers,
        matches=evidence.matches,
        keypoints_px=query.image_px(support),
        landmarks=support.landmarks,
        keyframes=hypothesis.keyframes,
        coverage=evidence.support,
        reprojection_px=known.rms_px,
        timings_s=query.clock.seconds,
        views=support.views,
        unused_px=query.image_px(unused),
        unused_views=unused.views,
        focal=known.fits,
        confidence=candidate.confidence,
        guided=hypothesis.guided,
    )


def _refused(
    query: Query, reason: Reason, detail: str, best: Candidate, places: tuple[Localized, ...] = ()
) -> NotLocalized:
    """No pose, and what came nearest to one."""
    found = best.hypothesis.found
    return NotLocalized(
        reason,
        detail,
        best.evidence.matches,
        best.evidence.inliers,
        best.hypothesis.keyframes,
        query.clock.seconds,
        unused_px=query.image_px(found),
        unused_views=found.views,
        confidence=best.confidence,
        places=places,
        focal=best.uncertainty.fits,
    )


def _with_frame(spread: Array, landmark_map: LandmarkMap) -> Array:
    """Covariance of a pose among the landmarks plus what these cannot show: errors of the map's frame."""
    floor = _FRAME**2 * np.repeat([landmark_map.pose_sigma_m**2, landmark_map.pose_sigma_rad**2], 3)
    return spread + np.diag(floor)
