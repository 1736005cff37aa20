"""Correspondences of a camera, or of several on one body, as errors in pixels that are nearly linear in the pose.

The error of a pixel is taken to first order around its own ray f, where the camera's model has the derivative J: a
point at Y in the camera's frame is off by J Y / (f . Y) pixels, which is about 1 % from the truth at 6 of 600 pixels.
That is the same for every camera model, to the edge of a fisheye, and for every camera of a rig; numerator and
denominator are linear in the entries of the pose, so that a product of matrices scores hundreds of poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hfnet_core import projection
from hfnet_core.geometry import Array, Pose
from hfnet_core.types import Camera

__all__ = ["Linear", "Problem", "Seen"]

_NEAREST = 1e-9  # metres; a depth below it makes an error that is out of every bound
_STRAIGHT = np.eye(3)
_SHIFTS = np.eye(6, 12, 9)  # how the numbers of a pose change with a step, by its shift; see `_turns` for the rest


def _turns() -> Array:
    """[72, 12]: how, times a pose, its twelve numbers change with each of a step's six, by its turn."""
    out = np.zeros((6, 12, 12))
    for axis, one, other in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        for column in range(3):
            out[3 + axis, 3 * one + column, 3 * other + column] = -1.0
            out[3 + axis, 3 * other + column, 3 * one + column] = 1.0
    return out.reshape(72, 12)


_TURNS = _turns()


@dataclass(frozen=True, eq=False)
class Seen:
    """What one camera sees: pixels [N, 2] of points_map [N, 3], and where it sits in the rig."""

    pixels: Array
    points_map: Array
    camera: Camera
    rig_from_camera: Pose = field(default_factory=Pose)


