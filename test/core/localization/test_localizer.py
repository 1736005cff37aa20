"""Global localization and tracking in a synthetic room, and every way to be refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scene import CAMERA, GLOBAL_DIM, LOCAL_DIM, Scene, assemble_map, looking, walk

from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.types import Features, Localized, Mode, NotLocalized, Reason

QUERY = looking(0.3, 0.9, 155.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.make()


@pytest.fixture(scope="module")
def localizer(scene: Scene) -> Localizer:
    return Localizer(scene.build_map(walk()))


def test_global_localization_finds_the_pose(scene: Scene, localizer: Localizer) -> None:
    for seed, query in enumerate([QUERY, looking(-1.0, 0.2, 20.0), looking(1.2, -0.7, 275.0)]):
        features, _ = scene.view(query, seed=seed)
        result = localizer.localize([View(features, CAMERA)])
        assert isinstance(result, Localized), result
        metres, degrees = pose_error(result.map_from_camera, query)
        assert metres < 0.03
        assert degrees < 0.3
        assert result.mode is Mode.GLOBAL
        assert result.inlier_ratio > 0.5
        assert set(result.timings_s) >= {"retrieval", "covisibility", "matching", "pose", "refinement"}


def test_covariance_matches_the_scatter_of_poses(scene: Scene) -> None:
    """Monte Carlo: normalised squared errors average to at most the six degrees of freedom; less, because this map's
    landmarks are exact, which nobody can know who sees them from a few keyframes."""
    localizer = Localizer(scene.build_map(walk()))
    squares = []
    for seed in range(60):
        features, _ = scene.view(QUERY, seed=seed, outliers=0.0)
        result = localizer.localize([View(features, CAMERA)])
        assert isinstance(result, Localized)
        rotation = result.map_from_camera.rotation @ QUERY.rotation.T
        vee = 0.5 * np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0],
                              rotation[1, 0] - rotation[0, 1]])  # fmt: skip
        error = np.r_[result.map_from_camera.translation - QUERY.translation, vee]
        squares.append(error @ np.linalg.solve(result.covariance, error))
    assert 0.5 < np.mean(squares) < 6.0


def test_tracking_uses_the_prior(scene: Scene, localizer: Localizer) -> None:
    features, _ = scene.view(QUERY)
    near = Pose(QUERY.rotation, QUERY.translation + np.array([0.05, -0.04, 0.02]))
    result = localizer.localize([View(features, CAMERA)], prior=near)
    assert isinstance(result, Localized)
    assert result.mode is Mode.TRACKING
    assert pose_error(result.map_from_camera, QUERY)[0] < 0.03


def test_a_wrong_prior_gives_no_pose(scene: Scene, localizer: Localizer) -> None:
    features, _ = scene.view(QUERY)
    result = localizer.localize([View(features, CAMERA)], prior=looking(-2.0, -1.0, -30.0))
    assert isinstance(result, NotLocalized)


def test_another_place_is_refused(localizer: Localizer) -> None:
    for seed in range(5):
        features, _ = Scene.make(seed=50 + seed).view(QUERY, seed=seed)
        result = localizer.localize([View(features, CAMERA)])
        assert isinstance(result, NotLocalized)
        assert result.reason in (Reason.NO_CONSENSUS, Reason.TOO_FEW_MATCHES, Reason.WEAK_EVIDENCE)


def test_two_identical_rooms_are_ambiguous(scene: Scene) -> None:
    """Whichever is chosen would be a guess."""
    once = walk(8)
    features, _ = scene.view(once[3], seed=7)
    result = Localizer(scene.build_double_map(once)).localize([View(features, CAMERA)])
    assert isinstance(result, NotLocalized), result.map_from_camera
    assert result.reason is Reason.AMBIGUOUS


def test_empty_map_and_empty_image(scene: Scene, localizer: Localizer) -> None:
    features, _ = scene.view(QUERY)
    empty = Localizer(assemble_map([], [], [], [], [], scene.points))
    result = empty.localize([View(features, CAMERA)])
    assert isinstance(result, NotLocalized)
    assert result.reason is Reason.EMPTY_MAP
    nothing = Features(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, LOCAL_DIM), np.float32),
                       np.zeros(GLOBAL_DIM, np.float32), 640, 480)  # fmt: skip
    result = localizer.localize([View(nothing, CAMERA)])
    assert isinstance(result, NotLocalized)
    assert result.reason is Reason.TOO_FEW_KEYPOINTS


def test_map_with_one_keyframe(scene: Scene) -> None:
    single = Localizer(scene.build_map([QUERY], min_track=1))
    features, _ = scene.view(looking(0.35, 0.9, 150.0), seed=3)
    result = single.localize([View(features, CAMERA)])
    assert isinstance(result, Localized)
    far, _ = scene.view(looking(0.3, 0.9, -25.0), seed=3)
    assert isinstance(single.localize([View(far, CAMERA)]), NotLocalized)


def test_a_query_of_another_model_is_named(scene: Scene, localizer: Localizer) -> None:
    features, _ = scene.view(QUERY)
    other = dataclasses.replace(features, global_descriptor=np.ones(GLOBAL_DIM + 1, np.float32))
    with pytest.raises(MapError, match=f"{GLOBAL_DIM + 1}"):
        localizer.localize([View(other, CAMERA)])


def test_results_are_reproducible(scene: Scene, localizer: Localizer) -> None:
    features, _ = scene.view(QUERY)
    first, second = (localizer.localize([View(features, CAMERA)]) for _ in range(2))
    assert isinstance(first, Localized)
    assert isinstance(second, Localized)
    assert np.array_equal(first.map_from_camera.matrix(), second.map_from_camera.matrix())


def drive(steps: int, start_deg: float = 0.0) -> list[Pose]:
    turns = start_deg + np.arange(steps) * 2.0
    return [looking(1.2 * np.cos(np.radians(t)), 0.9 * np.sin(np.radians(t)), t + 40.0) for t in turns]


def test_tracker_follows_a_drive(scene: Scene, localizer: Localizer) -> None:
    tracker = Tracker(localizer)
    modes = []
    for index, truth in enumerate(drive(20)):
        result = tracker.process([View(scene.view(truth, seed=index)[0], CAMERA)], stamp_s=index / 15)
        assert isinstance(result, Localized), result
        assert pose_error(result.map_from_camera, truth)[0] < 0.05
        modes.append(result.mode)
    assert modes[0] is Mode.GLOBAL
    assert modes[1:].count(Mode.TRACKING) == 19


def test_tracker_recovers_from_kidnapping_within_two_images(scene: Scene, localizer: Localizer) -> None:
    tracker = Tracker(localizer)
    before = drive(5)
    after = drive(5, start_deg=180.0)
    for index, truth in enumerate(before):
        tracker.process([View(scene.view(truth, seed=index)[0], CAMERA)], stamp_s=index / 15)
    answers = [
        tracker.process([View(scene.view(truth, seed=50 + index)[0], CAMERA)], stamp_s=(5 + index) / 15)
        for index, truth in enumerate(after)
    ]
    assert isinstance(answers[0], NotLocalized)
    assert answers[0].reason is Reason.INCONSISTENT
    for answer, truth in zip(answers[1:], after[1:], strict=True):
        assert isinstance(answer, Localized)
        assert pose_error(answer.map_from_camera, truth)[0] < 0.05


def test_tracker_predicts_with_odometry(scene: Scene, localizer: Localizer) -> None:
    """Long gaps between images, bridged by odometry in a frame of its own."""
    odom_from_map = Pose.from_quat_xyzw([0, 0, 0.6, 0.8], [5.0, -3.0, 0.0])
    tracker = Tracker(localizer)
    for index, truth in enumerate(drive(6)):
        result = tracker.process([View(scene.view(truth, seed=index)[0], CAMERA)], 10.0 * index, odom_from_map @ truth)
        assert isinstance(result, Localized)
        assert result.mode is (Mode.GLOBAL if index == 0 else Mode.TRACKING)


def test_a_wrong_initial_pose_does_not_hold_the_tracker(scene: Scene, localizer: Localizer) -> None:
    tracker = Tracker(localizer)
    tracker.set_prior(looking(-2.0, -1.0, -30.0), stamp_s=0.0)
    answers = [tracker.process([View(scene.view(QUERY, seed=i)[0], CAMERA)], 0.05 * (i + 1)) for i in range(2)]
    assert isinstance(answers[-1], Localized)
    assert pose_error(answers[-1].map_from_camera, QUERY)[0] < 0.05


def test_reset_forgets_the_prior(scene: Scene, localizer: Localizer) -> None:
    tracker = Tracker(localizer)
    tracker.process([View(scene.view(QUERY, seed=0)[0], CAMERA)], 0.0)
    tracker.reset()
    result = tracker.process([View(scene.view(QUERY, seed=1)[0], CAMERA)], 0.05)
    assert isinstance(result, Localized)
    assert result.mode is Mode.GLOBAL
