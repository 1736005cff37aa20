"""Where an image is searched for landmarks, given how well a pose is known."""

from __future__ import annotations

import numpy as np
from scene import CAMERA, TRUTH, asked, cloud

from hfnet_core import projection
from hfnet_core.config import LocalizerConfig
from hfnet_core.localization import pose, windows


def ahead(distance_m: float, count: int = 100) -> np.ndarray:
    spread = 0.4 * distance_m
    points = np.random.default_rng(0).uniform(-spread, spread, (count, 3))
    points[:, 2] = distance_m * np.random.default_rng(1).uniform(0.9, 1.1, count)
    return TRUTH.apply(points)


def told_by(points: np.ndarray) -> windows.Windows:
    pixels, visible = projection.project(points, TRUTH, CAMERA)
    inliers, query = asked(pixels[visible], points[visible])
    return windows.where_they_may_be(inliers, query, TRUTH, least_px=12.0, most_px=48.0)


def test_what_is_near_is_searched_for_more_widely_where_only_far_things_told_the_pose() -> None:
    searched = told_by(ahead(60.0))
    assert (np.asarray(searched(0, ahead(60.0))) < 13.0).all()
    assert (np.asarray(searched(0, ahead(2.0))) > 40.0).all()
    assert np.asarray(searched(0, ahead(2.0))).max() <= 48.0


def test_a_pose_that_near_things_told_is_searched_around_narrowly() -> None:
    searched = told_by(cloud(200))
    for distance_m in (2.0, 3.0, 60.0):
        assert (np.asarray(searched(0, ahead(distance_m))) == 12.0).all()


def test_what_determines_no_pose_widens_nothing() -> None:
    assert told_by(ahead(3.0, count=2))(0, ahead(3.0)) == 12.0


def test_windows_follow_the_spread_of_drawn_poses() -> None:
    """A landmark lies within three standard deviations of where the pose puts it, whatever the pose was told by."""
    points = ahead(20.0, count=40)
    pixels, visible = projection.project(points, TRUTH, CAMERA)
    pixels, points = pixels[visible], points[visible]
    inliers, query = asked(pixels, points)
    near = ahead(3.0, count=30)
    searched = np.asarray(windows.where_they_may_be(inliers, query, TRUTH, 0.0, 1e4)(0, near))
    rng, moved = np.random.default_rng(2), []
    config = LocalizerConfig(reprojection_error_px=50.0)
    for _ in range(40):
        noisy, _ = asked(pixels + rng.normal(0, 1.0, pixels.shape), points)
        solution = pose.polish(noisy, query, TRUTH, config)
        assert solution is not None
        moved.append(
            projection.project(near, solution.map_from_rig, CAMERA)[0] - projection.project(near, TRUTH, CAMERA)[0]
        )
    root_mean_square = np.sqrt((np.array(moved) ** 2).sum(axis=2).mean(axis=0))
    assert (3.0 * root_mean_square / np.maximum(searched, 1e-9) < 1.0).all()  # windows allow for errors of 4 px
    assert (12.0 * root_mean_square / searched > 0.5).all()
