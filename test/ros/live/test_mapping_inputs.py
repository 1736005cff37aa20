"""What the mapping node hears, by its parameters, over DDS: what is recorded shows what each of them did."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

import cv2
from geometry_msgs.msg import PoseStamped
from mapping_robot import RELIABLE, STEPS, Driver, odom_from_camera, parameters, values
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMsg
from robot import LATCHED, Mapper, bytes_of, image_msg, info_msg, until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from wall import CAMERA, base_from_camera, view

from hfnet_core.config import EngineConfig
from hfnet_core.features.backends.tuning import BOUNDS, REFERENCE, Candidate, Measured
from hfnet_core.features.backends.verdicts import keep
from hfnet_core.geometry import pose_error
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_ros.conversions import pose_from_msg, pose_to_msg, pose_to_transform

BASE_FROM_CAMERA = base_from_camera(0)
MOUNTED = " ".join(f"{value:.9f}" for value in (*BASE_FROM_CAMERA.translation, *BASE_FROM_CAMERA.quat_xyzw()))


@pytest.fixture
def mapper(ros, wall_world, tmp_path):
    robots = []

    def start(**others) -> Mapper:
        robots.append(Mapper(ros, parameters(tmp_path, wall_world[0], solve="never", **others)))
        return robots[-1]

    yield start
    for robot in robots:
        robot.close()


def heard(robot: Mapper, *publishers) -> None:
    until(lambda: "active: listening" in robot.log, 30.0, "the node")
    until(lambda: all(publisher.get_subscription_count() for publisher in publishers), 30.0, "its subscriptions")


def test_images_calibration_and_transforms_come_from_where_they_are_said_to(mapper, tmp_path):
    """Compressed images upside down with a mask, late stamps, odometry of the base on TF, a mounting by parameter."""
    mask = np.full((CAMERA.height, CAMERA.width), 255, np.uint8)
    mask[:, : CAMERA.width // 2] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    robot = mapper(
        **{
            "image_topic": "eye/picture",
            "camera_info_topic": "eye/lens",
            "image_transport": "compressed",
            "image_reliability": "best_effort",
            "odom_topic": "",
            "base_frame_id": "base",
            "base_from_camera": MOUNTED,
            "image_rotation": "180",
            "image_time_offset_s": -0.05,
            "odom_timeout_s": 1.0,
            "mask_file": str(tmp_path / "mask.png"),
            "path_length": 3,
            "publish_map_cloud": False,
            "diagnostics_period_s": 0.2,
            "threads": 1,
            "queue_images": 500,
            "bond_heartbeat_period": 0.0,
            "build.keyframe_distance_m": 0.3,
            "build.max_keypoints": 200,
        }
    )
    images = robot.publisher(CompressedImage, "eye/picture/compressed", 50)
    infos = robot.publisher(CameraInfo, "eye/lens", RELIABLE)
    tf = robot.publisher(TFMessage, "tf", 100)
    path = robot.listen(PathMsg, "mapping/path")
    heard(robot, images, infos, tf)
    shown = {}
    for shift in STEPS:
        stamp_ns = robot.stamp()
        infos.publish(info_msg())
        taken_ns = stamp_ns - 50_000_000
        odom_from_base = odom_from_camera(shift) @ BASE_FROM_CAMERA.inverse()
        tf.publish(TFMessage(transforms=[pose_to_transform(odom_from_base, "odom", "base", taken_ns)]))
        message = CompressedImage(format="png")
        message.header = image_msg(view(0), stamp_ns).header
        message.data = bytes_of(cv2.imencode(".png", np.ascontiguousarray(view(shift)[::-1, ::-1]))[1].tobytes())
        images.publish(message)
        shown[taken_ns] = shift
        time.sleep(0.1)
    assert robot.transition("deactivate")
    keyframes = [item.keyframe for item in DriveFolder(tmp_path / "wall.hfdrive").keyframes()]
    assert 3 <= len(keyframes) <= 7  # 0.3 m apart
    for keyframe in keyframes:
        assert len(keyframe.features) <= 200
        metres, degrees = pose_error(keyframe.map_from_camera, odom_from_camera(shown[keyframe.stamp_ns]))
        assert (metres < 1e-3, degrees < 0.1) == (True, True)
        assert keyframe.features.keypoints_px[:, 0].min() > CAMERA.width // 2 - 10  # of the image as it came
    source = DriveFolder(tmp_path / "wall.hfdrive").sources()[0]
    assert source.image_topic.endswith("/eye/picture")
    assert source.poses == "/tf odom"
    until(lambda: path, 10.0)
    assert max(len(message.poses) for message in path) <= 3
    assert not robot.node.count_publishers(f"{robot.namespace}/mapping/map_cloud")
    until(lambda: len(robot.statuses()) > 10, 10.0)
    assert pose_from_msg(path[-1].poses[-1].pose) is not None


def test_several_cameras_of_one_time_are_keyframes_each(mapper, tmp_path):
    robot = mapper(**{"cameras": ["left", "right"], "base_frame_id": "camera", "camera_mode": "rig",
                      "rig_tolerance_s": 0.02, "rig_timeout_s": 0.5,
                      "base_from_camera": "0 0 0 0 0 0 1; 0.3 0 0 0 0 0 1"})  # fmt: skip
    odometry = robot.publisher(Odometry, "odom", RELIABLE)
    images = [robot.publisher(Image, f"{name}/image", RELIABLE) for name in ("left", "right")]
    infos = [robot.publisher(CameraInfo, f"{name}/camera_info", RELIABLE) for name in ("left", "right")]
    heard(robot, odometry, *images, *infos)
    for shift in STEPS[:25]:
        stamp_ns = robot.stamp()
        pose = Odometry(child_frame_id="camera")
        pose.header = image_msg(view(0), stamp_ns, frame_id="odom").header
        pose.pose.pose = pose_to_msg(odom_from_camera(shift))
        odometry.publish(pose)
        for number in range(2):
            infos[number].publish(info_msg())
            images[number].publish(image_msg(view(shift + 10 * number), stamp_ns + 10_000_000 * number))
        time.sleep(0.1)
    assert robot.transition("deactivate")
    folder = DriveFolder(tmp_path / "wall.hfdrive")
    by_camera = {number: [] for number in range(2)}
    for item in folder.keyframes():
        by_camera[item.keyframe.recording].append(item.keyframe)
    assert min(map(len, by_camera.values())) >= 5
    assert {source.drive for source in folder.sources().values()} == {0}


def test_cameras_that_are_independent_need_no_image_of_the_same_time(mapper, tmp_path):
    """As a rig there would be nothing: their images are always 40 ms apart."""
    robot = mapper(**{"cameras": ["left", "right"], "base_frame_id": "camera", "camera_mode": "independent",
                      "odom_timeout_s": 1.0, "base_from_camera": "0 0 0 0 0 0 1; 0.3 0 0 0 0 0 1"})  # fmt: skip
    odometry = robot.publisher(Odometry, "odom", RELIABLE)
    images = [robot.publisher(Image, f"{name}/image", RELIABLE) for name in ("left", "right")]
    infos = [robot.publisher(CameraInfo, f"{name}/camera_info", RELIABLE) for name in ("left", "right")]
    heard(robot, odometry, *images, *infos)
    for shift in STEPS[:25]:
        for number in range(2):
            infos[number].publish(info_msg())
            stamp_ns = robot.stamp()
            pose = Odometry(child_frame_id="camera")
            pose.header = image_msg(view(0), stamp_ns, frame_id="odom").header
            pose.pose.pose = pose_to_msg(odom_from_camera(shift))
            odometry.publish(pose)
            images[number].publish(image_msg(view(shift + 10 * number), stamp_ns))
            time.sleep(0.04)
    assert robot.transition("deactivate")
    kept = [item.keyframe for item in DriveFolder(tmp_path / "wall.hfdrive").keyframes()]
    by_camera = [[item.map_from_camera.translation for item in kept if item.recording == number] for number in range(2)]
    assert min(map(len, by_camera)) >= 5
    assert np.allclose(by_camera[1][0] - by_camera[0][0], [0.3, 0.0, 0.0], atol=0.05)  # each in its place on the base


def test_of_rectified_images_the_projection_matrix_counts(mapper, tmp_path):
    robot = mapper(image_rectified=True)
    driver = Driver(robot)
    driver.info = info_msg()
    driver.info.k = [400.0, 0.0, 170.0, 0.0, 400.0, 130.0, 0.0, 0.0, 1.0]  # of the camera before rectification
    driver.info.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    fx, fy, cx, cy = CAMERA.params
    driver.info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    driver.wait()
    driver.drive(STEPS[:20])
    assert robot.transition("deactivate")
    cameras = {item.keyframe.camera for item in DriveFolder(tmp_path / "wall.hfdrive").keyframes()}
    assert len(cameras) == 1
    (camera,) = cameras
    assert camera.focal_length == pytest.approx((fx, fy))
    assert camera.principal_point == pytest.approx((cx, cy))
    assert not any(camera.distortion)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_calibration_that_cannot_be_true_is_taken_only_where_it_is_trusted(mapper, tmp_path, trusted):
    robot = mapper(trust_calibration=trusted)
    driver = Driver(robot)
    driver.info = info_msg()
    driver.info.k = [8.0, 0.0, 159.5, 0.0, 8.0, 119.5, 0.0, 0.0, 1.0]  # a view of 174 degrees without distortion
    driver.wait()
    driver.drive(STEPS[:20])
    if trusted:
        assert robot.transition("deactivate")
        assert DriveFolder(tmp_path / "wall.hfdrive").count() >= 3
        return
    robot.until_says("cannot be true", 20.0, again=lambda: driver.show(STEPS[20]))
    assert "trust_calibration" in robot.said()
    assert values(robot)["keyframes"] == "0"


def test_what_was_measured_for_this_machine_decides_what_runs_the_network(mapper, wall_world, tmp_path):
    """It is in engine.cache_dir, and of one precision: that of engine.precision."""
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'hfnet_ros[openvino]'")
    engine = EngineConfig(cache_dir=str(tmp_path / "engines"), precision="fp32")
    measured = [Measured(REFERENCE, "one", 20.0, BOUNDS), Measured(Candidate("openvino", "fp32"), "two", 10.0, BOUNDS)]
    keep(measured, wall_world[0], engine, 1)
    given = {"backend": "auto", "threads": 1, "engine.cache_dir": engine.cache_dir}
    robot = mapper(**given, **{"engine.precision": "fp32"})
    until(lambda: "active: listening" in robot.log, 30.0, "the node")
    assert "OpenVINO" in robot.log
    assert "f32" in robot.log
    robot.close()
    other = mapper(**given, **{"engine.precision": "fp16", "drive_folder": str(tmp_path / "other.hfdrive")})
    until(lambda: "active: listening" in other.log, 30.0, "the node")
    assert "OpenVINO" not in other.log


def test_settings_of_the_engine_are_checked_before_they_are_taken(mapper):
    given = {
        "engine.device": 3, "engine.workspace_mib": 512, "engine.max_engines": 2, "engine.build_after_images": 0,
        "engine.cuda_graph": True, "engine.precision": "fp32", "engine.cache_dir": "~/engines",
    }  # fmt: skip
    robot = mapper(autostart=False, **given)
    for name, value in given.items():
        assert robot.get(name) == value
    wrong = {"engine.device": -1, "engine.workspace_mib": 1, "engine.max_engines": 0, "engine.precision": "int4"}
    for name, value in wrong.items():
        assert not robot.set(name, value).successful
    assert robot.set("engine.max_engines", 8).successful
    assert robot.transition("configure")  # ONNX Runtime asks for none of them
    assert "only change while the node is unconfigured" in robot.set("engine.max_engines", 4).reason


def test_images_alone_are_recorded_where_there_is_no_odometry(mapper, tmp_path):
    """Their motion alone chooses among them, and no pose is told: how far a metre is nobody knows."""
    robot = mapper(**{"odom_frame_id": "", "odom_topic": "", "build.scale_free": True, "build.keyframe_motion": 0.1})
    poses = robot.listen(PoseStamped, "mapping/pose")
    driver = Driver(robot)
    until(lambda: "active: listening" in robot.log, 30.0, "the node")
    until(lambda: driver.images.get_subscription_count() and driver.infos.get_subscription_count(), 30.0)
    driver.infos.publish(driver.info)
    time.sleep(1.0)
    driver.drive()
    assert robot.transition("deactivate")
    folder = DriveFolder(tmp_path / "wall.hfdrive")
    assert [(source.mode, source.poses) for source in folder.sources().values()] == [("images", "no poses")]
    assert 3 <= folder.count() <= 8  # of 160 pixels, a tenth of 320 apart
    assert not poses


TWO = {
    "cameras": ["left", "right"], "base_frame_id": "camera", "camera_mode": "independent", "odom_frame_id": "",
    "odom_topic": "", "base_from_camera": "0 0 0 0 0 0 1; 0.3 0 0 0 0 0 1", "build.keyframe_motion": 0.1,
}  # fmt: skip


def test_images_alone_of_independent_cameras_are_recorded_of_each(mapper, tmp_path):
    """The first camera stands still here, the other one moves: each one's own motion chooses."""
    robot = mapper(**TWO, **{"build.scale_free": True})
    images = [robot.publisher(Image, f"{name}/image", RELIABLE) for name in ("left", "right")]
    infos = [robot.publisher(CameraInfo, f"{name}/camera_info", RELIABLE) for name in ("left", "right")]
    heard(robot, *images, *infos)
    for shift in STEPS:
        for number, seen in enumerate((0, shift)):
            infos[number].publish(info_msg())
            images[number].publish(image_msg(view(seen), robot.stamp()))
            time.sleep(0.04)
    assert robot.transition("deactivate")
    folder = DriveFolder(tmp_path / "wall.hfdrive")
    by_camera = [sum(item.keyframe.recording == number for item in folder.keyframes()) for number in range(2)]
    assert by_camera[0] == 1
    assert 3 <= by_camera[1] <= 8  # of 160 pixels, a tenth of 320 apart
    assert "Traceback" not in robot.log


