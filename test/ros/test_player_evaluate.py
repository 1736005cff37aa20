"""The player over real DDS, and the live evaluation of a node that knows the wall."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from bags import transform
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message, serialize_message
from robot import DISCOVERY_S, REPOSITORY, until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage
from wall import CAMERA, map_from_camera, view, wall_bag

from hfnet_core.config import EvaluationConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_ros.conversions import pose_from_msg, pose_to_stamped, stamp_from_ns, stamp_to_ns
from hfnet_ros.demo import DemoError, check, prepare
from hfnet_ros.evaluate import QueryBag, Run
from hfnet_ros.rclpy_typed import LATCHED, profile
from hfnet_ros.replay.listener import Listener
from hfnet_ros.replay.processes import Child, ChildError
from hfnet_ros.replay.tape import Tape, Timing, moved_ns, restamp

SHIFTS = (0, 32, 64, None, 96, 128)
MANY = profile(100, durability=LATCHED.durability)
TIMING = Timing("bag", 1_000 * 10**9, 2_000 * 10**9, 2.0, True)


@pytest.fixture
def start():
    """Start a module of ours as a process; whatever still runs at the end is killed."""
    started = []
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

    def start(module: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def listen(ros):
    """A list that fills with (time of receipt in ns, message)."""
    subscriptions = []

    def listen(kind: type, topic: str, qos: object = 100) -> list:
        received: list = []
        callback = lambda message: received.append((time.time_ns(), message))  # noqa: E731
        subscriptions.append(ros.node.create_subscription(kind, topic, callback, qos))
        return received

    yield listen
    for subscription in subscriptions:
        ros.node.destroy_subscription(subscription)


def failed(process: subprocess.Popen[str]) -> str:
    """The one line of a process that refuses."""
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    return lines[0]


def test_timing_goes_both_ways():
    stamp = 1_003 * 10**9 + 123_456_789
    assert TIMING.played_ns(1_003 * 10**9) == 2_001.5 * 10**9
    assert abs(TIMING.bag_ns(TIMING.played_ns(stamp)) - stamp) <= 1
    assert Timing.from_json(TIMING.to_json()) == TIMING
    assert Timing("bag", 1, 2, 1.0, False).bag_ns(77) == 77


def test_restamp_moves_the_stamp_alone():
    message = pose_to_stamped(map_from_camera(32), "map", 1_003 * 10**9 + 500)
    moved = deserialize_message(restamp(serialize_message(message), TIMING), PoseStamped)
    assert stamp_to_ns(moved.header.stamp) == 2_001.5 * 10**9 + 250
    assert moved.header.frame_id == "map"
    assert moved.pose == message.pose


def test_restamp_reads_the_byte_order_and_keeps_missing_stamps():
    big = b"\x00\x00\x00\x00" + struct.pack(">iI", 1_003, 0) + b"rest"
    assert restamp(big, TIMING) == b"\x00\x00\x00\x00" + struct.pack(">iI", 2_001, 500_000_000) + b"rest"
    unstamped = b"\x00\x01\x00\x00" + bytes(8) + b"rest"
    assert restamp(unstamped, TIMING) == unstamped


@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "rosbag1"])
def test_a_tape_holds_the_same_messages_from_every_container(tmp_path, storage):
    path = tmp_path / ("wall.bag" if storage == "rosbag1" else "wall")
    stamps = wall_bag(path, (0, 32), storage)
    tape = Tape(path, ["/camera/image_raw", "/ground_truth/pose"])
    entries = list(tape)
    tape.close()
    images = [deserialize_message(item.data, Image) for item in entries if item.topic.name == "/camera/image_raw"]
    poses = [deserialize_message(item.data, PoseStamped) for item in entries if item.topic.name == "/ground_truth/pose"]
    assert [stamp_to_ns(image.header.stamp) for image in images] == stamps
    assert (images[0].width, images[0].height, images[0].encoding) == (CAMERA.width, CAMERA.height, "mono8")
    assert pose_error(pose_from_msg(poses[1].pose), map_from_camera(32))[0] < 1e-9
    assert len(entries) == 4


def test_a_tape_leaves_out_types_that_nobody_here_knows(tmp_path):
    with open_writer(tmp_path / "bag", "mcap") as writer:
        writer.camera_info(10**9, CAMERA)
        writer.write("/odd", "actionlib_msgs/msg/GoalID", 10**9, stamp=writer.header(10**9, "").stamp, id="x")
    tape = Tape(tmp_path / "bag")
    assert [topic.name for topic in tape.topics] == ["/camera/camera_info"]
    assert [topic.name for topic in tape.skipped] == ["/odd"]
    assert len(list(tape)) == 1
    tape.close()
    with pytest.raises(DatasetError, match="/odd"):
        Tape(tmp_path / "bag", ["/odd"])


def test_player_keeps_pace_and_its_stamps_lead_back(tmp_path, start, listen):
    stamps = wall_bag(tmp_path / "wall", (0, 8, 16, 24, 32, 40, 48, 56), rate_hz=20.0)
    images, infos = listen(Image, "/camera/image_raw"), listen(CameraInfo, "/camera/camera_info")
    timings, clocks = listen(String, "/player/timing", LATCHED), listen(Clock, "/clock")
    player = start("hfnet_ros.player", tmp_path / "wall", "--now", "--rate", 0.5, "--clock", "--wait-for-subscriber",
                   20, "--topics", "/camera/image_raw", "/camera/camera_info")  # fmt: skip
    until(lambda: len(images) == len(infos) == len(stamps), DISCOVERY_S, "all images")
    assert player.wait(10) == 0
    until(lambda: timings and json.loads(timings[-1][1].data)["finished"], 5, "the end of playing")
    timing = Timing.from_json(timings[-1][1].data)
    assert [timing.bag_ns(stamp_to_ns(message.header.stamp)) for _, message in images] == stamps
    assert len(infos) == len(stamps)
    spread_s = (images[-1][0] - images[0][0]) * 1e-9
    assert spread_s == pytest.approx(7 / 20.0 / 0.5, abs=0.25)
    late_s = [(received - stamp_to_ns(message.header.stamp)) * 1e-9 for received, message in images]
    assert min(late_s) > 0
    assert np.median(late_s) < 0.2
    assert len(clocks) > 20
    assert all(a[1].clock.sec <= b[1].clock.sec for a, b in pairwise(clocks))


@pytest.mark.parametrize("stamp_ns", [0, 120 * 10**9])
def test_stamps_that_no_message_could_hold_stay(stamp_ns):
    """Of a driver that counts from the start of its computer, played slowly: decades before 1970."""
    slow = replace(TIMING, first_ns=1_700_000_000 * 10**9, start_ns=1_800_000_000 * 10**9, rate=0.25)
    image = Image()
    image.header.stamp = stamp_from_ns(stamp_ns)
    assert restamp(bytes(serialize_message(image)), slow) == bytes(serialize_message(image))
    assert moved_ns(stamp_ns, slow) == stamp_ns
    assert moved_ns(slow.first_ns + 10**9, slow) == slow.start_ns + 4 * 10**9
    assert restamp(b"\0\1\0\0", slow) == b"\0\1\0\0"


def test_player_keeps_recorded_stamps_by_default(tmp_path, start, listen):
    stamps = wall_bag(tmp_path / "wall", (0, 8, 16), rate_hz=50.0)
    poses = listen(PoseStamped, "/ground_truth/pose")
    images = listen(Image, "/camera/image_raw")
    start("hfnet_ros.player", tmp_path / "wall", "--wait-for-subscriber", 20)
    until(lambda: len(images) == 3, DISCOVERY_S, "all images")
    assert [stamp_to_ns(message.header.stamp) for _, message in images] == stamps
    assert all(stamp_to_ns(message.header.stamp) in stamps for _, message in poses)


def with_mountings_and_depth(path):
    """A drive whose three parts say where they are, one after the other, and depth that nobody listens to. Returns the
    stamps of its images."""
    stamps = [1_700_000_000 * 10**9 + index * 10**8 for index in range(4)]
    with open_writer(path, "mcap") as writer:
        for name in ("imu", "camera", "lidar"):
            placed = [transform(writer, "base", name, stamps[0], Pose())]
            writer.write("/tf_static", "tf2_msgs/msg/TFMessage", stamps[0], transforms=placed)
        for shift, stamp_ns in enumerate(stamps):
            writer.camera_info(stamp_ns, CAMERA)
            writer.image(stamp_ns, view(8 * shift))
            writer.depth(stamp_ns, cv2.imencode(".png", np.full((120, 160), 1000, np.uint16))[1].tobytes())
    return stamps


def test_player_begins_later_with_what_is_latched_also_for_who_comes_late(tmp_path, start, listen):
    stamps = with_mountings_and_depth(tmp_path / "drive")
    images = listen(Image, "/camera/image_raw")
    start("hfnet_ros.player", tmp_path / "drive", "--wait-for-subscriber", 20, "--start", 0.15, "--rate", 0.1)
    until(lambda: len(images) == 1, DISCOVERY_S, "the first of the later images")
    mountings = listen(TFMessage, "/tf_static", MANY)
    until(lambda: len(mountings) == 3, DISCOVERY_S, "all mountings")
    assert sorted(item.child_frame_id for _, told in mountings for item in told.transforms) == [
        "camera",
        "imu",
        "lidar",
    ]
    until(lambda: len(images) == 2, DISCOVERY_S, "the other later image")
    assert [stamp_to_ns(message.header.stamp) for _, message in images] == stamps[2:]


def test_player_goes_round(tmp_path, start, listen):
    stamps = wall_bag(tmp_path / "wall", (0, 8, 16), rate_hz=20.0)
    images, clocks = listen(Image, "/camera/image_raw"), listen(Clock, "/clock")
    player = start("hfnet_ros.player", tmp_path / "wall", "--wait-for-subscriber", 20, "--loop", "--clock")
    until(lambda: len(images) >= 3 * len(stamps), DISCOVERY_S, "three rounds")
    player.send_signal(signal.SIGINT)
    _, errors = player.communicate(timeout=10)
    assert player.returncode == 0, errors
    assert [stamp_to_ns(message.header.stamp) for _, message in images][:9] == stamps * 3
    told = [stamp_to_ns(message.clock) for _, message in clocks]
    assert any(later < sooner for sooner, later in pairwise(told))


def test_player_pauses_with_its_clock(tmp_path, ros, start, listen):
    """And the stamps still lead back, before and after."""
    stamps = wall_bag(tmp_path / "wall", (0, 8, 16, 24, 32, 40), rate_hz=5.0)
    images, clocks = listen(Image, "/camera/image_raw"), listen(Clock, "/clock")
    timings = listen(String, "/player/timing", LATCHED)
    start(
        "hfnet_ros.player", tmp_path / "wall", "--wait-for-subscriber", 20, "--now", "--clock", "--wait-for-evaluation"
    )
    until(lambda: len(images) >= 2, DISCOVERY_S, "the first images")
    assert ros.call(SetBool, "/player/pause", SetBool.Request(data=True)).success
    time.sleep(0.3)
    shown, told = len(images), len(clocks)
    time.sleep(1.0)
    assert (len(images), len(clocks)) == (shown, told)
    assert ros.call(SetBool, "/player/pause", SetBool.Request(data=False)).success
    until(lambda: len(images) == len(stamps), 5.0, "the other images")
    assert len(clocks) > told
    known = [Timing.from_json(message.data) for _, message in timings]
    assert known[1].start_ns - known[0].start_ns > 10**9
    for stamp, (_, message) in zip(stamps, images, strict=True):
        assert stamp in {timing.bag_ns(stamp_to_ns(message.header.stamp)) for timing in known}


def test_player_waits_for_a_localizer_that_never_comes(tmp_path, start, listen):
    wall_bag(tmp_path / "wall", (0, 8), rate_hz=5.0)
    listen(Image, "/camera/image_raw")
    player = start("hfnet_ros.player", tmp_path / "wall", "--wait-for-subscriber", 5, "--wait-for-localizer", "/nobody")
    assert "/nobody did not say that it is ready" in failed(player)


def test_player_ends_cleanly_when_interrupted(tmp_path, start, listen):
    wall_bag(tmp_path / "wall", (0,) * 40, rate_hz=1.0)
    images = listen(Image, "/camera/image_raw")
    player = start("hfnet_ros.player", tmp_path / "wall", "--wait-for-subscriber", 20)
    until(lambda: images, DISCOVERY_S, "an image")
    begun = time.monotonic()
    player.send_signal(signal.SIGINT)
    _, errors = player.communicate(timeout=10)
    assert player.returncode == 0
    assert "Traceback" not in errors
    assert time.monotonic() - begun < 2.0


def test_refusals_are_one_line(tmp_path, start):
    wall_bag(tmp_path / "wall", (0, 8))
    missing = start("hfnet_ros.player", tmp_path / "nothing")
    topic = start("hfnet_ros.player", tmp_path / "wall", "--topics", "/nope")
    rate = start("hfnet_ros.player", tmp_path / "wall", "--rate", "-1")
    no_map = start("hfnet_ros.evaluate", "--bag", tmp_path / "wall", "--map", tmp_path / "no.hfmap")
    assert "nothing: no such bag" in failed(missing)
    assert "no topic /nope" in failed(topic)
    assert "rate" in failed(rate)
    assert "no.hfmap" in failed(no_map)


def test_live_evaluation_of_a_node(tmp_path, wall_world, start):
    model, map_file = wall_world
    stamps = wall_bag(tmp_path / "wall", SHIFTS, rate_hz=4.0)
    process = start("hfnet_ros.evaluate", "--bag", tmp_path / "wall", "--map", map_file, "--rate", 2, "--output",
                    tmp_path / "out", "--param", f"model_file:={model}", "threads:=1")  # fmt: skip
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [item["stamp_ns"] for item in content["images"]] == stamps
    assert content["images"][3]["verdict"] == "silent"
    right = [item for item in content["images"] if item["verdict"] == "right"]
    assert len(right) >= 4
    assert all(item["distance_m"] < 0.02 and 0 < item["latency_s"] < 5 for item in right)
    assert content["score"]["wrong"] == 0
    assert content["score"]["mean_nees"] is not None
    assert content["details"]["node"]["state"] == "active"
    assert len((tmp_path / "out" / "poses_tum.txt").read_text().splitlines()) == content["score"]["published"]
    assert "wrong poses" in printed
    assert cv2.imread(str(tmp_path / "out" / "evaluation.png")) is not None


def test_a_child_that_fails_is_reported_with_its_last_words(tmp_path):
    child = Child("hfnet_ros.player", [tmp_path / "nothing"], tmp_path / "log")
    with child, pytest.raises(ChildError, match="no such bag"):
        child.wait()
    with pytest.raises(ChildError, match="status 2"):
        child.require_alive()


def test_a_child_does_not_outlive_its_context(tmp_path):
    with Child("http.server", ["0", "--bind", "127.0.0.1"], tmp_path / "log") as child:
        child.require_alive()
    assert child.status is not None


def test_a_listener_finds_images_before_and_after_a_pause(tmp_path, ros):
    wall_bag(tmp_path / "wall", (0, 32, 64))
    query = QueryBag.read(tmp_path / "wall")
    listener = Listener(ros.node, "/somebody", "/nobody")
    first = Timing("bag", query.images[0].recorded_ns, 5 * 10**9, 1.0, True)
    listener.timings = [first, replace(first, start_ns=first.start_ns + 3 * 10**9)]
    for item, timing in zip(query.images, [first, *listener.timings], strict=True):
        stamp_ns = timing.played_ns(item.stamp_ns)
        message = pose_to_stamped(item.map_from_camera, "map", stamp_ns)
        listener._pose(message)
    found = listener.samples(query, EvaluationConfig())
    assert [pose_error(item.estimate, item.truth)[0] < 1e-9 for item in found] == [True] * 3


def test_the_demo_does_not_end_well_with_a_bad_result(tmp_path):
    wall_bag(tmp_path / "wall", (0, 32, 64))
    query = QueryBag.read(tmp_path / "wall")
    assert query.image_rate_hz == pytest.approx(10.0)
    from hfnet_core.evaluation.metrics import Sample, score

    truth = [Sample(item.stamp_ns, item.map_from_camera, item.map_from_camera) for item in query.images]
    check(Run(truth, score(truth)))
    silent = [Sample(item.stamp_ns, item.map_from_camera) for item in query.images]
    with pytest.raises(DemoError, match="no image was localized"):
        check(Run(silent, score(silent)))
    wrong = [*truth[:2], Sample(truth[2].stamp_ns, truth[2].truth, map_from_camera(640))]
    with pytest.raises(DemoError, match="1 wrong"):
        check(Run(wrong, score(wrong)))
    few = [truth[0], *silent[1:]]
    with pytest.raises(DemoError, match="only 1 of 3"):
        check(Run(few, score(few)))
    busy = Run(few, score(few), {"images dropped": "2"})
    assert busy.dropped == 2
    check(busy)


def test_executables_are_what_ros2_run_starts():
    for name in ("player", "evaluate"):
        path = Path(REPOSITORY) / "hfnet_ros" / "executables" / name
        assert os.access(path, os.X_OK)


def test_a_demo_empties_no_folder_but_its_own(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty, and no demo's: choose another --output"):
        prepare(tmp_path)
    assert (tmp_path / "logs/mine.txt").exists()
    prepare(tmp_path / "new")
    (tmp_path / "new/evaluation.json").write_text("{}")
    prepare(tmp_path / "new")
    assert not (tmp_path / "new/evaluation.json").exists()
