"""Images that invite confident mistakes: a reason or the right pose, never a wrong one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scene import CAMERA, Scene, looking, walk

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.confidence import log_odds
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.types import Features, Localization, Localized, NotLocalized

TRUTH = looking(0.3, 0.9, 155.0)


@pytest.fixture(scope="module")
def room() -> tuple[Scene, Localizer]:
    scene = Scene.make()
    return scene, Localizer(scene.build_map(walk()))


def with_keypoints(features: Features, rows: np.ndarray, keypoints_px: np.ndarray) -> Features:
    return dataclasses.replace(
        features, keypoints_px=keypoints_px.astype(np.float32), scores=features.scores[rows],
        descriptors=features.descriptors[rows],
    )  # fmt: skip


def wrong(result: Localization, truth: Pose = TRUTH) -> bool:
    if isinstance(result, NotLocalized):
        return False
    metres, degrees = pose_error(result.map_from_camera, truth)
    return metres > 0.1 or degrees > 2.0


def test_a_mirrored_image_has_no_pose(room: tuple[Scene, Localizer]) -> None:
    features = room[0].view(TRUTH)[0]
    pixels = features.keypoints_px * [-1, 1] + [CAMERA.width - 1, 0]
    for prior in (None, TRUTH):
        mirrored = with_keypoints(features, np.arange(len(features)), pixels)
        assert isinstance(room[1].localize([View(mirrored, CAMERA)], prior), NotLocalized)


def test_a_pose_is_unlikely_whose_inliers_the_map_saw_only_from_other_sides(room: tuple[Scene, Localizer]) -> None:
    """As those of a mirrored image: their descriptors would not look so from there."""
    features = room[0].view(TRUTH)[0]
    pixels = features.keypoints_px * [-1, 1] + [CAMERA.width - 1, 0]
    mirrored = with_keypoints(features, np.arange(len(features)), pixels)
    right, *_ = room[1].candidates([View(features, CAMERA)])
    assert right.evidence.viewed > 0.8
    candidates = room[1].candidates([View(mirrored, CAMERA)])
    assert candidates
    for candidate in candidates:
        assert candidate.evidence.viewed < 0.3
        seen_well = dataclasses.replace(candidate.evidence, viewed=1.0)
        assert log_odds(seen_well, room[1].map.model_hash) > candidate.log_odds + 1.0


def test_a_rotated_image_is_a_rotated_camera(room: tuple[Scene, Localizer]) -> None:
    features = room[0].view(TRUTH)[0]
    pixels = [CAMERA.width - 1, CAMERA.height - 1] - features.keypoints_px
    result = room[1].localize([View(with_keypoints(features, np.arange(len(features)), pixels), CAMERA)])
    assert isinstance(result, Localized)
    assert not wrong(result, TRUTH @ Pose(np.diag([-1.0, -1.0, 1.0])))


def test_the_same_part_repeated_over_the_image_is_refused(room: tuple[Scene, Localizer]) -> None:
    """Four tiles of one quarter: whichever is believed would be a guess."""
    features = room[0].view(TRUTH)[0]
    quarter = np.flatnonzero(features.keypoints_px[:, 0] < CAMERA.width / 4)
    tiles = [features.keypoints_px[quarter] + [tile * CAMERA.width / 4, 0] for tile in range(4)]
    tiled = with_keypoints(features, np.tile(quarter, 4), np.concatenate(tiles))
    assert isinstance(room[1].localize([View(tiled, CAMERA)]), NotLocalized)


@pytest.mark.parametrize("hidden", [0.3, 0.6, 0.98])
def test_what_stands_in_front_does_not_mislead(room: tuple[Scene, Localizer], hidden: float) -> None:
    features = room[0].view(TRUTH, outliers=0.0)[0]
    other = Scene.make(seed=99).view(TRUTH, seed=1)[0]
    covered = features.keypoints_px[:, 0] < hidden * CAMERA.width
    descriptors = np.where(covered[:, None], other.descriptors[: len(features)], features.descriptors)
    result = room[1].localize([View(dataclasses.replace(features, descriptors=descriptors), CAMERA)])
    assert not wrong(result)
    assert isinstance(result, Localized) == (hidden < 0.9)


def test_a_wall_that_repeats_is_localized_rightly_or_not_at_all() -> None:
    """Every point has a twin, a quarter turn of the room further, that looks the same: only few are unique."""
    scene = Scene.make(points=4000, seed=3)
    turn = np.array([[0.0, -1.25, 0.0], [0.8, 0.0, 0.0], [0.0, 0.0, 1.0]])  # of an elliptic room into itself
    common = slice(0, 3800)
    twice = Scene(
        np.vstack([scene.points, scene.points[common] @ turn.T]),
        np.vstack([scene.descriptors, scene.descriptors[common]]),
        np.vstack([scene.words, scene.words[common]]),
    )
    localizer = Localizer(twice.build_map(walk()))
    found = 0
    for seed in range(6):
        truth = looking(0.3, 0.4, 60.0 * seed)
        result = localizer.localize([View(twice.view(truth, seed=seed)[0], CAMERA)])
        assert not wrong(result, truth)
        found += isinstance(result, Localized)
    assert found >= 1


def test_no_prior_misleads(room: tuple[Scene, Localizer]) -> None:
    features = room[0].view(TRUTH)[0]
    rng = np.random.default_rng(0)
    assert isinstance(room[1].localize([View(features, CAMERA)], TRUTH), Localized)
    for _ in range(25):
        x, y, yaw = rng.uniform([-3, -2, 0], [3, 2, 360])
        assert not wrong(room[1].localize([View(features, CAMERA)], looking(x, y, yaw)))


def test_a_tracker_that_is_given_wrong_priors_again_and_again_is_never_wrong(room: tuple[Scene, Localizer]) -> None:
    tracker, rng = Tracker(room[1]), np.random.default_rng(1)
    found = 0
    for index in range(12):
        features = room[0].view(TRUTH, seed=index)[0]
        if index % 4 == 0:
            x, y, yaw = rng.uniform([-3, -2, 0], [3, 2, 360])
            tracker.set_prior(looking(x, y, yaw), 0.1 * index)
        result = tracker.process([View(features, CAMERA)], 0.1 * (index + 1))
        assert not wrong(result)
        found += isinstance(result, Localized)
    assert found >= 9  # at most the first image after each wrong prior is silent
