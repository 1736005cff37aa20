from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.calibration import (
    camera_from_calibration,
    camera_from_file,
    camera_from_info,
    camera_info_fields,
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
        ({"k": [float("nan")] * 9}, "not finite"),
        ({"k": [500.0, 3.0, *K[2:]]}, "skew"),
        ({"distortion_model": "omnidirectional", "d": [1.0]}, "'omnidirectional' is not supported"),
        ({"distortion_model": "equidistant", "d": [1.0] * 5}, "takes 4 coefficients"),
        ({"distortion_model": "", "d": [0.1]}, "without a distortion model"),
        ({"distortion_model": "rational_polynomial", "d": [0.1] * 12}, "thin-prism"),
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


def test_files(tmp_path: Path) -> None:
    ours = tmp_path / "camera.json"
    ours.write_text('{"model": "PINHOLE", "width": 640, "height": 480, "fx": 532, "fy": 532, "cx": 320, "cy": 240}')
    assert camera_from_file(ours) == Camera("PINHOLE", 640, 480, (532, 532, 320, 240))
    colmap = tmp_path / "colmap.yaml"
    colmap.write_text("{model: SIMPLE_RADIAL, width: 640, height: 480, params: [500, 320, 240, 0.1]}")
    assert camera_from_file(colmap).model == "SIMPLE_RADIAL"
    ros = tmp_path / "ost.yaml"
    ros.write_text(
        f"image_width: 640\nimage_height: 480\ncamera_name: x\ndistortion_model: plumb_bob\n"
        f"camera_matrix: {{rows: 3, cols: 3, data: {K}}}\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0.2, 0, 0, 0]}\n"
    )
    assert camera_from_file(ros).params[4:] == (0.1, 0.2, 0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[1, 2]", "is no calibration file"),
        ('{"width": 640}', "lacks 'fx'"),
        ('{"width": 640, "height": 480, "fx": 0, "fy": 0, "cx": 1, "cy": 1}', "not calibrated"),
        ('{"model": "X", "width": 640, "height": 480, "params": [1]}', "'X' is not supported"),
        ('{"width": "a", "height": 480, "fx": 1, "fy": 1, "cx": 1, "cy": 1}', "camera.json"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        camera_from_file(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        camera_from_file(tmp_path / "none.json")


def test_every_model_round_trips_through_ros() -> None:
    for model, extra in (("SIMPLE_RADIAL", (500.0, 320.0, 240.0, 0.1)), ("RADIAL", (500.0, 320.0, 240.0, 0.1, 0.2))):
        _, k, d = camera_info_fields(Camera(model, 640, 480, extra))
        assert k[0] == k[4] == 500
        assert np.allclose(d[:2], [0.1, 0.2 if model == "RADIAL" else 0.0])


def test_fisheyes_without_all_coefficients_are_equidistant_in_ros() -> None:
    name, k, d = camera_info_fields(Camera("SIMPLE_RADIAL_FISHEYE", 640, 480, (300.0, 321.0, 241.0, 0.1)))
    assert (name, d) == ("equidistant", [0.1, 0.0, 0.0, 0.0])
    assert k == [300.0, 0.0, 321.0, 0.0, 300.0, 241.0, 0.0, 0.0, 1.0]


def test_a_model_without_a_form_in_ros_is_refused() -> None:
    with pytest.raises(DatasetError, match="EUCM"):
        camera_info_fields(Camera("EUCM", 640, 480, (300.0, 300.0, 320.0, 240.0, 0.6, 1.1)))
