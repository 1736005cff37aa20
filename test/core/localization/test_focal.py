"""A wrong focal length: told by single images, allowed for in the covariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, CAMERAS, TRUTH, Scene, asked, cloud, looking, walk

from hfnet_core import projection
from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization import pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.uncertainty import covariance as uncertainty
from hfnet_core.localization.uncertainty.focal import focal_fit, off_by
from hfnet_core.types import Camera, Localization, Localized

PLACES = [looking(x, y, yaw) for x in (-1.0, 0.0, 1.0) for y in (-0.6, 0.6) for yaw in (-100.0, 20.0, 140.0)]


@pytest.fixture(scope="module")
def room() -> tuple[Scene, Localizer]:
    scene = Scene.make()
    return scene, Localizer(scene.build_map(walk()))


def times(camera: Camera, factor: float) -> Camera:
    count = len(camera.focal_parameters)
    return replace(camera, params=(*(factor * f for f in camera.focal_parameters), *camera.params[count:]))


def answers(room: tuple[Scene, Localizer], given: Camera) -> list[tuple[Localization, Pose]]:
    """Images of CAMERA localized as if another had taken them, and where they were taken."""
    scene, localizer = room
    return [(localizer.localize([View(scene.view(place, seed=n)[0], given)]), place) for n, place in enumerate(PLACES)]


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.model)
def test_every_camera_model_tells_the_change(camera: Camera) -> None:
    points = cloud(300)
    pixels, visible = projection.project(points, TRUTH, times(camera, 1.01))
    pixels, points = pixels[visible] + np.random.default_rng(0).normal(0, 0.2, (visible.sum(), 2)), points[visible]
    found, query = asked(pixels, points, camera)
    solution = pose.polish(found, query, TRUTH, LocalizerConfig())
    assert solution is not None
    fit = focal_fit(uncertainty.linearised(found, query, solution.map_from_rig), camera)
    assert fit is not None
    (change, sigma), pose_by_focal = fit
    assert change == pytest.approx(0.01, abs=0.001)
    assert sigma < 0.001
    assert abs(change - np.log(1.01)) < 5 * sigma
    # The pose that goes with the right focal length is where the derivative says.
    there = solution.map_from_rig.translation + change * pose_by_focal[:3]
    assert np.linalg.norm(there - TRUTH.translation) < 0.3 * pose_error(solution.map_from_rig, TRUTH)[0]


@pytest.mark.parametrize("factor", [0.9, 0.95, 1.0, 1.05, 1.1])
def test_a_wrong_focal_length_is_covered_or_refused_by_name(room: tuple[Scene, Localizer], factor: float) -> None:
    nees = []
    for result, place in answers(room, times(CAMERA, factor)):
        if isinstance(result, Localized):
            off = result.map_from_camera.translation - place.translation
            nees.append(off @ np.linalg.solve(result.covariance[:3, :3], off))
        else:
            assert "another focal length would fit better" in result.detail
    assert len(nees) == len(PLACES) or factor != 1.0
    assert not nees or np.median(nees) < 6.0  # 2.4 is ideal


def test_a_plane_face_on_tells_nothing() -> None:
    wall = np.random.default_rng(0).uniform([-1.5, -1.0, 3.0], [1.5, 1.0, 3.0], (300, 3))
    pixels, visible = projection.project(TRUTH.apply(wall), TRUTH, CAMERA)
    pixels = pixels[visible] + np.random.default_rng(1).normal(0, 0.5, (visible.sum(), 2))
    fit = focal_fit(uncertainty.linearised(*asked(pixels, TRUTH.apply(wall)[visible]), TRUTH), CAMERA)
    assert fit is None or abs(off_by(fit[0])) < 0.002
