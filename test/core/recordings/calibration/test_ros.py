from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_core.errors import DatasetError
from hfnet_core.projection import project_in_camera
from hfnet_core.recordings.calibration import (
    camera_from_calibration,
    camera_from_info,
    camera_info_fields,
    doubts_about_info,
)
from hfnet_core.types import Camera

K = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]


def info(**fields: object) -> SimpleNamespace:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    values = {"width": 640, "height": 480, "distortion_model": "plumb_bob", "k": K, "d": [0.0] * 5, "p": [0.0] * 12,
              "roi": roi, "binning_x": 0, "binning_y": 0}  # fmt: skip
    return SimpleNamespace(**{**values, **fields})


@pytest.mark.parametrize(
    ("name", "d", "model", "extra"),
    [
        ("plumb_bob", [0, 0, 0, 0, 0], "PINHOLE", ()),
        ("", [], "PINHOLE", ()),
        ("plumb_bob", [1, 2, 3, 4, 0], "OPENCV", (1, 2, 3, 4)),
        ("plumb_bob", [1, 2, 3, 4], "OPENCV", (1, 2, 3, 4)),
        ("plumb_bob", [1, 2, 3, 4, 5], "FULL_OPENCV", (1, 2, 3, 4, 5, 0, 0, 0)),
        ("rational_polynomial", [1, 2, 3, 4, 5, 6, 7, 8], "FULL_OPENCV", (1, 2, 3, 4, 5, 6, 7, 8)),
        ("rational_polynomial", [0] * 14, "PINHOLE", ()),
        ("equidistant", [1, 2, 3, 4], "OPENCV_FISHEYE", (1, 2, 3, 4)),
        ("fisheye", [0, 0, 0, 0], "OPENCV_FISHEYE", (0, 0, 0, 0)),
        ("equidistant", [], "OPENCV_FISHEYE", (0, 0, 0, 0)),
        ("equidistant", [1, 2, 3, 4, 0], "OPENCV_FISHEYE", (1, 2, 3, 4)),
        ("Kannala Brandt4", [1, 2, 3, 4, 0, 0, 0], "OPENCV_FISHEYE", (1, 2, 3, 4)),
        ("brown_conrady", [1, 2, 3, 4, 0], "OPENCV", (1, 2, 3, 4)),
        ("radtan", [1, 2, 3, 4], "OPENCV", (1, 2, 3, 4)),
        ("none", [0, 0, 0, 0, 0], "PINHOLE", ()),
        ("Inverse Brown Conrady", [0, 0, 0, 0, 0], "PINHOLE", ()),
        ("rational_polynomial", [1, 2, 3, 4, 5, 6, 7, 8, *[0] * 6], "FULL_OPENCV", (1, 2, 3, 4, 5, 6, 7, 8)),
    ],
)
def test_distortion_models(name: str, d: list[float], model: str, extra: tuple[float, ...]) -> None:
    camera = camera_from_calibration(640, 480, name, K, d)
    assert camera == Camera(model, 640, 480, (500, 510, 320, 240, *extra))
    again = camera_from_calibration(640, 480, *camera_info_fields(camera))
    assert again == camera


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": [0.0] * 9}, "not calibrated"),
        ({"k": [1.0, 0, 0, 0, 1, 0, 0, 0, 1]}, "not calibrated .the identity."),
        ({"k": [float("nan")] * 9}, "not finite"),
        ({"k": [500.0, 3.0, *K[2:]]}, "skew"),
        ({"distortion_model": "omnidirectional", "d": [1.0]}, "'omnidirectional' is not supported"),
        ({"distortion_model": "equidistant", "d": [1.0] * 5}, "takes 4 coefficients"),
        ({"distortion_model": "inverse_brown_conrady", "d": [0.1] * 5}, "inverse_brown_conrady"),
        ({"distortion_model": "none", "d": [0.1] * 5}, "without a distortion model"),
        ({"k": [500.0, 0, 0, 0, 510.0, 0, 320.0, 240.0, 1.0]}, "column by column"),
        ({"distortion_model": "", "d": [0.1]}, "without a distortion model"),
        ({"distortion_model": "rational_polynomial", "d": [0.1] * 12}, "differs from every supported camera model"),
        ({"distortion_model": "rational_polynomial", "d": [0.1] * 15}, "takes 14 coefficients"),
        ({"d": [1210.0, -3500.0, 0.001, 0.002, 0]}, "cannot be true: its distortion .*--trust-calibration"),
        ({"k": [1.0, 0, 0.5, 0, 1.0, 0.5, 0, 0, 1.0]}, "cannot be true: fx = 1 .*--trust-calibration"),
        ({"k": [250.0, 0, 160, 0, 255.0, 120, 0, 0, 1.0], "binning_x": 2, "binning_y": 2}, "with binning K must be"),
        ({"width": 0}, "size 0x480"),
    ],
)
def test_refusals(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        camera_from_info(info(**fields))


def test_ros1_names_and_rectified_images() -> None:
    ros1 = info()
    for name in ("k", "d", "p"):
        setattr(ros1, name.upper(), getattr(ros1, name))
        delattr(ros1, name)
    assert camera_from_info(ros1).focal_length == (500, 510)
    p = [400.0, 0, 310, -40, 0, 400, 230, 0, 0, 0, 1, 0]
    rectified = camera_from_info(info(d=[0.1] * 5, p=p), rectified=True)
    assert rectified == Camera("PINHOLE", 640, 480, (400, 400, 310, 230))


def test_binning_and_region_of_interest() -> None:
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=400)
    camera = camera_from_info(info(roi=roi, binning_x=2, binning_y=2))
    assert (camera.width, camera.height) == (200, 200)
    assert camera.focal_length == (250, 255)
    assert camera.params[2] == pytest.approx((320 - 100 + 0.5) / 2 - 0.5)


