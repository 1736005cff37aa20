"""Look-alike places followed from image to image."""

from __future__ import annotations

import numpy as np

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose
from hfnet_core.localization.tracking.consistency import Sighting
from hfnet_core.localization.tracking.rivals import Rivals
from hfnet_core.types import Localized, Mode

CONFIG, ROOMS_M = LocalizerConfig(), (0.0, 10.0, 20.0)


def image(number: int, explained: dict[float, int]) -> list[tuple[Sighting, Localized]]:
    """The places (metres along x of each room) in an image, a step of half a metre further each time."""
    out = []
    for room, guided in explained.items():
        pose, odom = (Pose(translation=np.array([start + 0.5 * number, 0.0, 0.0])) for start in (room, 0.0))
        nothing = np.zeros((0, 2), np.float32)
        covariance = np.diag([0.02**2] * 3 + [0.01**2] * 3)
        none = np.zeros(0, np.int32)
        answer = Localized(pose, covariance, Mode.GLOBAL, 50, 60, nothing, none, (0,), 0.5, 1.0, guided=guided)
        out.append((Sighting(0.5 * number, pose, covariance, odom, 0.5 * number, 0.0), answer))
    return out


def test_a_place_that_one_image_does_not_name_is_still_followed() -> None:
    rivals = Rivals()
    assert rivals.follow(image(0, {0.0: 100, 10.0: 100}), CONFIG) is None
    assert rivals.follow(image(1, {10.0: 100, 20.0: 100}), CONFIG) is None
    assert rivals.follow(image(2, {10.0: 100}), CONFIG) is None


def test_a_place_that_explains_clearly_less_on_the_way_is_given_up() -> None:
    rivals = Rivals()
    assert rivals.follow(image(0, {0.0: 100, 10.0: 80}), CONFIG) is None
    found = rivals.follow(image(1, {0.0: 100, 10.0: 40}), CONFIG)
    assert found is not None
    assert found.map_from_camera.translation[0] == 0.5
