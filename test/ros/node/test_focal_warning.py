"""What images say against the focal length reaches the diagnostics, and goes with its cause."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from robot import image_msg, info_msg, until
from scene import looking
from sensor_msgs.msg import CameraInfo, Image
from wall import CAMERA, view

from hfnet_core.config import EngineConfig, ExtractorConfig, LocalizerConfig, NodeConfig
from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.types import Camera, FocalFit, Localized, Mode
from hfnet_ros.localization_node import LocalizationNode
from hfnet_ros.node.frame_sets import CameraFrame, FrameSet
from hfnet_ros.node.pipeline import Pipeline
from hfnet_ros.parameters import Configs


class Traveller:
    """Instead of a localizer: every image is from another place, and its focal length 5 % too short."""

    config = LocalizerConfig(tracking=False, gate_chi2=1e6)

    def __init__(self) -> None:
        self.way_m = 0.0

    def localize(self, views: Sequence[View], prior: Pose | None = None, trust: float = 0.0) -> Localized:
        self.way_m += 1.0
        none = np.zeros(0, np.int32)
        return Localized(looking(self.way_m, 0, 0), np.eye(6), Mode.GLOBAL, 50, 60, np.zeros((0, 2), np.float32), none,
                         (), 0.5, 1.0, focal=(FocalFit(0.05, 0.001),))  # fmt: skip


def frame_set(camera: Camera, name: str = "") -> FrameSet:
    """One image of a camera, now."""
    stamp_ns = time.time_ns()
    frame = CameraFrame(view(0), camera, Pose(), name, "camera", stamp_ns)
    return FrameSet((frame,), stamp_ns, "camera", stamp_ns, time.perf_counter(), 0)


def test_the_pipeline_watches_every_camera_in_one_map(wall_world) -> None:
    model, map_file = wall_world
    config = NodeConfig(map_file=str(map_file), model_file=str(model), threads=1)
    pipeline = Pipeline(Configs(config, EngineConfig(), ExtractorConfig(), LocalizerConfig()))
    try:
        pipeline._tracker.localizer = Traveller()

        def show(count: int, camera: Camera = CAMERA, name: str = "") -> str | None:
            for _ in range(count):
                frames = frame_set(camera, name)
                pipeline.localize(frames, pipeline.extract(frames), None)
            return pipeline.focal_warnings[name]

        assert show(9) is None
        assert "about 5 % longer" in (show(1) or "")
        assert show(1, name="right") is None
        assert pipeline.focal_warnings[""] is not None
        assert show(1, replace(CAMERA, params=(273.0, 273.0, 159.5, 119.5))) is None
        assert show(10) is not None
        pipeline.use_map(pipeline.prepare_map(str(map_file)))
        pipeline.settle()
        assert not pipeline.focal_warnings
    finally:
        pipeline.close()


def test_diagnostics_warn_while_the_pipeline_does(ros, wall_world, monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(Pipeline, "focal_warnings", property(lambda self: {"": told[0] if told else None}))
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
        told.clear()
        until(lambda: says("localized (", DiagnosticStatus.OK), 10.0, "the end of the warning")
    finally:
        ros.executor.remove_node(node)
        node.destroy_node()
        ros.node.destroy_publisher(images)
        ros.node.destroy_publisher(infos)
        ros.node.destroy_subscription(subscription)
