"""The calibration of a recording: which one, whether it can be true, and whether it is the map's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bags import CAMERA, START, STEP, write_bag
from helpers import textured_image

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_writer import BagWriter, open_writer
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.calibration.recorded import is_rectified
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera


def with_k(fx: float, fy: float, cx: float, cy: float) -> Camera:
    return replace(CAMERA, params=(fx, fy, cx, cy, *CAMERA.params[4:]))


def written(path: Path, camera: Camera) -> Path:
    return write_bag(path, frames=2, camera=camera)


@pytest.mark.parametrize(
    ("name", "rectified"),
    [
        ("/camera/image_rect", True),
        ("/camera/image_rect_color", True),
        ("/camera/infra1/image_rect_raw", True),
        ("/left/image_rectified", True),
        ("/left/rect", True),
        ("/camera/image_raw", False),
        ("/camera/image_direct", False),
        ("/camera/image_corrected", False),
        ("/rect/image_raw", False),
        ("/camera/rectangle", False),
    ],
)
def test_topics_are_rectified_by_convention(name: str, rectified: bool) -> None:
    assert is_rectified(name) is rectified


@pytest.mark.parametrize(("topic", "focal"), [("/camera/image_rect", 77.0), ("/camera/image_direct", 120.0)])
def test_rectified_images_have_p_and_others_k(tmp_path: Path, topic: str, focal: float) -> None:
    with open_writer(tmp_path / "bag", "mcap") as writer:
        image = textured_image(160, 120, 0)
        header = writer.header(START, "camera")
        writer.write(topic, "sensor_msgs/msg/Image", START, header=header, height=120, width=160, encoding="mono8",
                     is_bigendian=0, step=160, data=np.ascontiguousarray(image).reshape(-1))  # fmt: skip
        roi = writer.type("sensor_msgs/msg/RegionOfInterest")(
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        numbers = {"k": [120.0, 0, 80, 0, 121, 60, 0, 0, 1], "d": [-0.1, 0.01, 0, 0, 0], "r": np.eye(3).ravel(),
                   "p": [77.0, 0, 80, 0, 0, 77, 60, 0, 0, 0, 1, 0]}  # fmt: skip
        writer.write("/camera/camera_info", "sensor_msgs/msg/CameraInfo", START, header=header, height=120, width=160,
                     distortion_model="plumb_bob", binning_x=0, binning_y=0, roi=roi,
                     **{name: np.array(value, float) for name, value in numbers.items()})  # fmt: skip
    with Bag(tmp_path / "bag") as bag:
        (frame,) = bag.frames()
    assert frame.camera.focal_length[0] == focal
    assert (frame.camera.model == "PINHOLE") is (focal == 77.0)


@pytest.mark.parametrize("k", [(240, 242, 160.5, 120.5), (60, 60.5, 39.75, 29.75), (1, 1, 0.5, 0.5)])
def test_k_of_another_resolution_is_refused_with_topic_and_remedy(tmp_path: Path, k: tuple[float, ...]) -> None:
    path = written(tmp_path / "bag", with_k(*k))
    with pytest.raises(DatasetError, match=r"bag: topic /camera/camera_info: calibration cannot be true: ") as refused:
        Bag(path)
    assert "--trust-calibration" in str(refused.value)
    with Bag(path, BagOptions(trust_calibration=True)) as bag:
        assert next(bag.frames()).camera.params[:4] == k


def test_what_is_unlikely_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Bag(written(tmp_path / "bag", with_k(80, 81, 53, 39.5))):
        pass
    assert caplog.text.count("the principal point is at 33 % of the width") == 1
    assert "bag: topic /camera/camera_info" in caplog.text


def test_a_calibration_that_is_the_maps_of_another_resolution_is_refused(tmp_path: Path) -> None:
    two_thirds = with_k(80, 80.667, 53.2, 39.8)
    path = written(tmp_path / "bag", two_thirds)
    with (
        Bag(path) as bag,
        pytest.raises(DatasetError, match=r"K and D of /camera/camera_info: .*images of about 107x80"),
    ):
        bag.compare_cameras([CAMERA])
    with Bag(path, BagOptions(trust_calibration=True)) as bag:
        bag.compare_cameras([CAMERA])


def test_a_calibration_unlike_the_maps_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Bag(written(tmp_path / "bag", with_k(90, 90, 84, 57))) as bag:
        bag.compare_cameras([CAMERA])
    assert "unlike that of the map's camera of the same 160x120" in caplog.text
    caplog.clear()
    with Bag(written(tmp_path / "again", with_k(121, 122, 81, 60))) as bag:
        bag.compare_cameras([CAMERA])
        bag.compare_cameras([])
    assert caplog.text == ""


def test_a_file_of_several_cameras_gives_that_of_the_topic(tmp_path: Path) -> None:
    entry = {"camera_model": "pinhole", "distortion_model": "none", "resolution": [160, 120]}
    chain = {
        "cam0": {**entry, "intrinsics": [100, 100, 80, 60], "rostopic": "/other/image_raw"},
        "cam1": {**entry, "intrinsics": [110, 110, 80, 60], "rostopic": "/camera/image_raw"},
    }
    (tmp_path / "camchain.yaml").write_text(json.dumps(chain))
    path = written(tmp_path / "bag", CAMERA)
    with Bag(path, BagOptions(calibration=tmp_path / "camchain.yaml")) as bag:
        assert next(bag.frames()).camera.focal_length == (110, 110)
    with Bag(path, BagOptions(calibration=Path(f"{tmp_path / 'camchain.yaml'}#cam0"))) as bag:
        assert next(bag.frames()).camera.focal_length == (100, 100)


def test_a_calibration_counts_from_its_stamp_on(tmp_path: Path) -> None:
    with open_writer(tmp_path / "bag", "mcap") as writer:
        for index in range(4):
            stamp = START + index * STEP
            writer.image(stamp, textured_image(160, 120, index))
            writer.camera_info(stamp, CAMERA if index < 2 else with_k(110, 111, 80, 60))
    with Bag(tmp_path / "bag") as bag:
        assert [frame.camera.focal_length[0] for frame in bag.frames()] == [120, 120, 110, 110]


def test_a_driver_that_is_calibrated_later_is_taken_at_its_word(tmp_path: Path, caplog) -> None:
    """Zeros before the calibration, or between, are no calibration: not the end, and no unknown camera."""

    def zeros(writer: BagWriter) -> None:
        uncalibrated(writer, START - STEP)
        uncalibrated(writer, START + STEP // 2)

    path = write_bag(tmp_path / "bag", extra=zeros)
    for optional in (False, True):
        with Bag(path, BagOptions(camera_optional=optional)) as bag:
            assert {frame.camera for frame in bag.frames()} == {CAMERA}
    assert "2 of its calibrations hold zeros" in caplog.text


def uncalibrated(writer: BagWriter, stamp_ns: int) -> None:
    roi = writer.type("sensor_msgs/msg/RegionOfInterest")(0, 0, 0, 0, False)
    writer.write(
        "/camera/camera_info", "sensor_msgs/msg/CameraInfo", stamp_ns, header=writer.header(stamp_ns, "camera"),
        height=120, width=160, distortion_model="plumb_bob", d=np.zeros(5), k=np.zeros(9), r=np.zeros(9),
        p=np.zeros(12), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip
