from __future__ import annotations

import pytest

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.calibration.plausibility import check_against_map, check_possible, corrected_by, doubts_about
from hfnet_core.types import Camera

D = (-0.06, 0.02, 0.0004, -0.0006)


def camera(fx: float, fy: float, cx: float, cy: float, d: tuple[float, ...] = D) -> Camera:
    return Camera("OPENCV", 640, 480, (fx, fy, cx, cy, *d))


TRUE = camera(478, 478.6, 322.4, 236.8)
WRONG = {
    "twice": camera(956, 957.2, 645.3, 474.1),
    "half": camera(239, 239.3, 160.95, 118.15),
    "two thirds": camera(318.7, 319.1, 214.8, 157.7),
    "fy of 360 lines": camera(478, 358.9, 322.4, 177.5),
    "principal point twice": camera(478, 478.6, 645.3, 474.1),
    "principal point half": camera(478, 478.6, 160.9, 118.1),
    "placeholder": camera(1, 1, 0.5, 0.5),
    "telescope": camera(4000, 4000, 320, 240),
    "all in one pixel": camera(60, 60, 320, 240),
    "D in the thousands": camera(478, 478.6, 322.4, 236.8, (1210, -3500, 0.001, 0.002)),
    "D negative": camera(478, 478.6, 322.4, 236.8, (-12, 0, 0, 0)),
    "tangential": camera(478, 478.6, 322.4, 236.8, (0, 0, 10, 10)),
}


@pytest.mark.parametrize("name", sorted(WRONG.keys() - {"two thirds", "fy of 360 lines"}))
def test_what_cannot_be_true_by_itself_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(DatasetError, match=r"cannot be true: (its distortion|.*640x480)") as refused:
        check_possible(WRONG[name])
    assert "--trust-calibration" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["two thirds", "fy of 360 lines", "twice", "half"])
def test_the_maps_camera_shows_that_k_is_of_another_resolution(name: str) -> None:
    with pytest.raises(DatasetError) as refused:
        check_against_map(WRONG[name], [TRUE])
    said = str(refused.value)
    assert "--trust-calibration" in said
    assert "K is that of the map's camera of 640x480 times" in said
    expected = {"two thirds": "427x320", "fy of 360 lines": "640x360", "twice": "1280x960", "half": "320x240"}
    assert f"images of about {expected[name]}" in said


def test_what_is_only_unlikely_by_itself_is_said() -> None:
    check_possible(WRONG["two thirds"])
    (doubt,) = doubts_about(WRONG["two thirds"])
    assert "34 % of the width and 33 % of the height" in doubt
    assert any("not square" in doubt for doubt in doubts_about(WRONG["fy of 360 lines"]))
    assert doubts_about(TRUE) == ()


def test_distortion_that_folds_in_the_corners_is_said() -> None:
    folding = camera(300, 300, 320, 240, (-0.21, 0, 0, 0))  # turns back 1.26 from the axis, the corners are at 1.33
    check_possible(folding)
    (doubt,) = doubts_about(folding)
    assert "folds back on itself" in doubt


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.05, 1.5, 2.0])
def test_another_lens_of_the_same_size_is_a_warning_only(factor: float) -> None:
    other = camera(478 * factor, 478.6 * factor, 319.0, 243.1)
    check_possible(other)
    assert "unlike that of the map's camera of the same 640x480" in check_against_map(other, [TRUE])


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.5, 2.0])
def test_another_focal_length_with_the_same_principal_point_is_refused(factor: float) -> None:
    with pytest.raises(DatasetError, match="the same to a pixel, so it is of the same camera"):
        check_against_map(camera(478 * factor, 478.6 * factor, 322.4, 236.8), [TRUE])


@pytest.mark.parametrize("middle", [(319.5, 239.5), (320.0, 240.0)])
def test_simulated_cameras_all_have_their_principal_point_in_the_middle(middle: tuple[float, float]) -> None:
    narrow, wide = camera(478, 478, *middle), camera(300, 300, *middle)
    assert "unlike that of the map's camera" in check_against_map(wide, [narrow])


