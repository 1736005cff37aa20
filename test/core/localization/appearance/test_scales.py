"""Landmarks that look different from nearer: found where the map knows how they look there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scene import CAMERA, LOCAL_DIM, Scene, looking, unit, walk

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.appearance.scales import at_other_scales, suiting
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera, Features, Localized, NotLocalized

QUERY = looking(0.3, 0.9, 155.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.make()


@pytest.fixture(scope="module")
def far_scene(scene: Scene) -> Scene:
    """The same room as it looks at another scale: nothing of the descriptors is left."""
    other = unit(np.random.default_rng(9).normal(size=scene.descriptors.shape))
    return dataclasses.replace(scene, descriptors=other)


@pytest.fixture(scope="module")
def plain(scene: Scene) -> LandmarkMap:
    return scene.build_map(walk())


@pytest.fixture(scope="module")
def several(plain: LandmarkMap, far_scene: Scene) -> LandmarkMap:
    """The map that knows how its landmarks look at twice the size."""
    place = {tuple(point): row for row, point in enumerate(far_scene.points.astype(np.float32).tolist())}
    rows = [place[tuple(point)] for point in plain.landmarks_xyz.tolist()]
    described = far_scene.descriptors[rows].astype(np.float16)[None]
    return dataclasses.replace(plain, scale_factors=np.array([2.0], np.float32), scaled_descriptors=described)


def seen(scene: Scene) -> Features:
    return scene.view(QUERY, seed=4)[0]


def test_an_image_of_another_scale_is_localized_where_the_map_knows_that_scale(
    plain: LandmarkMap, several: LandmarkMap, far_scene: Scene
) -> None:
    # A lens of twice the focal length is what makes the scale of this query.
    camera = Camera("PINHOLE", 640, 480, (1000.0, 1000.0, 319.5, 239.5))
    features, _ = far_scene.view(QUERY, seed=4, camera=camera)
    assert isinstance(Localizer(plain).localize([View(features, camera)]), NotLocalized)
    found = Localizer(several).localize([View(features, camera)])
    assert isinstance(found, Localized), found
    assert pose_error(found.map_from_camera, QUERY)[0] < 0.05


def test_an_image_of_the_maps_own_scale_is_answered_as_without(
    plain: LandmarkMap, several: LandmarkMap, scene: Scene
) -> None:
    one, other = (Localizer(each).localize([View(seen(scene), CAMERA)]) for each in (plain, several))
    assert isinstance(one, Localized)
    assert isinstance(other, Localized)
    assert pose_error(one.map_from_camera, other.map_from_camera)[0] < 0.02


@pytest.mark.parametrize(("focal_px", "scaled"), [(500.0, False), (1000.0, True), (2000.0, True)])
def test_landmarks_are_described_as_large_as_they_should_appear(
    plain: LandmarkMap, several: LandmarkMap, focal_px: float, scaled: bool
) -> None:
    keyframe = 3
    landmarks = several.landmarks_of(keyframe)[:50]
    camera = Camera("PINHOLE", 640, 480, (focal_px, focal_px, 319.5, 239.5))
    found = suiting(several, landmarks, several.map_from_camera(keyframe), camera)
    (other,) = at_other_scales(several, landmarks)
    own = suiting(plain, landmarks, several.map_from_camera(keyframe), camera)
    assert np.median(np.abs(found - (other if scaled else own)).max(axis=1)) < 1e-3


def test_going_nearer_counts_as_a_longer_lens_does(several: LandmarkMap) -> None:
    landmark = several.landmarks_of(0)[:1]
    at = several.landmarks_xyz[landmark[0]].astype(float)
    from_there = several.keyframe_poses[several.observation_keyframes[several.landmark_offsets[landmark[0]]], :, 3]
    near = Pose(translation=at + 0.25 * (from_there - at))
    (other,) = at_other_scales(several, landmark)
    assert np.allclose(suiting(several, landmark, near, CAMERA), other, atol=1e-3)


def test_a_landmark_that_nobody_saw_at_that_scale_keeps_its_own_description(several: LandmarkMap) -> None:
    nothing = dataclasses.replace(several, scaled_descriptors=np.zeros_like(several.scaled_descriptors))
    landmarks = several.landmarks_of(0)[:20]
    camera = Camera("PINHOLE", 640, 480, (2000.0, 2000.0, 319.5, 239.5))
    found = suiting(nothing, landmarks, several.map_from_camera(0), camera)
    assert found.shape == (20, LOCAL_DIM)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-3)


def test_no_landmarks_are_no_trouble(several: LandmarkMap) -> None:
    assert suiting(several, np.zeros(0, np.int32), QUERY, CAMERA).shape == (0, LOCAL_DIM)
