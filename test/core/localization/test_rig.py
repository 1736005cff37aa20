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
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.rig import Rig, RigLocalizer
from hfnet_core.localization.tracking import Tracker
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Features, Localized, Mode, NotLocalized, Reason

LEFT, RIGHT = looking(0.3, 0.2, 60.0, z=0.4), looking(0.3, -0.2, -60.0, z=0.4)  # rig_from_camera, x ahead
RIG = Rig((CAMERA, CAMERA), (LEFT, RIGHT))
HERE = Pose(Rotation.from_euler("z", 155, degrees=True).as_matrix(), np.array([0.3, 0.6, 1.1]))  # map_from_rig


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.make()


@pytest.fixture(scope="module")
def room(scene: Scene) -> LandmarkMap:
    return scene.build_map(walk())


@pytest.fixture(scope="module")
def localizer(room: LandmarkMap) -> RigLocalizer:
    return RigLocalizer(room)


def shot(scene: Scene, map_from_rig: Pose = HERE, rig: Rig = RIG, seed: int = 0, **how: float) -> list[Features]:
    """What the cameras of a rig see."""
    views = zip(rig.rig_from_cameras, rig.cameras, strict=True)
    return [
        scene.view(map_from_rig @ extrinsic, seed=2 * seed + index, camera=camera, **how)[0]
        for index, (extrinsic, camera) in enumerate(views)
    ]


def thinned(features: Features, count: int) -> Features:
    """The first keypoints only."""
    return dataclasses.replace(
        features, keypoints_px=features.keypoints_px[:count], scores=features.scores[:count],
        descriptors=features.descriptors[:count],
    )  # fmt: skip


def elsewhere(scene: Scene) -> Features:
    """An image of another room."""
    return Scene.make(seed=77).view(HERE @ LEFT, seed=5)[0]


def assert_at(result: Localized | NotLocalized, pose: Pose, metres: float = 0.03, degrees: float = 0.3) -> None:
    assert isinstance(result, Localized), result
    error = pose_error(result.map_from_camera, pose)
    assert error[0] < metres
    assert error[1] < degrees


def test_two_cameras_are_solved_together(scene: Scene, localizer: RigLocalizer) -> None:
    result = localizer.localize(shot(scene), RIG)
    assert_at(result, HERE, 0.01, 0.1)
    assert result.mode is Mode.GLOBAL
    assert set(result.views.tolist()) == {0, 1}
    assert len(result.views) == len(result.keypoints_px) == len(result.landmarks)
    assert result.inliers > 100


def test_cameras_that_are_too_weak_alone_suffice_together(scene: Scene, room: LandmarkMap) -> None:
    """The Localizer refuses each of the two images: fewer than 20 inliers. Their sum is accepted."""
    images = [thinned(image, 18) for image in shot(scene, outliers=0.0)]
    one = Localizer(room, LocalizerConfig(min_inliers=20))
    for image in images:
        assert isinstance(one.localize(image, CAMERA), NotLocalized)
    result = RigLocalizer(room, LocalizerConfig(min_inliers=20)).localize(images, RIG)
    assert_at(result, HERE, 0.05, 0.5)
    assert 20 <= result.inliers <= 36
    alone = RigLocalizer(room).localize([images[0], None], RIG)
    assert isinstance(alone, NotLocalized)
    assert alone.reason is Reason.TOO_FEW_KEYPOINTS


def test_a_camera_that_disagrees_does_not_count_against_the_others(scene: Scene, room: LandmarkMap) -> None:
    """It recognises hundreds of landmarks, none of them where it should be (a mirror, a poster, a wrong lens)."""
    left, right = shot(scene, outliers=0.0)
    scrambled = dataclasses.replace(right, keypoints_px=np.random.default_rng(0).permutation(right.keypoints_px))
    result = RigLocalizer(room, LocalizerConfig(min_inlier_ratio=0.8)).localize([left, scrambled], RIG)
    assert_at(result, HERE)
    assert result.inlier_ratio > 0.8


