"""Faults: the node lives, says what is wrong within a second, publishes no wrong pose, and recovers by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.srv import LoadMap
from robot import Robot, assert_at, image_msg, info_msg, stamp_of, until
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger
from wall import noise_image, view

from hfnet_ros.conversions import pose_from_msg

SHIFT = 64
PERIOD_S = 0.1
NOTICED_S = 1.0


@pytest.fixture(scope="module")
def world(ros, wall_world, tmp_path_factory):
    """A robot whose node knows the wall, from a map file of its own."""
    model, map_file = wall_world
    own = tmp_path_factory.mktemp("own") / "own.hfmap"
    own.write_bytes(map_file.read_bytes())
    robot = Robot(ros, {"map_file": str(own), "model_file": str(model), "autostart": True, "image_timeout_s": 0.5})
    robot.map_file, robot.intact = own, map_file
    try:
        robot.wait_active()
        yield robot
    finally:
        robot.close()


@pytest.fixture
def robot(world):
    """Localized and well before the fault, and again after it."""
    assert world.call(Trigger, "localization/relocalize").success
    recover(world)
    yield world
    recover(world)
    assert world.process.poll() is None
    assert "Traceback" not in world.log


def recover(robot: Robot) -> None:
    assert_at(pose_from_msg(robot.pose_of(view(SHIFT)).pose), SHIFT)
    robot.until_says("localized (", again=lambda: robot.show(view(SHIFT)), level=DiagnosticStatus.OK)


def noticed(robot: Robot, text: str, cause: Callable[[], object], limit_s: float = NOTICED_S) -> DiagnosticStatus:
    """Cause something again and again; the diagnostics must say a text within a second of the first time."""
    known, begin = len(robot.statuses()), time.monotonic()
    while time.monotonic() < begin + limit_s:
        cause()
        time.sleep(PERIOD_S)
        for status in robot.statuses()[known:]:
            if text in status.message:
                return status
    raise AssertionError(f"diagnostics did not say {text!r} within {limit_s} s, but {robot.said()!r}")


@dataclass(frozen=True)
class Fault:
    """Bad images, what diagnostics say of them and with which reason code."""

    send: Callable[[Robot], int | None]
    says: str
    code: str
    level: bytes = DiagnosticStatus.ERROR


def stamped(offset_s: float) -> Callable[[Robot], int]:
    return lambda robot: robot.show(view(SHIFT), robot.stamp() + int(offset_s * 1e9))


def info_of_another_resolution() -> CameraInfo:
    info = info_msg(640, 480)
    info.k = info_msg().k
    return info


FAULTS = {
    "encoding changed": Fault(lambda r: r.show(view(SHIFT), encoding="no_such_encoding"), "no_such_encoding", "IMAGE"),
    "encoding of more bytes": Fault(lambda r: r.show(view(SHIFT), encoding="rgb8"), "rgb8", "IMAGE"),
    "image size changed": Fault(lambda r: r.show(view(SHIFT)[:200]), "is for images of 320x240, got 320x200",
                                "CALIBRATION"),
    "camera_info of another size": Fault(lambda r: r.show(view(SHIFT), info=info_msg(640, 480)),
                                         "is for images of 640x480, got 320x240", "CALIBRATION"),
    "K of another resolution": Fault(lambda r: r.show(view(SHIFT), info=info_of_another_resolution()), "cannot be true",
                                     "CALIBRATION"),
    "camera_info with K = 0": Fault(lambda r: r.show(view(SHIFT), info=info_msg(calibrated=False)), "uncalibrated",
                                    "CALIBRATION"),
    "image of nothing": Fault(lambda r: r.show(noise_image()), "not localized: ", "", DiagnosticStatus.WARN),
    "stamp from the future": Fault(stamped(60.0), "ahead of the clock", "", DiagnosticStatus.WARN),
    "no stamp": Fault(lambda r: r.show(view(SHIFT), 0), "no stamp", "", DiagnosticStatus.WARN),
    "stamp from the past": Fault(stamped(-0.9), "do not advance", "", DiagnosticStatus.WARN),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_bad_images(robot, fault):
    stamps, before = set(), len(robot.poses)
    status = noticed(robot, fault.says, lambda: stamps.add(fault.send(robot)))
    assert status.level == fault.level
    if fault.code:
        values = {item.key: item.value for item in status.values}
        assert values["localized"] == "false"
        assert values["reason code"] == fault.code
    time.sleep(0.3)
    assert not {stamp_of(pose) for pose in robot.poses[before:]} & stamps


def test_stamps_that_start_over_are_a_new_recording(robot):
    past_ns = robot.stamp() - 10**12
    before = len(robot.poses)
    until(lambda: robot.show(view(SHIFT), past_ns + robot.stamp() % 10**10) and "went back" in robot.log)
    until(lambda: robot.show(view(SHIFT), past_ns + 20 * 10**9 + robot.stamp() % 10**10)
          and [pose for pose in robot.poses[before:] if stamp_of(pose) < past_ns + 10**11], 15)  # fmt: skip


def test_other_image_sizes_work_with_their_calibration(robot):
    """A smaller region of the same sensor, whose sides are no multiple of the network's cell."""
    part, info = np.ascontiguousarray(view(SHIFT)[:237, :315]), info_msg(315, 237)
    info.k = info_msg().k  # cut off, not resized
    assert_at(pose_from_msg(robot.pose_of(part, info=info).pose), SHIFT)


