"""Rigs in a synthetic room: evidence adds up over cameras, and a camera that is wrong takes nothing away."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scene import CAMERA, Scene, looking, walk
from scipy.spatial.transform import Rotation

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera, Features, Localized, Mode, NotLocalized, Reason

LEFT, RIGHT = looking(0.3, 0.2, 60.0, z=0.4), looking(0.3, -0.2, -60.0, z=0.4)  # rig_from_camera, x ahead
Rig = list[tuple[Camera, Pose]]
RIG: Rig = [(CAMERA, LEFT), (CAMERA, RIGHT)]
HERE = Pose(Rotation.from_euler("z", 155, degrees=True).as_matrix(), np.array([0.3, 0.6, 1.1]))  # map_from_rig


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.make()


@pytest.fixture(scope="module")
def room(scene: Scene) -> LandmarkMap:
    return scene.build_map(walk())


@pytest.fixture(scope="module")
def localizer(room: LandmarkMap) -> Localizer:
    return Localizer(room)


def frame_set(scene: Scene, map_from_rig: Pose = HERE, rig: Rig = RIG, seed: int = 0, **how: float) -> list[View]:
    """What the cameras of a rig see."""
    return [
        View(scene.view(map_from_rig @ mount, seed=2 * seed + index, camera=camera, **how)[0], camera, mount)
        for index, (camera, mount) in enumerate(rig)
    ]


def showing(view: View, features: Features) -> View:
    """The same camera with another image."""
    return dataclasses.replace(view, features=features)


def thinned(view: View, count: int) -> View:
    """The first keypoints only."""
    features = view.features
    return showing(
        view,
        dataclasses.replace(
            features,
            keypoints_px=features.keypoints_px[:count],
            scores=features.scores[:count],
            descriptors=features.descriptors[:count],
        ),
    )


def elsewhere() -> Features:
    """An image of another room."""
    return Scene.make(seed=77).view(HERE @ LEFT, seed=5)[0]


def assert_at(result: Localized | NotLocalized, pose: Pose, metres: float = 0.03, degrees: float = 0.3) -> None:
    assert isinstance(result, Localized), result
    error = pose_error(result.map_from_camera, pose)
    assert error[0] < metres
    assert error[1] < degrees


def test_two_cameras_are_solved_together(scene: Scene, localizer: Localizer) -> None:
    result = localizer.localize(frame_set(scene))
    assert_at(result, HERE, 0.01, 0.1)
    assert result.mode is Mode.GLOBAL
    assert set(result.views.tolist()) == {0, 1}
    assert len(result.views) == len(result.keypoints_px) == len(result.landmarks)
    assert result.inliers > 100


def test_cameras_that_are_too_weak_alone_suffice_together(scene: Scene, room: LandmarkMap) -> None:
    """The Localizer refuses each of the two images: fewer than 20 inliers. Their sum is accepted."""
    images = [thinned(image, 18) for image in frame_set(scene, outliers=0.0)]
    one = Localizer(room, LocalizerConfig(min_inliers=20, search_budget_ms=1000.0))
    for image in images:
        assert isinstance(one.localize([image]), NotLocalized)
    result = Localizer(room, LocalizerConfig(min_inliers=20, search_budget_ms=1000.0)).localize(images)
    assert_at(result, HERE, 0.05, 0.5)
    assert 20 <= result.inliers <= 36
    alone = Localizer(room, LocalizerConfig(min_inliers=20, search_budget_ms=1000.0)).localize([images[0]])
    assert isinstance(alone, NotLocalized)
    assert alone.reason is Reason.TOO_FEW_KEYPOINTS


def test_a_camera_that_disagrees_does_not_count_against_the_others(scene: Scene, room: LandmarkMap) -> None:
    """It recognises hundreds of landmarks, none of them where it should be (a mirror, a poster, a wrong lens)."""
    left, right = frame_set(scene, outliers=0.0)
    keypoints_px = np.random.default_rng(0).permutation(right.features.keypoints_px)
    scrambled = showing(right, dataclasses.replace(right.features, keypoints_px=keypoints_px))
    result = Localizer(room, LocalizerConfig(min_inlier_ratio=0.8)).localize([left, scrambled])
    assert_at(result, HERE)
    assert result.inlier_ratio > 0.8


@pytest.mark.parametrize("seeing", [0, 1])
def test_a_camera_without_image_or_view_does_not_hurt(scene: Scene, localizer: Localizer, seeing: int) -> None:
    images = frame_set(scene)
    seer, other = images[seeing], images[1 - seeing]
    for pair in ([seer], [seer, thinned(other, 0)], [showing(other, elsewhere()), seer]):
        result = localizer.localize(pair)
        assert_at(result, HERE)
        assert (result.views == pair.index(seer)).mean() > 0.97  # a few guided matches agree by chance
        assert_at(localizer.localize(pair, prior=HERE), HERE)
    assert isinstance(localizer.localize([showing(images[0], elsewhere())]), NotLocalized)
    assert isinstance(localizer.localize([]), NotLocalized)


def test_a_camera_that_was_knocked_loose_is_outvoted(scene: Scene, localizer: Localizer) -> None:
    """Its extrinsic is wrong by 20 degrees: its matches agree with no pose of the rig that the other two explain."""
    three = [*RIG, (CAMERA, looking(0.4, 0.0, 0.0, z=0.4))]
    turned = HERE @ RIGHT @ Pose(Rotation.from_euler("y", 20, degrees=True).as_matrix())
    images = frame_set(scene, rig=three)
    result = localizer.localize([images[0], showing(images[1], scene.view(turned, seed=1)[0]), images[2]])
    assert_at(result, HERE)
    assert (result.views != 1).mean() > 0.95


def test_cameras_of_different_resolution(scene: Scene, localizer: Localizer) -> None:
    small = CAMERA.scaled(320, 240)
    images = frame_set(scene, rig=[(CAMERA, LEFT), (small, RIGHT)])
    assert_at(localizer.localize(images), HERE)
    weak = [thinned(images[0], 0), images[1]]  # 0.5 px of noise weigh twice as much here
    assert_at(localizer.localize(weak), HERE, 0.06, 0.6)


def test_covariance_is_that_of_the_rigs_origin(scene: Scene, room: LandmarkMap) -> None:
    """Monte Carlo, with the rig's origin metres away from its cameras: an arm that is left out would show."""
    far = Pose(translation=np.array([3.0, 0.0, 0.0]))
    rig = [(camera, far @ mount) for camera, mount in RIG]
    here = HERE @ far.inverse()
    localizer = Localizer(room)
    squares = []
    for seed in range(40):
        images = [thinned(image, 150) for image in frame_set(scene, here, rig, seed, outliers=0.0)]
        result = localizer.localize(images)
        assert isinstance(result, Localized)
        turn = Rotation.from_matrix(result.map_from_camera.rotation @ here.rotation.T).as_rotvec()
        error = np.r_[result.map_from_camera.translation - here.translation, turn]
        squares.append(error @ np.linalg.solve(result.covariance, error))
    assert 0.5 < np.mean(squares) < 7.0  # the landmarks are exact, but from their observations nobody can know it


