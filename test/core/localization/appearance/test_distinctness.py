"""How distinct landmarks are: whether another part of the map looks the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene import Scene, looking

from hfnet_core.localization.appearance import distinctness
from hfnet_core.localization.appearance.distinctness import Distinctness
from hfnet_core.maps.landmark_map import LandmarkMap

SIDE_BY_SIDE = [looking(0.0, y, 0.0) for y in (-0.1, 0.0, 0.1)]


@pytest.fixture(scope="module")
def landmark_map() -> LandmarkMap:
    return Scene.make().build_map(SIDE_BY_SIDE)


def everything(landmark_map: LandmarkMap) -> np.ndarray:
    return np.arange(landmark_map.landmarks, dtype=np.int32)


def looking_like(landmark_map: LandmarkMap, one: int, other: int) -> LandmarkMap:
    """The map, in which every observation of `one` has the descriptor of the first of `other`."""
    descriptors, offsets = landmark_map.observation_descriptors.copy(), landmark_map.landmark_offsets
    descriptors[offsets[one] : offsets[one + 1]] = descriptors[offsets[other]]
    return replace(landmark_map, observation_descriptors=descriptors)


def apart(landmark_map: LandmarkMap, least_m: float, most_m: float) -> tuple[int, int]:
    """Two landmarks so far from each other."""
    away = np.linalg.norm(landmark_map.landmarks_xyz - landmark_map.landmarks_xyz[0], axis=1)
    return 0, int(np.flatnonzero((away > least_m) & (away < most_m))[0])


def test_what_looks_like_nothing_else_is_distinct(landmark_map: LandmarkMap) -> None:
    assert Distinctness(landmark_map)(everything(landmark_map)).min() == 1.0


def test_a_landmark_that_looks_like_one_elsewhere_is_not(landmark_map: LandmarkMap) -> None:
    one, other = apart(landmark_map, 1.0, 100.0)
    found = Distinctness(looking_like(landmark_map, one, other))(everything(landmark_map))
    assert found[[one, other]].max() == 0.0
    assert np.delete(found, [one, other]).min() == 1.0


def test_what_lies_near_may_be_the_same_thing(landmark_map: LandmarkMap) -> None:
    one, other = apart(landmark_map, 0.0, 0.7)
    assert Distinctness(looking_like(landmark_map, one, other))(everything(landmark_map)).min() == 1.0


def test_it_does_not_matter_what_was_asked_before(landmark_map: LandmarkMap) -> None:
    one, other = apart(landmark_map, 1.0, 100.0)
    changed = looking_like(landmark_map, one, other)
    asked = Distinctness(changed)
    asked(np.array([5, 6], np.int32))
    asked(np.array([other, 5, 5], np.int32))
    np.testing.assert_array_equal(asked(everything(changed)), Distinctness(changed)(everything(changed)))


def test_of_large_maps_runs_of_landmarks_are_asked(landmark_map: LandmarkMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinctness, "_LARGE", landmark_map.landmarks - 1)
    monkeypatch.setattr(distinctness, "_RUN", 16)
    monkeypatch.setattr(distinctness, "_OTHERS", 2 * landmark_map.landmarks)  # runs overlap: all are asked
    one, other = apart(landmark_map, 1.0, 100.0)
    found = Distinctness(looking_like(landmark_map, one, other))(everything(landmark_map))
    assert found[[one, other]].max() == 0.0
    assert np.delete(found, [one, other]).min() == 1.0


def test_no_landmarks_are_no_trouble(landmark_map: LandmarkMap) -> None:
    assert len(Distinctness(landmark_map)(np.zeros(0, np.int32))) == 0