def test_silent_camera_and_back(robot):
    """As ten seconds at the default timeout of one: half of it here."""
    status = noticed(robot, "no image on ", lambda: None, 0.5 + NOTICED_S)
    assert status.level == DiagnosticStatus.ERROR
    assert {item.key: item.value for item in status.values}["reason code"] == "CAMERA"
    before = len(robot.poses)
    time.sleep(5.0)
    assert len(robot.poses) == before
    assert "no image on" in robot.said()
    stamp = robot.show(view(SHIFT))
    until(lambda: [pose for pose in robot.poses if stamp_of(pose) >= stamp] or robot.show(view(SHIFT)) < 0, 2.0)


def test_flood_leaves_no_backlog(robot):
    """100 Hz for two seconds: the newest image is always the one at work."""
    ages, before = [], len(robot.poses)
    due = time.monotonic()
    for _ in range(200):
        robot.images.publish(image_msg(view(SHIFT), robot.stamp()))
        due += 0.01
        time.sleep(max(0.0, due - time.monotonic()))
        known = before + len(ages)
        ages += [time.time_ns() - stamp_of(pose) for pose in robot.poses[known:]]
    quarter = len(ages) // 4
    assert quarter > 1
    assert np.median(ages[-quarter:]) < 2.0 * np.median(ages[:quarter]) + 1e8  # with a backlog they only grow
    stamps = [stamp_of(pose) for pose in robot.poses[before:]]
    assert stamps == sorted(set(stamps))
    time.sleep(1.2)
    values = {item.key: item.value for item in robot.until_says("", 3).values}
    done = sum(int(values[f"images {name}"]) for name in ("dropped", "refused", "localized", "not localized"))
    assert done == int(values["images received"])  # nothing is left waiting
    last = robot.stamp()  # shown again where it gets lost on its way
    until(lambda: robot.show(view(SHIFT)) and [pose for pose in robot.poses if stamp_of(pose) >= last], 2.0)


def test_map_file_deleted_overwritten_and_damaged(robot):
    """What is loaded does not care; what cannot be loaded changes nothing."""
    robot.map_file.unlink()
    try:
        assert noticed(robot, "own.hfmap is gone", lambda: robot.show(view(SHIFT))).level == DiagnosticStatus.WARN
        assert_at(pose_from_msg(robot.pose_of(view(SHIFT)).pose), SHIFT)
        assert "own.hfmap" in load(robot, robot.map_file)
        with robot.map_file.open("wb") as file:
            file.write(robot.intact.read_bytes()[:5000])
        noticed(robot, "own.hfmap has changed", lambda: robot.show(view(SHIFT)))
        assert "own.hfmap" in load(robot, robot.map_file)
        assert_at(pose_from_msg(robot.pose_of(view(SHIFT)).pose), SHIFT)
    finally:
        robot.map_file.write_bytes(robot.intact.read_bytes())
    assert load(robot, robot.map_file) == ""


