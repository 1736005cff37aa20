"""Pose solving, projection, covariance."""

from __future__ import annotations

import numpy as np
import pytest
from scene import CAMERA, CAMERAS, TRUTH, asked, cloud

from hfnet_core import projection
from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization import pose
from hfnet_core.localization.uncertainty import covariance as uncertainty
from hfnet_core.types import Camera


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.model)
def test_solves_through_every_camera_model_despite_outliers(camera: Camera) -> None:
    points = cloud(200)
    pixels, visible = projection.project(points, TRUTH, camera)
    pixels, points = pixels[visible], points[visible]
    pixels[:60] = np.random.default_rng(1).uniform(0, [640, 480], (60, 2))
    solution = pose.solve(*asked(pixels, points, camera), 0, LocalizerConfig())
    assert solution is not None
    metres, degrees = pose_error(solution.map_from_rig, TRUTH)
    assert metres < 1e-3
    assert degrees < 0.02
    assert solution.inliers[60:].all()


def test_polishing_takes_in_what_its_limits_allow() -> None:
    """Half a metre beside the truth, what is near lies beyond the usual limit, and only what is far away agrees."""
    rng = np.random.default_rng(4)
    near, far = rng.uniform([-1, -1, 2], [1, 1, 4], (60, 3)), rng.uniform([-20, -20, 80], [20, 20, 90], (200, 3))
    points = TRUTH.apply(np.vstack([near, far]))
    pixels, visible = projection.project(points, TRUTH, CAMERA)
    found, query = asked(pixels[visible] + rng.normal(0, 0.3, (int(visible.sum()), 2)), points[visible])
    beside = TRUTH @ Pose(translation=np.array([0.5, 0.0, 0.0]))
    config = LocalizerConfig()
    stuck = pose.polish(found, query, beside, config)
    assert stuck is None or pose_error(stuck.map_from_rig, TRUTH)[0] > 0.2
    limits_px = pose.errors_px(found, query, beside) + config.reprojection_error_px
    solution = pose.polish(found, query, beside, config, limits_px)
    assert solution is not None
    assert pose_error(solution.map_from_rig, TRUTH)[0] < 0.01
    assert solution.inliers.all()


def test_noise_has_no_consensus_to_speak_of() -> None:
    rng = np.random.default_rng(2)
    solution = pose.solve(*asked(rng.uniform(0, [640, 480], (300, 2)), cloud(300)), 0, LocalizerConfig())
    assert solution is None or solution.inliers.sum() < 15


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_points_give_nothing(count: int) -> None:
    points = cloud(count)
    assert pose.solve(*asked(np.zeros((count, 2)), points), 0, LocalizerConfig()) is None


def test_projection_refuses_what_is_behind_or_outside() -> None:
    ahead = TRUTH.apply(np.array([[0.0, 0.0, 2.0], [0.0, 0.0, -2.0], [9.0, 0.0, 2.0]]))
    pixels, visible = projection.project(ahead, TRUTH, CAMERA)
    assert visible.tolist() == [True, False, False]
    assert np.allclose(pixels[0], [319.5, 239.5])


def covariance(pixels: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, float]:
    return uncertainty.covariance_of(uncertainty.linearised(*asked(pixels, points), TRUTH))


def test_covariance_scales_with_the_residuals_and_is_infinite_without_constraint() -> None:
    points = cloud(300)
    pixels, visible = projection.project(points, TRUTH, CAMERA)
    pixels, points = pixels[visible], points[visible]
    noise = np.random.default_rng(3).normal(size=pixels.shape)
    small, small_rms = covariance(pixels + 0.5 * noise, points)
    large, large_rms = covariance(pixels + 1.0 * noise, points)
    assert np.trace(large) == pytest.approx(4.0 * np.trace(small), rel=0.1)  # noise moves keypoints between cells
    assert large_rms == pytest.approx(2.0 * small_rms)
    assert (np.linalg.eigvalsh(small) > 0).all()
    nothing, _ = covariance(pixels[:3], points[:3])
    assert np.isinf(nothing).all()
    same_point, _ = covariance(np.repeat(pixels[:1], 9, 0), np.repeat(points[:1], 9, 0))
    assert np.isinf(same_point).all()


def test_a_region_that_pulls_at_the_pose_widens_its_covariance() -> None:
    points = cloud(300)
    pixels, visible = projection.project(points, TRUTH, CAMERA)
    pixels, points = pixels[visible], points[visible]
    noise = np.random.default_rng(3).normal(size=pixels.shape)
    corner = (pixels < [200.0, 200.0]).all(axis=1)
    pulled, pulled_rms = covariance(pixels + 0.2 * noise + 3.0 * corner[:, None], points)
    usual, usual_rms = covariance(pixels + pulled_rms / np.sqrt(2.0) * noise, points)
    assert usual_rms == pytest.approx(pulled_rms, rel=0.1)
    assert np.trace(pulled) > 2.0 * np.trace(usual)


def test_near_landmarks_that_pull_at_the_pose_widen_its_covariance() -> None:
    """All over the image, so that no region shows it: those of other distances say otherwise."""
    rng = np.random.default_rng(3)
    further = np.exp(rng.uniform(0.0, 3.0, 300))
    points = TRUTH.translation + further[:, None] * (cloud(300) - TRUTH.translation)
    pixels, visible = projection.project(points, TRUTH, CAMERA)
    pixels, points, near = pixels[visible], points[visible], further[visible] < 1.5
    noise = rng.normal(size=pixels.shape)
    pulled, pulled_rms = covariance(pixels + 0.2 * noise + np.where(near, 3.0, 0.0)[:, None] * [1.0, 0.0], points)
    usual, usual_rms = covariance(pixels + pulled_rms / np.sqrt(2.0) * noise, points)
    assert usual_rms == pytest.approx(pulled_rms, rel=0.2)
    assert np.trace(pulled[:3, :3]) > 2.0 * np.trace(usual[:3, :3])


def test_coverage_counts_cells() -> None:
    assert uncertainty.cell_share(np.zeros((0, 2)), CAMERA) == 0.0
    assert uncertainty.cell_share(np.array([[10.0, 10.0], [12.0, 9.0]]), CAMERA) == pytest.approx(1 / 48)
    everywhere = np.stack(np.meshgrid(np.arange(640), np.arange(480)), axis=-1).reshape(-1, 2)
    assert uncertainty.cell_share(everywhere, CAMERA) == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("PINHOLE", 640, 480, (0.0, 0.0, 0.0, 0.0)), "calibrated"),
        (("PINHOLE", 640, 480, (500.0, 500.0, 320.0)), "4 parameters"),
        (("FISHY", 640, 480, (500.0,)), "FISHY"),
        (("PINHOLE", 0, 480, (500.0, 500.0, 320.0, 240.0)), "0x480"),
    ],
)
def test_impossible_cameras_are_refused(arguments: tuple, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Camera(*arguments)


def test_a_resized_camera_sees_the_same() -> None:
    points = cloud(50)
    full, _ = projection.project(points, TRUTH, CAMERA)
    half, _ = projection.project(points, TRUTH, CAMERA.scaled(320, 240))
    assert np.allclose((full + 0.5) / 2 - 0.5, half)
