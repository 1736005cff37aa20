"""Places that look alike: never the wrong one; and the right one once something tells them apart."""

from __future__ import annotations

import numpy as np
import pytest
from scene import CAMERA, Scene, looking, unit, walk

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.types import Localized, NotLocalized, Reason

APART = Pose(translation=np.array([100.0, 0.0, 0.0]))
ODOM_FROM_MAP = Pose.from_quat_xyzw([0, 0, 0.6, 0.8], [5.0, -3.0, 0.0])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.make()


def refurnished(scene: Scene, share: float) -> Scene:
    """The same room with `share` of the points, those at one end, looking otherwise."""
    rng = np.random.default_rng(5)
    own = scene.points[:, 0] > np.quantile(scene.points[:, 0], 1.0 - share)
    descriptors, words = scene.descriptors.copy(), scene.words.copy()
    descriptors[own] = unit(rng.normal(size=(int(own.sum()), descriptors.shape[1])))
    words[own] = rng.normal(size=(int(own.sum()), words.shape[1]))
    return Scene(scene.points, descriptors, words)


def views(scene: Scene, pose: Pose, seed: int) -> list[View]:
    return [View(scene.view(pose, seed=seed)[0], CAMERA)]


def test_of_two_identical_rooms_neither_is_believed(scene: Scene) -> None:
    """Each has more keyframes than are retrieved."""
    localizer = Localizer(scene.build_double_map(walk()))
    for seed in range(6):
        result = localizer.localize(views(scene, looking(0.3, 0.4, 60.0 * seed), seed))
        assert isinstance(result, NotLocalized)
        assert result.reason is Reason.AMBIGUOUS
        found = sorted(place.map_from_camera.translation[0] for place in result.places)
        assert found == pytest.approx([0.3, 100.3], abs=0.1)


@pytest.mark.parametrize("room", [0, 1])
def test_odometry_leads_to_what_tells_two_rooms_apart(scene: Scene, room: int) -> None:
    """One end of the second room is furnished otherwise; the robot turns towards it."""
    other = refurnished(scene, 0.3)
    tracker = Tracker(Localizer(scene.build_double_map(walk(), other)))
    here, offset = ((scene, Pose()), (other, APART))[room]
    answers = []
    for step in range(10):
        pose = looking(0.0, 0.2, 180.0 - 20.0 * step)  # from the end that is the same to the one that is not
        result = tracker.process(views(here, pose, 100 + step), 0.5 * step, ODOM_FROM_MAP @ pose)
        if isinstance(result, Localized):
            assert pose_error(result.map_from_camera, offset @ pose)[0] < 0.1
        answers.append(isinstance(result, Localized))
    assert not answers[0]
    assert answers[-3:] == [True] * 3
