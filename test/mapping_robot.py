"""A robot that drives along the wall of wall.py, with odometry and a camera, past a mapping node."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile
from robot import PATIENCE, Robot, image_msg, info_msg, until
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from wall import map_from_camera, view

from hfnet_core.config import MapBuildConfig
from hfnet_core.geometry import Pose
from hfnet_ros.conversions import pose_to_msg

__all__ = ["CONFIG", "STEPS", "Driver", "ask", "odom_from_camera", "parameters", "values"]

STEPS = range(0, 161, 4)  # of the way along the wall, 3 cm each
RELIABLE = QoSProfile(depth=50)
CONFIG = MapBuildConfig(max_keypoints=500, refine_intrinsics=False)
BUILD = {"build.max_keypoints": CONFIG.max_keypoints, "build.refine_intrinsics": False}


def odom_from_camera(shift: int) -> Pose:
    return map_from_camera(0).inverse() @ map_from_camera(shift)


class Driver:
    """The robot's odometry and camera."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.odometry = robot.publisher(Odometry, "odom", RELIABLE)
        self.images = robot.publisher(Image, "image", RELIABLE)
        self.infos = robot.publisher(CameraInfo, "camera_info", RELIABLE)
        self.stamps: list[int] = []
        self.moved = Pose()  # of the odometry's frame, which has begun anew
        self.info = info_msg()

    def wait(self) -> None:
        """Until the node hears all of it; one that was killed still counts as a listener for a while."""
        until(lambda: "active: listening" in self.robot.log, 30.0, "the node")
        until(lambda: all(p.get_subscription_count() for p in (self.odometry, self.images, self.infos)), 30.0)
        self.infos.publish(self.info)
        time.sleep(1.0)

    def show(self, shift: int, pixels: np.ndarray | None = None) -> int:
        stamp_ns = self.robot.stamp()
        pose = Odometry(child_frame_id="camera")
        pose.header = image_msg(view(0), stamp_ns, frame_id="odom").header
        pose.pose.pose = pose_to_msg(self.moved @ odom_from_camera(shift))
        self.odometry.publish(pose)
        self.infos.publish(self.info)
        self.images.publish(image_msg(view(shift) if pixels is None else pixels, stamp_ns))
        self.stamps.append(stamp_ns)
        return stamp_ns

    def drive(self, steps: Iterable[int] = STEPS, pause_s: float = 0.1) -> None:
        for shift in steps:
            self.show(shift)
            time.sleep(pause_s * PATIENCE)


def parameters(folder: Path, model: Path, **others: Any) -> dict[str, Any]:
    """Of a node that maps the wall into wall.hfmap."""
    return {
        "map_file": str(folder / "wall.hfmap"), "model_file": str(model), "autostart": True, "odom_frame_id": "odom",
        "odom_topic": "odom", "image_reliability": "reliable", "publish_every_s": 0.0, "image_timeout_s": 60.0,
        "backend": "onnxruntime", **BUILD, **others,
    }  # fmt: skip


def ask(robot: Robot, service: str) -> Any:
    """Call ~/save_map or ~/finish: the answer comes when the map is written."""
    return robot.client.call(Trigger, f"{robot.name}/{service}", Trigger.Request(), 120.0)


def values(robot: Robot) -> dict[str, str]:
    """What the node's diagnostics said last."""
    found = robot.statuses()
    return {item.key: item.value for item in found[-1].values} if found else {}
