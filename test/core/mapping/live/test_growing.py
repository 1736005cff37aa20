"""Versions that grow by the newest keyframes, between those that adjust the whole map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install 'hfnet_ros[mapping]'")

from circuit import circuit, with_drift
from drive import INFO, Drive
from scipy.spatial.transform import Rotation

from hfnet_core.config import LocalizerConfig, MapBuildConfig
from hfnet_core.geometry import Pose, Similarity, pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.mapping.live.drive_folder import DriveFolder, RecordedKeyframe, Source
from hfnet_core.mapping.live.growing import MOST, grown, with_tail_of
from hfnet_core.mapping.live.side_by_side import beside
from hfnet_core.mapping.live.solving import build_from_drive
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.moving import transformed
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.maps.subset import keep_keyframes
from hfnet_core.types import Localized

CONFIG = MapBuildConfig(refine_intrinsics=False)
UNHURRIED = LocalizerConfig(search_budget_ms=1000.0, min_inliers=12, min_confidence=0.5)


LAST = 41  # keyframe of a drive, of which a map of thirty knows nothing


class Robot:
    """It drives about a ring, and records as it goes."""

    def __init__(self, path: Path) -> None:
        self.scene = with_drift(circuit(60, laps=1.0))
        self.folder = DriveFolder(path / "a.hfdrive")
        self.recorded = 0

    def drive(self, until: int, mode: str = "drifting") -> None:
        with self.folder.recording(INFO, CONFIG):
            if not self.recorded:
                self.folder.add_source(Source(0, 0, mode, "/image", "camera", "camera_info", "odom", "map"))
            for index, keyframe in enumerate(self.scene.keyframes[self.recorded : until], start=self.recorded):
                named = replace(keyframe, name=f"0/{index:06d}", key=f"{index:064x}", drive=0, drifting=True)
                self.folder.add(RecordedKeyframe(named, index + 1))
        self.recorded = until


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Robot, LandmarkMap, LandmarkMap]:
    """Of 30 keyframes, and the same grown by what follows."""
    robot = Robot(tmp_path_factory.mktemp("robot"))
    robot.drive(30)
    before = build_from_drive(robot.folder)
    robot.drive(LAST + 1)
    found = grown(before, robot.folder, CONFIG)
    assert found is not None
    return robot, before, found


def errors_m(made: LandmarkMap, scene: Drive) -> list[float]:
    return [
        pose_error(made.map_from_camera(index), scene.truth[int(name[2:])])[0]
        for index, name in enumerate(made.keyframe_names)
    ]


def test_the_newest_keyframes_are_in_it_where_images_put_them(drive: tuple[Robot, LandmarkMap, LandmarkMap]) -> None:
    robot, before, found = drive
    assert found.keyframe_names[:30] == before.keyframe_names
    assert (found.keyframes, found.keyframe_names[-1]) == (30 + MOST, f"0/{LAST:06d}")
    assert np.array_equal(found.keyframe_poses[:30], before.keyframe_poses)
    assert np.array_equal(found.landmarks_xyz[: before.landmarks], before.landmarks_xyz)
    assert found.landmarks > before.landmarks + 100
    found.check()
    relative = before.map_from_camera(29).inverse() @ found.map_from_camera(29 + MOST)
    true = robot.scene.truth[29].inverse() @ robot.scene.truth[LAST]
    odometry = robot.scene.keyframes[29].map_from_camera.inverse() @ robot.scene.keyframes[LAST].map_from_camera
    assert pose_error(relative, true)[0] < pose_error(odometry, true)[0] + 0.01
    assert pose_error(relative, true)[0] < 0.05


def test_images_of_now_are_localized_in_it_and_not_in_the_version_before(
    drive: tuple[Robot, LandmarkMap, LandmarkMap], tmp_path: Path
) -> None:
    robot, before, found = drive
    save_map(found, tmp_path / "grown.hfmap")
    keyframe = robot.scene.keyframes[LAST - 1]
    view = [View(keyframe.features, keyframe.camera)]
    assert not isinstance(Localizer(before, UNHURRIED).localize(view), Localized)
    result = Localizer(load_map(tmp_path / "grown.hfmap", verify=True), UNHURRIED).localize(view)
    assert isinstance(result, Localized)
    there = found.map_from_camera(29 + MOST) @ robot.scene.truth[LAST].inverse() @ robot.scene.truth[LAST - 1]
    assert pose_error(result.map_from_camera, there)[0] < 0.05


def test_a_first_version_is_of_the_first_stretch_in_the_frame_of_its_odometry(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.drive(3)
    assert grown(None, robot.folder, CONFIG) is None
    robot.drive(MOST)
    first = grown(None, robot.folder, CONFIG)
    assert first is not None
    first.check()
    assert (first.keyframes, first.frame_id, first.model_hash) == (MOST, "map", INFO.model_hash)
    assert pose_error(first.map_from_camera(0), robot.scene.keyframes[0].map_from_camera)[0] < 1e-3
    assert max(errors_m(first, robot.scene)) < 0.05
    robot.drive(2 * MOST)
    second = grown(first, robot.folder, CONFIG)
    assert second is not None
    assert max(errors_m(second, robot.scene)) < 0.1
    whole = build_from_drive(robot.folder)
    assert with_tail_of(whole, second) is whole


def test_it_takes_only_so_many_at_a_time_the_newest_among_them(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.drive(12)
    before = build_from_drive(robot.folder)
    assert grown(before, robot.folder, CONFIG) is None  # nothing is new
    robot.drive(2 * MOST)
    assert grown(before, robot.folder, CONFIG) is None  # nor worth a version
    robot.drive(45)
    found = grown(before, robot.folder, CONFIG)
    assert found is not None
    assert found.keyframes == 12 + MOST
    assert found.keyframe_names[-1] == "0/000044"
    again = grown(found, robot.folder, CONFIG)
    assert again is None  # what was passed over is for the next full version


def test_what_was_added_meanwhile_follows_a_version_that_adjusted_the_whole(
    drive: tuple[Robot, LandmarkMap, LandmarkMap],
) -> None:
    """Moved as its newest keyframe is."""
    _, before, found = drive
    moved = Pose(Rotation.from_euler("y", 3.0, degrees=True).as_matrix(), np.array([1.0, 0.0, 0.5]))
    whole = transformed(keep_keyframes(found, np.arange(30 + MOST) < 35), Similarity(1.0, moved))
    joined = with_tail_of(whole, found)
    joined.check()
    assert set(joined.keyframe_names) == set(found.keyframe_names)
    for index, name in enumerate(joined.keyframe_names):
        there = moved @ found.map_from_camera(found.keyframe_names.index(name))
        assert pose_error(joined.map_from_camera(index), there) == (
            pytest.approx(0, abs=1e-9),
            pytest.approx(0, abs=1e-4),
        )
    assert with_tail_of(found, before) is found  # nothing is missing
    assert with_tail_of(before, replace(found, model_hash="e" * 64)) is before
    assert beside(before, keep_keyframes(found, np.arange(30 + MOST) >= 30)).keyframes == 30 + MOST


def test_images_alone_are_left_to_full_versions(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.drive(12)
    before = build_from_drive(robot.folder)
    robot.folder.add_source(Source(0, 0, "images", "/image", "camera", "camera_info", "odom", "map"))
    robot.drive(20)
    assert grown(before, robot.folder, CONFIG) is None
