from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from drive import CAMERA, INFO, drive
from evo.core.geometry import umeyama_alignment
from scipy.spatial.transform import Rotation

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.builder import build_from_keyframes
from hfnet_core.mapping.images_alone.mapper import cameras_of
from hfnet_core.mapping.images_alone.structure import Found, poses_from_images
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.pose_modes import place_keyframes
from hfnet_core.types import Camera, Features

ELSEWHERE = Pose(Rotation.from_euler("xyz", (70, 10, -120), degrees=True).as_matrix(), np.array([3.0, 7.0, 1.0]))


def blind(keyframes: Sequence[Keyframe], **changes: object) -> list[Keyframe]:
    """Keyframes whose poses nobody knows."""
    return [replace(keyframe, map_from_camera=Pose(), **changes) for keyframe in keyframes]  # type: ignore[arg-type]


def with_odometry(keyframes: Sequence[Keyframe], odometry: Sequence[Pose]) -> list[Keyframe]:
    return [replace(k, odometry_from_camera=pose) for k, pose in zip(blind(keyframes), odometry, strict=True)]


def shape_error(found: Found, truth: Sequence[Pose]) -> float:
    """Largest distance of a camera after the best similarity, as a share of the drive's length."""
    both = [(pose.translation, wanted.translation) for pose, wanted in zip(found.poses, truth, strict=True) if pose]
    mine, wanted = (np.array(side) for side in zip(*both, strict=True))
    rotation, translation, scale = umeyama_alignment(mine.T, wanted.T, with_scale=True)
    moved = scale * mine @ rotation.T + translation
    return float(np.linalg.norm(moved - wanted, axis=1).max() / np.ptp(wanted, axis=0).max())


def test_the_shape_of_the_drive_comes_from_images_alone() -> None:
    scene = drive(noise_px=0.3)
    found = poses_from_images(blind(scene.keyframes), MapBuildConfig(scale_free=True))
    assert shape_error(found, scene.truth) < 0.01
    assert found.frame_of is None
    assert found.provenance["scale"]["source"] == "arbitrary"
    assert found.provenance["structure"]["registered"] == len(scene.truth)
    assert [pose is None for pose in found.poses] == [False] * len(scene.truth)
    again = poses_from_images(blind(scene.keyframes), MapBuildConfig(scale_free=True))
    assert [pose.matrix().tolist() for pose in found.poses if pose] == [
        pose.matrix().tolist() for pose in again.poses if pose
    ]


def test_odometry_gives_metres_and_frame_even_where_it_jumps() -> None:
    scene = drive(views=16, noise_px=0.3)
    odometry = [ELSEWHERE @ pose for pose in scene.truth]
    odometry[12:] = [Pose(pose.rotation, pose.translation + 4.0) for pose in odometry[12:]]
    found = poses_from_images(with_odometry(scene.keyframes, odometry), MapBuildConfig())
    assert found.frame_of == 0
    assert found.provenance["scale"]["source"] == "odometry"
    for pose, wanted in zip(found.poses[:12], odometry[:12], strict=True):
        assert pose is not None
        metres, degrees = pose_error(pose, wanted)
        assert metres < 0.05
        assert degrees < 1.0


def test_one_known_distance_gives_metres() -> None:
    scene = drive(noise_px=0.3)
    metres = float(np.linalg.norm(scene.truth[9].translation - scene.truth[1].translation))
    keyframes = blind(scene.keyframes)
    found = poses_from_images(keyframes, MapBuildConfig(known_distance=f"1 0/9 {metres}"))
    first, last = found.poses[0], found.poses[-1]
    assert first is not None
    assert last is not None
    wanted = np.linalg.norm(scene.truth[-1].translation - scene.truth[0].translation)
    assert np.linalg.norm(last.translation - first.translation) == pytest.approx(wanted, rel=0.01)
    with pytest.raises(DatasetError, match="image 0/99 could not be put together"):
        poses_from_images(keyframes, MapBuildConfig(known_distance="1 99 2.0"))


def test_two_cameras_a_known_distance_apart_give_metres() -> None:
    scene = drive(views=16, noise_px=0.2)
    keyframes = blind(scene.keyframes)
    for index in range(0, 16, 2):  # each second image as if another camera had taken it at the same time
        beside = scene.truth[index].inverse() @ scene.truth[index + 1]
        keyframes[index] = replace(keyframes[index], rig_from_camera=ELSEWHERE, drive=0)
        keyframes[index + 1] = replace(
            keyframes[index + 1], rig_from_camera=ELSEWHERE @ beside, drive=0, recording=1,
            stamp_ns=keyframes[index].stamp_ns + 10**6,
        )  # fmt: skip
    found = poses_from_images(keyframes, MapBuildConfig())
    first, last = found.poses[0], found.poses[-1]
    assert first is not None
    assert last is not None
    wanted = np.linalg.norm(scene.truth[-1].translation - scene.truth[0].translation)
    assert np.linalg.norm(last.translation - first.translation) == pytest.approx(wanted, rel=0.01)
    assert found.provenance["scale"] | {"spread": 0} == {"source": "baseline", "spread": 0, "distances": 8}
    apart = [replace(keyframe, stamp_ns=index * 10**8) for index, keyframe in enumerate(keyframes)]
    with pytest.raises(ConfigError, match="no poses"):
        poses_from_images(apart, MapBuildConfig())
    once = [*keyframes[:2], *apart[2:]]  # by chance: two cameras that nothing triggers
    with pytest.raises(DatasetError, match="1 pairs of images taken at once"):
        poses_from_images(once, MapBuildConfig())
    assert poses_from_images(once, MapBuildConfig(scale_free=True)).provenance["scale"]["source"] == "arbitrary"


