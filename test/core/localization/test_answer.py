"""Which of several candidates is answered with, and when looking stops."""

from __future__ import annotations

import numpy as np
import pytest
from scene import CAMERA

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose
from hfnet_core.localization.confidence import Evidence
from hfnet_core.localization.correspondences import between
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.judgement import Candidate, convinces, likeliest, rivals
from hfnet_core.localization.uncertainty.focal import Uncertainty
from hfnet_core.types import Mode

CONFIG = LocalizerConfig()
EXACT_M, VAGUE_M = 0.02, 0.4


def candidate(x_m: float, log_odds: float, sigma_m: float = EXACT_M) -> Candidate:
    found, _ = between(np.full((40, 2), 100.0), np.ones((40, 3)), CAMERA)
    pose = Pose(np.eye(3), np.array([x_m, 0.0, 0.0]))
    hypothesis = Hypothesis(Mode.GLOBAL, pose, found, np.ones(40, bool), (0,), found, 40, guided=40, asked=100)
    known = Uncertainty(np.diag([sigma_m**2] * 3 + [1e-6] * 3), 1.0, ())
    return Candidate(hypothesis, Evidence(40, 50, 0.5, 40, 100, 0.5, 0.0, False, 0.8, None), log_odds, known)


def test_the_likeliest_is_answered_with() -> None:
    best = candidate(0.0, 9.0)
    assert likeliest([candidate(0.1, 6.0), best, candidate(5.0, 8.0)], CONFIG) is best


def test_of_one_place_the_pose_that_is_known_exactly_is_answered_with() -> None:
    exact = candidate(0.1, 6.0)
    assert likeliest([candidate(0.0, 9.0, VAGUE_M), exact], CONFIG) is exact


@pytest.mark.parametrize("other", [candidate(3.0, 6.0), candidate(0.1, 1.0)])
def test_another_place_and_an_unlikely_pose_do_not_stand_in_for_a_vague_one(other: Candidate) -> None:
    vague = candidate(0.0, 9.0, VAGUE_M)
    assert likeliest([vague, other], CONFIG) is vague


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
