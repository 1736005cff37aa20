"""Cameras from sensor_msgs/CameraInfo messages and from calibration files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hfnet_core.errors import ConfigError, DatasetError, first_line
from hfnet_core.extras import needed
from hfnet_core.types import Camera

__all__ = ["camera_from_calibration", "camera_from_file", "camera_from_info", "camera_info_fields", "is_uncalibrated"]

_FISHEYE = ("equidistant", "fisheye", "kannala_brandt", "kannala_brandt4")
_NO_MODEL = ("", "none", "pinhole")
_PLUMB_BOB = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")


def camera_from_calibration(
    width: int, height: int, distortion_model: str, matrix: Sequence[float], distortion: Sequence[float]
) -> Camera:
    """A camera from ROS calibration numbers: matrix is K (3x3, row by row), distortion is D in ROS order.

    Raises DatasetError for K without a focal length (an uncalibrated driver publishes zeros) and for distortion that
    none of our camera models expresses.
    """
    k = np.asarray(matrix, dtype=np.float64).reshape(-1)
    d = np.asarray(distortion, dtype=np.float64).reshape(-1)
    if k.size != 9:
        raise DatasetError(f"camera matrix K has {k.size} values, expected 9")
    if not (np.isfinite(k).all() and np.isfinite(d).all()):
        raise DatasetError("camera calibration contains values that are not finite")
    if k[0] <= 0 or k[4] <= 0:
        raise DatasetError(
            f"camera matrix K is not calibrated (fx = {k[0]:g}, fy = {k[4]:g}): calibrate it or pass --calibration"
        )
    if abs(k[1]) > 1e-6 * k[0]:
        raise DatasetError(f"camera matrix K has skew {k[1]:g}, which is not supported: rectify the images")
    base = (k[0], k[4], k[2], k[5])
    model, extra = _distortion(distortion_model.strip().lower(), d)
    try:
        return Camera(model, int(width), int(height), (*base, *extra))
    except ConfigError as error:
        raise DatasetError(str(error)) from error


def _distortion(name: str, d: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[str, tuple[float, ...]]:
    """COLMAP's model and its distortion parameters for a ROS distortion model."""
    values = tuple(float(value) for value in d)
    if name in _FISHEYE:
        if len(values) != 4:
            raise DatasetError(f"distortion model {name} takes 4 coefficients, got {len(values)}")
        return "OPENCV_FISHEYE", values
    if name not in ("plumb_bob", "rational_polynomial", *_NO_MODEL):
        raise DatasetError(
            f"distortion model {name!r} is not supported; use plumb_bob, rational_polynomial or equidistant, or rectify"
        )
    if not any(values):
        return "PINHOLE", ()
    if name in _NO_MODEL:
        raise DatasetError(f"distortion coefficients {values} without a distortion model; name it in the calibration")
    if any(values[8:]):
        raise DatasetError("thin-prism or tilted distortion (more than 8 coefficients) is not supported: rectify")
    k1, k2, p1, p2, k3, k4, k5, k6 = (*values[:8], *([0.0] * (8 - len(values[:8]))))
    if k3 == k4 == k5 == k6 == 0.0:
        return "OPENCV", (k1, k2, p1, p2)
    return "FULL_OPENCV", (k1, k2, p1, p2, k3, k4, k5, k6)


def camera_from_info(message: Any, *, rectified: bool = False) -> Camera:
    """The camera of a CameraInfo message of ROS 1 or 2, for its image as it is delivered (binning and ROI applied).

    rectified: the image is rectified, so the projection matrix P counts and there is no distortion. Raises
    DatasetError when the message holds no usable calibration.
    """
    width, height = int(message.width), int(message.height)
    if rectified:
        p = np.asarray(_either(message, "p"), dtype=np.float64).reshape(3, 4)
        camera = camera_from_calibration(width, height, "", p[:, :3].reshape(-1).tolist(), ())
    else:
        k, d = _either(message, "k"), _either(message, "d")
        camera = camera_from_calibration(width, height, str(message.distortion_model), k, d)
    return _cropped(camera, message)


def is_uncalibrated(message: Any) -> bool:
    """Whether a CameraInfo holds zeros for K, as drivers publish without a calibration."""
    return not np.any(np.asarray(_either(message, "k"), dtype=np.float64))


def _either(message: Any, name: str) -> Any:
    """ROS 2 writes k, d, p; ROS 1 wrote K, D, P."""
    return getattr(message, name) if hasattr(message, name) else getattr(message, name.upper())


