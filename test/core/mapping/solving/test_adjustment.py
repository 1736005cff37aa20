from __future__ import annotations

import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.solving.adjustment import Anchor, adjust, adjust_points
from hfnet_core.mapping.solving.odometry import Link
from hfnet_core.mapping.solving.reconstruction import Scene, View, make_scene
from hfnet_core.projection import project_in_camera, rays_of, refinable
from hfnet_core.types import Camera

MODELS = [
    Camera("PINHOLE", 640, 480, (500.0, 510.0, 320.0, 240.0)),
    Camera("OPENCV", 640, 480, (500.0, 500.0, 320.0, 240.0, -0.1, 0.02, 0.001, -0.001)),
    Camera("FULL_OPENCV", 640, 480, (500.0, 500.0, 320.0, 240.0, -0.1, 0.02, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0)),
    Camera("OPENCV_FISHEYE", 640, 480, (300.0, 300.0, 320.0, 240.0, 0.01, -0.01, 0.0, 0.0)),
    Camera("SIMPLE_RADIAL", 640, 480, (500.0, 320.0, 240.0, -0.05)),
    Camera("RADIAL_FISHEYE", 640, 480, (300.0, 320.0, 240.0, 0.01, -0.01)),
    Camera("THIN_PRISM_FISHEYE", 640, 480, (300, 300, 320, 240, 0.01, -0.01, 1e-3, -1e-3, 0, 0, 2e-3, 1e-3)),
    Camera(
        "RAD_TAN_THIN_PRISM_FISHEYE", 640, 480, (300, 300, 320, 240, 0.01, -0.01, *[0] * 4, 1e-3, 0, 2e-3, 0, 1e-3, 0)
    ),
    Camera("DIVISION", 640, 480, (500.0, 500.0, 320.0, 240.0, -0.1)),
]
POSES = [
    Pose(Rotation.from_rotvec(turn).as_matrix(), np.array([x, 0.1 * x**2, 0.2 * x]))
    for x, turn in zip(np.linspace(-1, 1, 6), np.random.default_rng(0).normal(0, 0.1, (6, 3)), strict=True)
]
POINTS = np.random.default_rng(1).uniform((-2, -1.5, 3), (2, 1.5, 6), (80, 3))


def scene_of(camera: Camera, *, start: Camera | None = None, noise: float = 0.0, wrong: int = 0) -> Scene:
    """80 points seen by 6 views, each keypoint where `camera` sees it; poses, points and `start` may be off.

    wrong: every that many keypoints is 50 px off.
    """
    rng = np.random.default_rng(2)
    views = []
    for pose in POSES:
        pixels = project_in_camera(camera, pose.inverse().apply(POINTS)).astype(np.float32)
        if wrong:
            pixels[::wrong] += 50
        turn = Rotation.from_rotvec(rng.normal(0, noise, 3)).as_matrix()
        moved = Pose(turn @ pose.rotation, pose.translation + rng.normal(0, 2 * noise, 3))
        views.append(View(f"{len(views)}", 0, pixels, moved))
    scene = make_scene(views, [start or camera], {})
    for index, point in enumerate(POINTS):
        track = pycolmap.Track([pycolmap.TrackElement(view + 1, index) for view in range(6)])
        scene.reconstruction.add_point3D(point + rng.normal(0, 4 * noise, 3), track)
    return scene


def anchors(sigma_m: float = 0.02, sigma_rad: float = 0.02) -> list[Anchor]:
    return [Anchor(index, pose, sigma_m, sigma_rad) for index, pose in enumerate(POSES)]


def errors(scene: Scene) -> np.ndarray:
    return np.array([pose_error(a, b) for a, b in zip(scene.poses(), POSES, strict=True)])


@pytest.mark.parametrize("camera", MODELS, ids=lambda camera: camera.model)
def test_returns_to_the_truth(camera: Camera) -> None:
    params = list(camera.params)
    focals = len(camera.focal_parameters)
    params[:focals] = [value * 1.03 for value in params[:focals]]
    scene = scene_of(camera, start=Camera(camera.model, 640, 480, tuple(params)), noise=0.02)
    adjust(scene.reconstruction, anchors(), [], pixel_px=1.0, refine_intrinsics=True)
    assert np.abs(scene.tracks().residuals_px()).max() < 0.1
    assert errors(scene)[:, 0].max() < 0.01
    assert errors(scene)[:, 1].max() < 0.1
    assert scene.cameras()[0].focal_length == pytest.approx(camera.focal_length, rel=5e-3)
    assert scene.cameras()[0].params[focals : focals + 2] == camera.params[focals : focals + 2]  # principal point