def test_map_file_shortened_in_place_while_it_is_used(robot):
    """As `cp other.hfmap own.hfmap` does it: a mapped file would end the process."""
    contents = robot.map_file.read_bytes()
    try:
        with robot.map_file.open("r+b") as file:
            file.truncate(0)
        robot.call(Trigger, "localization/relocalize")
        noticed(robot, "own.hfmap has changed", lambda: robot.show(view(SHIFT)))
        assert_at(pose_from_msg(robot.pose_of(view(SHIFT)).pose), SHIFT)
    finally:
        robot.map_file.write_bytes(contents)
    assert load(robot, robot.map_file) == ""


def load(robot: Robot, path) -> str:
    """Ask for a map; what diagnostics say against it, empty when it was loaded."""
    answers = []

    def ask():
        if not answers:
            answers.append(robot.call(LoadMap, "localization/load_map", LoadMap.Request(map_url=str(path))).result)
        robot.show(view(SHIFT))

    ask()
    if answers == [LoadMap.Response.RESULT_SUCCESS]:
        return ""
    return noticed(robot, "load_map failed, the map stays", ask).message


def test_no_image_is_lost_while_a_map_is_loaded(robot):
    """Maps are swapped between two images: each image has its pose, before, meanwhile and after."""
    begin, lost = len(robot.poses), 0
    client = robot.node.create_client(LoadMap, f"{robot.name}/load_map")
    try:
        until(client.service_is_ready)
        asked = None
        for index in range(30):
            stamp = robot.stamp()
            robot.images.publish(image_msg(view(SHIFT), stamp))
            if index == 5:
                asked = client.call_async(LoadMap.Request(map_url=f"file://{robot.intact}"))
            deadline = time.monotonic() + 2.0
            while not (found := any(stamp_of(pose) == stamp for pose in robot.poses[-5:])):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.002)
            lost += not found
        assert until(asked.done)
        assert asked.result().result == LoadMap.Response.RESULT_SUCCESS
    finally:
        robot.node.destroy_client(client)
    assert lost <= 1  # best effort may lose one now and then
    for pose in robot.poses[begin:]:
        assert_at(pose_from_msg(pose.pose), SHIFT)
    assert load(robot, robot.map_file) == ""


def test_images_of_another_exposure_and_scale_are_never_answered_wrongly(robot):
    before = len(robot.poses)
    gray = view(SHIFT)
    for image in (gray // 4, 255 - gray, cv2.GaussianBlur(gray, (0, 0), 5.0), np.ascontiguousarray(gray[::-1])):
        for _ in range(3):
            robot.show(image)
            time.sleep(PERIOD_S)
    for pose in robot.poses[before:]:
        assert_at(pose_from_msg(pose.pose), SHIFT)
    robot.pose_of(gray)  # and it still knows its own


def test_damage_that_is_found_while_a_large_map_is_in_use_ends_its_poses(ros, wall_world, tmp_path):
    """Opened at once, verified in the background: `map_verify_mib` of zero calls every map a large one."""
    model, intact = wall_world
    bad, good = tmp_path / "bad.hfmap", tmp_path / "good.hfmap"
    good.write_bytes(intact.read_bytes())
    content = bytearray(intact.read_bytes())
    content[-1] ^= 1  # of the last array: descriptors, whose values no other check can tell
    bad.write_bytes(content)
    given = {"map_file": str(bad), "model_file": str(model), "autostart": True, "map_verify_mib": 0}
    robot = Robot(ros, given)
    try:
        robot.wait_active()
        status = robot.until_says("no pose is published", 20, again=lambda: robot.show(view(SHIFT)))
        assert status.level == DiagnosticStatus.ERROR
        assert "bad.hfmap: array" in status.message
        assert "does not match its checksum" in status.message
        assert {item.key: item.value for item in status.values}["map verification"] == "damaged"
        time.sleep(0.5)
        before = len(robot.poses)
        for _ in range(5):
            robot.show(view(SHIFT))
            time.sleep(PERIOD_S)
        assert len(robot.poses) == before
        assert "does not match its checksum" in load(robot, bad)  # not a second time either
        assert load(robot, good) == ""
        assert_at(pose_from_msg(robot.pose_of(view(SHIFT)).pose), SHIFT)
        status = robot.until_says("localized (", 20, again=lambda: robot.show(view(SHIFT)), level=DiagnosticStatus.OK)
        assert {item.key: item.value for item in status.values}["map verification"] == "verified"
    finally:
        robot.close()
    assert "Traceback" not in robot.log
