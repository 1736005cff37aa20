from __future__ import annotations

import cv2
import numpy as np
import pytest

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array
from hfnet_core.projection import project_in_camera
from hfnet_core.recordings.calibration.fitting import fitted_camera, fitted_double_sphere, fitted_omni
from hfnet_core.recordings.calibration.ros import camera_from_calibration

K = [800.0, 0, 640, 0, 802, 398, 0, 0, 1]
SIZE = (1280, 800)
POINTS = np.random.default_rng(0).uniform((-0.7, -0.4, 1.0), (0.7, 0.4, 1.0), (500, 3))


def opencv(d: list[float]) -> Array:
    matrix = np.array(K).reshape(3, 3)
    return cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), matrix, np.array(d))[0].reshape(-1, 2)


@pytest.mark.parametrize(
    ("d", "model", "within_px"),
    [
        ([-0.1, 0.02, 0.001, -0.002, 0, 0, 0, 0, 1e-5, 0, 0, 0, 0, 0], "FULL_OPENCV", 0.05),
        ([-0.1, 0.02, 0.001, -0.002, 0.003, 0.01, 0.002, 0.001, 0.0012, -0.0003, 0.0008, 0.0002, 0, 0],
         "RAD_TAN_THIN_PRISM_FISHEYE", 0.1),
        ([-0.1, 0.02, 0, 0, 0, 0, 0, 0, 0.0012, 0, 0.0008, 0, 0.003, -0.002], "RAD_TAN_THIN_PRISM_FISHEYE", 0.5),
    ],
)  # fmt: skip
def test_thin_prism_and_tilt_project_as_opencv_does(d: list[float], model: str, within_px: float) -> None:
    camera = camera_from_calibration(*SIZE, "rational_polynomial", K, d)
    assert camera.model == model
    truth = opencv(d)
    inside = ((truth >= 0) & (truth <= (1279, 799))).all(axis=1)
    assert inside.sum() > 400
    assert np.abs(project_in_camera(camera, POINTS) - truth)[inside].max() < within_px


def test_the_omnidirectional_camera_projects_as_defined() -> None:
    camera = fitted_omni((752, 480), (1000, 1000, 370, 240), 1.2, (-0.1, 0.05, 0.0001, 0.0002))
    ray = np.array([[0.3, -0.2, 0.9]]) / np.linalg.norm([0.3, -0.2, 0.9])
    x, y = ray[0, :2] / (ray[0, 2] + 1.2)
    r2 = x * x + y * y
    radial = 1 - 0.1 * r2 + 0.05 * r2 * r2
    u = x * radial + 2 * 0.0001 * x * y + 0.0002 * (r2 + 2 * x * x)
    v = y * radial + 2 * 0.0002 * x * y + 0.0001 * (r2 + 2 * y * y)
    assert project_in_camera(camera, ray)[0] == pytest.approx((1000 * u + 370, 1000 * v + 240), abs=0.05)


def test_the_double_sphere_camera_projects_as_defined() -> None:
    camera = fitted_double_sphere((512, 512), (157, 157, 254, 256), -0.18, 0.59)
    ray = np.array([0.6, 0.5, 0.7])
    ray /= np.linalg.norm(ray)
    shifted = ray[2] - 0.18
    depth = 0.59 * np.hypot(np.hypot(ray[0], ray[1]), shifted) + 0.41 * shifted
    expected = (157 * ray[0] / depth + 254, 157 * ray[1] / depth + 256)
    assert project_in_camera(camera, ray[None])[0] == pytest.approx(expected, abs=0.05)


def test_what_no_model_describes_is_refused() -> None:
    generator = np.random.default_rng(1)
    points = generator.uniform(-0.5, 0.5, (200, 2))
    with pytest.raises(DatasetError, match="differs from every supported camera model"):
        fitted_camera((640, 480), (500, 500, 320, 240), points, generator.uniform(0, 480, (200, 2)))
