"""A pose must explain the depths as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, Scene, looking, walk

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose
from hfnet_core.images.depth import depth_sigma_m
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.types import Features, Localized, NotLocalized, Ranges, Reason

QUERY = looking(0.3, 0.9, 155.0)
UNHURRIED = LocalizerConfig(search_budget_ms=1000.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.make()


@pytest.fixture(scope="module")
def localizer(scene: Scene) -> Localizer:
    return Localizer(scene.build_map(walk()), UNHURRIED)


def seen(scene: Scene) -> tuple[Features, np.ndarray]:
    """A query, and how far away each keypoint is, NaN for what is no landmark."""
    features, points = scene.view(QUERY)
    far = QUERY.inverse().apply(scene.points[points])[:, 2]
    return features, np.where(points >= 0, far, np.nan)


def ranges(metres: np.ndarray) -> Ranges:
    noise = depth_sigma_m(metres)
    noisy = metres + np.random.default_rng(1).normal(0, np.nan_to_num(noise))
    return Ranges(noisy.astype(np.float32), noise.astype(np.float32))


def test_depths_that_fit_change_nothing(scene: Scene, localizer: Localizer) -> None:
    features, far = seen(scene)
    with_depth = localizer.localize([View(features, CAMERA, ranges=ranges(far))])
    without = localizer.localize([View(features, CAMERA)])
    assert isinstance(with_depth, Localized)
    assert isinstance(without, Localized)
    assert with_depth.confidence == without.confidence


def test_a_photograph_of_the_place_is_refused_by_its_depth(scene: Scene, localizer: Localizer) -> None:
    features, far = seen(scene)
    photograph = np.full(len(far), 0.6)
    found = localizer.localize([View(features, CAMERA, ranges=ranges(photograph))])
    assert isinstance(found, NotLocalized)
    assert found.reason is Reason.WEAK_EVIDENCE
    assert "depths fit the pose" in found.detail
    assert isinstance(localizer.localize([View(features, CAMERA)]), Localized)


def test_somebody_in_front_of_it_or_a_scale_some_percent_off_is_no_contradiction(
    scene: Scene, localizer: Localizer
) -> None:
    features, far = seen(scene)
    hidden = np.where(np.random.default_rng(2).random(len(far)) < 0.3, 0.8, far)
    for metres in (hidden, 1.08 * far, np.where(np.arange(len(far)) < 11, 0.5, np.nan)):
        assert isinstance(localizer.localize([View(features, CAMERA, ranges=ranges(metres))]), Localized)


def test_a_map_of_arbitrary_metres_is_not_asked_about_them(scene: Scene) -> None:
    features, far = seen(scene)
    free = replace(scene.build_map(walk()), provenance={"scale": {"source": "arbitrary", "spread": 0.0}})
    found = Localizer(free, UNHURRIED).localize([View(features, CAMERA, ranges=ranges(3 * far))])
    assert isinstance(found, Localized)


def test_of_two_rooms_of_one_plan_and_paint_depth_tells_the_larger_one(scene: Scene) -> None:
    """A doll's house beside the house: images cannot tell them apart, metres can."""
    house, doll = scene.build_map(walk()), Scene(0.4 * scene.points, scene.descriptors, scene.words)
    small = doll.build_map([Pose(pose.rotation, 0.4 * pose.translation) for pose in walk()])
    features, far = seen(scene)
    view = View(features, CAMERA, ranges=ranges(far))
    assert isinstance(Localizer(house, UNHURRIED).localize([view]), Localized)
    assert isinstance(Localizer(small, UNHURRIED).localize([view]), NotLocalized)


def test_ranges_must_be_those_of_the_keypoints(scene: Scene) -> None:
    features, _ = scene.view(QUERY)
    with pytest.raises(ConfigError, match="3 ranges are not of"):
        View(features, CAMERA, ranges=ranges(np.ones(3)))
