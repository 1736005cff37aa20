from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import CAMERA, START, STEP, along_x, odometry, transform, write_bag
from helpers import shared_data, textured_image
from scipy.spatial.transform import Rotation

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.recordings.bag_writer import STORAGES, BagWriter, open_writer
from hfnet_core.recordings.bags import Bag, BagFrame
from hfnet_core.recordings.options import BagOptions, PoseOptions
from hfnet_core.types import Camera

MOUNT = Pose(Rotation.from_euler("xyz", (-90, 0, -90), degrees=True).as_matrix(), np.array([0.1, 0.0, 0.5]))


def read(path: Path, options: BagOptions | None = None) -> list[BagFrame]:
    with Bag(path, options) as bag:
        return list(bag.frames())


def refusal(path: Path, options: BagOptions | None = None) -> str:
    with pytest.raises(DatasetError) as caught, Bag(path, options) as bag:
        bag.require_poses()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("raw", [True, False])
def test_every_container_returns_what_was_written(tmp_path: Path, storage: str, raw: bool) -> None:
    path = write_bag(tmp_path / ("a.bag" if storage == "rosbag1" else "a"), storage, raw=raw)
    frames = read(path)
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    for index, frame in enumerate(frames):
        assert frame.stamp_ns == START + index * STEP
        assert np.array_equal(frame.image, textured_image(160, 120, index))
        assert frame.camera == CAMERA
        assert frame.map_from_camera is not None
        assert pose_error(frame.map_from_camera, along_x(index)) == pytest.approx((0, 0), abs=1e-6)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]  # nothing temporary stays


