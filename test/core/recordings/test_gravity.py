from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bags import START, STEP, imu, static_transform, write_bag
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose
from hfnet_core.recordings.bag_writer import BagWriter
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.gravity import level, mean_up

DOWN_X = Rotation.from_euler("y", 90, degrees=True).as_matrix()


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 0.1))
def test_levelling_turns_up_to_z_and_no_further_than_needed(vector: list[float]) -> None:
    up = np.array(vector) / np.linalg.norm(vector)
    turn = level(up)
    assert np.allclose(turn.rotation @ up, (0, 0, 1), atol=1e-9)
    assert np.isclose(np.linalg.det(turn.rotation), 1)
    angle = np.linalg.norm(Rotation.from_matrix(turn.rotation).as_rotvec())
    assert angle == pytest.approx(np.arccos(np.clip(up[2], -1, 1)), abs=1e-6)


def test_upside_down_is_no_singularity() -> None:
    assert np.allclose(level(np.array([0.0, 0.0, -1.0])).rotation @ (0, 0, -1), (0, 0, 1))
    assert np.allclose(level(np.array([0.0, 0.0, 1.0])).rotation, np.eye(3))


def test_the_mean_outvotes_views_that_were_shaken() -> None:
    rng = np.random.default_rng(0)
    up = np.array([0.6, 0.0, 0.8])
    poses = [Pose(Rotation.random(random_state=index).as_matrix()) for index in range(40)]
    ups = [pose.rotation.T @ (Rotation.from_rotvec(rng.normal(0, 0.02, 3)).apply(up)) for pose in poses]
    for index in range(0, 40, 5):
        ups[index] = np.array([1.0, 0.0, 0.0])
    found = mean_up([*poses, None, Pose()], [*ups, up, None])
    assert found is not None
    assert np.degrees(np.arccos(found[0] @ up)) < 1
    assert found[1] < 3
    assert mean_up([Pose()], [None]) is None
    directions = np.random.default_rng(1).normal(size=(50, 3))
    scattered = [row / np.linalg.norm(row) for row in directions]
    assert mean_up([Pose()] * 50, scattered) is None  # nothing most of them agree with


def recording(path: Path, frame: str, vector: tuple[float, float, float]) -> Path:
    """Images in frame `camera`, 100 Hz of accelerations in another one that shake a little, and its mounting."""

    def extra(writer: BagWriter) -> None:
        static_transform(writer, "imu", "camera", START, Pose(DOWN_X))
        for index in range(40):
            x, y, z = vector
            imu(writer, "/imu", START + index * STEP // 10, frame, (x, y + 0.3 * (-1) ** index, z))

    return write_bag(path, extra=extra)


def test_accelerations_say_which_way_is_up_in_the_camera(tmp_path: Path) -> None:
    with Bag(recording(tmp_path / "bag", "imu", (0.0, 0.0, 9.81))) as bag:
        up = bag.up_at(START + 2 * STEP)
        assert up is not None
        assert np.allclose(up, DOWN_X.T @ (0, 0, 1), atol=0.01)
        assert bag.up_source == "accelerations of /imu"
        assert bag.up_at(START + 10**12) is None
    with Bag(recording(tmp_path / "own", "camera", (0.0, -9.81, 0.0))) as bag:
        assert np.allclose(bag.up_at(START), (0, -1, 0), atol=0.01)


@pytest.mark.parametrize("vector", [(0.0, 0.0, 0.0), (0.0, 0.0, 25.0)], ids=["falling", "crashing"])
def test_what_is_no_gravity_says_nothing(tmp_path: Path, vector: tuple[float, float, float]) -> None:
    with Bag(recording(tmp_path / "bag", "imu", vector)) as bag:
        assert bag.up_at(START + STEP) is None


def test_an_accelerometer_that_hangs_in_the_air_is_not_used(tmp_path: Path) -> None:
    with Bag(recording(tmp_path / "bag", "elsewhere", (0.0, 0.0, 9.81))) as bag:
        assert bag.up_source == ""
        assert bag.up_at(START + STEP) is None
