"""The mapping node at the rate of a camera: what it takes, and whether it keeps up, as the drive gets longer.

    python test/bench/live_rate.py [--keyframes 2000] [--every-m 0.3] [--solve never]

Over real topics: ten seconds of the rendered courtyard at 640x480, up and down at 5 km/h and 30 images a second, with
its true odometry and the network that ships, on one thread. A row for each fifth of the keyframes: share of a core of
recording (of /proc) and of making maps (the mean of what diagnostics say), images that wait, those that never came or
were passed over, memory of the node, and the drive folder. --solve never only records, as a robot without pycolmap.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
from mapping_robot import RELIABLE, values
from nav_msgs.msg import Odometry
from processes import resident_bytes, worked_s
from rich.console import Console
from rich.table import Table
from robot import Client, Mapper, image_msg, until
from sensor_msgs.msg import CameraInfo, Image

from hfnet_core.geometry import Pose
from hfnet_core.recordings.calibration import camera_info_fields
from hfnet_core.synthetic import walk
from hfnet_ros.conversions import pose_to_msg

SPEED_M_S, RATE_HZ = 5 / 3.6, 30.0
TURN_DEG_S = 42.0 * SPEED_M_S / 1.1  # as the walk turns, at its pace
IMAGES = 300  # of the walk
ROWS = 5
COLUMNS = (
    "keyframes", "a second", "share of a core, recording", "making maps", "images waiting, median / 99 % / most",
    "lost on the way", "passed over", "MiB of the node", "MB in the folder", "in the map", "its age, s",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keyframes", type=int, default=2000, help="to record (default 2000)")
    parser.add_argument("--every-m", type=float, default=0.3, help="build.keyframe_distance_m (default 0.3)")
    parser.add_argument("--solve", choices=("auto", "never"), default="never", help="make maps meanwhile")
    given = parser.parse_args()
    way = [(message, shot.map_from_camera) for message, shot in rendered()]
    client = Client()
    try:
        with tempfile.TemporaryDirectory() as folder:
            Console(width=220).print(drive(client, Path(folder), [*way, *way[-2:0:-1]], given))
    finally:
        client.close()


def rendered() -> list[tuple[Image, walk.Shot]]:
    """Gray, as messages."""
    path = replace(walk.MAP_PASS.path, speed_m_s=SPEED_M_S, turn_deg_s=TURN_DEG_S)
    day = replace(walk.MAP_PASS, path=path, rate_hz=RATE_HZ)
    shots = islice(walk.shots(day), IMAGES)
    return [(image_msg(cv2.cvtColor(shot.image, cv2.COLOR_RGB2GRAY), 0), shot) for shot in shots]


@dataclass(eq=False)
class Eye:
    """Camera and odometry at their rate, in a thread of its own."""

    robot: Mapper
    way: list[tuple[Image, Pose]]
    shown: int = 0
    running: bool = True
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.images = self.robot.publisher(Image, "image", RELIABLE)
        self.odometry = self.robot.publisher(Odometry, "odom", RELIABLE)
        self.infos = self.robot.publisher(CameraInfo, "camera_info", RELIABLE)
        model, k, d = camera_info_fields(walk.CAMERA)
        self.info = CameraInfo(width=walk.CAMERA.width, height=walk.CAMERA.height, distortion_model=model, k=k, d=d)
        self.info.header.frame_id = "camera"
        self.thread = threading.Thread(target=self._show, daemon=True)

    def heard(self) -> bool:
        return all(own.get_subscription_count() for own in (self.images, self.odometry, self.infos))

    def _show(self) -> None:
        due_s, first = time.monotonic(), self.way[0][1]
        while self.running:
            message, pose = self.way[self.shown % len(self.way)]
            stamp = message.header.stamp
            stamp.sec, stamp.nanosec = divmod(self.robot.stamp(), 10**9)
            moved = Odometry(child_frame_id="camera")
            moved.header = image_msg(np.zeros((1, 1), np.uint8), 0, frame_id="odom").header
            moved.header.stamp, self.info.header.stamp = stamp, stamp
            moved.pose.pose = pose_to_msg(first.inverse() @ pose)
            self.odometry.publish(moved)
            self.infos.publish(self.info)
            self.images.publish(message)
            self.shown, due_s = self.shown + 1, max(due_s + 1.0 / RATE_HZ, time.monotonic() - 1.0)
            time.sleep(max(0.0, due_s - time.monotonic()))


def drive(client: Client, place: Path, way: list[tuple[Image, Pose]], given: argparse.Namespace) -> Table:
    parameters = {
        "map_file": str(place / "yard.hfmap"), "autostart": True, "odom_frame_id": "odom", "odom_topic": "odom",
        "image_reliability": "reliable", "backend": "onnxruntime", "threads": 1, "diagnostics_period_s": 0.2,
        "build.keyframe_distance_m": given.every_m, "solve": given.solve, "odom_timeout_s": 0.5,
    }  # fmt: skip
    robot = Mapper(client, parameters)
    eye = Eye(robot, way)
    until(lambda: "active: listening" in robot.log and eye.heard(), 60.0, "the node")
    table = Table(*COLUMNS, title=f"{RATE_HZ:g} Hz, a keyframe every {given.every_m:g} m, solve: {given.solve}")
    eye.thread.start()
    try:
        for due in range(given.keyframes // ROWS, given.keyframes + 1, given.keyframes // ROWS):
            row = until_recorded(robot, eye, due, lambda: megabytes(place / "yard.hfdrive"))
            table.add_row(*row)
            print(*row, sep=" | ", flush=True)
    finally:
        eye.running = False
        eye.thread.join()
        robot.close()
    return table


def until_recorded(robot: Mapper, eye: Eye, keyframes: int, stored_mb: Callable[[], float]) -> tuple[str, ...]:
    """A row of the table, once so many keyframes are recorded."""
    before, began_s, began_cpu_s, first = values(robot), time.monotonic(), worked_s(robot.process.pid), eye.shown
    waiting: list[int] = []
    making: list[float] = []
    while count(now := values(robot), "keyframes") < keyframes:
        assert robot.process.poll() is None
        if now:
            waiting.append(count(now, "images waiting"))
            making.append(float(now["share of a core, solving"]))
        time.sleep(0.2)
    took_s = time.monotonic() - began_s
    received, passed, recorded = (
        count(now, name) - count(before, name) for name in ("images received", "images dropped", "keyframes")
    )
    return (
        str(count(now, "keyframes")),
        f"{recorded / took_s:.1f}",
        f"{(worked_s(robot.process.pid) - began_cpu_s) / took_s:.2f}",
        f"{np.mean(making):.2f}",
        f"{np.median(waiting):.0f} / {np.percentile(waiting, 99):.0f} / {max(waiting)}",
        f"{max(0, eye.shown - first - received)} of {eye.shown - first}",
        str(passed),
        f"{resident_bytes(robot.process.pid) / 2**20:.0f}",
        f"{stored_mb():.0f}",
        now["keyframes in map"],
        now["map version age [s]"],
    )


def count(told: dict[str, str], name: str) -> int:
    return int(told.get(name) or 0)


def megabytes(folder: Path) -> float:
    return sum(item.stat().st_size for item in folder.iterdir() if item.is_file()) / 1e6


if __name__ == "__main__":
    main()