def test_a_bare_mcap_file_and_chosen_indices(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a")
    with Bag(next(path.glob("*.mcap"))) as bag:
        assert len(bag) == 4
        assert [frame.index for frame in bag.frames([1, 3])] == [1, 3]
        assert bag.map_frame == "map"
        assert "/ground_truth/pose" in bag.pose_source
        assert bag.camera_source == "K and D of /camera/camera_info"


def test_writing_fails_completely_or_not_at_all(tmp_path: Path) -> None:
    def broken(writer: BagWriter) -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_bag(tmp_path / "a", extra=broken)
    assert list(tmp_path.iterdir()) == []
    write_bag(tmp_path / "a")
    with pytest.raises(ConfigError, match="exists already"):
        write_bag(tmp_path / "a")
    with pytest.raises(ConfigError, match="use one of mcap, sqlite3, rosbag1"), open_writer(tmp_path / "b", "tape"):
        pass


def test_the_name_tells_the_container(tmp_path: Path) -> None:
    for name, storage in (("a.bag", "mcap"), ("a", "rosbag1"), ("a.db3", "rosbag1")):
        with pytest.raises(ConfigError, match=r"rosbag1 files end in \.bag"), open_writer(tmp_path / name, storage):
            raise AssertionError
        assert not list(tmp_path.iterdir())
    misnamed = write_bag(tmp_path / "a", "mcap").rename(tmp_path / "b.bag")
    with pytest.raises(DatasetError, match=r"b\.bag: is a folder, but only rosbag1"):
        Bag(misnamed)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    assert "no such bag" in refusal(tmp_path / "none")
    (tmp_path / "x.bag").write_text("not a bag")
    assert "cannot be read as a bag" in refusal(tmp_path / "x.bag")
    (tmp_path / "folder").mkdir()
    assert "folder: holds no .mcap and no .db3 file" in refusal(tmp_path / "folder")
    (tmp_path / "folder" / "images").mkdir()
    (tmp_path / "folder" / "images" / "1.JPG").touch()
    assert f"folder of 1 images, no recording; `hfnet bag from-images {tmp_path}" in refusal(tmp_path / "folder")


def test_missing_topics_list_what_there_is(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a", poses=False, info=False)
    assert "/camera/image_raw/compressed (sensor_msgs/CompressedImage, 4)" in refusal(path, BagOptions("/nope"))
    assert "--calibration" in refusal(path)
    with open_writer(tmp_path / "b", "mcap") as writer:
        writer.pose(START, Pose())
    assert "has no image topic; it has /ground_truth/pose" in refusal(tmp_path / "b")


def test_no_poses(tmp_path: Path) -> None:
    message = refusal(write_bag(tmp_path / "a", poses=False))
    assert "has no poses" in message
    assert "--poses" in message


def test_an_uncalibrated_camera_info(tmp_path: Path) -> None:
    def zeros(writer: BagWriter) -> None:
        roi = writer.type("sensor_msgs/msg/RegionOfInterest")(0, 0, 0, 0, False)
        writer.write(
            "/camera/camera_info", "sensor_msgs/msg/CameraInfo", START, header=writer.header(START, "camera"),
            height=120, width=160, distortion_model="plumb_bob", d=np.zeros(5), k=np.zeros(9), r=np.zeros(9),
            p=np.zeros(12), binning_x=0, binning_y=0, roi=roi,
        )  # fmt: skip

    message = refusal(write_bag(tmp_path / "a", info=False, extra=zeros))
    assert "not calibrated" in message
    assert "/camera/camera_info" in message


def test_several_candidates_are_listed(tmp_path: Path) -> None:
    def more(writer: BagWriter) -> None:
        for index in range(3):
            odometry(writer, "/odom", START + index * STEP, "odom", "camera", along_x(index))
            writer.write(
                "/other", "sensor_msgs/msg/CompressedImage", START, header=writer.header(START, "camera"), format="png",
                data=np.zeros(4, dtype=np.uint8),
            )  # fmt: skip

    path = write_bag(tmp_path / "a", extra=more)
    message = refusal(path)
    assert "--image-topic" in message
    assert "/other (sensor_msgs/CompressedImage, 3)" in message
    message = refusal(path, BagOptions("/camera/image_raw/compressed"))
    assert "--pose-topic" in message
    assert "/odom (nav_msgs/Odometry, 3)" in message
    assert "cannot be decoded" in refusal(path, BagOptions("/other"))
    assert "holds no poses" in refusal(
        path, BagOptions("/camera/image_raw/compressed", poses=PoseOptions("/camera/camera_info"))
    )


def test_raw_wins_over_its_compressed_twin(tmp_path: Path) -> None:
    def twin(writer: BagWriter) -> None:
        writer.compressed(START, b"", "jpeg")

    with Bag(write_bag(tmp_path / "a", raw=True, extra=twin)) as bag:
        assert bag.image_topic.name == "/camera/image_raw"


def test_odometry_of_a_base_with_the_camera_in_tf_static(tmp_path: Path) -> None:
    def base(writer: BagWriter) -> None:
        for index in range(4):
            odometry(writer, "/odom", START + index * STEP, "odom", "base_link", along_x(index))
        mount = transform(writer, "base_link", "camera", START, MOUNT)
        writer.write("/tf_static", "tf2_msgs/msg/TFMessage", START, transforms=[mount])

    path = write_bag(tmp_path / "a", poses=False, extra=base)
    frames = read(path)
    assert frames[2].map_from_camera is not None
    assert pose_error(frames[2].map_from_camera, along_x(2) @ MOUNT) == pytest.approx((0, 0), abs=1e-5)
    with Bag(path) as bag:
        assert bag.map_frame == "odom"


def test_odometry_without_a_mount_names_both_frames(tmp_path: Path) -> None:
    def base(writer: BagWriter) -> None:
        for index in range(4):
            odometry(writer, "/odom", START + index * STEP, "odom", "base_link", along_x(index))

    path = write_bag(tmp_path / "a", poses=False, extra=base)
    message = refusal(path)
    assert "'base_link'" in message
    assert "'camera'" in message
    assert "--base-from-camera" in message
    frames = read(path, BagOptions(poses=PoseOptions(base_from_camera=MOUNT)))
    assert frames[1].map_from_camera is not None
    assert pose_error(frames[1].map_from_camera, along_x(1) @ MOUNT) == pytest.approx((0, 0), abs=1e-5)


def test_a_transform_tree_is_interpolated_and_not_extrapolated(tmp_path: Path) -> None:
    def tree(writer: BagWriter) -> None:
        for index in range(-1, 3):  # between images, and ending before the last one
            stamp = START + index * STEP + STEP // 2
            moving = transform(writer, "odom", "base_link", stamp, along_x(index))
            fixed = transform(writer, "map", "odom", stamp, Pose())
            writer.write("/tf", "tf2_msgs/msg/TFMessage", stamp, transforms=[moving, fixed])
        mount = transform(writer, "base_link", "camera", START, MOUNT)
        writer.write("/tf_static", "tf2_msgs/msg/TFMessage", START, transforms=[mount])

    frames = read(write_bag(tmp_path / "a", poses=False, extra=tree))
    expected = Pose(np.eye(3), np.array([0.1, 0.0, 0.0])) @ MOUNT
    assert frames[1].map_from_camera is not None
    assert pose_error(frames[1].map_from_camera, expected) == pytest.approx((0, 0), abs=1e-5)
    assert frames[3].map_from_camera is None


def test_poses_from_a_tum_file(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a")
    poses = tmp_path / "poses.txt"
    poses.write_text("".join(f"{(START + i * STEP) // 10**9}.{i}00000000 {i} 0 0 0 0 0 1\n" for i in range(4)))
    frames = read(path, BagOptions(poses=PoseOptions(poses=poses)))
    assert frames[3].map_from_camera is not None
    assert frames[3].map_from_camera.translation[0] == 3


def test_a_calibration_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a")
    calibration = tmp_path / "camera.json"
    calibration.write_text('{"width": 320, "height": 240, "fx": 200, "fy": 200, "cx": 160, "cy": 120}')
    assert "is for 320x240" in refusal(path, BagOptions(calibration=calibration))
    calibration.write_text('{"width": 160, "height": 120, "fx": 200, "fy": 200, "cx": 80, "cy": 60}')
    assert read(path, BagOptions(calibration=calibration))[0].camera.focal_length == (200, 200)


def test_a_damaged_image_is_left_out_and_said(tmp_path: Path) -> None:
    def damage(writer: BagWriter) -> None:
        writer.compressed(START + 9 * STEP, b"\xff\xd8 no jpeg", "jpeg")

    with Bag(write_bag(tmp_path / "a", extra=damage)) as bag:
        assert len(list(bag.frames())) == 4
        assert len(bag.broken) == 1
        assert "image 4" in bag.broken[0]


def test_an_image_with_the_stamp_of_another_has_no_pose(tmp_path: Path) -> None:
    def again(writer: BagWriter) -> None:
        writer.compressed(START + 2 * STEP, cv2.imencode(".png", textured_image(160, 120, 9))[1].tobytes(), "png")

    with Bag(write_bag(tmp_path / "bag", extra=again)) as bag:
        posed = [frame.map_from_camera is not None for frame in bag.frames()]
        assert sorted(posed) == [False, True, True, True, True]
        assert bag.why_no_pose(START + 2 * STEP) == "another image has the same stamp"


def test_a_fisheye_keeps_its_model(tmp_path: Path) -> None:
    fisheye = Camera("OPENCV_FISHEYE", 160, 120, (60.0, 60.0, 80.0, 60.0, 0.01, -0.02, 0.001, 0.0))
    assert read(write_bag(tmp_path / "a", camera=fisheye))[0].camera == fisheye


def test_the_real_fisheye_recording_needs_a_calibration_and_keeps_its_model(tmp_path: Path) -> None:
    path = shared_data("data", "bags", "t265_fisheye_ros1.bag")
    topic = "/camera/fisheye1/image_raw"
    assert "/camera/fisheye2/image_raw" in refusal(path)
    assert "--calibration" in refusal(path, BagOptions(topic))
    calibration = tmp_path / "fisheye.yaml"
    calibration.write_text(
        "image_width: 848\nimage_height: 800\ndistortion_model: equidistant\n"
        "camera_matrix: {rows: 3, cols: 3, data: [285, 0, 420, 0, 285, 400, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 4, data: [-0.01, 0.04, -0.04, 0.007]}\n"
    )
    options = BagOptions(topic, calibration=calibration, poses=PoseOptions(base_from_camera=MOUNT))
    frames = read(path, options)
    assert len(frames) == 3
    assert frames[0].image.shape == (800, 848)
    assert frames[0].camera.model == "OPENCV_FISHEYE"
