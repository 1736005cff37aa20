from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from geometry_msgs.msg import Pose as PoseMsg
from hypothesis import given
from hypothesis import strategies as st
from scene import Scene, walk
from scipy.spatial.transform import Rotation

from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.tracking.consistency import UNKNOWN_PRIOR
from hfnet_ros import conversions

NUMBERS = st.floats(-100, 100)
POSES = st.builds(
    lambda r, t: Pose(Rotation.from_rotvec(r).as_matrix(), t),
    st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(NUMBERS, NUMBERS, NUMBERS),
)  # fmt: skip


@given(POSES)
def test_poses_survive_messages(pose):
    stamped = conversions.pose_to_stamped(pose, "map", 12)
    transform = conversions.pose_to_transform(pose, "map", "camera", 12)
    for found in (conversions.pose_from_msg(stamped.pose), conversions.pose_from_transform(transform.transform)):
        metres, degrees = pose_error(found, pose)
        assert metres < 1e-9
        assert degrees < 1e-4


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_survive_messages(stamp_ns):
    assert conversions.stamp_to_ns(conversions.stamp_from_ns(stamp_ns)) == stamp_ns


def test_poses_that_are_none():
    zero = PoseMsg()
    zero.orientation.w = 0.0
    with pytest.raises(ValueError, match="no quaternion"):
        conversions.pose_from_msg(zero)
    infinite = PoseMsg()
    infinite.position.x = float("nan")
    with pytest.raises(ValueError, match="finite"):
        conversions.pose_from_msg(infinite)


def test_pose_from_text():
    assert conversions.pose_from_text("  ", "p") is None
    pose = conversions.pose_from_text("1 2 3, 0 0 0 2", "p")
    assert pose.translation.tolist() == [1, 2, 3]
    assert np.allclose(pose.rotation, np.eye(3))
    for text in ("1 2 3", "1 2 3 0 0 0 0", "1 2 3 0 0 0 nan", "a b c d e f g", "inf 2 3 0 0 0 1"):
        with pytest.raises(ConfigError, match="p: "):
            conversions.pose_from_text(text, "p")


def test_keyframes_are_drawn_where_they_are(wall_world):
    from wall import SHIFTS, map_from_camera

    from hfnet_core.maps.storage import load_map

    marker = conversions.keyframes_to_marker(load_map(wall_world[1]), "map", 0, depth_m=0.2)
    points = np.array([[p.x, p.y, p.z] for p in marker.points]).reshape(len(SHIFTS), 16, 3)
    for shift, outline in zip(SHIFTS, points, strict=True):
        local = map_from_camera(shift).inverse().apply(outline)
        assert np.allclose(local[0], 0, atol=1e-9)
        assert set(np.round(local[:, 2], 6)) == {0.0, 0.2}
        assert local[:, 0].max() == pytest.approx(0.2 * 160 / 260)


def test_covariances_of_initial_poses():
    """rviz gives x, y and yaw; what it leaves at zero is not certain but unknown."""
    known = np.zeros((6, 6))
    known[0, 0], known[1, 1], known[0, 1], known[1, 0], known[5, 5] = 0.25, 0.2, 0.1, 0.1, 0.07
    found = conversions.covariance_from_msg(known.ravel())
    assert np.array_equal(found[:2, :2], known[:2, :2])
    assert found[5, 5] == 0.07
    assert np.array_equal(np.diag(found)[2:5], np.diag(UNKNOWN_PRIOR)[2:5])
    for bad in (np.full((6, 6), np.nan), np.diag([-1.0] * 6), np.arange(36.0).reshape(6, 6)):
        with pytest.raises(ValueError, match="covariance"):
            conversions.covariance_from_msg(bad.ravel())


def test_large_maps_are_drawn_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scene.make(points=1500).build_map(walk(12))
    seen = np.diff(found.landmark_offsets)

    def drawn() -> np.ndarray:
        cloud = conversions.landmarks_to_cloud(found, "map", 0)
        return np.frombuffer(bytes(cloud.data), np.float32).reshape(cloud.width, 4)

    np.testing.assert_array_equal(drawn(), np.column_stack([found.landmarks_xyz, seen]))
    monkeypatch.setattr(conversions, "_DRAWN_LANDMARKS", found.landmarks // 3)
    np.testing.assert_array_equal(
        drawn(), np.column_stack([found.landmarks_xyz, seen])[:: 1 + found.landmarks // (found.landmarks // 3)]
    )
