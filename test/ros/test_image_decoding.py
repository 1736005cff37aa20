"""cv_bridge helps with encodings that are not ours, and agrees with us on those that are."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from helpers import textured_image
from robot import bytes_of, image_msg
from sensor_msgs.msg import Image

from hfnet_core.errors import DatasetError
from hfnet_core.images.messages import decode_raw_image
from hfnet_ros import image_decoding
from hfnet_ros.image_decoding import decode_image

GRAY = textured_image(64, 48)


class StandIn:
    """A CvBridge that knows one encoding."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def imgmsg_to_cv2(self, message: Image, desired: str) -> np.ndarray:
        self.asked.append((message.encoding, desired))
        if message.encoding != "32FC1":
            raise ValueError("Unrecognized image encoding\nsecond line")
        values = np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
        return np.repeat((255 * values).astype(np.uint8)[:, :, None], 3, axis=2)


def message_of(pixels: np.ndarray, encoding: str) -> Image:
    return image_msg(np.ascontiguousarray(pixels), 1, encoding=encoding)


@pytest.fixture
def bridge(monkeypatch) -> StandIn:
    stand_in = StandIn()
    module = ModuleType("cv_bridge")
    module.CvBridge = lambda: stand_in
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    image_decoding._bridge.cache_clear()
    yield stand_in
    image_decoding._bridge.cache_clear()


def test_our_encodings_are_ours(bridge):
    assert np.array_equal(decode_image(message_of(GRAY, "mono8")), GRAY)
    assert not bridge.asked


def test_others_go_to_cv_bridge(bridge):
    found = decode_image(message_of(GRAY.astype(np.float32) / 255, "32FC1"))
    assert bridge.asked == [("32FC1", "rgb8")]
    assert found.shape == (48, 64, 3)
    assert np.abs(found[:, :, 1].astype(int) - GRAY).max() <= 1


def test_what_cv_bridge_refuses_is_refused_in_one_line(bridge):
    with pytest.raises(DatasetError, match=r"'crystal8' is not supported, by cv_bridge neither \(Unrecognized") as why:
        decode_image(message_of(GRAY, "crystal8"))
    assert "\n" not in str(why.value)


def test_without_cv_bridge_ours_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    image_decoding._bridge.cache_clear()
    with pytest.raises(DatasetError, match=r"'32FC1' is not supported; use one of"):
        decode_image(message_of(GRAY.astype(np.float32), "32FC1"))
    image_decoding._bridge.cache_clear()


ENCODINGS = ["mono8", "rgb8", "bgr8", "rgba8", "bgra8", "bayer_rggb8", "bayer_gbrg8", "yuv422", "yuv422_yuy2"]


@pytest.mark.skipif(importlib.util.find_spec("cv_bridge") is None, reason="cv_bridge is not installed")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cv_bridge_agrees(encoding):
    from cv_bridge import CvBridge

    channels = {"mono8": 1, "rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "yuv422": 2, "yuv422_yuy2": 2}
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (48, 64, channels.get(encoding, 1)), np.uint8), (0, 0), 2.0)
    message = Image(height=48, width=64, encoding=encoding, step=64 * channels.get(encoding, 1))
    message.data = bytes_of(np.ascontiguousarray(smooth).tobytes())
    own = decode_raw_image(message)
    other = CvBridge().imgmsg_to_cv2(message, "mono8" if own.ndim == 2 else "rgb8")
    assert np.abs(own.astype(int) - other.astype(int)).max() <= 1
