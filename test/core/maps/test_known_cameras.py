from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers import tiny_model
from wall import CAMERA, wall_map

from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera

WIDE = Camera("PINHOLE", 320, 240, (180.0, 180.0, 161.0, 121.0))


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> LandmarkMap:
    return wall_map(tiny_model(tmp_path_factory.mktemp("model")))


def two_cameras(found: LandmarkMap, recordings: list[dict[str, Any]]) -> LandmarkMap:
    """The first half of the keyframes of one recording and camera, the others of another."""
    half = found.keyframes // 2
    names = [f"{int(index >= half)}/{index:06d}" for index in range(found.keyframes)]
    cameras = found.keyframe_cameras.copy()
    cameras[half:] = 1
    return replace(
        found, cameras=(CAMERA, WIDE), given_cameras=(), keyframe_names=tuple(names), keyframe_cameras=cameras,
        provenance={"recordings": recordings},
    )  # fmt: skip


def test_cameras_of_the_same_frame_count_alone(wall: LandmarkMap) -> None:
    found = two_cameras(wall, [{"camera_frame": "front"}, {"camera_frame": "left"}])
    assert found.known_cameras("front") == (CAMERA,)
    assert found.known_cameras("left") == (WIDE,)
    assert found.known_cameras("rear") == found.known_cameras() == (CAMERA, WIDE)


def test_without_frames_all_cameras_count(wall: LandmarkMap) -> None:
    assert two_cameras(wall, [{}, {}]).known_cameras("front") == (CAMERA, WIDE)
    told = {"camera_frame": "front"}
    assert two_cameras(wall, [told, told, told]).known_cameras("front") == (CAMERA, WIDE)  # one was pruned away


def test_given_and_refined_calibrations_count(wall: LandmarkMap) -> None:
    refined = replace(WIDE, params=(181.0, 181.0, 161.0, 121.0))
    found = replace(two_cameras(wall, [{"camera_frame": "front"}, {"camera_frame": "left"}]), cameras=(CAMERA, refined),
                    given_cameras=(CAMERA, WIDE))  # fmt: skip
    assert found.known_cameras("left") == (WIDE, refined)