@pytest.mark.parametrize("seeing", [0, 1])
def test_a_camera_without_image_or_view_does_not_hurt(scene: Scene, localizer: RigLocalizer, seeing: int) -> None:
    images = shot(scene)
    blind = dataclasses.replace(thinned(images[1 - seeing], 0))
    for other in (None, blind, elsewhere(scene)):
        pair = [images[0], other] if seeing == 0 else [other, images[1]]
        result = localizer.localize(pair, RIG)
        assert_at(result, HERE)
        assert (result.views == seeing).mean() > 0.97  # a few guided matches agree by chance
        assert_at(localizer.localize(pair, RIG, prior=HERE), HERE)
    assert isinstance(localizer.localize([elsewhere(scene), None], RIG), NotLocalized)
    assert isinstance(localizer.localize([None, None], RIG), NotLocalized)


def test_a_camera_that_was_knocked_loose_is_outvoted(scene: Scene, localizer: RigLocalizer) -> None:
    """Its extrinsic is wrong by 20 degrees: its matches agree with no pose of the rig that the other two explain."""
    three = Rig((CAMERA,) * 3, (LEFT, RIGHT, looking(0.4, 0.0, 0.0, z=0.4)))
    turned = HERE @ RIGHT @ Pose(Rotation.from_euler("y", 20, degrees=True).as_matrix())
    images = shot(scene, rig=three)
    result = localizer.localize([images[0], scene.view(turned, seed=1)[0], images[2]], three)
    assert_at(result, HERE)
    assert (result.views != 1).mean() > 0.95


def test_cameras_of_different_resolution(scene: Scene, localizer: RigLocalizer) -> None:
    small = CAMERA.scaled(320, 240)
    rig = Rig((CAMERA, small), (LEFT, RIGHT))
    images = shot(scene, rig=rig)
    assert_at(localizer.localize(images, rig), HERE)
    weak = [thinned(images[0], 0), images[1]]  # 0.5 px of noise weigh twice as much here
    assert_at(localizer.localize(weak, rig), HERE, 0.06, 0.6)


def test_covariance_is_that_of_the_rigs_origin(scene: Scene, room: LandmarkMap) -> None:
    """Monte Carlo, with the rig's origin metres away from its cameras: an arm that is left out would show."""
    far = Pose(translation=np.array([3.0, 0.0, 0.0]))
    rig = Rig(RIG.cameras, tuple(far @ extrinsic for extrinsic in RIG.rig_from_cameras))
    here = HERE @ far.inverse()
    localizer = RigLocalizer(room)
    squares = []
    for seed in range(40):
        images = [thinned(image, 150) for image in shot(scene, here, rig, seed, outliers=0.0)]
        result = localizer.localize(images, rig)
        assert isinstance(result, Localized)
        turn = Rotation.from_matrix(result.map_from_camera.rotation @ here.rotation.T).as_rotvec()
        error = np.r_[result.map_from_camera.translation - here.translation, turn]
        squares.append(error @ np.linalg.solve(result.covariance, error))
    assert 4.0 < np.mean(squares) < 9.0


def test_two_cameras_leave_less_doubt_than_one(scene: Scene, localizer: RigLocalizer) -> None:
    images = shot(scene)
    both, one = localizer.localize(images, RIG), localizer.localize([images[0], None], RIG)
    assert isinstance(both, Localized)
    assert isinstance(one, Localized)
    assert np.trace(both.covariance[:3, :3]) < 0.5 * np.trace(one.covariance[:3, :3])


def test_a_rig_of_one_camera_answers_like_the_localizer(scene: Scene, room: LandmarkMap) -> None:
    image = shot(scene)[0]
    single = Localizer(room).localize(image, CAMERA)
    rig = RigLocalizer(room).localize([image], Rig((CAMERA,), (LEFT,)))
    assert isinstance(single, Localized)
    assert_at(rig, single.map_from_camera @ LEFT.inverse(), 0.005, 0.05)


