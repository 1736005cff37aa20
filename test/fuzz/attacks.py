"""What strangers on the network may do to a running node: seeded messages, requests, parameters and maps.

Nothing in here should ever be answered with a pose: images are of no place, calibrations cannot be true.
"""

from __future__ import annotations

import os
import random
import string
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the builders of the tests

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from forgery import forged
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from mutations import mutated
from rcl_interfaces.msg import Parameter, ParameterEvent, ParameterValue
from robot import bytes_of, image_msg, info_msg
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from wall import noise_image

from hfnet_ros.parameters import parameter_names

__all__ = ["Maps", "camera_info", "diagnostics", "event", "image", "initial_pose", "parameter", "transforms", "word"]

_NUMBERS = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, 1e9, 2.0**63, float("nan"), float("inf"), float("-inf"))
_INTEGERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
_ENCODINGS = (
    "mono8",
    "rgb8",
    "bgra8",
    "mono16",
    "16UC1",
    "32FC1",
    "bayer_rggb8",
    "yuv422",
    "nv21",
    "no_such",
    "",
    "\x1b[2J",
    "8UC99999",
)
_SIZES = (0, 1, 2, 3, 7, 240, 320, 4096, 65535, 2**31 - 1, 2**32 - 1)
_MODELS = ("plumb_bob", "rational_polynomial", "equidistant", "", "nothing", "\x1b[31m", "x" * 5000)
_FRAMES = ("base", "odom", "camera", "map", "", "/", "//base", "base/", "\x1b[2J", "[red]", "x" * 10_000, "é\u202e")


def number(rng: random.Random) -> float:
    return rng.choice(_NUMBERS) if rng.random() < 0.7 else rng.uniform(-1e3, 1e3)


