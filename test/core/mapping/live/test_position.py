"""Where the robot is while it maps: by the newest version of the map, and odometry since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drive import INFO, drive
from scipy.spatial.transform import Rotation

from hfnet_core.config import MapBuildConfig
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.live.drive_folder import DriveFolder, RecordedKeyframe, Source
from hfnet_core.mapping.live.growing import grown
from hfnet_core.mapping.live.position import LivePosition, MapFromOdom, map_from_odom
from hfnet_core.maps.landmark_map import LandmarkMap

CONFIG = MapBuildConfig()
BENT = Pose(Rotation.from_euler("y", 4.0, degrees=True).as_matrix(), np.array([0.3, 0.1, -0.2]))


def step(metres: float) -> Pose:
    return Pose(np.eye(3), np.array([0.0, 0.0, metres]))


def told(pose: Pose, stamp_ns: int, odometry: Pose) -> MapFromOdom:
    return MapFromOdom(pose, stamp_ns, odometry, 0.02, 0.002)


def driven(position: LivePosition, metres: float, first: int = 0) -> None:
    for number in range(11):
        position.add(first + number * 10**9, step(metres * number / 10), is_first=True)


def test_the_map_begins_in_the_frame_of_the_first_stretch() -> None:
    position = LivePosition("drifting", CONFIG)
    assert position.at(Pose()) is None
    driven(position, 5.0)
    found = position.at(step(5.0))
    assert found is not None
    assert pose_error(found.map_from_rig, step(5.0)) == (0.0, 0.0)
    sideways = np.radians(np.hypot(0.3, CONFIG.odometry_sigma_deg_per_m * 5.0)) * 5.0
    assert found.covariance[0, 0] ** 0.5 == pytest.approx(
        np.hypot(CONFIG.odometry_sigma_ratio * 5.0, sideways), rel=0.05
    )
    other = LivePosition("drifting", CONFIG)
    other.add(0, Pose(), is_first=False)
    assert other.at(Pose()) is None
    other.take(told(BENT, 0, Pose()))
    at = other.at(step(1.0))
    assert at is not None
    assert pose_error(at.map_from_rig, BENT @ step(1.0))[0] < 1e-9


def test_a_version_takes_drift_away_and_what_is_more_than_drift_is_a_jump() -> None:
    position = LivePosition("drifting", CONFIG)
    driven(position, 5.0)
    before = position.at(step(5.0))
    assert before is not None
    drifted = Pose(np.eye(3), np.array([0.05, 0.0, 0.05]))
    assert position.take(told(drifted, 8 * 10**9, step(4.0))) is None
    after = position.at(step(5.0))
    assert after is not None
    assert pose_error(after.map_from_rig, drifted @ step(5.0))[0] < 1e-9
    assert after.covariance[0, 0] < before.covariance[0, 0] / 4  # a metre since, not five
    jump = position.take(told(Pose(np.eye(3), np.array([3.0, 0.0, 0.0])), 9 * 10**9, step(4.5)))
    assert jump is not None
    assert jump[0] == pytest.approx(np.hypot(2.95, 0.05))
    position.clear()
    assert position.at(step(5.0)) is None


def test_given_poses_do_not_drift() -> None:
    position = LivePosition("given", CONFIG)
    driven(position, 50.0)
    found = position.at(step(50.0))
    assert found is not None
    assert found.covariance[0, 0] ** 0.5 == pytest.approx(CONFIG.pose_prior_sigma_m)


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[DriveFolder, LandmarkMap]:
    """Keyframes of a stretch, and a version of the map that has moved them all."""
    from hfnet_core.mapping.live.solving import build_from_drive

    pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install 'hfnet_ros[mapping]'")
    folder = DriveFolder(tmp_path / "a.hfdrive")
    with folder.recording(INFO, CONFIG):
        folder.add_source(Source(0, 0, "drifting", "/image", "camera", "camera_info", "odom", "map"))
        for index, keyframe in enumerate(drive().keyframes[:8]):
            named = replace(keyframe, name=f"0/{index:06d}", key=f"{index:064x}", drive=0, drifting=True)
            folder.add(RecordedKeyframe(named, index + 1))
    made = build_from_drive(folder)
    poses = np.array([(BENT @ made.map_from_camera(index)).matrix()[:3] for index in range(made.keyframes)])
    return folder, replace(made, keyframe_poses=poses)


def test_a_version_tells_where_odometry_began(recorded: tuple[DriveFolder, LandmarkMap]) -> None:
    folder, made = recorded
    found = map_from_odom(made, folder, 0, CONFIG)
    assert found is not None
    assert found.keyframe_ns == made.keyframe_stamps_ns.max()
    metres, degrees = pose_error(found.pose, BENT)
    assert metres < 0.1
    assert degrees < 1.0
    assert map_from_odom(made, folder, 1, CONFIG) is None
    foreign = replace(made, keyframe_names=tuple(f"photo-{index}.jpg" for index in range(made.keyframes)))
    assert map_from_odom(foreign, folder, 0, CONFIG) is None
    assert grown(foreign, folder, CONFIG) is None


def test_a_version_whose_newest_keyframes_disagree_is_not_believed(recorded: tuple[DriveFolder, LandmarkMap]) -> None:
    folder, made = recorded
    poses = np.array(made.keyframe_poses)
    poses[-1, :, 3] += (2.0, 0.0, 0.0)
    assert map_from_odom(replace(made, keyframe_poses=poses), folder, 0, CONFIG) is None
    poses[-2, :, 3] += (2.0, 0.0, 0.0)  # two that agree
    assert map_from_odom(replace(made, keyframe_poses=poses), folder, 0, CONFIG) is not None
