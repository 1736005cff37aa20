"""Bundle adjustment with priors on whole poses, absolute and relative: COLMAP's reprojection errors, Ceres' solver.

COLMAP's own adjuster knows priors on positions only. That leaves a drive along a wall free to bend: positions stay
where they were given while orientations wander by degrees at a fraction of a pixel. Here positions and orientations
are both held, by given poses or by odometry, as strongly as each is trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hfnet_core.extras import later
from hfnet_core.geometry import Array, Pose
from hfnet_core.mapping.solving.odometry import Link
from hfnet_core.mapping.solving.ranges import Range, add_ranges

if TYPE_CHECKING:
    import pyceres
    import pycolmap
    from pycolmap import cost_functions
else:
    pyceres = later("pyceres")
    pycolmap = later("pycolmap")
    cost_functions = later("pycolmap.cost_functions")

__all__ = ["Anchor", "adjust", "adjust_points", "adjustable"]

_ROBUST_PX = 1.0  # residuals beyond grow in influence as their root only
_ROBUST_LINK = 2.0  # standard deviations: a wheel that slips must not bend the map
_FOCAL_SIGMA, _RADIAL_SIGMA = 0.05, 0.1  # relative, absolute: a calibration is seldom off by more
_ASPECT_SIGMA, _FIXED_SIGMA = 1e-4, 1e-6  # what is as good as constant
_ITERATIONS = 30


@dataclass(frozen=True, eq=False)
class Anchor:
    """What is known of a view's pose, map_from_camera, with standard deviations."""

    view: int
    map_from_camera: Pose
    sigma_m: float
    sigma_rad: float


def adjustable(reconstruction: pycolmap.Reconstruction) -> list[int]:
    """The views (image id - 1) that see points; nothing moves the others."""
    return [image_id - 1 for image_id in sorted(reconstruction.images) if reconstruction.image(image_id).num_points3D]


def adjust(
    reconstruction: pycolmap.Reconstruction,
    anchors: Sequence[Anchor],
    links: Sequence[Link],
    *,
    pixel_px: float,
    refine_intrinsics: bool,
    ranges: Sequence[Range] = (),
) -> None:
    """Move poses, points and intrinsics to the minimum of reprojection errors and deviations from anchors, links and
    measured distances.

    Anchors and links of views that see nothing are passed over. pixel_px: standard deviation of a keypoint. One
    thread: the same input gives the same numbers. At least one anchor, or nothing says where the map is.
    """
    views = adjustable(reconstruction)
    if not views:
        return
    config = pycolmap.BundleAdjustmentConfig()
    for view in views:
        config.add_image(view + 1)
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(
        _options(pixel_px, refine_intrinsics), config, reconstruction
    )
    problem = adjuster.problem
    poses = {view: reconstruction.image(view + 1).frame.rig_from_world.params for view in views}
    # Costs of priors are in standard deviations, those of reprojections in pixels: bring both to pixels.
    for anchor in anchors:
        if anchor.view in poses:
            covariance = _covariance(anchor.sigma_m, anchor.sigma_rad) / pixel_px**2
            cost = cost_functions.AbsolutePosePriorCost(covariance, _rigid(anchor.map_from_camera.inverse()))
            problem.add_residual_block(cost, None, [poses[anchor.view]])
    for link in links:
        if link.first in poses and link.second in poses:
            covariance = _covariance(link.sigma_m, link.sigma_rad) / pixel_px**2
            cost = cost_functions.RelativePosePriorCost(covariance, _rigid(link.first_from_second))
            loss = pyceres.HuberLoss(_ROBUST_LINK * pixel_px)
            problem.add_residual_block(cost, loss, [poses[link.first], poses[link.second]])
    if refine_intrinsics:
        for camera in reconstruction.cameras.values():
            if problem.has_parameter_block(camera.params):
                prior = pyceres.factors.NormalPrior(camera.params.copy(), _trust(camera) / pixel_px**2)
                problem.add_residual_block(prior, None, [camera.params])
    alive = add_ranges(problem, reconstruction, ranges, pixel_px)
    adjuster.solve()
    del alive


def adjust_points(reconstruction: pycolmap.Reconstruction, *, pixel_px: float) -> None:
    """Move points alone to the minimum of reprojection errors. pixel_px: standard deviation of a keypoint."""
    views = adjustable(reconstruction)
    if not views:
        return
    config = pycolmap.BundleAdjustmentConfig()
    for view in views:
        config.add_image(view + 1)
        config.set_constant_rig_from_world_pose(reconstruction.image(view + 1).frame_id)
    options = _options(pixel_px, refine_intrinsics=False)
    pycolmap.create_default_ceres_bundle_adjuster(options, config, reconstruction).solve()


def _options(pixel_px: float, refine_intrinsics: bool) -> pycolmap.BundleAdjustmentOptions:
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_focal_length = options.refine_extra_params = refine_intrinsics
    options.refine_principal_point = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.loss_function_scale = _ROBUST_PX * pixel_px
    options.ceres.solver_options.max_num_iterations = _ITERATIONS
    options.ceres.solver_options.function_tolerance = 1e-5
    options.ceres.solver_options.num_threads = 1
    return options


def _rigid(pose: Pose) -> pycolmap.Rigid3d:
    return pycolmap.Rigid3d(pose.matrix()[:3])


def _covariance(sigma_m: float, sigma_rad: float) -> Array:
    """[6, 6] rotation first, in the axes of the camera."""
    return np.diag(np.array([sigma_rad] * 3 + [sigma_m] * 3) ** 2)


def _trust(camera: pycolmap.Camera) -> Array:
    """Covariance of a calibration: focal lengths change together, two radial coefficients each, the rest stays."""
    sigmas = np.full(len(camera.params), _FIXED_SIGMA)
    sigmas[list(camera.extra_params_idxs())[:2]] = _RADIAL_SIGMA
    covariance = np.diag(sigmas**2)
    focals = list(camera.focal_length_idxs())
    lengths = camera.params[focals]
    covariance[np.ix_(focals, focals)] = np.outer(lengths, lengths) * _FOCAL_SIGMA**2 + np.diag(
        (_ASPECT_SIGMA * lengths) ** 2
    )
    return covariance
