"""Cameras whose model COLMAP lacks, in the nearest of its models that describes every pixel of the image as well.

A camera is given by rays and the pixels that they fall on; the fit must agree with all of them to a small part of a
pixel, or there is no camera.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array
from hfnet_core.projection import project_in_camera
from hfnet_core.types import CAMERA_PARAMETERS, Camera

__all__ = ["OPENCV_COEFFICIENTS", "fitted_camera", "fitted_double_sphere", "fitted_omni", "fitted_opencv"]

_log = logging.getLogger(__name__)

OPENCV_COEFFICIENTS = 14  # k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tau_x tau_y
_GRID = (33, 25)  # pixels across and down at which models are compared
# Furthest difference in an image 640 px wide: what a good calibration is uncertain by anyway, and what is still far
# better than none, in the corners where thin prisms and tilts differ most.
_SAME_PX, _NEAR_PX, _SAME_WIDTH = 0.05, 1.0, 640.0
_WIDEST_DEG = 80.0  # from the optical axis: what lies further out is not fitted
_EVALUATIONS = 1500  # of a model in a fit: good ones take a tenth
_LEAST = 1e-3  # focal length, by the one given, that a fit may try
_CANDIDATES = ("OPENCV", "OPENCV_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE")  # no rational ones: fits have poles

Size = tuple[int, int]
Pinhole = tuple[float, float, float, float]


def fitted_opencv(size: Size, pinhole: Pinhole, coefficients: Sequence[float]) -> Camera:
    """OpenCV's pinhole camera with all its 14 coefficients: thin prism and tilt beside Brown's polynomial.

    Raises DatasetError where no camera model of ours comes close.
    """
    fx, fy, cx, cy = pinhole
    k, d = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.array(coefficients, dtype=np.float64)
    # Where the inversion has not converged, its result is still a ray of the camera, of a pixel nearby.
    points = cv2.undistortPoints(_grid(size)[:, None], k, d).reshape(-1, 2)
    pixels = cv2.projectPoints(np.column_stack([points, np.ones(len(points))]), np.zeros(3), np.zeros(3), k, d)[0]
    without = Camera("FULL_OPENCV", *size, (*pinhole, *coefficients[:8]))
    return fitted_camera(size, pinhole, points, pixels.reshape(-1, 2), (without,))


def fitted_omni(size: Size, pinhole: Pinhole, xi: float, coefficients: Sequence[float]) -> Camera:
    """The unified camera of Mei and Rives: a sphere seen from xi behind its centre, then k1 k2 p1 p2.

    Only its front half can be had. Raises DatasetError where no camera model of ours comes close.
    """
    fx, fy, cx, cy = pinhole
    rays = _front(size, pinhole, lambda unit: _sphere(unit, xi))
    x, y = _sphere(rays, xi).T
    k1, k2, p1, p2 = np.pad(np.asarray(coefficients, dtype=np.float64), (0, 4))[:4]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * k2)
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)
    return fitted_camera(size, pinhole, rays[:, :2] / rays[:, 2:], np.column_stack([fx * u + cx, fy * v + cy]))


def fitted_double_sphere(size: Size, pinhole: Pinhole, xi: float, alpha: float) -> Camera:
    """The double-sphere camera of Usenko et al. Only its front half can be had.

    Raises DatasetError where no camera model of ours comes close.
    """

    def projected(rays: Array) -> Array:
        shifted = rays[:, 2] + xi
        second = np.hypot(np.hypot(rays[:, 0], rays[:, 1]), shifted)
        return np.asarray(rays[:, :2] / (alpha * second + (1 - alpha) * shifted)[:, None])

    fx, fy, cx, cy = pinhole
    rays = _front(size, pinhole, projected)
    return fitted_camera(size, pinhole, rays[:, :2] / rays[:, 2:], projected(rays) * (fx, fy) + (cx, cy))


def _sphere(rays: Array, xi: float) -> Array:
    return np.asarray(rays[:, :2] / (rays[:, 2:] + xi))


def _front(size: Size, pinhole: Pinhole, projected: Callable[[Array], Array]) -> Array:
    """Unit rays [N, 3] of the front half of the view that fall into the image, in all directions."""
    fx, fy, cx, cy = pinhole
    azimuth, theta = np.meshgrid(np.arange(36) * np.pi / 18, np.radians(np.linspace(0.5, _WIDEST_DEG, 60)))
    a, t = azimuth.ravel(), theta.ravel()
    rays = np.column_stack([np.cos(a) * np.sin(t), np.sin(a) * np.sin(t), np.cos(t)])
    pixels = projected(rays) * (fx, fy) + (cx, cy)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= -0.5) & (pixels <= np.array(size) - 0.5)).all(axis=1)
    return np.asarray(rays[inside])


def fitted_camera(size: Size, pinhole: Pinhole, points: Array, pixels: Array, simpler: Sequence[Camera] = ()) -> Camera:
    """The simplest camera that projects points [N, 2] at depth 1 to pixels [N, 2], all of them, or the nearest.

    simpler: cameras that may do without a fit. Raises DatasetError where none comes near.
    """
    known = np.isfinite(points).all(axis=1) & np.isfinite(pixels).all(axis=1)
    rays, pixels = np.column_stack([points, np.ones(len(points))])[known], pixels[known]
    if len(rays) < len(points) / 2:
        raise DatasetError("the distortion has no inverse in half of the image: it is of another lens, or damaged")
    scale = size[0] / _SAME_WIDTH
    best, away = None, np.inf
    for camera in (*simpler, *(_fit(model, size, pinhole, rays, pixels) for model in _CANDIDATES)):
        worst = _worst(camera, rays, pixels)
        if worst < away:
            best, away = camera, worst
        if worst <= _SAME_PX * scale:
            break
    if best is None or away > _NEAR_PX * scale:
        raise DatasetError(
            f"its distortion differs from every supported camera model by up to {away:.2g} px: rectify the images, or "
            "calibrate with plumb_bob, rational_polynomial or equidistant"
        )
    if away > _SAME_PX * scale:
        _log.info("distortion taken as %s, which differs by up to %.2g px", best.model, away)
    return best


def _fit(model: str, size: Size, pinhole: Pinhole, rays: Array, pixels: Array) -> Camera:
    from scipy.optimize import least_squares  # 130 modules, which no node needs

    count = CAMERA_PARAMETERS[model] - len(pinhole)
    scale = np.array([*pinhole, *np.ones(count)])

    def errors(scaled: Array) -> Array:
        camera = Camera(model, *size, (*np.maximum(scaled[:2], _LEAST) * scale[:2], *scaled[2:] * scale[2:]))
        return np.asarray(np.nan_to_num(project_in_camera(camera, rays) - pixels, nan=size[0]).reshape(-1))

    start = np.array([*np.ones(len(pinhole)), *np.zeros(count)])
    found = least_squares(errors, start, method="lm", max_nfev=_EVALUATIONS, xtol=1e-14, ftol=1e-14)
    return Camera(model, *size, (*np.maximum(found.x[:2], _LEAST) * scale[:2], *found.x[2:] * scale[2:]))


def _worst(camera: Camera, rays: Array, pixels: Array) -> float:
    away = np.linalg.norm(project_in_camera(camera, rays) - pixels, axis=1)
    return float(away.max()) if np.isfinite(away).all() else np.inf


def _grid(size: Size) -> Array:
    """Pixels [N, 2] all over an image, its edges included."""
    across, down = (np.linspace(0, side - 1, count) for side, count in zip(size, _GRID, strict=True))
    return np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
