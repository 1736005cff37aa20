"""Rigid transforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose, moved_covariance, on_plane, pose_error, skew, tilt_deg

finite = st.floats(-100.0, 100.0)


@st.composite
def poses(draw: st.DrawFn) -> Pose:
    rotvec = draw(st.tuples(*[st.floats(-3.0, 3.0)] * 3))
    return Pose(Rotation.from_rotvec(rotvec).as_matrix(), np.array(draw(st.tuples(finite, finite, finite))))


@given(poses(), poses(), st.tuples(finite, finite, finite))
def test_composition_applies_right_to_left(a_from_b: Pose, b_from_c: Pose, point: tuple[float, float, float]) -> None:
    expected = a_from_b.apply(b_from_c.apply(np.array([point])))
    assert np.allclose((a_from_b @ b_from_c).apply(np.array([point])), expected, atol=1e-9)


@given(poses())
def test_inverse_and_quaternion_return_the_pose(a_from_b: Pose) -> None:
    assert np.allclose((a_from_b @ a_from_b.inverse()).matrix(), np.eye(4), atol=1e-9)
    again = Pose.from_quat_xyzw(a_from_b.quat_xyzw(), a_from_b.translation)
    assert np.allclose(again.matrix(), a_from_b.matrix(), atol=1e-9)
    assert a_from_b.quat_xyzw()[3] >= 0


def test_error_of_known_poses() -> None:
    turned = Pose(Rotation.from_euler("y", 7, degrees=True).as_matrix(), np.array([0.0, 0.3, 0.4]))
    metres, degrees = pose_error(Pose(), turned)
    assert metres == pytest.approx(0.5)
    assert degrees == pytest.approx(7.0)
    assert pose_error(turned, turned) == (0.0, pytest.approx(0.0, abs=1e-6))


def test_poses_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Pose().translation[0] = 1.0


def test_skew_is_the_cross_product() -> None:
    v, w = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.7, -1.1])
    assert np.allclose(skew(v) @ w, np.cross(v, w))


def test_a_zero_quaternion_is_refused() -> None:
    with pytest.raises(ValueError, match=r"[Zz]ero"):
        Pose.from_quat_xyzw([0, 0, 0, 0], [0, 0, 0])


@pytest.mark.parametrize(
    "quat", [[0, 0, 1e300, 1e300], [0, 0, 1e160, 1e160], [1e-170, 0, 0, 0], [0, 0, 0, np.nan], [np.inf, 0, 0, 1]]
)
def test_a_quaternion_that_cannot_be_normalised_is_refused(quat: list[float]) -> None:
    """It would be a rotation matrix of zeros, which no later check expects."""
    with pytest.raises(ValueError, match="is no quaternion"):
        Pose.from_quat_xyzw(quat, [0, 0, 0])


def test_what_is_on_no_planet_is_not_finite() -> None:
    assert Pose(translation=np.array([0.0, -1e9, 1e9])).is_finite()
    assert not Pose(translation=np.array([0.0, 1.1e9, 0.0])).is_finite()
    assert not Pose(translation=np.array([0.0, np.nan, 0.0])).is_finite()


def test_a_covariance_moved_to_the_base_agrees_with_samples():
    """Perturb the camera's pose as geometry_msgs defines the covariance and look at where the base goes."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(6, 6)) * 1e-3
    covariance = factor @ factor.T
    map_from_camera = Pose(Rotation.from_rotvec([0.4, -1.0, 0.3]).as_matrix(), [3.0, -1.0, 2.0])
    base_from_camera = Pose(Rotation.from_rotvec([1.2, 0.3, -0.7]).as_matrix(), [0.8, -0.3, 1.1])
    base = map_from_camera @ base_from_camera.inverse()
    errors = []
    for error in rng.multivariate_normal(np.zeros(6), covariance, 20000):
        turned = Rotation.from_rotvec(error[3:]).as_matrix() @ map_from_camera.rotation
        moved = Pose(turned, map_from_camera.translation + error[:3]) @ base_from_camera.inverse()
        turn = Rotation.from_matrix(moved.rotation @ base.rotation.T).as_rotvec()
        errors.append([*(moved.translation - base.translation), *turn])
    expected = np.cov(np.array(errors).T)
    found = moved_covariance(covariance, map_from_camera.rotation @ base_from_camera.inverse().translation)
    assert np.allclose(found, expected, atol=0.05 * np.abs(expected).max())


@given(st.floats(-3.1, 3.1), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_on_a_plane_only_position_and_heading_remain(yaw: float, pitch: float, roll: float) -> None:
    pose = Pose(Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix(), np.array([3.0, -2.0, 0.4]))
    factor = np.random.default_rng(0).normal(size=(6, 6))
    covariance = factor @ factor.T
    flat, left = on_plane(pose, covariance)
    expected = Pose(Rotation.from_euler("z", yaw).as_matrix(), np.array([3.0, -2.0, 0.0]))
    assert pose_error(flat, expected)[0] < 1e-12
    assert pose_error(flat, expected)[1] < 1e-5
    assert left[np.ix_([0, 1, 5], [0, 1, 5])] == pytest.approx(covariance[np.ix_([0, 1, 5], [0, 1, 5])])
    assert np.diag(left)[2:5] == pytest.approx(1e-6)
    assert (np.linalg.eigvalsh(left) > 0).all()
    assert tilt_deg(flat) == pytest.approx(0.0, abs=1e-5)


def test_the_tilt_is_the_lean_of_the_upright_axis() -> None:
    assert tilt_deg(Pose(Rotation.from_euler("xz", [20.0, 70.0], degrees=True).as_matrix())) == pytest.approx(20.0)
    assert tilt_deg(Pose(Rotation.from_euler("y", 180.0, degrees=True).as_matrix())) == pytest.approx(180.0)
