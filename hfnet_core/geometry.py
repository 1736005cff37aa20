"""Rigid transforms and quaternions.

Variables name their frames: `map_from_camera` takes coordinates in the camera frame to coordinates in the map
frame, so `map_from_camera = map_from_odom @ odom_from_camera`. Cameras look along +z, x right, y down. Lengths are
metres, angles radians unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

__all__ = [
    "LARGEST_M",
    "Pose",
    "Similarity",
    "moved_covariance",
    "on_plane",
    "pose_difference",
    "pose_error",
    "rotation_of",
    "skew",
    "tilt_deg",
]

Array = NDArray[np.float64]


def rotation_of(matrix: Array) -> Rotation:
    """scipy's rotation of a matrix [3, 3]; of a copy, as scipy before 1.15 refuses arrays that are read-only."""
    return Rotation.from_matrix(np.array(matrix))


_ORTHONORMAL = 1e-3  # how far a rotation may be from one; what rounding leaves is a thousand times less
LARGEST_M = 1e9  # from the origin: no planet is larger, and squares and products stay numbers
_QUATERNION = 1e100  # squares of more, or of less than its inverse, are no numbers any more
_SURE = 1e-6  # variance, in m2 or rad2


@dataclass(frozen=True, eq=False)
class Pose:
    """A rigid transform a_from_b: x_a = rotation @ x_b + translation.

    rotation: [3, 3] orthonormal, float64. translation: [3] metres, float64.
    """

    rotation: Array = field(default_factory=lambda: np.eye(3))
    translation: Array = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", np.array(self.rotation, dtype=np.float64).reshape(3, 3))
        object.__setattr__(self, "translation", np.array(self.translation, dtype=np.float64).reshape(3))
        self.rotation.flags.writeable = False
        self.translation.flags.writeable = False

    @classmethod
    def from_quat_xyzw(cls, quat_xyzw: ArrayLike, translation: ArrayLike) -> Pose:
        """From a quaternion in ROS order (x, y, z, w), normalised here.

        Raises ValueError for a zero one, and where numbers are none or too large or small to be normalised.
        """
        quat = np.asarray(quat_xyzw, dtype=np.float64)
        if not 1.0 / _QUATERNION < np.abs(quat).max() < _QUATERNION or not np.isfinite(quat).all():
            raise ValueError(f"{quat.tolist()} is no quaternion of a rotation: zero, too large, or no number")
        return cls(Rotation.from_quat(quat).as_matrix(), np.asarray(translation))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Pose:
        """From a [3, 4] or [4, 4] matrix."""
        array = np.asarray(matrix, dtype=np.float64)
        return cls(array[:3, :3], array[:3, 3])

    def quat_xyzw(self) -> Array:
        """Unit quaternion (x, y, z, w) with w >= 0."""
        quat: Array = rotation_of(self.rotation).as_quat()
        return quat if quat[3] >= 0 else -quat

    def matrix(self) -> Array:
        """[4, 4] homogeneous matrix."""
        out = np.eye(4)
        out[:3, :3] = self.rotation
        out[:3, 3] = self.translation
        return out

    def inverse(self) -> Pose:
        """b_from_a."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)

    def __matmul__(self, other: Pose) -> Pose:
        """a_from_b @ b_from_c is a_from_c."""
        return Pose(self.rotation @ other.rotation, self.rotation @ other.translation + self.translation)

    def apply(self, points: NDArray[Any]) -> Array:
        """Transform points [N, 3]."""
        moved: Array = np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation
        return moved

    def is_finite(self) -> bool:
        """Whether all of it are numbers, and the translation is no more than LARGEST_M in any direction."""
        return bool(np.isfinite(self.rotation).all() and (np.abs(self.translation) <= LARGEST_M).all())

    def is_rigid(self) -> bool:
        """Whether it is finite and its rotation is one; a matrix from a file may be anything."""
        return self.is_finite() and are_rotations(self.rotation[None])


def are_rotations(matrices: NDArray[np.float64]) -> bool:
    """Whether finite matrices [N, 3, 3] are all rotations, but for rounding."""
    if not len(matrices):
        return True
    squared = matrices @ matrices.transpose(0, 2, 1)
    no_mirror = bool(np.linalg.det(matrices).min() >= 0)
    return no_mirror and bool(np.abs(squared - np.eye(3)).max() <= _ORTHONORMAL)


@dataclass(frozen=True, eq=False)
class Similarity:
    """new_from_old: x_new = scale * rotation @ x_old + translation."""

    scale: float
    pose: Pose

    def move(self, old_from_camera: Pose) -> Pose:
        """Where a camera is in the new frame."""
        return Pose(self.pose.rotation @ old_from_camera.rotation, self.apply(old_from_camera.translation[None])[0])

    def apply(self, points: NDArray[np.floating]) -> Array:
        """Points [N, 3] in the new frame."""
        return self.pose.apply(self.scale * np.asarray(points, dtype=np.float64))


def pose_error(a_from_b: Pose, other_a_from_b: Pose) -> tuple[float, float]:
    """Distance between origins in metres and angle between orientations in degrees."""
    distance = float(np.linalg.norm(a_from_b.translation - other_a_from_b.translation))
    relative = a_from_b.rotation.T @ other_a_from_b.rotation
    angle = float(np.linalg.norm(rotation_of(relative).as_rotvec()))
    return distance, float(np.degrees(angle))


def pose_difference(a_from_b: Pose, other_a_from_b: Pose) -> Array:
    """[6] from the other pose to the first: position, then rotation vector, about the axes of a, as covariances have
    it."""
    turn = rotation_of(a_from_b.rotation @ other_a_from_b.rotation.T).as_rotvec()
    return np.concatenate([a_from_b.translation - other_a_from_b.translation, turn])


def moved_covariance(covariance: Array, arm: Array) -> Array:
    """Covariance [6, 6] (position, then rotation, about fixed axes) of another point of the same rigid body.

    arm: [3] from the first point to the other, along the same axes. A small rotation dr moves the other point by
    dr x arm = -[arm]x dr.
    """
    jacobian = np.eye(6)
    jacobian[:3, 3:] = -skew(arm)
    moved: Array = jacobian @ covariance @ jacobian.T
    return moved


def on_plane(pose: Pose, covariance: Array) -> tuple[Pose, Array]:
    """A pose and its covariance [6, 6] reduced to what moves on the plane z = 0: x, y and heading.

    The heading is that of the x axis seen from above. z, roll and pitch are sure: their variance is next to nothing, as
    filters want it, which cannot take zero.
    """
    forward = pose.rotation[:, 0]
    heading = Rotation.from_euler("z", np.arctan2(forward[1], forward[0])).as_matrix()
    kept = np.array([0, 1, 5])
    flat = np.diag(np.full(6, _SURE))
    flat[np.ix_(kept, kept)] = covariance[np.ix_(kept, kept)]
    return Pose(heading, np.array([*pose.translation[:2], 0.0])), flat


def tilt_deg(pose: Pose) -> float:
    """How far the z axis leans from the vertical."""
    return float(np.degrees(np.arccos(np.clip(pose.rotation[2, 2], -1.0, 1.0))))


def skew(vector: Sequence[float] | Array) -> Array:
    """The matrix [v]x with [v]x w = v x w."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
