"""A camera from one mapping of names to values, whatever the tool calls them.

Covers the YAML of ROS camera_calibration, `ros2 topic echo` of a camera_info, OpenCV's FileStorage, plain JSON or YAML
with fx, fy, cx, cy, COLMAP's model and parameters, and the inner part of most other files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.recordings.calibration.distortion import BROWN, EQUIDISTANT, FOV, NONE, distorted_camera, family_of
from hfnet_core.recordings.calibration.files.fields import Fields, integer, number, numbers
from hfnet_core.recordings.calibration.files.found import FileCamera
from hfnet_core.recordings.calibration.ros import delivered, pinhole_of
from hfnet_core.types import Camera

__all__ = ["read_fields", "size_of"]

_WIDTH = ("width", "image_width", "w", "img_width", "cols")
_HEIGHT = ("height", "image_height", "h", "img_height", "rows")
_SIZE = ("resolution", "image_size", "img_size")
_MATRIX = ("camera_matrix", "k", "intrinsic_matrix", "intrinsics", "intrinsic", "mtx", "cam_matrix")
_DISTORTION = (
    "distortion_coefficients",
    "d",
    "distortion",
    "distortion_coeffs",
    "dist_coeffs",
    "dist_coeff",
    "dist_coefs",
    "dist_coef",
    "dist",
    "distcoeffs",
    "distortion_coefficient",
    "distortion_coeff",
    "distortion_coefs",
    "distortion_parameters",
    "distortion_params",
    "coeffs",
)
_OF_DISTORTION = ("distortion_model", "distortion_type")  # keys that name the distortion ...
_OF_CAMERA = ("camera_model", "model", "camera_type", "type", "projection_model")  # ... or the camera as a whole
_BROWN_NAMES = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "s1", "s2", "s3", "s4", "tau_x", "tau_y")
_FISHEYE_NAMES = ("k1", "k2", "k3", "k4")
_OMEGA = ("omega",)
_BESIDE = (
    "r",
    "rectification_matrix",
    "p",
    "projection_matrix",
    "fov",
    "fov_deg",
    "hfov",
    "vfov",
    "setup",
    "color_order",
    "aspect_ratio",
    "fix_aspect_ratio",
    "zero_tangent_dist",
    "fix_principal_point",
    "nr_of_frames",
    "grid_points",
    "extrinsic_parameters",
    "distortion_coefficients_cols",
)


def read_fields(fields: Fields, name: str = "", *, rectified: bool = False, beside: Collection[str] = ()) -> FileCamera:
    """The camera. rectified: its images are, so that a projection matrix P counts, where there is one.

    beside: further keys that say nothing of what the camera sees. Raises DatasetError naming what is missing or not
    understood.
    """
    sensor = _of_colmap(fields) if "params" in fields else _of_names(fields, rectified)
    camera = _delivered(sensor, fields)
    fields.finish((*_BESIDE, *beside))
    return FileCamera(name, camera, sensor)


def _of_names(fields: Fields, rectified: bool) -> Camera:
    projection = fields.take("projection_matrix", "p") if rectified else None
    matrix, (family, coefficients), size = _pinhole(fields), _distortion(fields), size_of(fields)
    values = numbers(projection, "projection_matrix") if projection is not None else []
    if any(values):
        matrix = pinhole_of([*values[:3], *values[4:7], *values[8:11]])
        family, coefficients = NONE, []
    return distorted_camera(size, matrix, family, coefficients)


def size_of(fields: Fields) -> tuple[int, int]:
    """(width, height) of the images."""
    both = fields.take(*_SIZE)
    if both is not None:
        values = numbers(both, "image size")
        if len(values) != 2:
            raise DatasetError(f"image size {values} is not [width, height]")
        return integer(values[0], "width"), integer(values[1], "height")
    return integer(fields.require(*_WIDTH), "width"), integer(fields.require(*_HEIGHT), "height")


def _of_colmap(fields: Fields) -> Camera:
    """COLMAP's model and parameters by name, in our pixels."""
    model, params = str(fields.require("model", "camera_model")), numbers(fields.require("params"), "params")
    try:
        return Camera(model, *size_of(fields), tuple(params))
    except ConfigError as error:
        raise DatasetError(str(error)) from error


