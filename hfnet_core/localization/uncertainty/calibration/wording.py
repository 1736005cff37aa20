"""What is said of a calibration, for people, and from where on it is said."""

from __future__ import annotations

import math

import numpy as np

from hfnet_core.geometry import Array
from hfnet_core.localization.uncertainty.calibration.explanation import Defect, Explanation
from hfnet_core.projection import pixel_scale, project_in_camera
from hfnet_core.types import Camera

__all__ = ["notable_for", "summary_of", "warning_of"]

_FOCAL = 0.02  # relative
_CENTRE_PX, _BENT_PX = 6.0, 4.0  # at the reference width; of the principal point, and where the image ends at its sides
_ROWS_S = 0.01
_REMEDY = "poses are off: calibrate the camera, or use the calibration that the map was built with"


def notable_for(camera: Camera) -> dict[Defect, Array]:
    """See `explained`."""
    return {
        Defect.FOCAL_LENGTH: np.array([[1.0 / _FOCAL]]),
        Defect.PRINCIPAL_POINT: np.eye(2) / _CENTRE_PX,
        Defect.DISTORTION: _bending(camera)[None] / pixel_scale(camera) / _BENT_PX,
        Defect.ROLLING_SHUTTER: np.array([[1.0 / _ROWS_S]]),
    }


def _bending(camera: Camera) -> Array:
    """[2] pixels by which k1 and k2 move what is seen at the end of the longer side, by each unit."""
    radius = max(camera.width, camera.height) / 2.0 / camera.focal_length[0]
    return camera.focal_length[0] * np.array([radius**3, radius**5])


def warning_of(told: Explanation, camera: Camera) -> str | None:
    """The defects named and what to do, None without any."""
    if not told.defects:
        return None
    said = " and ".join(_SAYING[defect](told, camera) for defect in Defect if defect in told.defects)
    others = "".join(f", or with {_SAYING[defect](told, camera)}" for defect in Defect if defect in told.rivals)
    return f"the images fit the map with {said}{others}, {_REMEDY}"


def _focal_length(told: Explanation, camera: Camera) -> str:
    change = float(told.values[0])
    percent = 100.0 * abs(math.expm1(change))
    return f"a focal length about {percent:.0f} % {'longer' if change > 0 else 'shorter'} than given"


def _principal_point(told: Explanation, camera: Camera) -> str:
    right, down = told.values[1:3] * pixel_scale(camera)
    return f"a principal point {right:+.0f} px in x and {down:+.0f} px in y from the one given"


def _distortion(told: Explanation, camera: Camera) -> str:
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
    edge = np.array([[max(camera.width, camera.height) / 2.0 / camera.focal_length[0], 0.0, 1.0]])
    bent = (
        float(project_in_camera(camera, edge)[0, 0] - camera.principal_point[0]) - edge[0, 0] * camera.focal_length[0]
    )
    undone = -1.5 < moved / bent < -0.5 if abs(bent) > 1.0 else False
    return ", are they rectified already?" if undone else ""


def _rolling_shutter(told: Explanation, camera: Camera) -> str:
    return f"rows that are read one after another over {1e3 * told.values[5]:.0f} ms (rolling shutter)"


_SAYING = {
    Defect.FOCAL_LENGTH: _focal_length,
    Defect.PRINCIPAL_POINT: _principal_point,
    Defect.DISTORTION: _distortion,
    Defect.ROLLING_SHUTTER: _rolling_shutter,
}


def summary_of(told: Explanation, camera: Camera) -> str:
    """All numbers with their standard deviations, in a line."""
    scale, bending = pixel_scale(camera), _bending(camera)
    focal, cx, cy, k1, k2, rows = told.values
    s_focal, s_cx, s_cy, *_, s_rows = told.sigmas
    moved = float(bending @ np.array([k1, k2]))
    return (
        f"focal length {100 * math.expm1(focal):+.1f}±{100 * s_focal:.1f} %, principal point {scale * cx:+.1f}±{scale * s_cx:.1f} "
        f"{scale * cy:+.1f}±{scale * s_cy:.1f} px, distortion {moved:+.1f} px at the sides, rows over "
        f"{1e3 * rows:.0f}±{1e3 * s_rows:.0f} ms"
    )