def test_priors_and_places_that_are_wrong(scene: Scene, localizer: RigLocalizer) -> None:
    near = Pose(HERE.rotation, HERE.translation + np.array([0.04, -0.03, 0.02]))
    result = localizer.localize(shot(scene), RIG, prior=near)
    assert_at(result, HERE)
    assert result.mode is Mode.TRACKING
    behind = HERE @ Pose(Rotation.from_euler("z", 180, degrees=True).as_matrix())
    assert isinstance(localizer.localize(shot(scene), RIG, prior=behind), NotLocalized)
    for seed in range(5):
        result = localizer.localize(shot(Scene.make(seed=50 + seed), seed=seed), RIG)
        assert isinstance(result, NotLocalized)


def test_a_prior_that_is_off_hides_nothing(scene: Scene, localizer: RigLocalizer) -> None:
    """Its window would cut off a quarter of the evidence, and what is left is what agrees with it."""
    images = shot(scene, outliers=0.5)
    exact = localizer.localize(images, RIG, prior=HERE)
    for degrees in (2.0, 4.0, 9.0):
        off = HERE @ Pose(Rotation.from_euler("zy", [degrees, 0.3 * degrees], degrees=True).as_matrix())
        result = localizer.localize(images, RIG, prior=off)
        if degrees < 3.0 or isinstance(result, Localized):
            assert_at(result, HERE, 0.01, 0.1)
            assert result.inliers > 0.95 * exact.inliers


def test_two_identical_rooms_are_ambiguous(scene: Scene) -> None:
    once = walk(8)
    result = RigLocalizer(scene.build_double_map(once)).localize(shot(scene, once[3] @ LEFT.inverse()), RIG)
    assert isinstance(result, NotLocalized), result.map_from_camera
    assert result.reason is Reason.AMBIGUOUS


def test_the_tracker_follows_a_rig_and_finds_it_after_a_kidnapping(scene: Scene, localizer: RigLocalizer) -> None:
    tracker = Tracker(localizer)
    modes = []
    for index in range(8):
        if index == 4:  # somebody carries it away
            moved = Pose(Rotation.from_euler("z", 100, degrees=True).as_matrix(), np.array([-1.2, 0.3, 0.0]))
        start = HERE if index < 4 else moved @ HERE
        here = start @ Pose(translation=np.array([0.05 * index, 0.0, 0.0]))
        images: list[Features | None] = list(shot(scene, here, seed=index))
        images[index % 2] = images[index % 2] if index not in (2, 6) else None
        result = tracker.process(images, RIG, stamp_s=index / 10)
        if index == 4:  # held back until a second shot agrees
            assert isinstance(result, NotLocalized)
            assert result.reason is Reason.INCONSISTENT
        else:
            assert_at(result, here)
            modes.append(result.mode)
    assert modes.count(Mode.TRACKING) >= 5
    late = shot(scene, here @ Pose(translation=np.array([-0.01, 0.0, 0.0])), seed=20)
    result = tracker.process([None, late[1]], RIG, stamp_s=0.68)  # independent cameras need not keep the order
    assert_at(result, here)
    assert result.mode is Mode.TRACKING


def test_what_does_not_fit_is_refused(scene: Scene, localizer: RigLocalizer) -> None:
    images = shot(scene)
    with pytest.raises(ConfigError, match="1 images for a rig of 2"):
        localizer.localize(images[:1], RIG)
    with pytest.raises(ConfigError, match="expected pose is not finite"):
        localizer.localize(images, RIG, prior=Pose(translation=np.full(3, np.inf)))
    with pytest.raises(ConfigError, match="640x480"):
        localizer.localize(images, Rig((CAMERA, CAMERA.scaled(320, 240)), (LEFT, RIGHT)))
    with pytest.raises(ConfigError, match="2 cameras has 1 extrinsics"):
        Rig((CAMERA, CAMERA), (LEFT,))
    with pytest.raises(ConfigError, match="finite"):
        Rig((CAMERA,), (Pose(translation=np.full(3, np.nan)),))
