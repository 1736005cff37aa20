"""How well landmarks are known."""

from __future__ import annotations

import numpy as np
import pytest
from scene import CAMERA, Scene, looking
from scipy.optimize import least_squares

from hfnet_core.geometry import Pose
from hfnet_core.localization.uncertainty.landmarks import landmark_covariance
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import project

SIDE_BY_SIDE = [looking(-0.4, 0.0, 0.0), looking(0.0, 0.3, 0.0), looking(0.4, -0.3, 0.0)]
NOISE_PX = 0.7  # as the map is taken to have


@pytest.fixture(scope="module")
def landmark_map() -> LandmarkMap:
    return Scene.make().build_map(SIDE_BY_SIDE)


def triangulated(point: np.ndarray, poses: list[Pose], seed: int) -> np.ndarray:
    """The point [3] that noisy observations of it give."""
    noise = np.random.default_rng(seed).normal(0.0, NOISE_PX, (len(poses), 2))
    seen = np.array([project(point[None], pose, CAMERA)[0][0] for pose in poses]) + noise

    def errors(at: np.ndarray) -> np.ndarray:
        return (np.array([project(at[None], pose, CAMERA)[0][0] for pose in poses]) - seen).ravel()

    return np.asarray(least_squares(errors, point).x)


def test_it_is_the_scatter_of_triangulated_points(landmark_map: LandmarkMap) -> None:
    counts = np.diff(landmark_map.landmark_offsets)
    landmark = int(np.flatnonzero(counts == 3)[0])
    rows = slice(*landmark_map.landmark_offsets[landmark : landmark + 2])
    poses = [landmark_map.map_from_camera(int(k)) for k in landmark_map.observation_keyframes[rows]]
    point = landmark_map.landmarks_xyz[landmark].astype(float)
    found = np.array([triangulated(point, poses, seed) for seed in range(300)])
    scatter = np.cov(found.T)
    (told,) = landmark_covariance(landmark_map, np.array([landmark], np.int32))
    assert np.sqrt(np.linalg.eigvalsh(told)) == pytest.approx(np.sqrt(np.linalg.eigvalsh(scatter)), rel=0.2)
    axis, expected = np.linalg.eigh(told)[1][:, 2], np.linalg.eigh(scatter)[1][:, 2]
    assert abs(axis @ expected) > 0.99  # along the line of sight


def test_each_landmark_gets_its_own(landmark_map: LandmarkMap) -> None:
    landmarks = np.array([5, 800, 17], np.int32)
    together = landmark_covariance(landmark_map, landmarks)
    for landmark, covariance in zip(landmarks, together, strict=True):
        assert landmark_covariance(landmark_map, np.array([landmark], np.int32))[0] == pytest.approx(covariance)
    assert landmark_covariance(landmark_map, np.zeros(0, np.int32)).shape == (0, 3, 3)


def test_a_landmark_from_one_place_has_a_bounded_distance() -> None:
    here = Scene.make().build_map([looking(0.0, 0.0, 0.0), looking(0.0, 0.0, 1.0)])
    (told,) = landmark_covariance(here, np.array([0], np.int32))
    distance_m = np.linalg.norm(here.landmarks_xyz[0] - here.map_from_camera(0).translation)
    assert 0.3 * distance_m < np.sqrt(np.linalg.eigvalsh(told)[2]) < 0.6 * distance_m


def test_many_views_tell_more_than_few() -> None:
    scene = Scene.make()
    few = scene.build_map(SIDE_BY_SIDE)
    many = scene.build_map([looking(x, y, 0.0) for x in (-0.4, 0.0, 0.4) for y in (-0.3, 0.0, 0.3)])
    told = [
        np.median(np.sqrt(np.linalg.eigvalsh(landmark_covariance(one, np.arange(200, dtype=np.int32)))))
        for one in (few, many)
    ]
    assert told[1] < 0.8 * told[0]
