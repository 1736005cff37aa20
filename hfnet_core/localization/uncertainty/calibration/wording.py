"""What is said of a calibration, for people, and from where on it is said."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hfnet_core.geometry import Array
from hfnet_core.localization.uncertainty.calibration.explanation import Defect, DriveDefect, Explanation, Suspects
from hfnet_core.projection import pixel_scale, project_in_camera
from hfnet_core.types import Camera

__all__ = ["MOVING_MOUNT", "drive_summary", "drive_warning", "summary_of", "suspects_of", "warning_of"]

_FOCAL = 0.02  # relative
_CENTRE_PX, _BENT_PX = 6.0, 4.0  # at the reference width; of the principal point, and where the image ends at its sides
_ROWS_S = 0.01
_REMEDY = "poses are off: calibrate the camera, or use the calibration that the map was built with"

MOVING_MOUNT = (
    "not judged: the camera moves on the robot (a pan-tilt head?), and never stays in one place for long enough"
)
_SLOWER = "poses are off while the camera moves: move it more slowly, or use a global shutter"

# Logarithm; pixels at the reference width; radial coefficients; seconds.
_WIDE = np.array([0.3, 100.0, 100.0, 0.5, 0.5, 0.05])
_USUAL = np.array([0.01, 2.0, 2.0, 0.01, 0.01, 0.002])


def suspects_of(camera: Camera) -> Suspects[Defect]:
    """What may be wrong with a calibration, and from where on it is said."""
    notable = {
        Defect.FOCAL_LENGTH: np.array([[1.0 / _FOCAL]]),
        Defect.PRINCIPAL_POINT: np.eye(2) / _CENTRE_PX,
        Defect.DISTORTION: _bending(camera)[None] / pixel_scale(camera) / _BENT_PX,
        Defect.ROLLING_SHUTTER: np.array([[1.0 / _ROWS_S]]),
    }
    return Suspects(notable, _WIDE, _USUAL)


def _bending(camera: Camera) -> Array:
    """[2] pixels by which k1 and k2 move what is seen at the end of the longer side, by each unit."""
    radius = max(camera.width, camera.height) / 2.0 / camera.focal_length[0]
    return camera.focal_length[0] * np.array([radius**3, radius**5])


def warning_of(told: Explanation[Defect], camera: Camera) -> str | None:
    """The defects named and what to do, None without any."""
    if not told.defects:
        return None
    said = " and ".join(_SAYING[defect](told, camera) for defect in Defect if defect in told.defects)
    others = "".join(f", or with {_SAYING[defect](told, camera)}" for defect in Defect if defect in told.rivals)
    remedy = _REMEDY if told.defects != {Defect.ROLLING_SHUTTER} else _SLOWER
    return f"the images fit the map with {said}{others}, {remedy}"


def _focal_length(told: Explanation[Defect], camera: Camera) -> str:
    change = float(told.values[0])
    percent = 100.0 * abs(math.expm1(change))
    return f"a focal length about {percent:.0f} % {'longer' if change > 0 else 'shorter'} than given"


def _principal_point(told: Explanation[Defect], camera: Camera) -> str:
    right, down = told.values[1:3] * pixel_scale(camera)
    return f"a principal point {right:+.0f} px in x and {down:+.0f} px in y from the one given"


def _distortion(told: Explanation[Defect], camera: Camera) -> str:
    k1, k2 = told.values[3:5]
    moved = float(_bending(camera) @ told.values[3:5])
    return (
        f"distortion that the calibration lacks (k1 {k1:+.2f}, k2 {k2:+.2f}: {moved:+.0f} px at the edge of the "
        f"image{_rectified(camera, moved)})"
    )


def _rectified(camera: Camera, moved: float) -> str:
    """What the distortion of images suggests, if a pinhole or the distortion given has anything to do with it."""
    if not any(camera.distortion):
        return ", are they not rectified?"
    radius_px = max(camera.width, camera.height) / 2.0
    edge = project_in_camera(camera, np.array([[radius_px / camera.focal_length[0], 0.0, 1.0]]))
    bent = float(edge[0, 0]) - camera.principal_point[0] - radius_px
    undone = abs(bent) > 1.0 and -1.5 < moved / bent < -0.5
    return ", are they rectified already?" if undone else ""


def _rolling_shutter(told: Explanation[Defect], camera: Camera) -> str:
    return f"rows that are read one after another over {1e3 * told.values[5]:.0f} ms (rolling shutter)"


_POSITION_M, _ORIENTATION_RAD, _TIME_S = 0.15, math.radians(3.0), 0.15  # standard deviations that tell nothing


def drive_warning(told: Explanation[DriveDefect]) -> str | None:
    """What does not fit between camera and odometry and what to do, None without any."""
    if not told.defects:
        return None
    said = " and ".join(_BETWEEN[defect](told) for defect in DriveDefect if defect in told.defects)
    others = "".join(f", or with {_BETWEEN[defect](told)}" for defect in DriveDefect if defect in told.rivals)
    return f"images and odometry fit together with {said}{others}"


def drive_summary(told: Explanation[DriveDefect]) -> str:
    """All numbers with their standard deviations, in a line; what the drive did not show is said to be unseen."""
    return f"camera {_position(told)}; turned {_orientation(told)}; image time {_time(told)}"


def _position(told: Explanation[DriveDefect]) -> str:
    return _axes("xyz", told.values[:3], told.sigmas[:3], _POSITION_M, ("m", 1.0))


def _orientation(told: Explanation[DriveDefect]) -> str:
    degrees = ("deg", 180.0 / math.pi)
    return _axes(("roll", "pitch", "yaw"), told.values[3:6], told.sigmas[3:6], _ORIENTATION_RAD, degrees)


def _time(told: Explanation[DriveDefect]) -> str:
    value, sigma = 1e3 * told.values[6], 1e3 * told.sigmas[6]
    return f"{value:+.0f}±{sigma:.0f} ms" if told.sigmas[6] < _TIME_S else "not observable on this drive"


def _axes(names: Sequence[str], values: Array, sigmas: Array, open_: float, unit: tuple[str, float]) -> str:
    seen = [
        f"{name} {unit[1] * value:+.2f}±{unit[1] * sigma:.2f}" if sigma < open_ else f"{name} not observable"
        for name, value, sigma in zip(names, values, sigmas, strict=True)
    ]
    return f"{' '.join(seen)} {unit[0]}"


_BETWEEN: Mapping[DriveDefect, Callable[[Explanation[DriveDefect]], str]] = {
    DriveDefect.POSITION: lambda told: f"base_from_camera moved ({_position(told)})",
    DriveDefect.ORIENTATION: lambda told: f"base_from_camera turned ({_orientation(told)})",
    DriveDefect.TIME: lambda told: f"images taken at another time than stamped (image_time_offset_s {_time(told)})",
}

_SAYING = {
    Defect.FOCAL_LENGTH: _focal_length,
    Defect.PRINCIPAL_POINT: _principal_point,
    Defect.DISTORTION: _distortion,
    Defect.ROLLING_SHUTTER: _rolling_shutter,
}


def summary_of(told: Explanation[Defect], camera: Camera) -> str:
    """All numbers with their standard deviations, in a line."""
    scale = pixel_scale(camera)
    (focal, cx, cy), (s_focal, s_cx, s_cy) = told.values[:3], told.sigmas[:3]
    moved = float(_bending(camera) @ told.values[3:5])
    return (
        f"focal length {100 * math.expm1(focal):+.1f}±{100 * s_focal:.1f} %, principal point "
        f"{scale * cx:+.1f}±{scale * s_cx:.1f} {scale * cy:+.1f}±{scale * s_cy:.1f} px, distortion {moved:+.1f} px at "
        f"the edge, rows {_rows(told.values[5], told.sigmas[5])}"
    )


def _rows(time_s: float, sigma_s: float) -> str:
    """How long rows are read, as far as motion told it."""
    return f"over {1e3 * time_s:.0f}±{1e3 * sigma_s:.0f} ms" if sigma_s < _ROWS_S else "not observable"