def test_two_cameras_leave_less_doubt_than_one(scene: Scene, localizer: Localizer) -> None:
    images = frame_set(scene)
    both, one = localizer.localize(images), localizer.localize([images[0]])
    assert isinstance(both, Localized)
    assert isinstance(one, Localized)
    assert np.trace(both.covariance[:3, :3]) < 0.5 * np.trace(one.covariance[:3, :3])


def test_where_a_single_camera_sits_changes_nothing_but_what_is_told(scene: Scene, room: LandmarkMap) -> None:
    image = frame_set(scene)[0]
    single = Localizer(room).localize([View(image.features, CAMERA)])
    rig = Localizer(room).localize([image])
    assert isinstance(single, Localized)
    assert_at(rig, single.map_from_camera @ LEFT.inverse(), 0.005, 0.05)


def test_priors_and_places_that_are_wrong(scene: Scene, localizer: Localizer) -> None:
    near = Pose(HERE.rotation, HERE.translation + np.array([0.04, -0.03, 0.02]))
    result = localizer.localize(frame_set(scene), prior=near)
    assert_at(result, HERE)
    assert result.mode is Mode.TRACKING
    behind = HERE @ Pose(Rotation.from_euler("z", 180, degrees=True).as_matrix())
    assert isinstance(localizer.localize(frame_set(scene), prior=behind), NotLocalized)
    for seed in range(5):
        result = localizer.localize(frame_set(Scene.make(seed=50 + seed), seed=seed))
        assert isinstance(result, NotLocalized)


def test_a_prior_that_is_off_hides_nothing(scene: Scene, localizer: Localizer) -> None:
    """Its window would cut off a quarter of the evidence, and what is left is what agrees with it."""
    images = frame_set(scene, outliers=0.5)
    exact = localizer.localize(images, prior=HERE)
    for degrees in (2.0, 4.0, 9.0):
        off = HERE @ Pose(Rotation.from_euler("zy", [degrees, 0.3 * degrees], degrees=True).as_matrix())
        result = localizer.localize(images, prior=off)
        if degrees < 3.0 or isinstance(result, Localized):
            assert_at(result, HERE, 0.01, 0.1)
            assert result.inliers > 0.95 * exact.inliers


def test_two_identical_rooms_are_ambiguous(scene: Scene) -> None:
    once = walk(8)
    result = Localizer(scene.build_double_map(once)).localize(frame_set(scene, once[3] @ LEFT.inverse()))
    assert isinstance(result, NotLocalized), result.map_from_camera
    assert result.reason is Reason.AMBIGUOUS


def test_the_tracker_follows_a_rig_and_finds_it_after_a_kidnapping(scene: Scene, localizer: Localizer) -> None:
    tracker = Tracker(localizer)
    modes = []
    for index in range(8):
        if index == 4:  # somebody carries it away
            moved = Pose(Rotation.from_euler("z", 100, degrees=True).as_matrix(), np.array([-1.2, 0.3, 0.0]))
        start = HERE if index < 4 else moved @ HERE
        here = start @ Pose(translation=np.array([0.05 * index, 0.0, 0.0]))
        images = frame_set(scene, here, seed=index)
        if index in (2, 6):
            del images[index % 2]
        result = tracker.process(images, stamp_s=index / 10)
        if index == 4:  # held back until a second shot agrees
            assert isinstance(result, NotLocalized)
            assert result.reason is Reason.INCONSISTENT
        else:
            assert_at(result, here)
            modes.append(result.mode)
    assert modes.count(Mode.TRACKING) >= 5
    late = frame_set(scene, here @ Pose(translation=np.array([-0.01, 0.0, 0.0])), seed=20)
    result = tracker.process([late[1]], stamp_s=0.68)  # independent cameras need not keep the order
    assert_at(result, here)
    assert result.mode is Mode.TRACKING


def test_what_does_not_fit_is_refused(scene: Scene, localizer: Localizer) -> None:
    images = frame_set(scene)
    with pytest.raises(ConfigError, match="expected pose is not finite"):
        localizer.localize(images, prior=Pose(translation=np.full(3, np.inf)))
    with pytest.raises(ConfigError, match="640x480"):
        View(images[0].features, CAMERA.scaled(320, 240), LEFT)
    with pytest.raises(ConfigError, match="finite"):
        View(images[0].features, CAMERA, Pose(translation=np.full(3, np.nan)))
