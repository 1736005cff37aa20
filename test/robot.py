"""A stand-in for the rest of a robot: starts the node as a process and talks to it over ROS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from wall import CAMERA, map_from_camera

from hfnet_core.geometry import Pose, pose_error

REPOSITORY = Path(__file__).resolve().parents[1]
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PATIENCE = float(os.environ.get("HFNET_TEST_PATIENCE", "1"))  # factor on all waiting, for a machine that others use
DISCOVERY_S = 20.0  # discovery alone may take seconds, and test machines are busy


def until(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> Any:
    """Wait until the condition is true and return its value."""
    deadline = time.monotonic() + PATIENCE * timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"nothing within {PATIENCE * timeout_s} s: {what}"
        time.sleep(0.01)
    return value


def bytes_of(data: bytes) -> array:
    """A message's byte field, filled the fast way."""
    out = array("B")
    out.frombytes(data)
    return out


def image_msg(pixels: np.ndarray, stamp_ns: int, encoding: str = "mono8", frame_id: str = "camera") -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=pixels.strides[0])
    message.data = bytes_of(pixels.tobytes())
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return message


def info_msg(
    width: int = CAMERA.width, height: int = CAMERA.height, calibrated: bool = True, frame_id: str = "camera"
) -> CameraInfo:
    """Of the camera, its images resized."""
    fx, fy, cx, cy = CAMERA.scaled(width, height).params
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = frame_id
    if calibrated:
        message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    return message