def _pinhole(fields: Fields) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy."""
    matrix = fields.take(*_MATRIX) if not _is_scalar_k(fields) else None
    if matrix is not None:
        values = numbers(matrix, "camera matrix")
        if len(values) == 4:
            values = [values[0], 0.0, values[2], 0.0, values[1], values[3], 0.0, 0.0, 1.0]
        return pinhole_of(values)
    skew = fields.take("skew", "sk", default=0)
    both = fields.take("f", "focal_length")
    fx, fy = (
        fields.require(*names) if both is None else both
        for names in (("fx", "fl_x", "focal_length_x"), ("fy", "fl_y", "focal_length_y"))
    )
    cx, cy = fields.require("cx", "ppx", "principal_point_x"), fields.require("cy", "ppy", "principal_point_y")
    return pinhole_of(
        [number(fx, "fx"), number(skew, "skew"), number(cx, "cx"), 0, number(fy, "fy"), number(cy, "cy"), 0, 0, 1]
    )


def _is_scalar_k(fields: Fields) -> bool:
    """Whether k is not the matrix but a coefficient, as in COLMAP's simple models."""
    return "k" in fields and "fx" in fields


def _distortion(fields: Fields) -> tuple[str, list[float]]:
    """(family, coefficients in the family's order)."""
    family = _family(fields)
    listed = fields.take(*_DISTORTION)
    by_name = {name: number(fields.take(name), name) for name in (*_BROWN_NAMES, *_OMEGA) if name in fields}
    if _is_scalar_k(fields):
        by_name["k1"] = number(fields.take("k"), "k")
    if isinstance(listed, Mapping) and "data" not in listed:  # k1: ..., p1: ... in a mapping of their own
        inner = Fields(listed, "distortion")
        by_name = {name: number(inner.take(name), name) for name in (*_BROWN_NAMES, *_OMEGA) if name in inner}
        inner.finish()
        listed = None
    if listed is not None and by_name:
        raise DatasetError(f"distortion is there twice, as a list and as {', '.join(by_name)}: leave one")
    if listed is not None:
        values = numbers(listed, "distortion")
        return family or BROWN, values
    if family is None and "k4" in by_name and not {"p1", "p2", "k5", "k6"} & set(by_name):
        raise DatasetError("k1 to k4 without p1 and p2 may be plumb_bob or equidistant: name the distortion_model")
    family = family or BROWN
    if family == FOV and not by_name:
        raise DatasetError("a calibration of the FOV model lacks 'omega'")
    order = {EQUIDISTANT: _FISHEYE_NAMES, FOV: _OMEGA}.get(family, _BROWN_NAMES)
    strange = [name for name, value in by_name.items() if value and name not in order]
    if strange:
        raise DatasetError(f"{family} distortion has no {', '.join(strange)}")
    return family, [by_name.get(name, 0.0) for name in order]


def _family(fields: Fields) -> str | None:
    """What the names in the calibration agree on; None where they say no more than that it is a camera."""
    of_distortion, of_camera = fields.take(*_OF_DISTORTION), fields.take(*_OF_CAMERA)
    if of_distortion is None:
        of_distortion = fields.text("distortion")  # librealsense prints its name, and `Coeffs`
    fisheye = fields.take("is_fisheye", "fisheye")
    found = {family_of(str(name)) for name in (of_distortion, of_camera) if name is not None}
    if fisheye is True or str(fisheye).lower() in ("1", "1.0", "true"):
        found.add(EQUIDISTANT)
    bending = found - {NONE}
    if len(bending) > 1:
        raise DatasetError(f"the calibration names two kinds of distortion, {' and '.join(sorted(bending))}")
    if bending:
        return next(iter(bending))
    return NONE if of_distortion is not None and str(of_distortion).strip() else None


def _delivered(camera: Camera, fields: Fields) -> Camera:
    """Binning and region of interest of a camera_info applied."""
    bins = tuple(integer(fields.take(name, default=0), name) for name in ("binning_x", "binning_y"))
    roi = fields.take("roi", default={})
    if not isinstance(roi, Mapping):
        raise DatasetError("roi is not x_offset, y_offset, height, width")
    region = tuple(integer(roi.get(name, 0), name) for name in ("x_offset", "y_offset", "width", "height"))
    return delivered(camera, (bins[0], bins[1]), (region[0], region[1], region[2], region[3]))
