from __future__ import annotations

from array import array
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

import numpy as np
import rclpy
from nav_msgs.msg import Odometry as OdometryMsg
from robot import image_msg, info_msg

from hfnet_core.config import NodeConfig
from hfnet_core.recordings.transforms import TransformError
from hfnet_ros.node.inputs import (
    Calibration,
    CalibrationError,
    ImageMessage,
    StampJudge,
    _OdometryTopic,
    image_topic,
    info_topic,
)

S = 10**9


def test_stamps():
    judge = StampJudge()
    assert "no stamp" in judge.refusal(0, 5 * S, 1.0)
    assert "ahead" in judge.refusal(10 * S, 5 * S, 1.0)
    assert judge.refusal(10 * S, 0, 1.0) == ""  # simulated time that has not begun
    assert "do not advance" in judge.refusal(10 * S, 20 * S, 1.0)
    assert "do not advance" in judge.refusal(9 * S + 1, 20 * S, 1.0)
    assert not judge.restarted(9 * S + 1)
    assert judge.restarted(8 * S)
    assert judge.refusal(8 * S, 20 * S, 1.0) == ""
    assert not judge.restarted(0)


@pytest.fixture
def calibration(ros):
    calibration = Calibration(ros.node, NodeConfig(camera_info_topic="calibration_under_test"), "")
    yield calibration
    calibration.close()


def test_calibration_changes_in_flight(calibration):
    with pytest.raises(CalibrationError, match="no camera_info on /calibration_under_test"):
        calibration.camera_for(320, 240)
    calibration.receive(info_msg())
    first = calibration.camera_for(320, 240)
    calibration.receive(info_msg())
    assert calibration.camera_for(320, 240) is first
    changed = info_msg()
    changed.k[0] = 300.0
    calibration.receive(changed)
    assert calibration.camera_for(320, 240).params[0] == 300.0
    with pytest.raises(CalibrationError, match="is for images of 320x240, got 640x480"):
        calibration.camera_for(640, 480)
    calibration.receive(info_msg(calibrated=False))
    with pytest.raises(CalibrationError, match="uncalibrated"):
        calibration.camera_for(320, 240)
    calibration.receive(info_msg())
    assert calibration.camera_for(320, 240) == first


def test_rectified_images_use_p(ros):
    calibration = Calibration(ros.node, NodeConfig(camera_info_topic="rectified_under_test", image_rectified=True), "")
    info = info_msg()
    info.d = array("d", [0.1, 0.2, 0.0, 0.0, 0.0])
    info.p = [200.0, 0, 150, 0, 0, 201.0, 110, 0, 0, 0, 1, 0]
    calibration.receive(info)
    camera = calibration.camera_for(320, 240)
    assert (camera.model, camera.params) == ("PINHOLE", (200.0, 201.0, 150.0, 110.0))
    calibration.close()


def test_damaged_calibration_is_named(calibration):
    strange = info_msg()
    strange.distortion_model = "crystal_ball"
    strange.d = array("d", [1.0] * 5)
    calibration.receive(strange)
    with pytest.raises(CalibrationError, match="crystal_ball"):
        calibration.camera_for(320, 240)
    assert SimpleNamespace(frame=calibration.frame_id).frame == "camera"


@pytest.mark.parametrize(
    ("settings", "camera", "remaps", "images", "infos"),
    [
        ({}, "", [], "/robot/image", "/robot/camera_info"),
        ({"image_topic": "front/image_raw"}, "", [], "/robot/front/image_raw", "/robot/front/camera_info"),
        ({"image_topic": "/front/image_raw"}, "", [], "/front/image_raw", "/front/camera_info"),
        ({}, "", ["image:=/front/image_raw"], "/front/image_raw", "/front/camera_info"),
        ({}, "", ["image:=/front/image_raw", "camera_info:=/info"], "/front/image_raw", "camera_info"),
        ({}, "", ["camera_info:=/info"], "/robot/image", "camera_info"),
        ({"camera_info_topic": "info"}, "", ["image:=/front/image_raw"], "/front/image_raw", "info"),
        ({}, "left", [], "/robot/left/image", "/robot/left/camera_info"),
        ({}, "left", ["left/image:=/eyes/l/image"], "/eyes/l/image", "/eyes/l/camera_info"),
        ({"image_transport": "compressed"}, "", ["image:=/front/raw"], "/front/raw", "/front/camera_info"),
        (
            {"image_transport": "compressed"},
            "",
            ["image/compressed:=/front/raw/compressed"],
            "/front/raw",
            "/front/camera_info",
        ),
    ],
)
def test_the_calibration_is_beside_the_images_as_in_image_transport(ros, settings, camera, remaps, images, infos):
    """Where it has no topic of its own, by parameter or by remapping."""
    arguments = ["--ros-args", *(word for rule in remaps for word in ("-r", rule))]
    node = rclpy.create_node("topics_under_test", namespace="/robot", context=ros.context, cli_args=arguments)
    try:
        config = NodeConfig(**settings)
        assert image_topic(node, config, camera) == images
        assert info_topic(node, config, camera) == infos
    finally:
        node.destroy_node()