class Client:
    """A node of the test process, spinning in its own thread."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node(f"tester_{uuid.uuid4().hex[:8]}", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.robots: list[Robot] = []  # to be ended with us, whatever happens to the test that started them
        self._stop = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stop:
            self.executor.spin_once(timeout_sec=0.1)

    def call(self, kind: type, name: str, request: Any, timeout_s: float = DISCOVERY_S) -> Any:
        """Call a service and return its response."""
        client = self.node.create_client(kind, name)
        try:
            assert client.wait_for_service(PATIENCE * timeout_s), f"no service {name}"
            future = client.call_async(request)
            return until(lambda: future.done() and future.result(), timeout_s, f"answer of {name}")
        finally:
            self.node.destroy_client(client)

    def close(self) -> None:
        for robot in self.robots:
            robot.close()
        self._stop = True
        self._thread.join()
        self.node.destroy_node()
        self.executor.shutdown()
        rclpy.shutdown(context=self.context)


class Robot:
    """One localization node in its own process and namespace, its inputs, and what it said."""

    NODE, MODULE = "localization", "hfnet_ros.localization_node"

    def __init__(self, client: Client, parameters: dict[str, Any], *remaps: str, namespace: str = "") -> None:
        """namespace: of another robot's node, to work beside it; empty for one of its own."""
        self.client, self.node = client, client.node
        self.namespace = namespace or f"/t{uuid.uuid4().hex[:8]}"
        self.name = f"{self.namespace}/{self.NODE}"
        command = [sys.executable, "-m", self.MODULE, "--ros-args", "-r", f"__ns:={self.namespace}"]
        for rule in ("/tf:=tf", "/tf_static:=tf_static", *remaps):
            command += ["-r", rule]
        for key, value in {"threads": 1, **parameters}.items():
            text = f"'{value}'" if isinstance(value, str) else str(value)
            command += ["-p", f"{key}:={text.lower() if isinstance(value, bool) else text}"]
        paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        client.robots.append(self)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._entities: list[Any] = []
        self.images = self.publisher(Image, "image", qos_profile_sensor_data)
        self.compressed = self.publisher(CompressedImage, "image/compressed", qos_profile_sensor_data)
        self.infos = self.publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self.poses = self.listen(PoseStamped, "localization/pose")
        self.with_covariance = self.listen(PoseWithCovarianceStamped, "localization/pose_with_covariance")
        self._diagnostics = self.listen(DiagnosticArray, "/diagnostics")
        self._stamp_ns = time.time_ns()

    def _read(self) -> None:
        for line in self.process.stderr:
            self._lines.append(line)
            sys.stderr.write(line)

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def publisher(self, kind: type, topic: str, qos: Any = 10) -> Any:
        publisher = self.node.create_publisher(kind, self._full(topic), qos)
        self._entities.append((self.node.destroy_publisher, publisher))
        return publisher

    def listen(self, kind: type, topic: str, qos: Any = 10) -> list:
        """A list that fills with the messages of a topic."""
        received: list = []
        subscription = self.node.create_subscription(kind, self._full(topic), received.append, qos)
        self._entities.append((self.node.destroy_subscription, subscription))
        return received

    def _full(self, topic: str) -> str:
        return topic if topic.startswith("/") else f"{self.namespace}/{topic}"

    # ---- requests

    def call(self, kind: type, service: str, request: Any = None) -> Any:
        return self.client.call(kind, self._full(service), request or kind.Request())

    def state(self) -> str:
        return str(self.call(GetState, f"{self.NODE}/get_state").current_state.label)

    def transition(self, name: str) -> bool:
        """Ask for a lifecycle transition; whether it succeeded."""
        number = getattr(Transition, f"TRANSITION_{name.upper()}")
        request = ChangeState.Request(transition=Transition(id=number))
        return bool(self.call(ChangeState, f"{self.NODE}/change_state", request).success)

    def set(self, name: str, value: Any) -> Any:
        """Set a parameter; the result has `successful` and `reason`."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, f"{self.NODE}/set_parameters", request).results[0]

    def get(self, name: str) -> Any:
        values = self.call(GetParameters, f"{self.NODE}/get_parameters", GetParameters.Request(names=[name])).values
        return Parameter.from_parameter_msg(type("P", (), {"name": name, "value": values[0]})).value

    # ---- images

    def wait_active(self) -> None:
        """Until the node listens to everything that `show` publishes."""

        def listening() -> bool:
            assert "cannot configure" not in self.log
            assert self.process.poll() is None
            images = self.images.get_subscription_count() + self.compressed.get_subscription_count()
            return bool(images and self.infos.get_subscription_count())

        until(listening, DISCOVERY_S, "the node's subscriptions")

    def stamp(self) -> int:
        """A new stamp, now."""
        self._stamp_ns = max(time.time_ns(), self._stamp_ns + 1_000_000)
        return self._stamp_ns

    def show(self, pixels: np.ndarray, stamp_ns: int | None = None, info: CameraInfo | None = None, **how: Any) -> int:
        """Publish calibration and image; returns the stamp."""
        stamp_ns = self.stamp() if stamp_ns is None else stamp_ns
        self.infos.publish(info_msg() if info is None else info)
        time.sleep(0.03)  # the calibration first
        self.images.publish(image_msg(pixels, stamp_ns, **how))
        return stamp_ns

    def pose_of(self, pixels: np.ndarray, timeout_s: float = 15.0, **how: Any) -> PoseStamped:
        """Show an image until a pose with one of its stamps comes: best effort may lose the first."""
        deadline, stamps = time.monotonic() + timeout_s, set()
        while time.monotonic() < deadline:
            stamps.add(self.show(pixels, **how))
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                for pose in list(self.poses):
                    if stamp_of(pose) in stamps:
                        return pose
                time.sleep(0.01)
        raise AssertionError(f"no pose within {timeout_s} s; diagnostics say {self.said()!r}")

    # ---- diagnostics

    def statuses(self) -> list:
        """This node's diagnostics so far, oldest first."""
        own = self.name.lstrip("/")
        return [status for array in list(self._diagnostics) for status in array.status if status.name == own]

    def said(self) -> str:
        found = self.statuses()
        return str(found[-1].message) if found else ""

    def until_says(
        self, text: str, timeout_s: float = 10.0, again: Callable[[], Any] | None = None, level: bytes | None = None,
        since: int | None = None,
    ) -> Any:  # fmt: skip
        """Wait for a diagnostics message with this text (and level); returns it.

        `again` is repeated twice a second, so that no camera seems silent in between. since: the number of statuses
        that were there before the cause, where this is not the call itself: what is said once may be said by now.
        """
        known = len(self.statuses()) if since is None else since
        deadline = time.monotonic() + PATIENCE * timeout_s
        while time.monotonic() < deadline:
            if again is not None:
                again()
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                for status in self.statuses()[known:]:
                    if text in status.message and level in (None, status.level):
                        return status
                time.sleep(0.02)
        raise AssertionError(f"diagnostics never said {text!r}, but {self.said()!r}")

    # ---- the end

    def end(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Signal the process; (exit status, seconds it took)."""
        start = time.monotonic()
        self.process.send_signal(number)
        try:
            status = self.process.wait(15 * PATIENCE)
        finally:
            self.process.kill()
        self._reader.join(5)
        return status, time.monotonic() - start

    def close(self) -> None:
        if self.process.poll() is None:
            self.end()
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities.clear()


class Mapper(Robot):
    """A mapping node in the same way."""

    NODE, MODULE = "mapping", "hfnet_ros.live.mapping_node"


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def transforms(received: list, child: str) -> list:
    """All transforms of a child frame in messages of /tf."""
    return [item for message in list(received) for item in message.transforms if item.child_frame_id == child]


def assert_at(pose: Pose, shift: int) -> None:
    """The pose is the wall camera's at a shift."""
    metres, degrees = pose_error(pose, map_from_camera(shift))
    assert metres < 0.01
    assert degrees < 0.3
