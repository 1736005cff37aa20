"""Writes tiny bags of every kind for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from helpers import textured_image

from hfnet_core.geometry import Pose
from hfnet_core.mapping.bag_writer import BagWriter, open_writer
from hfnet_core.types import Camera

CAMERA = Camera("OPENCV", 160, 120, (120.0, 121.0, 80.0, 60.0, -0.1, 0.01, 0.001, -0.002))
START = 1_700_000_000 * 10**9
STEP = 10**8


def along_x(index: int) -> Pose:
    return Pose(np.eye(3), np.array([0.2 * index, 0.0, 0.0]))


def write_bag(
    path: Path, storage: str = "mcap", frames: int = 4, *, raw: bool = False, poses: bool = True, info: bool = True,
    camera: Camera = CAMERA, extra: Callable[[BagWriter], None] = lambda writer: None,
) -> Path:  # fmt: skip
    """A bag of textured images that move along x; `extra` adds more messages."""
    with open_writer(path, storage) as writer:
        for index in range(frames):
            stamp, image = START + index * STEP, textured_image(camera.width, camera.height, index)
            if raw:
                writer.image(stamp, image)
            else:
                writer.compressed(stamp, cv2.imencode(".png", image)[1].tobytes(), "png")
            if info:
                writer.camera_info(stamp, camera)
            if poses:
                writer.pose(stamp, along_x(index))
        extra(writer)
    return path


def transform(writer: BagWriter, parent: str, child: str, stamp_ns: int, pose: Pose) -> Any:
    """A TransformStamped."""
    kind, header = writer.type, writer.header(stamp_ns, parent)
    x, y, z = pose.translation
    qx, qy, qz, qw = pose.quat_xyzw()
    inner = kind("geometry_msgs/msg/Transform")(
        translation=kind("geometry_msgs/msg/Vector3")(x=x, y=y, z=z),
        rotation=kind("geometry_msgs/msg/Quaternion")(x=qx, y=qy, z=qz, w=qw),
    )
    return kind("geometry_msgs/msg/TransformStamped")(header=header, child_frame_id=child, transform=inner)


def odometry(writer: BagWriter, topic: str, stamp_ns: int, parent: str, child: str, pose: Pose) -> None:
    """Write an Odometry message."""
    kind = writer.type
    x, y, z = pose.translation
    qx, qy, qz, qw = pose.quat_xyzw()
    inner = kind("geometry_msgs/msg/Pose")(
        position=kind("geometry_msgs/msg/Point")(x=x, y=y, z=z),
        orientation=kind("geometry_msgs/msg/Quaternion")(x=qx, y=qy, z=qz, w=qw),
    )
    zero = kind("geometry_msgs/msg/Vector3")(x=0.0, y=0.0, z=0.0)
    writer.write(
        topic, "nav_msgs/msg/Odometry", stamp_ns, header=writer.header(stamp_ns, parent), child_frame_id=child,
        pose=kind("geometry_msgs/msg/PoseWithCovariance")(pose=inner, covariance=np.zeros(36)),
        twist=kind("geometry_msgs/msg/TwistWithCovariance")(
            twist=kind("geometry_msgs/msg/Twist")(linear=zero, angular=zero), covariance=np.zeros(36)
        ),
    )  # fmt: skip


def image_message(**fields: Any) -> SimpleNamespace:
    """A sensor_msgs/Image as far as the decoder looks at it."""
    values = {"is_bigendian": 0, "step": 0, **fields}
    values["data"] = np.frombuffer(values["data"], dtype=np.uint8)
    return SimpleNamespace(**values)