def _cropped(camera: Camera, message: Any) -> Camera:
    """Calibration is for the full sensor; the image may be a binned region of it."""
    roi = message.roi
    width, height = int(roi.width) or camera.width, int(roi.height) or camera.height
    dx, dy = int(roi.x_offset), int(roi.y_offset)
    params = list(camera.params)
    params[2] -= dx
    params[3] -= dy
    out = Camera(camera.model, width, height, tuple(params))
    bin_x, bin_y = max(int(message.binning_x), 1), max(int(message.binning_y), 1)
    return out if bin_x == bin_y == 1 else out.scaled(width // bin_x, height // bin_y)


def camera_from_file(path: Path) -> Camera:
    """A camera from a calibration file.

    Either the YAML of ROS camera_calibration (image_width, camera_matrix, distortion_model, ...), or JSON/YAML with
    width, height and fx, fy, cx, cy (and optionally `distortion_model` and `distortion`), or with COLMAP's `model`,
    width, height and `params`. Raises DatasetError naming the file and what is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
        raise DatasetError(f"{path}: calibration cannot be read ({first_line(error)})") from error
    if not isinstance(content, Mapping):
        raise DatasetError(f"{path}: is no calibration file (ROS camera_info YAML, or JSON with fx, fy, cx, cy)")
    try:
        return _camera_from_mapping(content)
    except KeyError as error:
        raise DatasetError(f"{path}: calibration lacks {error.args[0]!r}") from error
    except (DatasetError, ConfigError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: {first_line(error)}") from error


def _camera_from_mapping(content: Mapping[str, Any]) -> Camera:
    if "camera_matrix" in content:
        distortion = content.get("distortion_coefficients", {"data": []})
        return camera_from_calibration(
            int(content["image_width"]), int(content["image_height"]), str(content.get("distortion_model", "")),
            content["camera_matrix"]["data"], distortion["data"],
        )  # fmt: skip
    if "params" in content:
        model = str(content["model"])
        return Camera(model, int(content["width"]), int(content["height"]), tuple(content["params"]))
    k = [content["fx"], 0, content["cx"], 0, content["fy"], content["cy"], 0, 0, 1]
    named = str(content.get("distortion_model", ""))
    return camera_from_calibration(content["width"], content["height"], named, k, content.get("distortion", ()))


def camera_info_fields(camera: Camera) -> tuple[str, list[float], list[float]]:
    """(distortion_model, K, D) of a ROS CameraInfo for a camera; the inverse of camera_from_calibration.

    Raises DatasetError for COLMAP models that ROS cannot express.
    """
    fx, fy = camera.focal_length
    n = len(camera.focal_parameters)
    cx, cy = camera.params[n : n + 2]
    extra = list(camera.params[n + 2 :])
    k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    if camera.model == "OPENCV_FISHEYE":
        return "equidistant", k, extra
    if camera.model == "FULL_OPENCV":
        return "rational_polynomial", k, extra
    if camera.model in ("FISHEYE", "SIMPLE_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"):
        return "equidistant", k, [*extra, 0.0, 0.0, 0.0, 0.0][:4]
    if camera.model not in _PLUMB_BOB:
        raise DatasetError(f"camera model {camera.model} has no form in a ROS CameraInfo")
    radial = [*extra, 0.0, 0.0][:2] if camera.model in ("SIMPLE_RADIAL", "RADIAL") else []
    d = [*radial, 0.0, 0.0, 0.0] if radial else [*extra, *([0.0] * (5 - len(extra)))]
    return "plumb_bob", k, d


_FOCAL_SHARE = 1.2  # of the longer side: a view of 45 degrees, the middle of what phones and webcams have


_EXIF = b"Exif\x00\x00"


_HEADER = 65536  # bytes of a JPEG that its EXIF stands in


def guess_camera(width: int, height: int, encoded: bytes = b"") -> Camera:
    """A pinhole with one radial coefficient, its focal length from EXIF where the encoded image has it.

    Images of one size without EXIF get equal guesses.
    """
    focal = _FOCAL_SHARE * max(width, height)
    if _EXIF in encoded[:_HEADER]:
        focal = _from_exif(encoded) or focal
    return Camera("SIMPLE_RADIAL", width, height, (focal, (width - 1) / 2, (height - 1) / 2, 0.0))


def _from_exif(encoded: bytes) -> float | None:
    """The focal length in pixels, by pycolmap's reading of EXIF and its list of sensors, or None."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(encoded)
        file.flush()
        camera = needed("pycolmap").infer_camera_from_image(Path(file.name))
    return float(camera.params[0]) if camera.has_prior_focal_length else None
