"""How a map's images were held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import tiny_model
from scipy.spatial.transform import Rotation
from wall import map_from_camera, wall_map

from hfnet_core.geometry import Pose
from hfnet_core.images.preparation import ROTATIONS
from hfnet_core.localization.turning.held import is_held_upright, rotation_at
from hfnet_core.maps.landmark_map import LandmarkMap


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> LandmarkMap:
    return wall_map(tiny_model(tmp_path_factory.mktemp("model")))


def rolled(degrees: float) -> Pose:
    return Pose(Rotation.from_euler("z", degrees, degrees=True).as_matrix())


def held(wall: LandmarkMap, degrees: float, image_rotation: int = 0) -> LandmarkMap:
    """The wall, recorded with a rolled camera, and its images turned or not."""
    poses = wall.keyframe_poses.copy()
    poses[:, :, :3] = poses[:, :, :3] @ rolled(degrees).rotation
    names = tuple(f"0/{number}" for number in range(wall.keyframes))
    told = {"recordings": [{"image_rotation": image_rotation}]}
    return replace(wall, keyframe_poses=poses, keyframe_names=names, provenance=told)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_rolled_camera_is_turned_upright(wall: LandmarkMap, rotation: int) -> None:
    assert rotation_at(wall, (0, 1), map_from_camera(0) @ rolled(rotation + 30)) == rotation


def test_a_map_that_was_held_on_its_side_turns_images_there(wall: LandmarkMap) -> None:
    assert rotation_at(held(wall, 90), (0, 1), map_from_camera(0)) == 270
    assert rotation_at(held(wall, 90), (0, 1), map_from_camera(0) @ rolled(90)) == 0


def test_a_map_whose_images_were_turned_upright_is_upright(wall: LandmarkMap) -> None:
    upside_down = held(wall, 180, 180)
    assert rotation_at(upside_down, (0, 1), map_from_camera(0)) == 0
    assert rotation_at(upside_down, (0, 1), map_from_camera(0) @ rolled(180)) == 180
    assert is_held_upright(upside_down)
    assert not is_held_upright(held(wall, 180))


def test_who_looks_along_the_up_of_the_map_is_turned_by_nothing(wall: LandmarkMap) -> None:
    upwards = map_from_camera(0) @ Pose(Rotation.from_euler("x", 90, degrees=True).as_matrix())
    assert rotation_at(wall, (0, 1), upwards) is None


def test_keyframes_that_were_held_in_two_ways_tell_nothing(wall: LandmarkMap) -> None:
    poses = np.concatenate([held(wall, 0).keyframe_poses[:1], held(wall, 180).keyframe_poses[1:]])
    assert rotation_at(replace(wall, keyframe_poses=poses), (0, 1), map_from_camera(0)) is None


def test_no_keyframes_tell_nothing(wall: LandmarkMap) -> None:
    assert rotation_at(wall, (), map_from_camera(0)) is None
