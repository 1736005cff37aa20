"""Cameras mounted upside down or on their side: by how much a recording's images are to be turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bags import START, STEP, imu, odometry, static_transform, write_bag
from scipy.spatial.transform import Rotation

from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose
from hfnet_core.images.preparation import ROTATIONS
from hfnet_core.recordings.bag_writer import BagWriter
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions

# A camera that looks ahead along a level base's x axis.
BASE_FROM_CAMERA = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def mounted(rotation: int) -> Pose:
    """base_from_camera of a camera whose images need this rotation: it was rolled as much the other way round."""
    return Pose(BASE_FROM_CAMERA @ Rotation.from_euler("z", rotation, degrees=True).as_matrix())


def rotation_of(path: Path, rotation: str = "auto") -> int | None:
    with Bag(path, BagOptions(image_rotation=rotation)) as bag:
        frames = list(bag.frames())
        assert {frame.preparation.rotation for frame in frames} == {bag.rotation or 0}
        return bag.rotation


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_the_mount_tells(tmp_path: Path, rotation: int) -> None:
    def extra(writer: BagWriter) -> None:
        static_transform(writer, "base_link", "mast", START, Pose())
        static_transform(writer, "mast", "camera", START, mounted(rotation))

    path = write_bag(tmp_path / "a", extra=extra)
    assert rotation_of(path) == rotation
    assert rotation_of(path, "0") == 0
    assert rotation_of(path, "270") == 270


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_an_accelerometer_tells(tmp_path: Path, rotation: int) -> None:
    x, y, z = mounted(rotation).rotation[2] * 9.81  # upwards in the camera

    def extra(writer: BagWriter) -> None:
        for index in range(60):
            imu(writer, "/imu", START + index * STEP // 10, "camera", (x, y, z))

    assert rotation_of(write_bag(tmp_path / "a", poses=False, extra=extra)) == rotation


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_poses_in_a_level_frame_tell(tmp_path: Path, rotation: int) -> None:
    def extra(writer: BagWriter) -> None:
        for index in range(4):
            turn = Pose(Rotation.from_euler("z", 40 * index, degrees=True).as_matrix())
            odometry(writer, "/odom", START + index * STEP, "odom", "camera", turn @ mounted(rotation))

    assert rotation_of(write_bag(tmp_path / "a", poses=False, extra=extra)) == rotation


def test_where_nothing_tells_images_stay_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert rotation_of(write_bag(tmp_path / "a", poses=False)) is None
    assert "nothing tells which way is up" in caplog.text


def test_a_camera_in_the_hand_that_is_turned_about_has_no_rotation_of_its_own(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        for index in range(4):
            odometry(writer, "/odom", START + index * STEP, "odom", "camera", mounted(90 * index))

    assert rotation_of(write_bag(tmp_path / "a", poses=False, extra=extra)) is None


def test_other_rotations_are_refused() -> None:
    with pytest.raises(ConfigError, match="image_rotation: '45' is not one of 0, 90, 180, 270 and auto"):
        BagOptions(image_rotation="45")
