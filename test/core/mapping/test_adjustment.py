from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.adjustment import Problem, Trust, adjust
from hfnet_core.mapping.cameras import intrinsics, project, rays_of, refinable, with_intrinsics
from hfnet_core.types import Camera

MODELS = [
    Camera("PINHOLE", 640, 480, (500.0, 510.0, 320.0, 240.0)),
    Camera("OPENCV", 640, 480, (500.0, 500.0, 320.0, 240.0, -0.1, 0.02, 0.001, -0.001)),
    Camera("FULL_OPENCV", 640, 480, (500.0, 500.0, 320.0, 240.0, -0.1, 0.02, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0)),
    Camera("OPENCV_FISHEYE", 640, 480, (300.0, 300.0, 320.0, 240.0, 0.01, -0.01, 0.0, 0.0)),
    Camera("SIMPLE_RADIAL", 640, 480, (500.0, 320.0, 240.0, -0.05)),
]


def problem_of(camera: Camera, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    points = rng.uniform((-2, -1.5, 3), (2, 1.5, 6), (80, 3))
    poses = [
        Pose(Rotation.from_rotvec(rng.normal(0, 0.1, 3)).as_matrix(), np.array([x, 0.1 * x**2, 0.2 * x]))
        for x in np.linspace(-1, 1, 6)
    ]
    inverse = [pose.inverse() for pose in poses]
    tracks, views = (grid.ravel() for grid in np.meshgrid(np.arange(80), np.arange(6), indexing="ij"))
    pixels = np.stack([project(camera, pose.apply(points)) for pose in inverse], axis=1).reshape(-1, 2)
    return Problem(
        np.array([pose.rotation for pose in inverse]), np.array([pose.translation for pose in inverse]),
        np.zeros(6, dtype=np.int64), (camera,), points, views, tracks, pixels,
    )  # fmt: skip


@pytest.mark.parametrize("camera", MODELS, ids=lambda camera: camera.model)
def test_returns_to_the_truth(camera: Camera) -> None:
    truth = problem_of(camera)
    rng = np.random.default_rng(1)
    moved = Problem(
        Rotation.from_rotvec(rng.normal(0, 0.02, (6, 3))).as_matrix() @ truth.rotations,
        truth.translations + rng.normal(0, 0.05, (6, 3)), truth.view_cameras,
        (with_intrinsics(camera, intrinsics(camera) + np.array([0.03, 0.0, 0.0])),),
        truth.points + rng.normal(0, 0.1, (80, 3)), truth.views, truth.tracks, truth.pixels,
    )  # fmt: skip
    found = adjust(moved, truth.map_from_camera(), Trust(0.02, 0.02, 1.0, True), iterations=50)
    assert np.abs(found.residuals_px()).max() < 0.05
    for a, b in zip(found.map_from_camera(), truth.map_from_camera(), strict=True):
        metres, degrees = pose_error(a, b)
        assert metres < 0.01
        assert degrees < 0.1
    assert found.cameras[0].focal_length[0] == pytest.approx(camera.focal_length[0], rel=5e-3)


def test_fixed_intrinsics_stay() -> None:
    truth = problem_of(MODELS[0])
    found = adjust(truth, truth.map_from_camera(), Trust(0.02, 0.02, 1.0, False), iterations=5)
    assert found.cameras == truth.cameras


def test_outliers_have_little_say() -> None:
    truth = problem_of(MODELS[1])
    pixels = truth.pixels.copy()
    pixels[::20] += 50
    wrong = Problem(truth.rotations, truth.translations, truth.view_cameras, truth.cameras, truth.points, truth.views,
                    truth.tracks, pixels)  # fmt: skip
    found = adjust(wrong, truth.map_from_camera(), Trust(0.02, 0.02, 1.0, False), iterations=30)
    moved = [pose_error(a, b)[0] for a, b in zip(found.map_from_camera(), truth.map_from_camera(), strict=True)]
    assert max(moved) < 0.02


def test_nothing_to_adjust_is_no_error() -> None:
    empty = Problem(np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(0, dtype=np.int64), (), np.zeros((0, 3)),
                    np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 2)))  # fmt: skip
    assert adjust(empty, [], Trust(1.0, 1.0, 1.0, True), iterations=3) is empty


@pytest.mark.parametrize("camera", MODELS, ids=lambda camera: camera.model)
def test_rays_and_projection_are_inverse(camera: Camera) -> None:
    pixels = np.random.default_rng(0).uniform((100, 80), (540, 400), (50, 2)).astype(np.float32)
    assert np.abs(project(camera, 3 * rays_of(camera, pixels)) - pixels).max() < 1e-3


def test_behind_the_camera_is_no_pixel() -> None:
    assert np.isnan(project(MODELS[0], np.array([[0.0, 0.0, -1.0]]))).all()
    assert project(MODELS[0], np.zeros((0, 3))).shape == (0, 2)


def test_a_pinhole_becomes_refinable_without_changing() -> None:
    camera = refinable(MODELS[0])
    points = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 4), (20, 3))
    assert np.allclose(project(camera, points), project(MODELS[0], points))
    assert np.allclose(intrinsics(camera), (np.log(500.0), 0.0, 0.0))
