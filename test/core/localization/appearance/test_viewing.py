"""How likely landmarks are found again, from where the map saw them and where a camera is."""

from __future__ import annotations

import numpy as np
import pytest
from scene import CAMERA, Scene, looking

from hfnet_core.geometry import Pose
from hfnet_core.localization.appearance.viewing import findable
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera

AHEAD = looking(0.0, 0.0, 0.0)
SIDE_BY_SIDE = [looking(0.0, y, 0.0) for y in (-0.1, 0.0, 0.1)]


@pytest.fixture(scope="module")
def landmark_map() -> LandmarkMap:
    return Scene.make().build_map(SIDE_BY_SIDE)


def likely(landmark_map: LandmarkMap, map_from_camera: Pose, camera: Camera = CAMERA) -> np.ndarray:
    return findable(landmark_map, np.arange(landmark_map.landmarks, dtype=np.int32), map_from_camera, camera)


def circling(landmark_map: LandmarkMap, landmark: int, degrees: float, nearer: float = 1.0) -> Pose:
    """A camera that sees one landmark from another side, at the same distance divided by `nearer`."""
    point = landmark_map.landmarks_xyz[landmark].astype(np.float64)
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    return Pose(AHEAD.rotation, point + turn @ (AHEAD.translation - point) / nearer)


def test_what_is_seen_as_it_was_mapped_is_found(landmark_map: LandmarkMap) -> None:
    assert likely(landmark_map, AHEAD).min() > 0.95


@pytest.mark.parametrize("landmark", [0, 100, 300])
def test_the_further_round_the_less_is_found(landmark_map: LandmarkMap, landmark: int) -> None:
    shares = [likely(landmark_map, circling(landmark_map, landmark, d))[landmark] for d in (0, 20, 45, 90, 180)]
    assert shares == sorted(shares, reverse=True)
    assert shares[1] > 0.6
    assert shares[3] < 0.02


@pytest.mark.parametrize("landmark", [0, 100, 300])
def test_another_size_is_found_less_and_a_larger_one_least(landmark_map: LandmarkMap, landmark: int) -> None:
    same, nearer, further = (
        likely(landmark_map, circling(landmark_map, landmark, 0.0, times))[landmark] for times in (1.0, 1.6, 1 / 1.6)
    )
    assert nearer < further < same


def test_a_longer_lens_counts_as_going_nearer(landmark_map: LandmarkMap) -> None:
    longer = Camera("PINHOLE", 640, 480, (1.6 * CAMERA.params[0], 1.6 * CAMERA.params[1], *CAMERA.params[2:]))
    near = likely(landmark_map, circling(landmark_map, 7, 0.0, 1.6))[7]
    assert likely(landmark_map, AHEAD, longer)[7] == pytest.approx(near, abs=0.02)


def test_no_landmarks_are_no_trouble(landmark_map: LandmarkMap) -> None:
    assert findable(landmark_map, np.zeros(0, np.int32), AHEAD, CAMERA).shape == (0,)
