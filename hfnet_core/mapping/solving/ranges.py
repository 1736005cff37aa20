"""Measured distances in bundle adjustment: what depth images tell of points that are triangulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_core.extras import later
from hfnet_core.types import Ranges

if TYPE_CHECKING:
    import pyceres
    import pycolmap
    from pycolmap import cost_functions
else:
    pyceres = later("pyceres")
    pycolmap = later("pycolmap")
    cost_functions = later("pycolmap.cost_functions")

__all__ = ["Range", "add_ranges", "usable_ranges"]

_PER_VIEW = 150  # the strongest keypoints of a view: errors of one depth image are alike, more tell little more
_EXACT = 0.05  # relative standard deviation of a distance that tells something here
_SHARED = 0.01  # relative standard deviation of what a sensor's distances have in common
_ROBUST = 2.0  # standard deviations
_ONE_METRE = 0.05  # relative difference up to which points and distances have the same metres
_ASIDE_M = 1e5  # see `add_ranges`


@dataclass(frozen=True)
class Range:
    """Metres along the axis of a view to a point, by its id, with a standard deviation."""

    view: int
    point: int
    metres: float
    sigma_m: float


def usable_ranges(reconstruction: pycolmap.Reconstruction, measured: Sequence[Ranges | None]) -> list[Range]:
    """What each view measured of the points that it sees.

    None where these are other metres: poses and depth contradict each other then, and nothing tells which is wrong.
    """
    found = [item for view, own in enumerate(measured) if own is not None for item in _of(reconstruction, view, own)]
    ratios = [metres / far for metres, far in ((item.metres, far) for item, far in found) if far > 0]
    if not ratios or abs(np.log(np.median(ratios))) > _ONE_METRE:
        return []
    return [item for item, far in found if far > 0]


def _of(reconstruction: pycolmap.Reconstruction, view: int, own: Ranges) -> list[tuple[Range, float]]:
    """With the distance that the points have now."""
    image = reconstruction.image(view + 1)
    axis = image.cam_from_world().matrix()[2]
    metres = own.metres.astype(np.float64)
    sigma_m = np.hypot(own.sigma_m, _SHARED * metres)
    with np.errstate(invalid="ignore"):
        exact = np.flatnonzero(own.sigma_m <= _EXACT * metres).tolist()  # without NaN
    seen = ((row, image.point2D(row)) for row in exact)
    points = [(row, int(found.point3D_id)) for row, found in seen if found.has_point3D()][:_PER_VIEW]
    return [
        (
            Range(view, point, float(metres[row]), float(sigma_m[row])),
            float(axis[:3] @ reconstruction.point3D(point).xyz + axis[3]),
        )
        for row, point in points
    ]


def add_ranges(
    problem: pyceres.Problem, reconstruction: pycolmap.Reconstruction, ranges: Sequence[Range], pixel_px: float
) -> Any:
    """Hold points where they were measured to be. Returns what has to live as long as the problem.

    A distance along the axis is what a camera would see of the point that looks from far aside, at right angles to the
    axis: nothing of COLMAP's costs tells of it directly.
    """
    far_aside = pycolmap.Rigid3d(np.array([[0, 0, 1.0, 0], [0, -1.0, 0, 0], [1.0, 0, 0, _ASIDE_M]]))
    camera = np.array([_ASIDE_M, 0.0, 0.0])
    for item in ranges:
        point, frame = reconstruction.point3D(item.point), reconstruction.image(item.view + 1).frame
        if not problem.has_parameter_block(point.xyz):
            continue
        covariance = np.diag([(item.sigma_m / pixel_px) ** 2, _ASIDE_M**2])  # across, nothing is measured
        cost = cost_functions.RigReprojErrorCost(
            pycolmap.CameraModelId.SIMPLE_PINHOLE, covariance, np.array([item.metres, 0.0]), far_aside
        )
        loss = pyceres.CauchyLoss(_ROBUST * pixel_px)
        problem.add_residual_block(cost, loss, [point.xyz, frame.rig_from_world.params, camera])
    if problem.has_parameter_block(camera):
        problem.set_parameter_block_constant(camera)
    return camera