def word(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(_FRAMES)
    if kind < 0.5:
        return rng.choice(
            ("~nobody/x", "~", "../../../x", "/dev/zero", "/proc/self/mem", "file://", "a/" * 3000, "%s%n")
        )
    return "".join(rng.choices(string.printable, k=rng.choice((1, 8, 300))))


def stamp(rng: random.Random, header: Any, now_ns: int) -> None:
    """Near now, never, or at the ends of time."""
    far = (-(2**31), -1, 0, 1, 2**31 - 1)
    sec = rng.choice(far) if rng.random() < 0.5 else now_ns // 10**9 + rng.randrange(-3, 3)
    header.stamp.sec, header.stamp.nanosec = sec, rng.choice((0, 1, 999_999_999, 10**9, 2**32 - 1))


def image(rng: random.Random, now_ns: int) -> Image:
    """Of no place, with a header that may lie about sizes, encoding, frame and time."""
    message = image_msg(noise_image(rng.randrange(4)), now_ns + rng.randrange(10**6), rng.choice(_ENCODINGS))
    for field_name in rng.sample(("height", "width", "step"), rng.randrange(3)):
        setattr(message, field_name, rng.choice(_SIZES))
    if rng.random() < 0.3:
        message.data = bytes_of(bytes(rng.choice((0, 1, 7, 100, 320 * 240 - 1, 3_000_000))))
    message.is_bigendian = rng.randrange(2)
    message.header.frame_id = word(rng) if rng.random() < 0.3 else "camera"
    if rng.random() < 0.3:
        stamp(rng, message.header, now_ns)
    return message


def camera_info(rng: random.Random) -> CameraInfo:
    """One that no camera has."""
    message = info_msg()
    rows = np.array(message.k)
    how = rng.randrange(7)
    if how == 0:
        rows[rng.choice((0, 2, 4, 5))] = rng.choice([value for value in _NUMBERS if not 0.5 < value < 1e5])
    elif how == 1:
        rows[:] = 0.0
    elif how == 2:
        message.d = [rng.choice((float("nan"), float("inf"), 1e300)) for _ in range(rng.choice((1, 5, 8, 14, 100_000)))]
    elif how == 3:
        message.width, message.height = rng.choice(_SIZES), rng.choice(_SIZES[-3:])
    elif how == 4:
        message.distortion_model, message.d = rng.choice(_MODELS[3:]), [50.0] * 8
    elif how == 5:
        message.roi.width, message.roi.x_offset = rng.choice(_SIZES[-2:]), rng.choice(_SIZES)
    else:
        rows[[0, 4]] *= rng.choice((100.0, 0.001, -1.0))
    message.k = rows.tolist()
    message.header.frame_id = word(rng) if rng.random() < 0.2 else "camera"
    return message


def transforms(rng: random.Random, now_ns: int) -> TFMessage:
    """Numbers that are none, circles, chains, strange names and times; sometimes thousands of frames."""
    count = rng.choice((1, 1, 3, 20, 1000))
    items = []
    for index in range(count):
        item = TransformStamped()
        flood = f"flood{rng.randrange(10**9)}" if count == 1000 else ""
        item.header.frame_id, item.child_frame_id = flood or word(rng), f"flood{index}" if flood else word(rng)
        item.transform.translation.x = number(rng)
        item.transform.rotation.w, item.transform.rotation.x = number(rng), rng.choice((0.0, number(rng)))
        stamp(rng, item.header, now_ns)
        items.append(item)
    return TFMessage(transforms=items)


def initial_pose(rng: random.Random, now_ns: int) -> PoseWithCovarianceStamped:
    message = PoseWithCovarianceStamped()
    message.header.frame_id = rng.choice(("map", "map", word(rng)))
    position, orientation = message.pose.pose.position, message.pose.pose.orientation
    position.x, position.y, position.z = number(rng), number(rng), number(rng)
    orientation.w, orientation.z = rng.choice((1.0, number(rng))), rng.choice((0.0, number(rng)))
    covariance = np.zeros((6, 6)) if rng.random() < 0.3 else np.diag([abs(number(rng)) for _ in range(6)])
    if rng.random() < 0.3:
        covariance[0, 1] = number(rng)
    message.pose.covariance = covariance.reshape(-1).tolist()
    stamp(rng, message.header, now_ns)
    return message


def diagnostics(rng: random.Random, name: str) -> DiagnosticArray:
    """In somebody else's name."""
    return DiagnosticArray(status=[DiagnosticStatus(level=bytes([rng.randrange(256)]), name=name, message=word(rng))])


def event(rng: random.Random, node: str) -> ParameterEvent:
    """Of parameters that changed, in the node's name: nobody should believe it."""
    return ParameterEvent(node=node, changed_parameters=[parameter(rng), parameter(rng)])


def text(rng: random.Random) -> String:
    """For a topic of another type."""
    return String(data=word(rng))


def parameter(rng: random.Random) -> Parameter:
    """A setting of ours or another name, with a value of any type."""
    names = [*(name for name, _, _ in parameter_names()), "use_sim_time", "start_type_description_service"]
    name = rng.choice(names) if rng.random() < 0.9 else word(rng) or "x"
    value = ParameterValue(type=rng.choice((0, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8, 9, 200)))
    value.bool_value, value.integer_value = bool(rng.randrange(2)), rng.choice(_INTEGERS)
    value.double_value, value.string_value = number(rng), word(rng)
    value.byte_array_value = [bytes([rng.randrange(256)]) for _ in range(3)]
    value.string_array_value = [word(rng) for _ in range(rng.randrange(6))]
    value.double_array_value, value.integer_array_value = [number(rng)], [rng.choice(_INTEGERS)]
    return Parameter(name=name, value=value)


@dataclass
class Maps:
    """Map files that a request may name. right: the true one; other: of another place, as good."""

    folder: Path
    right: Path
    other: Path
    _content: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._content = self.right.read_bytes()
        os.mkfifo(self.folder / "pipe.hfmap")

    def url(self, rng: random.Random) -> str:
        """Right, of another place, damaged by chance or on purpose, or no map at all."""
        kind = rng.random()
        if kind < 0.15:
            return f"file://{self.right}"
        if kind < 0.25:
            return str(self.other)
        if kind < 0.4:
            return rng.choice(
                (str(self.folder), str(self.folder / "pipe.hfmap"), str(self.folder / "none.hfmap"), word(rng))
            )
        path = self.folder / f"damaged{rng.randrange(8)}.hfmap"
        path.write_bytes(mutated(self._content, rng) if kind < 0.7 else forged(self._content, rng))
        return str(path)
