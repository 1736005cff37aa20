"""The paper's definitions on pairs that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.benchmarks.feature_protocols.pair_metrics import (
    Ranked,
    View,
    average_precision,
    descriptor_scores,
    detector_scores,
    ratio_of,
    share,
)
from hfnet_core.types import Features


def features(points: list[tuple[float, float]], descriptors: list[list[float]] | None = None) -> Features:
    rows = np.array(np.eye(len(points), 8) if descriptors is None else descriptors, np.float32)
    rows = rows.reshape(len(points), -1) if len(points) else np.zeros((0, 8), np.float32)
    scores = np.linspace(1, 0.5, len(points), dtype=np.float32)
    return Features(np.array(points, np.float32).reshape(-1, 2), scores, rows, np.zeros(0, np.float32), 100, 80)


def view(own: Features, visible: list[bool] | None = None, shift: float = 0.0) -> View:
    """Warped by a shift to the right."""
    seen = np.ones(len(own), bool) if visible is None else np.array(visible)
    return View(own, own.keypoints_px.astype(float) + np.array([shift, 0]), seen)


def test_nothing_of_nothing_is_all_and_something_of_nothing_is_none() -> None:
    assert (share(0, 0), share(1, 0), share(1, 4)) == (1.0, 0.0, 0.25)


def test_average_precision_integrates_the_envelope_over_recall() -> None:
    # right, wrong, right: precision 1, 1/2, 2/3 -> envelope 1, 2/3, 2/3; recall of four possible 1/4, 1/4, 2/4
    ranked = Ranked(np.array([0.1, 0.2, 0.3]), np.array([True, False, True]), 4)
    assert average_precision([ranked]) == pytest.approx(1 / 4 + 2 / 3 / 4)
    assert average_precision([]) == 1.0
    assert average_precision([Ranked(np.zeros(0), np.zeros(0, bool), 3)]) == 0.0


def test_a_keypoint_is_repeated_where_the_nearest_to_its_warp_is_near_and_mutual() -> None:
    first = view(features([(10, 10), (50, 40), (52, 40)]))
    second = view(features([(11, 10), (50, 40), (90, 70)]))
    found = detector_scores(first, second)
    # (10,10) and (50,40) on both sides; (52,40) has (50,40) near it, which prefers another; (90,70) has none
    assert found.repeatability == pytest.approx(4 / 6)
    assert found.localization_px == pytest.approx(0.5)
    assert found.ranked.possible == 6
    assert int(found.ranked.right.sum()) == 4


def test_what_is_not_visible_does_not_count() -> None:
    first = view(features([(10, 10), (50, 40)]), [True, False])
    second = view(features([(10, 10), (50, 40)]), [True, False])
    assert detector_scores(first, second).repeatability == 1.0
    nothing = view(features([(10, 10)]), [False])
    blind = detector_scores(nothing, nothing)
    assert blind.repeatability == 1.0
    assert np.isnan(blind.localization_px)


def test_the_ratio_is_of_distances_to_the_nearest_and_the_second() -> None:
    first = features([(0, 0)], [[1, 0]])
    second = features([(0, 0), (1, 1)], [[0.8, 0.6], [0, 1]])
    partner, ratio = ratio_of(first, second)
    assert partner.tolist() == [0]
    assert ratio[0] == pytest.approx(np.sqrt(0.4) / np.sqrt(2), rel=1e-5)


def test_matching_score_counts_visible_keypoints_and_descriptor_map_those_that_could_match() -> None:
    first = view(features([(10, 10), (50, 40), (70, 20)], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    second = view(features([(10, 10), (50, 42)], [[1, 0, 0], [0, 1, 0]]))
    found = descriptor_scores(first, second)
    assert found.matching_score == pytest.approx((2 / 3 + 2 / 2) / 2)
    assert found.ranked.possible == 2  # the third has no keypoint within 3 px
    assert found.matches[:2].tolist() == [0, 1]
    wrong = descriptor_scores(view(first.features, shift=20), second)
    assert wrong.ranked.possible == 0
    assert not wrong.ranked.right.any()


def test_empty_sides_are_no_error() -> None:
    none, some = view(features([], [])), view(features([(10, 10)]))
    assert detector_scores(none, some).repeatability == 0.0
    assert descriptor_scores(some, none).matching_score == pytest.approx((0 + 1) / 2)
