"""A depth camera of a robot in front of the wall of wall.py: everything it sees is as far away."""

from __future__ import annotations

import cv2
import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.qos import qos_profile_sensor_data
from robot import LATCHED, Robot, bytes_of, image_msg, info_msg
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage
from wall import CAMERA

__all__ = ["DepthCamera", "OffsetDepthCamera"]


class DepthCamera:
    """Its depth is registered to the images."""

    frame = "camera"

    def __init__(self, robot: Robot, kind: type, topic: str) -> None:
        self._depths = robot.publisher(kind, topic, qos_profile_sensor_data)

    def heard(self) -> bool:
        """Whether the node listens."""
        return self._depths.get_subscription_count() > 0

    def show(self, stamp_ns: int, metres: float, encoding: str = "16UC1") -> None:
        """encoding: 16UC1, 32FC1, compressed, or one that no depth has."""
        shape = (CAMERA.height, CAMERA.width)
        if encoding == "16UC1":
            message = image_msg(np.full(shape, round(1000 * metres), np.uint16), stamp_ns, "16UC1")
        elif encoding == "32FC1":
            message = image_msg(np.full(shape, metres, np.float32), stamp_ns, "32FC1")
        elif encoding == "rgb8":
            message = image_msg(np.zeros((*shape, 3), np.uint8), stamp_ns, "rgb8")
        else:
            png = cv2.imencode(".png", np.full(shape, round(1000 * metres), np.uint16))[1].tobytes()
            message = CompressedImage(format="16UC1; compressedDepth png", data=bytes_of(bytes(12) + png))
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        message.header.frame_id = self.frame
        self._depths.publish(message)


class OffsetDepthCamera(DepthCamera):
    """It is another camera, half a metre behind the one of the images and of another focal length."""

    BEHIND_M = 0.5
    frame = "depth_camera"

    def __init__(self, robot: Robot, kind: type, topic: str, info: str) -> None:
        super().__init__(robot, kind, topic)
        mount = TransformStamped(child_frame_id=self.frame)
        mount.header.frame_id = "camera"
        mount.transform.translation.z = -self.BEHIND_M
        robot.publisher(TFMessage, "tf_static", LATCHED).publish(TFMessage(transforms=[mount]))
        self._infos = robot.publisher(CameraInfo, info, qos_profile_sensor_data)

    def heard(self) -> bool:
        return super().heard() and self._infos.get_subscription_count() > 0

    def show(self, stamp_ns: int, metres: float, encoding: str = "16UC1") -> None:
        message = info_msg(frame_id=self.frame)
        message.k = [1.1 * value if index in (0, 4) else value for index, value in enumerate(message.k)]
        message.p = [*message.k[:3], 0.0, *message.k[3:6], 0.0, *message.k[6:], 0.0]  # counts for image_rect_raw
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        self._infos.publish(message)
        super().show(stamp_ns, metres + self.BEHIND_M, encoding)
