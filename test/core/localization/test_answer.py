"""Which of several candidates is answered with, and when looking stops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, Scene, walk

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose
from hfnet_core.localization.confidence import Evidence, log_odds
from hfnet_core.localization.correspondences import between
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.judgement import Candidate, convinces, judge, likeliest, rivals
from hfnet_core.localization.uncertainty.focal import Uncertainty
from hfnet_core.localization.verification import Witness
from hfnet_core.types import Localization, Localized, Mode, NotLocalized

CONFIG = LocalizerConfig()
EXACT_M, VAGUE_M = 0.02, 0.4


def candidate(x_m: float, log_odds: float, sigma_m: float = EXACT_M) -> Candidate:
    found, _ = between(np.full((40, 2), 100.0), np.ones((40, 3)), CAMERA)
    pose = Pose(np.eye(3), np.array([x_m, 0.0, 0.0]))
    hypothesis = Hypothesis(Mode.GLOBAL, pose, found, np.ones(40, bool), (0,), found, 40, guided=40, asked=100)
    known = Uncertainty(np.diag([sigma_m**2] * 3 + [1e-6] * 3), 1.0, ())
    return Candidate(hypothesis, Evidence(40, 50, 0.5, 40, 100, 0.5, 0.0, False, 0.8, 30.0, 0.7, None), log_odds, known)


def test_the_likeliest_is_answered_with() -> None:
    best = candidate(0.0, 9.0)
    assert likeliest([candidate(0.1, 8.0), best, candidate(5.0, 8.5)], CONFIG) is best


def test_of_one_place_the_pose_that_is_known_exactly_is_answered_with() -> None:
    exact = candidate(0.1, 8.0)
    assert likeliest([candidate(0.0, 9.0, VAGUE_M), exact], CONFIG) is exact


def test_of_two_poses_of_one_place_the_one_that_explains_more_is_answered_with() -> None:
    fewer, more = candidate(0.0, 9.0), candidate(0.1, 8.0)
    agreeing = np.arange(40) < 30
    keypoints = np.arange(40)
    found = replace(fewer.hypothesis.found, keypoints=keypoints)
    fewer = replace(fewer, hypothesis=replace(fewer.hypothesis, found=found, agreeing=agreeing))
    more = replace(more, hypothesis=replace(more.hypothesis, found=found))
    assert likeliest([fewer, more], CONFIG) is more
    elsewhere = candidate(3.0, 6.0)
    assert (
        likeliest([fewer, replace(elsewhere, hypothesis=replace(elsewhere.hypothesis, found=found))], CONFIG) is fewer
    )


def test_it_is_looked_on_while_another_pose_near_by_explains_as_much() -> None:
    best = candidate(0.0, 9.0)
    beside = Pose(np.eye(3), np.array([0.2, 0.0, 0.0]))
    assert not convinces(replace(best, hypothesis=replace(best.hypothesis, alternative=beside)), [], CONFIG)


def test_a_pose_that_may_as_well_be_another_is_known_no_better_than_they_agree() -> None:
    known = candidate(0.0, 9.0).uncertainty
    allowed = known.or_off_by(np.array([0.4, 0, 0, 0, 0, 0]))
    assert allowed.covariance[0, 0] == pytest.approx(EXACT_M**2 + 0.08)
    assert np.array_equal(allowed.covariance[1:], known.covariance[1:])


def answered(candidates: list[Candidate]) -> Localization:
    _, query = between(np.full((40, 2), 100.0), np.ones((40, 3)), CAMERA)
    return judge(query, candidates, Scene.make(points=50).build_map(walk(4)), CONFIG)


def test_a_pose_is_as_vague_as_others_of_its_place_that_explain_as_much() -> None:
    best, beside = candidate(0.0, 9.0), candidate(0.4, 7.0)
    alone, vague = answered([best]), answered([best, beside])
    assert isinstance(alone, Localized)
    assert isinstance(answered([best, candidate(0.1, 7.0)]), Localized)
    assert isinstance(vague, NotLocalized) and "do not tell the pose" in vague.detail
    unlikely = answered([best, candidate(0.4, -1.0)])
    assert isinstance(unlikely, Localized)
    assert np.allclose(unlikely.covariance, alone.covariance)


def test_where_the_map_knows_look_alikes_more_is_asked_of_a_pose() -> None:
    """There may be one more that it does not hold."""
    for odds, expected in ((8.0, NotLocalized), (10.0, Localized)):
        assert isinstance(answered([candidate(0.0, odds)]), Localized)
        assert isinstance(answered([replace(candidate(0.0, odds), repeated=True)]), expected)


@pytest.mark.parametrize("other", [candidate(3.0, 6.0), candidate(0.1, 1.0)])
def test_another_place_and_an_unlikely_pose_do_not_stand_in_for_a_vague_one(other: Candidate) -> None:
    vague = candidate(0.0, 9.0, VAGUE_M)
    assert likeliest([vague, other], CONFIG) is vague


def explaining(other: Candidate, keypoints: int) -> Candidate:
    return replace(other, hypothesis=replace(other.hypothesis, guided=keypoints))


def test_of_another_place_that_would_be_believed_by_itself_half_as_much_is_enough() -> None:
    """A wall whose panels repeat: the wrong one was mapped from nearer by, and more of it is found."""
    best = candidate(0.0, 11.0)
    for odds, keypoints, expected in ((9.0, 24, 1), (9.0, 16, 0), (3.0, 24, 0), (3.0, 32, 1)):
        assert len(rivals(best, [explaining(candidate(3.0, odds), keypoints)], CONFIG)) == expected
    unlike = replace(explaining(candidate(3.0, -5.6), 24), misfit=17.0)  # by its calibration, not by its place
    assert len(rivals(best, [unlike], CONFIG)) == 1
    assert not rivals(best, [replace(explaining(candidate(3.0, 9.0), 24), told_apart=True)], CONFIG)
    mirrored = replace(explaining(candidate(3.0, 9.0), 24), mirrored=True)
    assert not rivals(best, [mirrored], CONFIG)  # shows the same plane: it explains nearly all of it, or is none


def test_a_place_that_has_nothing_else_to_show_is_less_likely() -> None:
    """A mirrored picture of one thing: no landmark beside it can contradict the pose, and none speaks for it."""
    evidence = candidate(0.0, 0.0).evidence
    alone, seen = (replace(evidence, witness=witness) for witness in (Witness(), Witness(20, 3, 0.0, 8, 1)))
    assert log_odds(alone, "any") < log_odds(seen, "any") - 3.0


def test_two_poses_that_may_be_one_are_no_rivals() -> None:
    best = candidate(0.0, 9.0, 0.2)
    assert not rivals(best, [candidate(0.55, 8.0, 0.2)], CONFIG)
    assert rivals(best, [candidate(0.55, 8.0, EXACT_M)], CONFIG) == []
    exact = candidate(0.0, 9.0)
    assert len(rivals(exact, [candidate(0.55, 8.0)], CONFIG)) == 1


def test_however_little_is_known_what_is_far_away_is_another_place() -> None:
    assert len(rivals(candidate(0.0, 9.0, VAGUE_M), [candidate(1.1, 8.0, 10.0)], CONFIG)) == 1


def test_it_is_looked_on_while_another_place_explains_as_much() -> None:
    best = candidate(0.0, 9.0)
    assert convinces(best, [candidate(0.1, 8.0)], CONFIG)
    assert not convinces(best, [candidate(4.0, 8.0)], CONFIG)
    assert not convinces(candidate(0.0, 1.0), [], CONFIG)