def test_a_camera_like_one_of_the_maps_is_fine() -> None:
    again = camera(482, 480, 318, 241)
    wide = camera(300, 300, 320, 240)
    assert check_against_map(again, [wide, TRUE]) == ""
    assert check_against_map(again, []) == ""
    assert check_against_map(again, [Camera("PINHOLE", 1280, 960, (900, 900, 640, 480))]) == ""


def test_focal_lengths_are_compared_near_the_axis_whatever_the_model() -> None:
    pinhole = Camera("PINHOLE", 640, 480, (478, 478, 320, 240))
    # Devernay and Faugeras: the focal length near the axis is f * 2 tan(omega / 2) / omega.
    fov = Camera("FOV", 640, 480, (443.0, 443.0, 320, 240, 0.93))
    assert check_against_map(fov, [pinhole]) == ""


USUAL = {  # calibrations as their makers and well-known data sets publish them, rounded
    "EuRoC": Camera("OPENCV", 752, 480, (458.7, 457.3, 367.2, 248.4, -0.283, 0.0739, 0.00019, 0.000018)),
    "TUM-VI fisheye": Camera("OPENCV_FISHEYE", 512, 512, (191, 191, 254.9, 256.9, 0.0034, 0.0007, -0.002, 0.0002)),
    "T265": Camera("OPENCV_FISHEYE", 848, 800, (286, 286, 420, 399, -0.0087, 0.047, -0.044, 0.0084)),
    "Azure Kinect": Camera(
        "FULL_OPENCV", 1280, 720, (605.9, 605.6, 637.8, 366.3, 0.61, -2.77, 0.0008, -0.0003, 1.6, 0.49, -2.58, 1.53)
    ),
    "OAK-D": Camera("FULL_OPENCV", 1280, 800, (800, 800, 640, 400, 20.7, -92.9, 0, 0, 105.0, 20.5, -91.7, 103.2)),
    "GoPro wide": Camera("OPENCV", 1920, 1080, (870, 870, 960, 540, -0.25, 0.06, 0, 0)),
    "FOV": Camera("FOV", 640, 480, (250, 250, 320, 240, 0.93)),
    "double sphere as EUCM": Camera("EUCM", 640, 480, (300, 300, 320, 240, 0.6, 1.1)),
    "telephoto": Camera("PINHOLE", 1920, 1080, (7000, 7000, 960, 540)),
    "upright phone": Camera("OPENCV", 1080, 1920, (1500, 1500, 540, 960, 0.1, -0.2, 0, 0)),
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_cameras_pass_without_a_word(name: str) -> None:
    check_possible(USUAL[name])
    assert doubts_about(USUAL[name]) == ()


def test_what_images_correct_by_much_is_said() -> None:
    assert corrected_by(TRUE, camera(482, 482.6, 322.4, 236.8)) == ""
    said = corrected_by(camera(717, 717.9, 322.4, 236.8), TRUE)
    assert "focal length of 478 px, the calibration of 640x480 says 717" in said


def test_what_images_refute_is_refused_where_they_can_and_fine_corrections_are_not() -> None:
    two_thirds = camera(318.7, 319.1, 214.8, 157.7)
    with pytest.raises(DatasetError, match=r"cannot be true: the images fit a focal length of 651 px.*319.*--trust"):
        corrected_by(two_thirds, camera(651.3, 652.1, 214.8, 157.7), refuse=True)
    assert "651" in corrected_by(two_thirds, camera(651.3, 652.1, 214.8, 157.7))
    for found in (490.0, 530.0):  # of 478: what calibrations are off by, and what is a bad one
        assert "cannot be true" not in corrected_by(TRUE, camera(found, found, 322.4, 236.8), refuse=True)
