"""One pose from correspondences most of which are wrong, against the truth and against COLMAP's solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.absolute_pose.problem import Problem, Seen
from hfnet_core.localization.absolute_pose.ransac import Ransac, solve_absolute_pose
from hfnet_core.projection import linearised_projection, project, project_in_camera, rays_near, rays_of
from hfnet_core.types import Camera

PINHOLE = Camera("PINHOLE", 640, 480, (500.0, 505.0, 322.0, 238.0))
WIDE = Camera("OPENCV", 640, 480, (320.0, 322.0, 321.0, 239.0, -0.28, 0.07, 0.0002, 0.0001))
FISHEYE = Camera("OPENCV_FISHEYE", 848, 800, (286.0, 286.0, 422.0, 396.0, -0.006, 0.04, -0.04, 0.006))  # 163 degrees
CAMERAS = [PINHOLE, WIDE, FISHEYE]
TRUTH = Pose(Rotation.from_rotvec([0.3, -1.1, 0.4]).as_matrix(), np.array([120.0, -80.0, 3.0]))
RANSAC = Ransac(max_error_px=6.0)


def seen_by(
    camera: Camera, map_from_camera: Pose, count: int, *, wrong: float, seed: int = 0, noise_px: float = 1.0
) -> tuple[Seen, np.ndarray]:
    """Points all over the image, `wrong` (a share) of them elsewhere in it than their pixel; and which are right."""
    rng = np.random.default_rng(seed)
    true_px = rng.uniform(0, (camera.width - 1, camera.height - 1), (3 * count, 2))
    rays = rays_of(camera, true_px)
    inside = np.isfinite(rays).all(axis=1) & (rays[:, 2] > 0.1)
    true_px, rays = true_px[inside][:count], rays[inside][:count]
    points = map_from_camera.apply(rays * rng.uniform(2, 9, (len(rays), 1)))
    right = rng.random(len(rays)) >= wrong
    pixels = true_px + rng.normal(0, noise_px, true_px.shape)
    pixels[~right] = rng.permutation(pixels[~right])
    return Seen(pixels, points, camera), right


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.model)
@pytest.mark.parametrize("wrong", [0.0, 0.5, 0.8])
def test_the_pose_is_found_among_wrong_correspondences(camera: Camera, wrong: float) -> None:
    seen, right = seen_by(camera, TRUTH, 200, wrong=wrong)
    answer = solve_absolute_pose([seen], RANSAC)
    assert answer is not None
    found, inliers = answer
    metres, degrees = pose_error(found, TRUTH)
    assert metres < 0.05
    assert degrees < 0.4
    assert (inliers & right).sum() >= 0.97 * right.sum()
    assert (inliers & ~right).sum() <= 8


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.model)
@pytest.mark.parametrize("seed", range(6))
def test_it_finds_what_colmap_finds(camera: Camera, seed: int) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    seen, _ = seen_by(camera, TRUTH, 120, wrong=0.7, seed=seed)
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac = pycolmap.RANSACOptions(max_error=6.0 * camera.width / 640, confidence=0.9999, random_seed=0)
    reference_camera = pycolmap.Camera(
        model=camera.model, width=camera.width, height=camera.height, params=list(camera.params)
    )
    reference = pycolmap.estimate_and_refine_absolute_pose(seen.pixels, seen.points_map, reference_camera, options)
    answer = solve_absolute_pose([seen], RANSAC)
    assert answer is not None
    found, inliers = answer
    expected = Pose.from_matrix(reference["cam_from_world"].matrix()).inverse()
    metres, degrees = pose_error(found, expected)
    assert metres < 0.06
    assert degrees < 0.5
    assert inliers.sum() >= 0.95 * reference["num_inliers"]


def test_a_rig_is_solved_as_one_and_what_one_camera_lacks_another_has() -> None:
    behind = Pose(Rotation.from_euler("y", 180, degrees=True).as_matrix(), np.array([0.0, 0.1, -0.4]))
    front, right = seen_by(WIDE, TRUTH, 60, wrong=0.6)
    back, right_behind = seen_by(FISHEYE, TRUTH @ behind, 60, wrong=0.6, seed=1)
    answer = solve_absolute_pose([front, replace(back, rig_from_camera=behind)], RANSAC)
    assert answer is not None
    found, inliers = answer
    metres, degrees = pose_error(found, TRUTH)
    assert metres < 0.05
    assert degrees < 0.3
    assert (inliers & np.concatenate([right, right_behind])).sum() >= 0.95 * (right.sum() + right_behind.sum())
    blind, _ = seen_by(WIDE, TRUTH, 40, wrong=1.0, seed=2)
    answer = solve_absolute_pose([blind, replace(back, rig_from_camera=behind)], RANSAC)
    assert answer is not None
    assert pose_error(answer[0], TRUTH)[0] < 0.1


def test_one_camera_away_from_the_middle_of_its_rig() -> None:
    rig_from_camera = Pose(Rotation.from_rotvec([0.1, 0.5, 0]).as_matrix(), np.array([0.3, 0.0, 1.0]))
    seen, _ = seen_by(PINHOLE, TRUTH @ rig_from_camera, 100, wrong=0.3)
    answer = solve_absolute_pose([replace(seen, rig_from_camera=rig_from_camera)], RANSAC)
    assert answer is not None
    assert pose_error(answer[0], TRUTH)[0] < 0.05


def test_what_agrees_on_nothing_has_few_inliers_or_none() -> None:
    seen, _ = seen_by(PINHOLE, TRUTH, 40, wrong=1.0)
    answer = solve_absolute_pose([seen], RANSAC)
    assert answer is None or answer[1].sum() < 10


def test_the_same_question_has_the_same_answer() -> None:
    seen, _ = seen_by(WIDE, TRUTH, 80, wrong=0.8)
    first, second = solve_absolute_pose([seen], RANSAC), solve_absolute_pose([seen], RANSAC)
    assert first is not None
    assert second is not None
    assert np.array_equal(first[0].matrix(), second[0].matrix())
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_correspondences_have_no_pose(count: int) -> None:
    seen, _ = seen_by(PINHOLE, TRUTH, count, wrong=0.0)
    assert solve_absolute_pose([seen], RANSAC) is None


def test_one_point_many_times_has_no_pose() -> None:
    seen = Seen(np.full((50, 2), 100.0), np.ones((50, 3)), PINHOLE)
    assert solve_absolute_pose([seen], RANSAC) is None


def test_pixels_that_have_no_ray_are_no_inliers_and_do_no_harm() -> None:
    seen, _ = seen_by(FISHEYE, TRUTH, 60, wrong=0.2)
    pixels = np.concatenate([[[1e5, 1e5], [np.nan, 3.0]], seen.pixels])
    points = np.concatenate([np.ones((2, 3)), seen.points_map])
    answer, plain = solve_absolute_pose([Seen(pixels, points, FISHEYE)], RANSAC), solve_absolute_pose([seen], RANSAC)
    assert answer is not None
    assert plain is not None
    assert answer[1].tolist() == [False, False, *plain[1]]
    assert np.allclose(answer[0].matrix(), plain[0].matrix())


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.model)
def test_errors_are_pixels_to_first_order_out_to_the_edge(camera: Camera) -> None:
    seen, _ = seen_by(camera, TRUTH, 400, wrong=0.0, noise_px=2.0)
    problem = Problem.of([seen], 6.0)
    rotation = TRUTH.rotation.T
    pose = np.concatenate([rotation.ravel(), rotation @ (problem.origin - TRUTH.translation)])
    pixels, _ = project(seen.points_map, TRUTH, camera)
    expected = np.linalg.norm(pixels - seen.pixels, axis=1) / (6.0 * camera.width / 640)
    small = expected < 1
    errors = np.linalg.norm(problem.linearised(pose).errors, axis=0)
    np.testing.assert_allclose(errors[small], expected[small], atol=0.12)  # to first order, 86 degrees off the axis
    assert np.median(np.abs(errors - expected)[small] / expected[small]) < 0.01
    np.testing.assert_allclose(np.sqrt(problem.costs(pose[None])[0])[small], errors[small], atol=1e-3)


def test_derivatives_of_the_errors_are_exact() -> None:
    mount = Pose(Rotation.from_rotvec([0.1, 0.5, 0]).as_matrix(), np.array([0.3, 0.0, 1.0]))
    seen, _ = seen_by(WIDE, TRUTH @ mount, 30, wrong=0.0)
    problem = Problem.of([replace(seen, rig_from_camera=mount)], 6.0)
    rotation = TRUTH.rotation.T
    shift = rotation @ (problem.origin - TRUTH.translation)
    derivatives = problem.derivatives(problem.linearised(np.concatenate([rotation.ravel(), shift])))

    def errors(step: np.ndarray) -> np.ndarray:
        turned = Rotation.from_rotvec(step[3:]).as_matrix() @ rotation
        return problem.linearised(np.concatenate([turned.ravel(), shift + step[:3]])).errors

    for axis in range(6):
        step = 1e-6 * np.eye(6)[axis]
        np.testing.assert_allclose(derivatives[axis], (errors(step) - errors(-step)) / 2e-6, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.model)
def test_rays_that_are_nearly_right_know_what_they_lack(camera: Camera) -> None:
    pixels = np.random.default_rng(0).uniform(0, (camera.width, camera.height), (200, 2))
    pixels = pixels[np.isfinite(rays_of(camera, pixels)).all(axis=1)]
    assert len(pixels) > 100
    rays, off, by_ray = rays_near(camera, pixels)
    assert np.abs(off).max() < 0.1
    np.testing.assert_allclose(pixels + off, project_in_camera(camera, rays), atol=1e-9)
    np.testing.assert_allclose(by_ray, linearised_projection(camera, rays)[1], atol=1e-9)