@pytest.mark.parametrize(
    ("model", "extra", "name", "d"),
    [
        ("SIMPLE_RADIAL", (0.1,), "plumb_bob", [0.1, 0, 0, 0, 0]),
        ("RADIAL", (0.1, 0.2), "plumb_bob", [0.1, 0.2, 0, 0, 0]),
        ("SIMPLE_FISHEYE", (), "equidistant", [0, 0, 0, 0]),
        ("SIMPLE_RADIAL_FISHEYE", (0.1,), "equidistant", [0.1, 0, 0, 0]),
        ("RADIAL_FISHEYE", (0.1, 0.2), "equidistant", [0.1, 0.2, 0, 0]),
    ],
)
def test_models_with_one_focal_length_reach_ros(model: str, extra: tuple, name: str, d: list[float]) -> None:
    camera = Camera(model, 640, 480, (500.0, 320.0, 240.0, *extra))
    found, k, coefficients = camera_info_fields(camera)
    assert (found, coefficients) == (name, d)
    assert k == [500, 0, 320, 0, 500, 240, 0, 0, 1]
    again = camera_from_calibration(640, 480, found, k, coefficients)
    points = np.array([[0.3, -0.2, 1.0], [-0.5, 0.4, 1.0]])
    assert np.allclose(project_in_camera(again, points), project_in_camera(camera, points), atol=1e-9)


def test_a_model_that_ros_lacks_is_named() -> None:
    with pytest.raises(DatasetError, match="EUCM has no place in a ROS camera_info"):
        camera_info_fields(Camera("EUCM", 640, 480, (300, 300, 320, 240, 0.6, 1.1)))


def test_the_calibration_of_the_sensor_is_judged_not_that_of_the_region() -> None:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=200, height=100)  # its corner: the principal point is outside
    camera = camera_from_info(info(roi=roi))
    assert camera.params[:4] == (500, 510, 320, 240)
    assert (camera.width, camera.height) == (200, 100)


def test_an_impossible_calibration_can_be_trusted() -> None:
    k = [1000.0, 0, 640, 0, 1020.0, 480, 0, 0, 1.0]
    with pytest.raises(DatasetError, match="principal point at 100 % of the width"):
        camera_from_info(info(k=k))
    assert camera_from_info(info(k=k), trust=True).params[:4] == (1000, 1020, 640, 480)


def test_what_is_unlikely_is_said() -> None:
    assert doubts_about_info(info()) == ()
    (doubt,) = doubts_about_info(info(k=[500.0, 0, 320, 0, 510.0, 199.5, 0, 0, 1]))
    assert "42 % of the height" in doubt
    assert "about 641x400" in doubt
    (aspect,) = doubts_about_info(info(k=[500.0, 0, 320, 0, 400.0, 240, 0, 0, 1]))
    assert "fx / fy = 1.25" in aspect
