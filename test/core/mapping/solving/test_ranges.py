"""Distances that depth images measured, as part of bundle adjustment."""

from __future__ import annotations

import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose
from hfnet_core.mapping.solving.adjustment import Anchor, adjust
from hfnet_core.mapping.solving.ranges import usable_ranges
from hfnet_core.mapping.solving.reconstruction import Scene, View, make_scene
from hfnet_core.projection import project_in_camera
from hfnet_core.types import Camera, Ranges

CAMERA = Camera("OPENCV", 640, 480, (500.0, 500.0, 320.0, 240.0, -0.1, 0.02, 0.001, -0.001))
POSES = [
    Pose(Rotation.from_rotvec(turn).as_matrix(), np.array([x, 0.1 * x**2, 0.2 * x]))
    for x, turn in zip(np.linspace(-1, 1, 6), np.random.default_rng(0).normal(0, 0.1, (6, 3)), strict=True)
]
POINTS = np.random.default_rng(1).uniform((-2, -1.5, 3), (2, 1.5, 6), (80, 3))
START = POSES[0].translation


def scene_of(scale: float, camera: Camera = CAMERA) -> Scene:
    """80 points seen by 6 views, everything larger by `scale` than it is, about the first view."""
    views = []
    for index, pose in enumerate(POSES):
        pixels = project_in_camera(CAMERA, pose.inverse().apply(POINTS)).astype(np.float32)
        views.append(View(f"{index}", 0, pixels, Pose(pose.rotation, START + scale * (pose.translation - START))))
    scene = make_scene(views, [camera], {})
    for index, point in enumerate(POINTS):
        track = pycolmap.Track([pycolmap.TrackElement(view + 1, index) for view in range(6)])
        scene.reconstruction.add_point3D(START + scale * (point - START), track)
    return scene


def measured(scale: float = 1.0, sigma_m: float = 0.02) -> list[Ranges]:
    """What each view measures of the points, times `scale`."""
    far = [scale * pose.inverse().apply(POINTS)[:, 2] for pose in POSES]
    return [Ranges(own.astype(np.float32), np.full(len(own), sigma_m, np.float32)) for own in far]


def adjusted(scene: Scene, ranges: list[Ranges], *, intrinsics: bool = False) -> float:
    """Length of the way after adjustment, of that which it has; the first pose is all that is known otherwise."""
    first = Anchor(0, POSES[0], 1e-4, 1e-4)
    found = usable_ranges(scene.reconstruction, ranges)
    adjust(scene.reconstruction, [first], [], pixel_px=1.0, refine_intrinsics=intrinsics, ranges=found)
    ends = [poses[-1].translation - poses[0].translation for poses in (scene.poses(), POSES)]
    return float(np.linalg.norm(ends[0]) / np.linalg.norm(ends[1]))


def test_distances_tell_how_long_a_metre_is() -> None:
    scene = scene_of(1.03)
    assert adjusted(scene, [None] * 6) == pytest.approx(1.03, abs=1e-3)
    assert adjusted(scene, measured()) == pytest.approx(1.0, abs=1e-3)
    assert scene.tracks().points == pytest.approx(POINTS, abs=0.01)


def test_wild_distances_have_little_say() -> None:
    ranges = measured()
    for own in ranges:
        own.metres[::10] *= 1.5  # at edges, on glass
    assert adjusted(scene_of(1.0), ranges) == pytest.approx(1.0, abs=5e-3)


def test_they_tell_the_focal_length_too() -> None:
    wrong = Camera(CAMERA.model, 640, 480, (490.0, 490.0, *CAMERA.params[2:]))
    scene = scene_of(1.0, wrong)
    adjusted(scene, measured(), intrinsics=True)
    assert scene.cameras()[0].focal_length[0] == pytest.approx(500.0, abs=1.0)


def test_distances_in_other_metres_than_the_points_are_left_out() -> None:
    reconstruction = scene_of(1.0).reconstruction
    assert len(usable_ranges(reconstruction, measured(1.04))) == 6 * 80
    assert usable_ranges(reconstruction, measured(1.1)) == []
    assert usable_ranges(reconstruction, [None] * 6) == []


def test_only_what_is_known_well_counts() -> None:
    ranges = measured()
    for own in ranges:
        own.metres[:30] = np.nan
        own.sigma_m[30:60] = 1.0
    found = usable_ranges(scene_of(1.0).reconstruction, ranges)
    assert len(found) == 6 * 20
    one = found[0]
    assert one.metres == pytest.approx(ranges[one.view].metres[60])
    assert one.sigma_m == pytest.approx(np.hypot(0.02, 0.01 * one.metres))