def test_images_alone_of_independent_cameras_show_no_scale(mapper):
    """Where images of one time would: of a rig."""
    robot = mapper(**TWO, autostart=False)
    assert not robot.transition("configure")
    assert "camera_mode: independent takes no images of one time" in robot.log
    assert "set it to rig, name the odometry's frame or a depth_topic, or set build.scale_free" in robot.log
    assert robot.set("camera_mode", "rig").successful
    assert robot.transition("configure")


def test_settings_of_the_build_are_those_of_the_parameters(mapper, tmp_path):
    """They go into the drive folder, by which whoever solves it goes."""
    given = {
        "build.keyframe_angle_deg": 7.0, "build.keyframe_motion": 0.2, "build.pairs_per_keyframe": 11,
        "build.match_ratio": 0.8, "build.epipolar_error_px": 3.0, "build.min_triangulation_angle_deg": 2.0,
        "build.max_reprojection_error_px": 3.5, "build.refine_poses": False, "build.pose_prior_sigma_m": 0.02,
        "build.pose_prior_sigma_deg": 0.5, "build.descriptor_dtype": "float16", "build.depth_landmarks": 150,
        "build.multi_scale": True, "build.adjust_depth": False, "build.refine_intrinsics": True,
        "build.odometry_sigma_ratio": 0.03, "build.odometry_sigma_deg_per_m": 0.7,
        "build.max_side_px": 512, "build.scale_free": True,
    }  # fmt: skip
    robot = mapper(**given)
    until(lambda: "active: listening" in robot.log, 30.0, "the node")
    told = json.loads((tmp_path / "wall.hfdrive" / "drive.json").read_text())["settings"]
    assert {name: told[name.removeprefix("build.")] for name in given} == given


def test_what_cannot_be_used_is_said_by_its_parameter(mapper):
    """Silent cameras, and stamps ahead of the clock."""
    robot = mapper(image_timeout_s=0.5, max_image_lead_s=0.1)
    images, infos = robot.publisher(Image, "image", RELIABLE), robot.publisher(CameraInfo, "camera_info", RELIABLE)
    heard(robot, images, infos)
    robot.until_says("no image", 20.0)

    def show() -> None:
        infos.publish(info_msg())
        images.publish(image_msg(view(0), robot.stamp() + 10**9))

    robot.until_says("ahead of the clock", 20.0, again=show)
    assert int(values(robot)["images refused"]) > 0
    assert robot.listen(PointCloud2, "mapping/map_cloud", LATCHED) == []
