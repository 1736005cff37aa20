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
from hfnet_core.recordings.bag_writer import BagWriter, open_writer
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


def wall_drive(path: Path, frames: int = 8, *, odometry_in: str = "") -> Path:
    """A camera that moves sideways, 16 cm an image, along a textured wall 2 m away: enough for a real map.

    odometry_in: a frame in which odometry of the camera is recorded instead of its pose in the map.
    """
    wall = textured_image(544 + 8 * frames, 120, seed=3)
    pinhole = Camera("PINHOLE", 160, 120, (100.0, 100.0, 79.5, 59.5))
    with open_writer(path, "mcap") as writer:
        for index in range(frames):
            stamp = START + index * STEP
            writer.image(stamp, np.ascontiguousarray(wall[:, 8 * index : 8 * index + 160]))
            writer.camera_info(stamp, pinhole)
            pose = Pose(np.eye(3), np.array([8 * index * 2 / 100, 0.0, 0.0]))
            if odometry_in:
                odometry(writer, "/odometry", stamp, odometry_in, "camera", pose)
            else:
                writer.pose(stamp, pose)
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


def static_transform(writer: BagWriter, parent: str, child: str, stamp_ns: int, pose: Pose) -> None:
    """Write a transform that always holds."""
    writer.write("/tf_static", "tf2_msgs/msg/TFMessage", stamp_ns,
                 transforms=[transform(writer, parent, child, stamp_ns, pose)])  # fmt: skip


def imu(writer: BagWriter, topic: str, stamp_ns: int, frame: str, acceleration: tuple[float, float, float]) -> None:
    """Write what an accelerometer measures."""
    kind, unknown = writer.type, np.zeros(9)
    vector = kind("geometry_msgs/msg/Vector3")
    x, y, z = acceleration
    writer.write(
        topic, "sensor_msgs/msg/Imu", stamp_ns, header=writer.header(stamp_ns, frame),
        orientation=kind("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=0.0, w=1.0),
        orientation_covariance=unknown, angular_velocity=vector(x=0.0, y=0.0, z=0.0),
        angular_velocity_covariance=unknown, linear_acceleration=vector(x=x, y=y, z=z),
        linear_acceleration_covariance=unknown,
    )  # fmt: skip


def fix(
    writer: BagWriter, topic: str, stamp_ns: int, place: tuple[float, float, float], sigma_m: float | None = None,
    *, frame: str = "gps", status: int = 0,
) -> None:  # fmt: skip
    """Write a GPS fix at a latitude, longitude and altitude. sigma_m: None for a receiver that does not say."""
    latitude, longitude, altitude = (float(value) for value in place)
    covariance = np.diag([0.0 if sigma_m is None else sigma_m**2] * 3).reshape(-1)
    writer.write(
        topic, "sensor_msgs/msg/NavSatFix", stamp_ns, header=writer.header(stamp_ns, frame),
        status=writer.type("sensor_msgs/msg/NavSatStatus")(status=status, service=1), latitude=latitude,
        longitude=longitude, altitude=altitude, position_covariance=covariance,
        position_covariance_type=0 if sigma_m is None else 2,
    )  # fmt: skip


def image_message(**fields: Any) -> SimpleNamespace:
    """A sensor_msgs/Image as far as the decoder looks at it."""
    values = {"is_bigendian": 0, "step": 0, **fields}
    values["data"] = np.frombuffer(values["data"], dtype=np.uint8)
    return SimpleNamespace(**values)
