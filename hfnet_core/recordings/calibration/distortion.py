"""Distortion by the names and coefficients that drivers and calibration tools write, as COLMAP's camera models.

Families: Brown's polynomial (OpenCV's pinhole model, up to its 14 coefficients), the equidistant polynomial of
Kannala and Brandt (OpenCV's fisheye), the field-of-view model of Devernay and Faugeras, or none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.recordings.calibration.fitting import OPENCV_COEFFICIENTS, fitted_opencv
from hfnet_core.types import Camera

__all__ = ["BROWN", "EQUIDISTANT", "FOV", "INVERSE_BROWN", "NONE", "distorted_camera", "family_of"]

BROWN, EQUIDISTANT, FOV, INVERSE_BROWN, NONE = "Brown", "equidistant", "FOV", "inverse Brown", "none"
_NAMES = {
    BROWN: (
        "plumb_bob",
        "brown",
        "brown_conrady",
        "rational_polynomial",
        "rational",
        "radtan",
        "radial_tangential",
        "opencv",
        "full_opencv",
        "polynomial",
        "thin_prism",
        "rational_polynomial_thin_prism",
        "simple_radial",
        "radial",
        "modified_brown_conrady",
    ),
    EQUIDISTANT: (
        "equidistant",
        "equi",
        "fisheye",
        "kannala_brandt",
        "kannala_brandt4",
        "kannala_brandt8",
        "kb4",
        "kb8",
        "opencv_fisheye",
    ),
    FOV: ("fov", "atan"),
    INVERSE_BROWN: ("inverse_brown_conrady",),
    NONE: ("", "none", "pinhole", "simple_pinhole", "perspective", "rectified", "no_distortion", "nodistortion"),
}
_FAMILY = {re.sub("[^a-z0-9]", "", name): family for family, names in _NAMES.items() for name in names}
_FISHEYE_COEFFICIENTS = 4


def family_of(name: str) -> str:
    """The family of a distortion model's name, however it is written. Raises DatasetError for one that is unknown."""
    found = _FAMILY.get(re.sub("[^a-z0-9]", "", name.lower()))
    if found is None:
        raise DatasetError(
            f"distortion model {name!r} is not supported; use plumb_bob, rational_polynomial or equidistant, or rectify"
        )
    return found


def distorted_camera(
    size: tuple[int, int], pinhole: tuple[float, float, float, float], family: str, coefficients: Sequence[float]
) -> Camera:
    """A camera of fx, fy, cx, cy and the coefficients of a family, in its usual order; missing ones are zeros.

    Raises DatasetError for coefficients that the family does not have, or that no camera model of ours expresses.
    """
    d: NDArray[Any] = np.asarray(coefficients, dtype=np.float64).reshape(-1)
    if not np.isfinite(d).all():
        raise DatasetError("camera calibration contains values that are not finite")
    try:
        return _of_family(size, pinhole, family, d)
    except ConfigError as error:
        raise DatasetError(str(error)) from error


def _of_family(
    size: tuple[int, int], pinhole: tuple[float, float, float, float], family: str, d: NDArray[Any]
) -> Camera:
    if family == EQUIDISTANT:
        return Camera("OPENCV_FISHEYE", *size, (*pinhole, *_exactly(d, _FISHEYE_COEFFICIENTS, family)))
    if family == FOV:
        omega = _exactly(d, 1, family)
        return Camera("FOV", *size, (*pinhole, *omega)) if omega[0] else Camera("PINHOLE", *size, pinhole)
    if not d.any():
        return Camera("PINHOLE", *size, pinhole)
    values = tuple(float(value) for value in d)
    if family == NONE:
        raise DatasetError(f"distortion coefficients {values} without a distortion model; name it in the calibration")
    if family == INVERSE_BROWN:
        raise DatasetError(
            f"inverse_brown_conrady with coefficients {values}: versions of the camera's software disagree about their "
            "meaning; take its camera_info, or calibrate with plumb_bob"
        )
    k1, k2, p1, p2, k3, k4, k5, k6, *rest = _exactly(d, OPENCV_COEFFICIENTS, family)
    if any(rest):  # thin prism and tilt, which no model of COLMAP has beside Brown's polynomial
        return fitted_opencv(size, pinhole, (k1, k2, p1, p2, k3, k4, k5, k6, *rest))
    if k3 == k4 == k5 == k6 == 0.0:
        return Camera("OPENCV", *size, (*pinhole, k1, k2, p1, p2))
    return Camera("FULL_OPENCV", *size, (*pinhole, k1, k2, p1, p2, k3, k4, k5, k6))


def _exactly(d: NDArray[Any], count: int, family: str) -> tuple[float, ...]:
    """As many coefficients as the family has, zeros for missing ones."""
    if d[count:].any():
        raise DatasetError(f"{family} distortion takes {count} coefficients, got {d.size}: {d.tolist()}")
    return tuple(float(value) for value in np.pad(d[:count], (0, max(count - d.size, 0))))
