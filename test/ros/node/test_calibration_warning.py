"""What images say against a calibration reaches the diagnostics, and goes with its cause."""

from __future__ import annotations

import time
import uuid

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from robot import image_msg, info_msg, until
from sensor_msgs.msg import CameraInfo, Image
from wall import CAMERA, view

from hfnet_core.config import EngineConfig, ExtractorConfig, LocalizerConfig, NodeConfig
from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.uncertainty.calibration.check import CalibrationCheck
from hfnet_core.localization.uncertainty.calibration.watch import CalibrationWatch
from hfnet_core.types import Camera, Localization
from hfnet_ros.localization_node import LocalizationNode
from hfnet_ros.node.frame_sets import CameraFrame, FrameSet
from hfnet_ros.node.pipeline import Pipeline
from hfnet_ros.parameters import Configs


def frame_set(camera: Camera, name: str = "") -> FrameSet:
    """One image of a camera, now."""
    stamp_ns = time.time_ns()
    frame = CameraFrame(view(0), camera, Pose(), name, "camera", stamp_ns)
    return FrameSet((frame,), stamp_ns, "camera", stamp_ns, time.perf_counter(), 0)


def test_the_pipeline_watches_every_camera_in_one_map(wall_world, monkeypatch) -> None:
    """What makes images say it: test_check."""
    model, map_file = wall_world
    config = NodeConfig(map_file=str(map_file), model_file=str(model), threads=1)
    pipeline = Pipeline(Configs(config, EngineConfig(), ExtractorConfig(), LocalizerConfig()))
    added: list[tuple[str, bool]] = []

    def add(self: CalibrationCheck, found: Localization, view: View, number: int, stamp_s: float | None) -> None:
        added.append((type(found).__name__, view.camera == CAMERA))
        monkeypatch.setattr(CalibrationCheck, "warning", "the lens is another")

    monkeypatch.setattr(CalibrationCheck, "add", add)
    try:
        for name in ("left", "right"):
            frames = frame_set(CAMERA, name)
            pipeline.localize(frames, pipeline.extract(frames), Pose())
            assert len(added) == len(pipeline.calibration.warnings)  # not before the pose is out
            pipeline.learn()
        assert added == [("Localized", True)] * 2
        assert pipeline.calibration_warnings == {"left": "the lens is another", "right": "the lens is another"}
        assert set(pipeline.calibration.summaries) == {"left", "right"}
        pipeline.use_map(pipeline.prepare_map(str(map_file)))
        pipeline.settle()
        assert not pipeline.calibration.warnings
        assert pipeline.calibration_warnings == {"left": None, "right": None}
    finally:
        pipeline.close()


def test_diagnostics_warn_while_the_pipeline_does(ros, wall_world, monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(CalibrationWatch, "warnings", property(lambda self: {"": told[0] if told else None}))
    monkeypatch.setattr(CalibrationWatch, "drive_warning", property(lambda self: told[-1] if len(told) > 1 else None))
    model, map_file = wall_world
    given = {"map_file": str(map_file), "model_file": str(model), "threads": 1, "autostart": True}
    namespace = f"t{uuid.uuid4().hex[:8]}"
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    node = LocalizationNode(namespace=namespace, context=ros.context, parameter_overrides=overrides)
    images = ros.node.create_publisher(Image, f"/{namespace}/image", qos_profile_sensor_data)
    infos = ros.node.create_publisher(CameraInfo, f"/{namespace}/camera_info", qos_profile_sensor_data)
    heard: list[DiagnosticArray] = []
    subscription = ros.node.create_subscription(DiagnosticArray, "/diagnostics", heard.append, 10)
    ros.executor.add_node(node)

    def says(text: str, level: bytes) -> bool:
        infos.publish(info_msg())
        images.publish(image_msg(view(64), time.time_ns()))
        time.sleep(0.1)
        own = [status for array in heard[-3:] for status in array.status if namespace in status.name]
        return bool(own) and text in own[-1].message and own[-1].level == level

    try:
        until(lambda: says("localized (", DiagnosticStatus.OK), 30.0, "a pose")
        told.append("the focal length is a guess")
        until(lambda: says("the focal length is a guess", DiagnosticStatus.WARN), 10.0, "the warning")
        told.append("the camera was turned")
        until(lambda: says("the camera was turned", DiagnosticStatus.WARN), 10.0, "the warning of the drive")
        told.clear()
        until(lambda: says("localized (", DiagnosticStatus.OK), 10.0, "the end of the warning")
    finally:
        ros.executor.remove_node(node)
        node.destroy_node()
        ros.node.destroy_publisher(images)
        ros.node.destroy_publisher(infos)
        ros.node.destroy_subscription(subscription)
