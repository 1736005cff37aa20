"""The two poses of a plane."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.confidence import Evidence
from hfnet_core.localization.correspondences import Correspondences, Query, between
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.judgement import Candidate, rivals
from hfnet_core.localization.twins.planar import second_pose
from hfnet_core.localization.uncertainty.focal import Uncertainty
from hfnet_core.projection import project
from hfnet_core.types import Camera, Mode

CAMERA = Camera("PINHOLE", 640, 480, (600.0, 600.0, 319.5, 239.5))


def looking_at_origin(angle_deg: float, distance_m: float) -> Pose:
    """map_from_camera on a circle around the origin, in the plane y = 0."""
    angle = np.radians(angle_deg)
    centre = distance_m * np.array([np.sin(angle), 0.0, np.cos(angle)])
    forward = -centre / distance_m
    down = np.array([0.0, 1.0, 0.0])
    return Pose(np.column_stack([np.cross(down, forward), down, forward]), centre)


def poster(depth_m: float = 0.0, others: int = 0) -> np.ndarray:
    """[40 + others, 3] points on z = 0, others up to `depth_m` in front of it."""
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.uniform(-0.4, 0.4, (40 + others, 2)), np.zeros(40 + others)])
    points[40:, 2] = rng.uniform(0.5 * depth_m, depth_m, others)
    return points


def seen(points: np.ndarray, map_from_camera: Pose) -> tuple[Query, Hypothesis]:
    pixels, visible = project(points, map_from_camera, CAMERA)
    assert visible.all()
    noise = np.random.default_rng(2).normal(0.0, 1.0, pixels.shape)
    found, query = between(pixels + noise, points, CAMERA)
    return query, hypothesis_of(found, map_from_camera)


def hypothesis_of(found: Correspondences, map_from_camera: Pose) -> Hypothesis:
    everyone = np.ones(len(found), bool)
    return Hypothesis(Mode.GLOBAL, map_from_camera, found, everyone, (0,), found, len(found), guided=len(found))


@pytest.mark.parametrize("angle_deg", [-40.0, -20.0, 30.0])
def test_a_distant_poster_has_a_mirrored_pose(angle_deg: float) -> None:
    query, hypothesis = seen(poster(), looking_at_origin(angle_deg, 6.0))
    other = second_pose(query, hypothesis, LocalizerConfig())
    assert other is not None
    metres, degrees = pose_error(other.map_from_rig, looking_at_origin(-angle_deg, 6.0))
    assert metres < 1.0
    assert degrees < 10.0
    assert other.explained >= 36
    assert other.inliers == int((other.agreeing & other.found.unguided).sum())


def test_from_either_the_other_one_is_found() -> None:
    query, hypothesis = seen(poster(), looking_at_origin(35.0, 6.0))
    other = second_pose(query, hypothesis, LocalizerConfig())
    assert other is not None
    back = second_pose(query, other, LocalizerConfig())
    assert back is not None
    metres, degrees = pose_error(back.map_from_rig, hypothesis.map_from_rig)
    assert metres < 0.3
    assert degrees < 3.0


def test_from_close_up_perspective_tells_them_apart() -> None:
    query, hypothesis = seen(poster(), looking_at_origin(45.0, 1.2))
    assert second_pose(query, hypothesis, LocalizerConfig()) is None


def test_what_stands_in_front_of_the_plane_excludes_the_other_pose() -> None:
    query, hypothesis = seen(poster(0.8, others=60), looking_at_origin(40.0, 6.0))
    assert second_pose(query, hypothesis, LocalizerConfig()) is None


def test_seen_head_on_there_is_one_pose() -> None:
    query, hypothesis = seen(poster(), looking_at_origin(0.0, 6.0))
    assert second_pose(query, hypothesis, LocalizerConfig()) is None


@pytest.mark.parametrize(("behind", "told"), [(1.0, 1), (6.0, 1), (8.0, 0)])
def test_the_other_pose_counts_unless_the_image_speaks_clearly_against_it(behind: float, told: int) -> None:
    query, hypothesis = seen(poster(), looking_at_origin(35.0, 6.0))
    other = second_pose(query, hypothesis, LocalizerConfig())
    assert other is not None
    evidence = Evidence(40, 40, 0.5, 40, 40, 0.5, 0.0, False, 0.8, 30.0, 0.7, None)
    known = Uncertainty(1e-6 * np.eye(6), 1.0, ())
    best = Candidate(hypothesis, evidence, 5.0, known, mirrored=True)
    second = Candidate(other, evidence, 5.0 - behind, known, mirrored=True)
    assert len(rivals(best, [second], LocalizerConfig())) == told