def test_frames_with_a_slash_are_named_as_tf_names_them(calibration):
    slashed = info_msg(frame_id="/camera")
    calibration.receive(slashed)
    assert calibration.frame_id == "camera"
    image = ImageMessage(image_msg(np.zeros((2, 2), np.uint8), 5, frame_id="/camera"), False, 5, 0.0)
    assert image.frame_id == "camera"


def test_stamps_are_moved_to_when_images_were_taken() -> None:
    seen = image_msg(np.zeros((2, 2), np.uint8), 5_000_000_000)
    assert ImageMessage(seen, False, 5, 0.0, offset_ns=-30_000_000).stamp_ns == 4_970_000_000
    unstamped = image_msg(np.zeros((2, 2), np.uint8), 0)
    assert ImageMessage(unstamped, False, 5, 0.0, offset_ns=30_000_000).stamp_ns == 0


def test_a_calibration_that_cannot_be_true_is_refused_unless_trusted(ros, calibration):
    double = info_msg()
    double.k = [2 * value for value in double.k[:8]] + [1.0]
    calibration.receive(double)
    with pytest.raises(CalibrationError, match=r"under_test: .*cannot be true.*trust_calibration"):
        calibration.camera_for(320, 240)
    config = NodeConfig(camera_info_topic="trusted_under_test", trust_calibration=True)
    trusted = Calibration(ros.node, config, "")
    trusted.receive(double)
    assert trusted.camera_for(320, 240).params[0] == double.k[0]
    assert trusted.doubt == ""
    trusted.close()


def test_what_is_unlikely_in_a_calibration_is_told_until_it_changes(calibration):
    calibration.receive(info_msg())
    assert calibration.doubt == ""
    low = info_msg()
    low.k[5] = 0.4 * 240
    calibration.receive(low)
    assert calibration.camera_for(320, 240).params[3] == 96.0
    assert (
        "/calibration_under_test: the principal point is at 50 % of the width and 40 % of the height"
        in calibration.doubt
    )
    calibration.receive(info_msg())
    assert calibration.doubt == ""


def test_images_that_are_rectified_by_their_name_want_the_parameter(ros):
    distorted = info_msg()
    distorted.d = array("d", [0.1, 0.0, 0.0, 0.0, 0.0])
    for topic, told in (("/named/image_rect_color", True), ("/named/image_raw", False)):
        own = Calibration(ros.node, NodeConfig(image_topic=topic, camera_info_topic="named_under_test"), "")
        own.receive(distorted)
        assert ("image_rect_color is rectified by its name" in own.doubt) is told
        own.receive(info_msg())
        assert own.doubt == ""
        own.close()


def test_odometry_without_its_child_is_told_with_topic_and_remedy(ros):
    node = SimpleNamespace(create_subscription=lambda *_: SimpleNamespace(topic_name="/vio/odometry"))
    topic = _OdometryTopic(node, NodeConfig(odom_frame_id="odom", odom_topic="vio/odometry"))
    message = OdometryMsg()
    message.header.frame_id = "odom"
    message.pose.pose.orientation.w = 1.0
    topic._receive(message)
    with pytest.raises(TransformError, match=r"^/vio/odometry has no child_frame_id: set it in the odometry's source"):
        topic.at(0)
    message.child_frame_id = "base"
    message.pose.pose.orientation.w = 0.0
    topic._receive(message)
    with pytest.raises(TransformError, match=r"^/vio/odometry: "):
        topic.at(0)