def test_fixed_intrinsics_stay() -> None:
    scene = scene_of(MODELS[1], noise=0.01)
    adjust(scene.reconstruction, anchors(), [], pixel_px=1.0, refine_intrinsics=False)
    assert scene.cameras() == [MODELS[1]]


def test_outliers_have_little_say() -> None:
    scene = scene_of(MODELS[1], wrong=20)
    adjust(scene.reconstruction, anchors(), [], pixel_px=1.0, refine_intrinsics=False)
    assert errors(scene)[:, 0].max() < 0.02


def test_orientations_are_held_as_well_as_positions() -> None:
    scene = scene_of(MODELS[1], noise=0.02)
    wanted = [Pose(Rotation.from_euler("z", 5, degrees=True).as_matrix() @ pose.rotation, pose.translation)
              for pose in POSES]  # fmt: skip
    tight = [Anchor(index, pose, 1e-6, 1e-6) for index, pose in enumerate(wanted)]
    adjust(scene.reconstruction, tight, [], pixel_px=1.0, refine_intrinsics=False)
    assert max(pose_error(a, b)[1] for a, b in zip(scene.poses(), wanted, strict=True)) < 0.01


def test_links_give_the_scale_where_one_pose_is_all_that_is_known() -> None:
    scene = scene_of(MODELS[1], noise=0.02)
    links = [Link(i, i + 1, POSES[i].inverse() @ POSES[i + 1], 0.01, 0.01) for i in range(5)]
    adjust(scene.reconstruction, anchors(1e-4, 1e-4)[:1], links, pixel_px=1.0, refine_intrinsics=False)
    assert errors(scene)[:, 0].max() < 0.005
    steps = [link.first_from_second for link in links]
    longer = [Link(i, i + 1, Pose(step.rotation, 1.2 * step.translation), 0.01, 0.01) for i, step in enumerate(steps)]
    adjust(scene.reconstruction, anchors(1e-4, 1e-4)[:1], longer, pixel_px=1.0, refine_intrinsics=False)
    poses = scene.poses()
    length = np.linalg.norm(poses[5].translation - poses[0].translation)
    assert length == pytest.approx(1.2 * np.linalg.norm(POSES[5].translation - POSES[0].translation), rel=0.01)


def test_one_slip_of_a_wheel_does_not_bend_the_map() -> None:
    scene = scene_of(MODELS[1])
    links = [Link(i, i + 1, POSES[i].inverse() @ POSES[i + 1], 0.01, 0.01) for i in range(5)]
    slip = Pose(links[2].first_from_second.rotation, links[2].first_from_second.translation + 0.5)
    links[2] = Link(2, 3, slip, 0.01, 0.01)
    adjust(scene.reconstruction, anchors(1e-4, 1e-4)[:1], links, pixel_px=1.0, refine_intrinsics=False)
    assert errors(scene)[:, 0].max() < 0.05


def test_nothing_to_adjust_is_no_error() -> None:
    scene = make_scene([], [], {})
    adjust(scene.reconstruction, [], [], pixel_px=1.0, refine_intrinsics=True)
    assert scene.poses() == []


@pytest.mark.parametrize("camera", MODELS, ids=lambda camera: camera.model)
def test_rays_and_projection_are_inverse(camera: Camera) -> None:
    pixels = np.random.default_rng(0).uniform((100, 80), (540, 400), (50, 2)).astype(np.float32)
    assert np.abs(project_in_camera(camera, 3 * rays_of(camera, pixels)) - pixels).max() < 1e-3


def test_behind_the_camera_is_no_pixel() -> None:
    assert np.isnan(project_in_camera(MODELS[0], np.array([[0.0, 0.0, -1.0]]))).all()
    assert project_in_camera(MODELS[0], np.zeros((0, 3))).shape == (0, 2)


def test_a_pinhole_becomes_refinable_without_changing() -> None:
    camera = refinable(MODELS[0])
    points = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 4), (20, 3))
    assert np.allclose(project_in_camera(camera, points), project_in_camera(MODELS[0], points))
    assert camera.model == "OPENCV"


def test_points_alone_move_where_poses_are_right() -> None:
    scene = scene_of(MODELS[0])
    for index, point in scene.reconstruction.points3D.items():
        point.xyz = point.xyz + np.random.default_rng(index).normal(0, 0.05, 3)
    before = scene.poses(), scene.cameras()
    assert np.abs(scene.tracks().residuals_px()).max() > 5
    adjust_points(scene.reconstruction, pixel_px=1.0)
    assert np.abs(scene.tracks().residuals_px()).max() < 0.01
    assert all(np.array_equal(a.matrix(), b.matrix()) for a, b in zip(scene.poses(), before[0], strict=True))
    assert scene.cameras() == before[1]
