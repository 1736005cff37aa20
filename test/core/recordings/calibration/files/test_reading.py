"""Every form of calibration file, asked for the right values."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.calibration.files.reading import cameras_in_file
from hfnet_core.types import Camera

FX, FY, CX, CY = 478.0, 478.6, 322.4, 236.8
D = (-0.06, 0.02, 0.0004, -0.0006)
K_TEXT, D_TEXT = "[478.0, 0.0, 322.4, 0.0, 478.6, 236.8, 0.0, 0.0, 1.0]", "[-0.06, 0.02, 0.0004, -0.0006, 0.0]"
BROWN = Camera("OPENCV", 640, 480, (FX, FY, CX, CY, *D))
PINHOLE = Camera("PINHOLE", 640, 480, (FX, FY, CX, CY))
ROS = (
    f"image_width: 640\nimage_height: 480\ncamera_name: c\ncamera_matrix:\n  rows: 3\n  cols: 3\n  data: {K_TEXT}\n"
    f"distortion_model: plumb_bob\ndistortion_coefficients:\n  rows: 1\n  cols: 5\n  data: {D_TEXT}\n"
    "rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}\n"
    "projection_matrix: {rows: 3, cols: 4, data: [470, 0, 320, 0, 0, 471, 240, 0, 0, 0, 1, 0]}\n"
)
OPENCV = (
    '%YAML:1.0\n---\ncalibration_time: "Fri 27 Nov 2026"\nnframes: 20\nboard_width: 9\nsquare_size: 2.5e-02\n'
    "flags: 0\nimage_width: 640\nimage_height: 480\ncamera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
    "   data: [ 4.7800000000000000e+02, 0., 322.4, 0., 478.6, 236.8, 0., 0., 1. ]\n"
    f"distortion_coefficients: !!opencv-matrix\n   rows: 5\n   cols: 1\n   dt: d\n   data: {D_TEXT}\n"
    "avg_reprojection_error: 2.1e-01\n"
)
ECHO = (
    "header:\n  stamp:\n    sec: 1\n    nanosec: 0\n  frame_id: camera\nheight: 480\nwidth: 640\n"
    "distortion_model: plumb_bob\nd:\n- -0.06\n- 0.02\n- 0.0004\n- -0.0006\n- 0.0\nk:\n- 478.0\n- 0.0\n- 322.4\n"
    "- 0.0\n- 478.6\n- 236.8\n- 0.0\n- 0.0\n- 1.0\nr: [1, 0, 0, 0, 1, 0, 0, 0, 1]\n"
    "p: [470, 0, 320, 0, 0, 471, 240, 0, 0, 0, 1, 0]\nbinning_x: 0\nbinning_y: 0\nroi:\n  x_offset: 0\n"
    "  y_offset: 0\n  height: 0\n  width: 0\n  do_rectify: false\n---\n"
)
KALIBR = (
    "cam0:\n  cam_overlaps: [1]\n  camera_model: pinhole\n  distortion_coeffs: [-0.06, 0.02, 0.0004, -0.0006]\n"
    "  distortion_model: radtan\n  intrinsics: [478.0, 478.6, 322.4, 236.8]\n  resolution: [640, 480]\n"
    "  rostopic: /cam0/image_raw\n"
)
INI = (
    "# oST version 5.0 parameters\n\n\n[image]\n\nwidth\n640\n\nheight\n480\n\n[narrow_stereo/left]\n\ncamera matrix\n"
    "478.0 0.0 322.4\n0.0 478.6 236.8\n0.0 0.0 1.0\n\ndistortion\n-0.06 0.02 0.0004 -0.0006 0.0\n\nrectification\n"
    "1 0 0\n0 1 0\n0 0 1\n\nprojection\n470 0 320 0\n0 471 240 0\n0 0 1 0\n"
)
ORB = (
    '%YAML:1.0\n\n#----\nFile.version: "1.0"\nCamera.type: "PinHole"\nCamera1.fx: 478.0\nCamera1.fy: 478.6\n'
    "Camera1.cx: 322.4\nCamera1.cy: 236.8\nCamera1.k1: -0.06\nCamera1.k2: 0.02\nCamera1.p1: 0.0004\n"
    "Camera1.p2: -0.0006\nCamera.width: 640\nCamera.height: 480\nCamera.newWidth: 600\nCamera.fps: 20\nCamera.RGB: 1\n"
    "ORBextractor.nFeatures: 1000\nViewer.KeyFrameSize: 0.05\nStereo.ThDepth: 60.0\n"
)
ORB2 = ORB.replace("Camera1.", "Camera.")
STELLA = (
    "Camera:\n  name: c\n  setup: monocular\n  model: perspective\n  fx: 478.0\n  fy: 478.6\n  cx: 322.4\n  cy: 236.8\n"
    "  k1: -0.06\n  k2: 0.02\n  p1: 0.0004\n  p2: -0.0006\n  k3: 0.0\n  fps: 30\n  cols: 640\n  rows: 480\n"
    "  color_order: RGB\nFeature: {max_num_keypoints: 2000}\n"
)
PLAIN = {"width": 640, "height": 480, "fx": FX, "fy": FY, "cx": CX, "cy": CY}
NERF = {"camera_model": "OPENCV", "fl_x": FX, "fl_y": FY, "cx": CX + 0.5, "cy": CY + 0.5, "w": 640, "h": 480}
NAMED = dict(zip(("k1", "k2", "p1", "p2"), D, strict=True))
DEPTHAI = {"width": 640, "height": 480, "intrinsicMatrix": [[FX, 0, CX], [0, FY, CY], [0, 0, 1]], "cameraType": 0,
           "distortionCoeff": [*D, *[0] * 10], "specHfovDeg": 66.0, "lensPosition": 130,
           "extrinsics": {"toCameraSocket": 1, "translation": {"x": 1, "y": 2, "z": 3}}}  # fmt: skip
REALSENSE = (
    "Width:      \t640\nHeight:     \t480\nPPX:        \t322.4\nPPY:        \t236.8\nFx:         \t478.0\n"
    "Fy:         \t478.6\nDistortion: \tBrown Conrady\nCoeffs:     \t-0.06  \t0.02  \t0.0004  \t-0.0006  \t0\n"
    "FOV (deg):  \t67.6 x 53.2\n"
)

FORMS: dict[str, tuple[str, str, Camera]] = {
    "ROS": ("ost.yaml", ROS, BROWN),
    "ROS with a byte order mark": ("ost.yaml", "\ufeff" + ROS, BROWN),
    "ROS called json": ("ost.json", ROS, BROWN),
    "ROS, camera_model for distortion_model": ("a.yaml", ROS.replace("distortion_model", "camera_model"), BROWN),
    "ROS without a model": ("a.yaml", ROS.replace("distortion_model: plumb_bob\n", ""), BROWN),
    "ROS, blanks between the values": ("a.yaml", ROS.replace(D_TEXT, "[-0.06 0.02 0.0004 -0.0006 0.0]"), BROWN),
    "ROS, sizes with a point": ("a.yaml", ROS.replace("640", "640.0").replace("480\n", "480.0\n"), BROWN),
    "ROS, four of five coefficients": ("a.yaml", ROS.replace(D_TEXT, "[-0.06, 0.02, 0.0004, -0.0006]"), BROWN),
    "OpenCV": ("opencv.yml", OPENCV, BROWN),
    "ros2 topic echo": ("echo.yaml", ECHO, BROWN),
    "ros2 topic echo, several": ("echo.yaml", ECHO + ECHO.replace("sec: 1\n", "sec: 2\n"), BROWN),
    "rostopic echo": ("echo.yaml", f"height: 480\nwidth: 640\ndistortion_model: \"plumb_bob\"\nD: {D_TEXT}\n"
                      f"K: {K_TEXT}\n---\n", BROWN),
    "Kalibr": ("camchain.yaml", KALIBR, BROWN),
    "ini": ("ost.ini", INI, BROWN),
    "ini called txt": ("ost.txt", INI, BROWN),
    "ORB-SLAM3": ("EuRoC.yaml", ORB, BROWN),
    "ORB-SLAM2": ("TUM1.yaml", ORB2, BROWN),
    "ORB-SLAM3, Kannala Brandt": (
        "TUM-VI.yaml", ORB.replace("PinHole", "KannalaBrandt8").replace("p1", "k3").replace("p2", "k4"),
        Camera("OPENCV_FISHEYE", 640, 480, (FX, FY, CX, CY, *D)),
    ),
    "stella_vslam": ("stella.yaml", STELLA, BROWN),
    "stella_vslam, fisheye": (
        "stella.yaml", STELLA.replace("perspective", "fisheye").replace("k3: 0.0", "k4: -0.0006")
        .replace("p1", "k3").replace("  p2: -0.0006\n", ""), Camera("OPENCV_FISHEYE", 640, 480, (FX, FY, CX, CY, *D)),
    ),
    "COLMAP": ("cameras.txt", "# Camera list\n# CAMERA_ID, MODEL, ...\n1 OPENCV 640 480 478.0 478.6 322.9 237.3 -0.06 "
               "0.02 0.0004 -0.0006\n", BROWN),
    "nerfstudio": ("transforms.json", json.dumps({**NERF, **NAMED, "frames": [], "aabb_scale": 16}), BROWN),
    "nerfstudio, camera of its frames": (
        "transforms.json", json.dumps({"frames": [{"file_path": "a", **NERF, **NAMED}] * 2}), BROWN,
    ),
    "instant-ngp, angle of view": (
        "transforms.json", json.dumps({"camera_angle_x": 2 * np.arctan(320 / FX), "w": 640, "h": 480, "cx": CX + 0.5,
                                       "cy": CY + 0.5, "frames": []}),
        Camera("PINHOLE", 640, 480, (FX, FX, CX, CY)),
    ),
    "depthai": ("calib.json", json.dumps({"cameraData": [[0, DEPTHAI]], "version": 7, "boardName": "x"}), BROWN),
    "depthai, uncalibrated socket": (
        "calib.json", json.dumps({"cameraData": [[0, DEPTHAI], [1, {**DEPTHAI, "width": 0}]]}), BROWN,
    ),
    "depthai, fisheye": (
        "calib.json", json.dumps({"cameraData": [[0, {**DEPTHAI, "cameraType": 1}]]}),
        Camera("OPENCV_FISHEYE", 640, 480, (FX, FY, CX, CY, *D)),
    ),
    "librealsense": ("rs.txt", REALSENSE, BROWN),
    "nested lists": ("a.yaml", "image_width: 640\nimage_height: 480\ncamera_matrix: [[478.0, 0, 322.4], [0, 478.6, "
                     "236.8], [0, 0, 1]]\ndist_coeff: [[-0.06, 0.02, 0.0004, -0.0006, 0.0]]\n", BROWN),
    "plain": ("a.json", json.dumps(PLAIN), PINHOLE),
    "plain called yaml": ("a.yaml", json.dumps(PLAIN), PINHOLE),
    "plain with k1 k2 p1 p2": ("a.json", json.dumps({**PLAIN, **NAMED}), BROWN),
    "plain with D": ("a.json", json.dumps({**PLAIN, "D": D}), BROWN),
    "plain with distortion_coefficients": ("a.json", json.dumps({**PLAIN, "distortion_coefficients": D}), BROWN),
    "plain with distortion by name": ("a.json", json.dumps({**PLAIN, "distortion": NAMED}), BROWN),
    "plain, none": ("a.json", json.dumps({**PLAIN, "distortion_model": "none", "distortion": [0] * 5}), PINHOLE),
    "plain, camelCase": (
        "a.json", json.dumps({"imageWidth": 640, "imageHeight": 480, "cameraMatrix": [[FX, 0, CX], [0, FY, CY],
                                                                                      [0, 0, 1]], "distCoeffs": D}),
        BROWN,
    ),
    "plain, equidistant": (
        "a.json", json.dumps({**PLAIN, "distortion_model": "equidistant", "distortion": D}),
        Camera("OPENCV_FISHEYE", 640, 480, (FX, FY, CX, CY, *D)),
    ),
    "COLMAP's parameters": (
        "a.json", json.dumps({"model": "FOV", "width": 640, "height": 480, "params": [FX, FY, CX, CY, 0.9]}),
        Camera("FOV", 640, 480, (FX, FY, CX, CY, 0.9)),
    ),
}  # fmt: skip


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_common_forms_give_the_right_camera(tmp_path: Path, form: str) -> None:
    name, text, expected = FORMS[form]
    found = camera_from_file(written(tmp_path, name, text))
    assert (found.model, found.width, found.height) == (expected.model, expected.width, expected.height)
    assert found.params == pytest.approx(expected.params, abs=1e-9)


REFUSED: dict[str, tuple[str, str]] = {
    "empty": ("", "is empty"),
    "text": ("hello there", "is no calibration file"),
    "list": ("[1, 2]", "is no calibration file"),
    "torn": ("{", "cannot be read"),
    "no focal length": ('{"width": 640, "height": 480}', "lacks 'fx'"),
    "no size": (json.dumps({key: PLAIN[key] for key in ("fx", "fy", "cx", "cy")}), "lacks 'width'"),
    "uncalibrated": (json.dumps({**PLAIN, "fx": 0, "fy": 0}), "not calibrated"),
    "unknown model": ('{"model": "X", "width": 640, "height": 480, "params": [1]}', "'X' is not supported"),
    "too few parameters": (json.dumps({"model": "FOV", "width": 6, "height": 4, "params": [1]}), "takes 5 parameters"),
    "comma": (json.dumps({**PLAIN, "fx": "478,0"}), "'478,0' is no number; decimals have a point"),
    "size in words": (json.dumps({**PLAIN, "width": "wide"}), "width = 'wide' is no number"),
    "half a pixel": (json.dumps({**PLAIN, "width": 640.5}), "width = 640.5 is no size"),
    "NaN": (json.dumps({**PLAIN, "cx": float("nan")}), "cx = 'nan' is no number"),
    "unknown key": (json.dumps({**PLAIN, "barrel": 0.3}), "'barrel', which is not understood"),
    "unknown key in ROS": (ROS + "lens_distortion: [1]\n", "'lens_distortion', which is not understood"),
    "unknown key in Kalibr": (KALIBR + "  shutter: rolling\n", "cam0 has 'shutter', which is not understood"),
    "unknown key in ORB-SLAM": (ORB + "Camera1.k7: 1.0\n", "Camera1 has 'k7', which is not understood"),
    "key twice": ('{"width": 640, "width": 320}', "'width' is there twice"),
    "key twice in YAML": (ROS + "image_width: 320\n", "line 1: 'image_width' is there twice"),
    "key in two spellings": (json.dumps({**PLAIN, "image_width": 640}), "has both 'width' and 'image_width'"),
    "distortion twice": (json.dumps({**PLAIN, "D": D, "k1": 0.1}), "distortion is there twice"),
    "k1 to k4": (json.dumps({**PLAIN, "k1": 0.1, "k2": 0, "k3": 0, "k4": 0.1}), "name the distortion_model"),
    "FOV without its angle": (json.dumps({**PLAIN, "model": "fov", "fov": 0.9}), "lacks 'omega'"),
    "two models": (json.dumps({**PLAIN, "model": "fisheye", "distortion_model": "plumb_bob"}), "two kinds"),
    "tangential fisheye": (json.dumps({**PLAIN, "model": "fisheye", **NAMED}), "equidistant distortion has no p1, p2"),
    "distortion of none": (json.dumps({**PLAIN, "distortion_model": "none", "D": D}), "without a distortion model"),
    "skew": (json.dumps({**PLAIN, "skew": 3.0}), "has skew 3"),
    "transposed": (ROS.replace(K_TEXT, "[478.0, 0, 0, 0, 478.6, 0, 322.4, 236.8, 1.0]"), "column by column"),
    "eight values": (ROS.replace(K_TEXT, "[1, 2, 3, 4, 5, 6, 7, 8]"), "K has 8 values"),
    "XML": ("<?xml version='1.0'?><opencv_storage/>", "XML calibrations are not read"),
    "several that differ": (ECHO + ECHO.replace("478.6", "500"), "several calibrations that differ"),
    "frames of several cameras": (json.dumps({"frames": [NERF, {**NERF, "fl_x": 500}]}), "cameras of their own"),
    "equirectangular": (STELLA.replace("perspective", "equirectangular"), "'equirectangular' is not supported"),
    "impossible": (json.dumps({**PLAIN, "fx": 3 * FX, "cx": 2 * CX}), "cannot be true"),
    "damaged camera of COLMAP": ("1 OPENCV 640 480 478.0 x 322.9 237.3 0 0 0 0\n", "line 1: .*'x' is no number"),
    "panorama of COLMAP": ("# x\n1 EQUIRECTANGULAR 640 480 640 480\n", "line 2: camera model 'EQUIRECTANGULAR'"),
    "Kalibr, too few intrinsics": (KALIBR.replace("478.6, ", ""), "intrinsics of pinhole are 4 values, got 3"),
    "ini without a camera": ("[image]\n\nwidth\n640\n\nheight\n480\n", "no section of a camera"),
    "aliases": ("a: &a [1, 1]\nb: *a\n", r"line 2: it has YAML aliases"),
    "deep JSON": ("[" * 20_000, "nested too deeply"),
    "deep YAML": ("a: " + "{b: " * 500, "nested too deeply"),
    "object": ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "many values": (json.dumps({**PLAIN, "D": [0] * 100}), "more than 64 values"),
    "huge number": (json.dumps(PLAIN).replace("478.0", "9" * 400), "is no number"),
    "more digits than Python reads": (json.dumps(PLAIN).replace("478.0", "9" * 9000), "cannot be read"),
    "control character": ("a: \x01", "cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_rest_is_refused_in_one_line_that_names_the_file(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    path = written(tmp_path, "camera.json", text)
    with pytest.raises(DatasetError, match=message) as refused:
        camera_from_file(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(DatasetError, match=r"pipe.yaml: is no regular file"):
        camera_from_file(tmp_path / "pipe.yaml")
    with pytest.raises(DatasetError, match="Is a directory"):
        camera_from_file(tmp_path)
    with pytest.raises(DatasetError, match=r"none.json: cannot be read as a calibration"):
        camera_from_file(tmp_path / "none.json")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(DatasetError, match=r"binary.yaml: is no text .*give a calibration"):
        camera_from_file(tmp_path / "binary.yaml")
    written(tmp_path, "big.yaml", "a: 1\n" + "# padding\n" * 120_000)
    with pytest.raises(DatasetError, match="more than 1 MiB of YAML"):
        camera_from_file(tmp_path / "big.yaml")


def test_rectified_images_have_the_projection_matrix(tmp_path: Path) -> None:
    rectified = Camera("PINHOLE", 640, 480, (470, 471, 320, 240))
    for name, text in (("ost.yaml", ROS), ("echo.yaml", ECHO), ("ost.ini", INI)):
        assert camera_from_file(written(tmp_path, name, text), rectified=True) == rectified
    plain = written(tmp_path, "plain.json", json.dumps(PLAIN))
    assert camera_from_file(plain, rectified=True) == PINHOLE


def test_binning_and_region_of_an_echoed_message_count(tmp_path: Path) -> None:
    text = ECHO.replace("binning_x: 0", "binning_x: 2").replace("binning_y: 0", "binning_y: 2")
    camera = camera_from_file(written(tmp_path, "echo.yaml", text))
    assert (camera.width, camera.height) == (320, 240)
    assert camera.params[:4] == pytest.approx((239, 239.3, (CX + 0.5) / 2 - 0.5, (CY + 0.5) / 2 - 0.5))


@pytest.mark.parametrize("part", [(0, 0), (320, 0)])
def test_a_region_far_from_the_principal_point_is_fine(tmp_path: Path, part: tuple[int, int]) -> None:
    text = ECHO.replace("x_offset: 0", f"x_offset: {part[0]}").replace("  width: 0", "  width: 200")
    camera = camera_from_file(written(tmp_path, "echo.yaml", text))
    assert (camera.width, camera.params[2]) == (200, pytest.approx(CX - part[0]))


def test_the_impossible_can_be_trusted(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", json.dumps({**PLAIN, "cx": 640}))
    with pytest.raises(DatasetError, match="--trust-calibration"):
        camera_from_file(path)
    assert camera_from_file(path, trust=True).params[2] == 640


def test_the_unlikely_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, "a.json", json.dumps({**PLAIN, "cy": 190}))
    camera_from_file(path)
    assert f"{path}: the principal point is at 50 % of the width and 40 % of the height" in caplog.text


def rig(**second: Any) -> str:
    rows = [[0.0, -1.0, 0.0, 0.1], [1.0, 0.0, 0.0, -0.2], [0.0, 0.0, 1.0, 0.3], [0.0, 0.0, 0.0, 1.0]]
    entries = {"camera_model": "pinhole", "distortion_model": "equidistant", "distortion_coeffs": list(D),
               "intrinsics": [300.0, 301.0, 330.0, 240.0], "resolution": [640, 480], "rostopic": "/cam1/image_raw",
               "T_cn_cnm1": rows, **second}  # fmt: skip
    return KALIBR + "cam1:\n" + "".join(f"  {key}: {json.dumps(value)}\n" for key, value in entries.items())


def test_cameras_of_a_rig_are_told_apart_by_topic_name_and_size(tmp_path: Path) -> None:
    path = written(tmp_path, "camchain.yaml", rig())
    fisheye = Camera("OPENCV_FISHEYE", 640, 480, (300, 301, 330, 240, *D))
    assert camera_from_file(path, topic="/cam1/image_raw/compressed") == fisheye
    assert camera_from_file(path, topic="/cam0/image_raw") == BROWN
    assert camera_from_file(Path(f"{path}#cam1")) == fisheye
    with pytest.raises(DatasetError, match=r"several cameras; name one of them as camchain.yaml#cam0: .*cam1 640x480"):
        camera_from_file(path)
    with pytest.raises(DatasetError, match="no camera 'cam7'"):
        camera_from_file(Path(f"{path}#cam7"))
    other = written(tmp_path, "other.yaml", rig(resolution=[512, 480], intrinsics=[300, 300, 256, 240]))
    assert camera_from_file(other, size=(512, 480)).width == 512


def test_a_camchain_says_where_its_cameras_sit(tmp_path: Path) -> None:
    first, second = cameras_in_file(written(tmp_path, "camchain.yaml", rig()))
    assert first.first_from_camera is not None
    assert second.first_from_camera is not None
    assert np.allclose(first.first_from_camera.matrix(), np.eye(4))
    # T_cn_cnm1 takes points of cam0 to cam1.
    point_in_first = np.array([[1.0, 2.0, 3.0]])
    point_in_second = np.array([[-2.0 + 0.1, 1.0 - 0.2, 3.3]])
    assert np.allclose(second.first_from_camera.apply(point_in_second), point_in_first)
    broken = written(tmp_path, "broken.yaml", rig(T_cn_cnm1=[[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]))
    with pytest.raises(DatasetError, match="cam1: T_cn_cnm1 is no rotation"):
        cameras_in_file(broken)


@pytest.mark.parametrize(
    ("model", "intrinsics", "expected", "params"),
    [
        ("eucm", [0.6, 1.1, 300.0, 301.0, 320.0, 240.0], "EUCM", (300, 301, 320, 240, 0.6, 1.1)),
        ("pinhole", [300.0, 301.0, 320.0, 240.0], "PINHOLE", (300, 301, 320, 240)),
    ],
)
def test_kalibrs_other_models(
    tmp_path: Path, model: str, intrinsics: list[float], expected: str, params: tuple[float, ...]
) -> None:
    text = rig(camera_model=model, intrinsics=intrinsics, distortion_model="none", distortion_coeffs=[])
    camera = camera_from_file(Path(f"{written(tmp_path, 'c.yaml', text)}#cam1"))
    assert (camera.model, camera.params) == (expected, params)


def test_kalibrs_field_of_view_model(tmp_path: Path) -> None:
    text = rig(distortion_model="fov", distortion_coeffs=[0.93])
    camera = camera_from_file(Path(f"{written(tmp_path, 'c.yaml', text)}#cam1"))
    assert (camera.model, camera.params) == ("FOV", (300, 301, 330, 240, 0.93))
