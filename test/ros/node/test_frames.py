"""One contract for every way to TF."""

from __future__ import annotations

import gc
import importlib.util
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import until

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.recordings.timed.edges import Edge
from hfnet_ros.conversions import pose_to_transform
from hfnet_ros.node.frames import (
    NoFrames,
    NotYetKnownError,
    OwnFrames,
    Tf2Frames,
    TransformError,
    open_frames,
    wait_for,
)

BASE_FROM_CAMERA = Pose.from_quat_xyzw([0.1, 0.2, 0.3, 0.9], [0.5, -0.2, 0.3])
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(params=[pytest.param(OwnFrames, id="tf2_msgs"), pytest.param(Tf2Frames, id="tf2_ros")])
def frames(request, ros):
    needed = request.node.callspec.id.split("-")[0]
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    frames = request.param(ros.node)
    yield frames
    frames.close()


def learned(frames, target: str, source: str, stamp_ns: int, say: Callable[[], None]) -> Pose:
    """The transform, once it was heard. say: again and again, as both sides need not know of each other at once."""

    def known() -> Pose | None:
        say()
        time.sleep(0.02)
        try:
            return frames.lookup(target, source, stamp_ns)
        except TransformError:
            return None

    return until(known)


def test_hears_what_others_broadcast_and_interpolates(frames, ros):
    from tf2_msgs.msg import TFMessage

    static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
    dynamic = ros.node.create_publisher(TFMessage, "/tf", 100)
    now = time.time_ns()
    static.publish(TFMessage(transforms=[pose_to_transform(BASE_FROM_CAMERA, "base", "camera", 0)]))
    until(lambda: dynamic.get_subscription_count() > 0)
    ways = [(now + int(offset_s * 1e9), Pose(translation=[offset_s, 0.0, 0.0])) for offset_s in (0.0, 1.0)]
    message = TFMessage(transforms=[pose_to_transform(pose, "odom", "base", stamp_ns) for stamp_ns, pose in ways])
    found = learned(frames, "odom", "camera", now + 250_000_000, lambda: dynamic.publish(message))
    metres, degrees = pose_error(found, Pose(translation=[0.25, 0.0, 0.0]) @ BASE_FROM_CAMERA)
    assert metres < 1e-6
    assert degrees < 1e-4
    with pytest.raises(NotYetKnownError):
        frames.lookup("odom", "camera", now + 1_000_000_001)
    with pytest.raises(TransformError) as past:
        frames.lookup("odom", "camera", now - 1)
    assert not isinstance(past.value, NotYetKnownError)
    with pytest.raises(TransformError):
        frames.lookup("odom", "nowhere", now)
    slashed = frames.lookup("/odom", "/camera", now + 250_000_000)  # as drivers of ROS 1 name them
    assert pose_error(slashed, found)[0] < 1e-9
    until(lambda: frames.parent_of("camera") == "base", 5)
    assert frames.parent_of("odom") is None
    frames.clear()
    with pytest.raises(TransformError):
        frames.lookup("odom", "base", now)
    assert pose_error(frames.lookup("base", "camera", now), BASE_FROM_CAMERA)[0] < 1e-9
    ros.node.destroy_publisher(static)
    ros.node.destroy_publisher(dynamic)


def test_broadcasts(frames, ros):
    from tf2_msgs.msg import TFMessage

    received: list = []
    subscription = ros.node.create_subscription(TFMessage, "/tf", received.append, 100)
    stamp = time.time_ns()

    def heard():
        frames.broadcast("map", "odom", BASE_FROM_CAMERA, stamp)
        time.sleep(0.05)
        return [t for message in received for t in message.transforms if t.child_frame_id == "odom"]

    transform = until(heard)[0]
    assert transform.header.frame_id == "map"
    assert transform.header.stamp.sec * 10**9 + transform.header.stamp.nanosec == stamp
    assert transform.transform.translation.x == pytest.approx(0.5)
    ros.node.destroy_subscription(subscription)


def test_without_tf2_msgs_tf_is_off_and_said_once(ros, monkeypatch, capfd):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    frames = open_frames(ros.node)
    assert isinstance(frames, NoFrames)
    assert capfd.readouterr().err.count("TF is off") == 1
    frames.broadcast("map", "camera", Pose(), 0)
    frames.lookup("camera", "camera", 0)
    with pytest.raises(TransformError, match="tf2_msgs"):
        frames.lookup("base", "camera", 0)
    frames.close()


class Clocked:
    """A node whose clock runs at a rate, from a time on; it may be stopped or set back."""

    def __init__(self, rate: float = 1.0) -> None:
        self.rate, self.start_s = rate, time.monotonic()
        self.offset_ns = 10**12

    def get_clock(self):
        passed_s = (time.monotonic() - self.start_s) * self.rate
        nanoseconds = self.offset_ns + int(passed_s * 1e9)
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=nanoseconds))


def never() -> Pose:
    raise NotYetKnownError("late")


def unknown() -> Pose:
    raise TransformError("late")


def waited_s(node: Clocked, timeout_s: float, lookup=never, **how) -> float:
    start = time.monotonic()
    with pytest.raises(TransformError, match="late"):
        wait_for(node, lookup, timeout_s, **how)
    return time.monotonic() - start


@pytest.mark.parametrize("rate", [0.2, 1.0, 5.0])
def test_waiting_lasts_as_long_by_the_nodes_clock(rate):
    assert 0.1 / rate <= waited_s(Clocked(rate), 0.1) < 0.1 / rate + 0.2


def test_waiting_ends_when_there_is_nothing_to_wait_for():
    assert waited_s(Clocked(), 10.0, unknown) < 0.5
    assert waited_s(Clocked(), 10.0, give_up=lambda: True) < 0.5
    assert 0.4 < waited_s(Clocked(0.0), 10.0) < 1.5  # the clock stands
    without = Clocked(0.0)
    without.offset_ns = 0
    assert waited_s(without, 10.0) < 0.2  # there is none
    jumping = Clocked()

    def jump() -> Pose:
        jumping.offset_ns -= 10**10
        return never()

    assert waited_s(jumping, 10.0, jump) < 0.2


def test_a_flood_costs_little_and_goes_when_nobody_listens_any_more(ros) -> None:
    """What grew a node by tens of megabytes: frames of strangers, kept to the last of ten thousand."""
    pytest.importorskip("tf2_msgs")

    def alive() -> int:
        return sum(isinstance(item, Edge) for item in gc.get_objects())

    gc.collect()
    before = alive()
    frames = OwnFrames(ros.node)
    for index in range(5_000):
        item = pose_to_transform(Pose(), "map", f"stranger{index}", index)
        frames._learn(item, "/tf", False)
    assert 1_900 < alive() - before <= 2_000
    gc.disable()
    try:
        frames.close()
        assert alive() == before
    finally:
        gc.enable()
