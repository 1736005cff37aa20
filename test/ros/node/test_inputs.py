from __future__ import annotations

from array import array
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from robot import info_msg

from hfnet_core.config import NodeConfig
from hfnet_ros.node.inputs import Calibration, CalibrationError, StampJudge

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