@dataclass(frozen=True, eq=False)
class Problem:
    """Correspondences of all cameras, one after another, without those whose pixel has no ray.

    A pose is twelve numbers, rig_from_map: the entries of its rotation, row by row, and its translation. Errors are
    shares of the largest that an inlier has.

    rows: [3, 3, N], by which to multiply points in the rig's frame to have J Y / max_error_px (two) and f . Y; offsets:
    [3, N], what these are of the rig's origin. points: [3, N] in the map, seen from `origin`. rays: [3, N] in the frame
    of each one's camera. mounts: rig_from_camera of each camera; starts: [C + 1] where its correspondences begin.
    usable: [M] which of the correspondences given these are.
    """

    rows: Array
    offsets: Array | None
    points: Array
    rays: Array
    mounts: tuple[Pose, ...]
    starts: NDArray[np.int64]
    origin: Array
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, seen: Sequence[Seen], max_error_px: float) -> Problem:
        parts = [_rows_of(one, max_error_px) for one in seen]
        starts = np.array([0, *accumulate(part[1].shape[1] for part in parts)])
        mounts = tuple(one.rig_from_camera for one in seen)
        rows, points, usable = (
            parts[0] if len(parts) == 1 else [np.concatenate(columns, axis=-1) for columns in zip(*parts, strict=True)]
        )
        origin = points.mean(axis=1) if points.shape[1] else np.zeros(3)
        single = cls(rows, None, points - origin[:, None], rows[2], mounts, starts, origin, usable)
        return single if single.is_single else single._mounted()

    @property
    def count(self) -> int:
        return int(self.points.shape[1])

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """[C] how many correspondences each camera has."""
        return self.starts[1:] - self.starts[:-1]

    @cached_property
    def is_single(self) -> bool:
        """Whether there is one camera, at the origin of the rig."""
        mount = self.mounts[0]
        return len(self.mounts) == 1 and not mount.translation.any() and bool((mount.rotation == _STRAIGHT).all())

    def _mounted(self) -> Problem:
        """With the rows of each camera's frame turned into the rig's."""
        rows, offsets = np.empty_like(self.rows), np.empty_like(self.rows[:, 0])
        for index, mount in enumerate(self.mounts):
            own = slice(self.starts[index], self.starts[index + 1])
            rows[..., own] = np.einsum("kjn,ij->kin", self.rows[..., own], mount.rotation)
            offsets[:, own] = -np.einsum("kin,i->kn", rows[..., own], mount.translation)
        return replace(self, rows=rows, offsets=offsets)

    @cached_property
    def _coefficients(self) -> Array:
        """[12, 3 N]: what each number of a pose adds to the rows' products with the points."""
        out = np.empty((12, 3, self.count))
        by_axis = self.rows.swapaxes(0, 1)
        np.multiply(by_axis[:, None], self.points[:, None], out=out[:9].reshape(3, 3, 3, -1))
        out[9:] = by_axis
        return out.reshape(12, -1)

    @cached_property
    def _rough_coefficients(self) -> NDArray[np.float32]:
        """[3, 12, N], a row's products after another's."""
        rough: NDArray[np.float32] = self._coefficients.reshape(12, 3, -1).swapaxes(0, 1).astype(np.float32, order="C")
        return rough

    def costs(self, poses: Array) -> NDArray[np.float32]:
        """[H, N] squared errors of poses [H, 12], at most 1."""
        sums: NDArray[np.float32] = poses.astype(np.float32) @ self._rough_coefficients
        if self.offsets is not None:
            sums += self.offsets[:, None].astype(np.float32)
        across: NDArray[np.float32] = sums[0]
        down, along = sums[1], sums[2]
        np.maximum(along, _NEAREST, out=along)
        with np.errstate(over="ignore", invalid="ignore"):  # poses of degenerate samples put points at infinity
            across *= across
            down *= down
            across += down
            along *= along
            across /= along
        costs: NDArray[np.float32] = np.fmin(across, 1.0, out=across)
        return costs

    def linearised(self, pose: Array) -> Linear:
        """The errors of a pose [12]."""
        sums = (pose @ self._coefficients).reshape(3, -1)
        if self.offsets is not None:
            sums += self.offsets
        depths = np.maximum(sums[2], _NEAREST)
        errors = sums[:2] / depths
        inliers = errors[0] * errors[0] + errors[1] * errors[1] < 1.0
        inliers &= sums[2] > _NEAREST
        return Linear(pose, errors, depths, inliers)

    def derivatives(self, linear: Linear) -> Array:
        """[6, 2, N] of errors.

        By a shift, metres, of the points in the rig's frame and by a turn about its axes of them around the rig.
        """
        by_step = (_TURNS @ linear.pose).reshape(6, 12)
        by_step += _SHIFTS
        sums = (by_step @ self._coefficients).reshape(6, 3, -1)
        out = sums[:, :2]
        out -= linear.errors * sums[:, 2:]
        out /= linear.depths
        return out


class Linear(NamedTuple):
    """Around a pose [12]: errors [2, N], depths [N] along the rays, and which of them [N] are inliers.

    Errors of points behind the camera are huge.
    """

    pose: Array
    errors: Array
    depths: Array
    inliers: NDArray[np.bool_]


def _rows_of(seen: Seen, max_error_px: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """rows in the camera's own frame, points, and usable, as Problem has them, of one camera."""
    pixels = np.asarray(seen.pixels, np.float64)
    rays, off, by_ray = projection.rays_near(seen.camera, pixels)
    rows = np.empty((3, 3, len(rays)))
    rows[2] = rays.T
    # the ray meets the image within a pixel of the keypoint, not in it: what is missing is part of the error
    rows[:2] = by_ray.transpose(1, 2, 0) + off.T[:, None] * rays.T
    rows[:2] /= max_error_px * projection.pixel_scale(seen.camera)
    points = np.asarray(seen.points_map, np.float64).T
    usable = np.isfinite(rows[:2].sum(axis=(0, 1))) & np.isfinite(points.sum(axis=0))
    return (rows, points, usable) if usable.all() else (rows[:, :, usable], points[:, usable], usable)