def test_without_anything_that_tells_the_scale_nothing_is_computed() -> None:
    with pytest.raises(ConfigError, match="--known-distance"):
        poses_from_images(blind(drive().keyframes), MapBuildConfig())


def test_an_unknown_camera_is_found() -> None:
    scene = drive(views=14, noise_px=0.2, landmarks=400)
    guess = Camera("SIMPLE_RADIAL", 640, 480, (768.0, 319.5, 239.5, 0.0))
    keyframes = blind(scene.keyframes, camera=guess, camera_guessed=True)
    placed = place_keyframes(keyframes, ["map"], MapBuildConfig(scale_free=True))
    (found,) = {keyframe.camera for keyframe in placed.keyframes}
    assert found.focal_length[0] == pytest.approx(CAMERA.focal_length[0], rel=0.05)
    assert placed.start == {found: found}


def test_photos_of_several_sizes_have_a_camera_each() -> None:
    scene = drive(views=6)
    guess = Camera("SIMPLE_RADIAL", 640, 480, (600.0, 319.5, 239.5, 0.0))
    keyframes = blind(scene.keyframes, camera=guess, camera_guessed=True)
    assert cameras_of(keyframes, MapBuildConfig()) == ([guess], [0] * 6)
    assert cameras_of(keyframes, MapBuildConfig(unknown_cameras="each")) == ([guess] * 6, list(range(6)))
    upright = Camera("SIMPLE_RADIAL", 480, 640, (600.0, 239.5, 319.5, 0.0))
    on_end = replace(keyframes[4], camera=upright, features=replace(keyframes[4].features, width=480, height=640))
    assert cameras_of([*keyframes[:4], on_end], MapBuildConfig()) == ([guess, upright], [0] * 4 + [1])
    keyframes[2] = replace(keyframes[2], features=replace(keyframes[2].features, width=650))
    assert cameras_of(keyframes, MapBuildConfig())[1] == list(range(6))
    assert cameras_of(keyframes, MapBuildConfig(unknown_cameras="shared"))[1] == [0] * 6


def test_an_image_of_another_place_is_left_out_and_named() -> None:
    scene = drive(noise_px=0.3)
    keyframes = blind(scene.keyframes)
    rng = np.random.default_rng(5)
    strange = rng.normal(size=(200, 32)).astype(np.float32)
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    pixels = rng.uniform(0, 480, (200, 2)).astype(np.float32)
    features = Features(pixels, np.ones(200, np.float32), strange, np.array([0.0, 1.0], np.float32), 640, 480)
    keyframes.insert(6, replace(keyframes[6], name="0/000777", features=features))
    found = poses_from_images(keyframes, MapBuildConfig(scale_free=True))
    assert found.poses[6] is None
    assert found.provenance["structure"]["left_out"] == ["0/000777"]
    placed = place_keyframes(keyframes, ["map"], MapBuildConfig(scale_free=True))
    assert len(placed.keyframes) == len(keyframes) - 1


def test_a_camera_that_moves_straight_ahead_shows_structure() -> None:
    scene = drive(views=6, noise_px=0.3, ahead=True)
    found = poses_from_images(blind(scene.keyframes), MapBuildConfig(scale_free=True))
    assert found.provenance["structure"]["registered"] == 6
    assert shape_error(found, scene.truth) < 0.02


def test_a_camera_that_only_turns_shows_no_structure() -> None:
    first = blind(drive().keyframes)[0]
    still = [replace(first, name=f"0/{number:06d}") for number in range(4)]
    with pytest.raises(DatasetError, match="could not be put together"):
        poses_from_images(still, MapBuildConfig(scale_free=True))


def test_a_given_calibration_is_kept_near() -> None:
    given = Camera("PINHOLE", 640, 480, (520.0, 515.0, 320.0, 240.0))
    scene = drive(views=16, noise_px=0.3, given=given)
    found = poses_from_images(blind(scene.keyframes), MapBuildConfig(scale_free=True))
    fx, fy = found.cameras[0].focal_length
    assert fx == pytest.approx(500, rel=0.03)
    assert fx / fy == pytest.approx(520 / 515)
    fixed = poses_from_images(blind(scene.keyframes), MapBuildConfig(scale_free=True, refine_intrinsics=False))
    assert fixed.cameras[0] == given


def test_the_map_is_of_the_same_kind() -> None:
    scene = drive(views=16, noise_px=0.3, landmarks=400)
    odometry = [ELSEWHERE @ pose for pose in scene.truth]
    config = MapBuildConfig()
    placed = place_keyframes(with_odometry(scene.keyframes, odometry), ["odom"], config)
    made = build_from_keyframes(placed, INFO, config)
    assert made.frame_id == "odom"
    assert made.keyframes == 16
    assert made.landmarks > 200
    assert made.provenance["statistics"]["reprojection_rmse_px"] < 1.0
    errors = [pose_error(made.map_from_camera(index), pose) for index, pose in enumerate(odometry)]
    assert max(metres for metres, _ in errors) < 0.03
    assert made.given_cameras == (CAMERA,)
