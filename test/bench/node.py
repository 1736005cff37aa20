"""The node at the rate of a camera: start-up, age of poses, what ROS costs, memory.

    python test/bench/node.py                                        # one minute at 30 Hz
    python test/bench/node.py --soak-minutes 20 --reload-every 60    # the soak: the map is loaded anew every minute

Shows 640x480 images to a node in its own process (the model that ships) and prints rows for the README's table.
Without --map and --bag the place is a synthetic wall, mapped first; with them, a recording of your own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.srv import LoadMap
from processes import resident_bytes
from robot import Client, Robot, image_msg, stamp_of, until
from sensor_msgs.msg import CameraInfo, Image
from wall import CAMERA, SHIFTS, map_from_camera, view, wall_image

from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.calibration import camera_info_fields

SIZE = (640, 480)
SAMPLE_S = 5.0
MAX_IMAGES = 300
BARE = "import rclpy; rclpy.init(); rclpy.create_node('bare').get_name(); rclpy.shutdown()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--soak-minutes", type=float, default=1.0)
    parser.add_argument(
        "--reload-every", type=float, default=60.0, help="seconds between two loads of the map; 0: none"
    )
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    parser.add_argument("--starts", type=int, default=3, help="times that start-up is measured")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the network; 0 for one per core")
    parser.add_argument("--backend", default="onnxruntime", help="what runs the network")
    parser.add_argument("--map", type=Path, help="a map, and with it:")
    parser.add_argument("--bag", type=Path, help="a recording in it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bag = given.bag or wall_bag(Path(folder) / "wall.mcap")
        map_file = given.map or build(bag, Path(folder) / "wall.hfmap")
        images, info = read(bag)
        client = Client()
        try:
            start_up(client, map_file, images, info, given)
            soak(client, map_file, images, info, given)
        finally:
            client.close()


# ---- the place


def wall_bag(path: Path) -> Path:
    """The tests' wall, twice as large: every fourth shift, there and back, is a keyframe's or a query's."""
    wall = wall_image()
    with open_writer(path, "mcap") as writer:
        for index, shift in enumerate(range(0, SHIFTS[-1] + 1, 4)):
            stamp_ns = 1_700_000_000 * 10**9 + index * 10**8
            writer.camera_info(stamp_ns, CAMERA.scaled(*SIZE))
            writer.image(stamp_ns, cv2.resize(view(shift, wall), SIZE, interpolation=cv2.INTER_CUBIC))
            writer.pose(stamp_ns, map_from_camera(shift))
    return path


def build(bag: Path, path: Path) -> Path:
    subprocess.run([sys.executable, "-m", "hfnet_core", "map", "build", str(bag), "-o", str(path)], check=True)
    return path


def read(bag: Path) -> tuple[list[Image], CameraInfo]:
    """The first images, there and back again without a jump, and their calibration, as messages.

    Gray: of larger messages DDS loses some on a busy machine.
    """
    there, camera = [], CAMERA
    with Bag(bag) as opened:
        for frame in opened.frames():
            image, camera = np.asarray(frame.image), frame.camera
            there.append(image_msg(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 0))
            if len(there) == MAX_IMAGES:
                break
    model, k, d = camera_info_fields(camera)
    info = CameraInfo(width=camera.width, height=camera.height, distortion_model=model, k=k, d=d)
    info.header.frame_id = "camera"
    return there + there[-2:0:-1], info


# ---- the camera


@dataclass(eq=False)
class Camera:
    """Shows images at a steady rate from a thread of its own, and takes the time of the poses that come back."""

    robot: Robot
    images: list[Image]
    info: CameraInfo
    rate: float
    ages_s: list[float] = field(default_factory=list)
    shown: int = 0
    first_pose_s: float = 0.0

    def __enter__(self) -> Camera:
        topic = f"{self.robot.name}/pose"
        self._subscription = self.robot.node.create_subscription(PoseStamped, topic, self._heard, 10)
        self._running = True
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()
        self.robot.node.destroy_subscription(self._subscription)

    def _heard(self, pose: PoseStamped) -> None:
        self.first_pose_s = self.first_pose_s or time.monotonic()
        self.ages_s.append(time.time() - stamp_of(pose) / 1e9)

    def _show(self) -> None:
        due = time.monotonic()
        while self._running:
            message = self.images[self.shown % len(self.images)]
            stamp = message.header.stamp
            stamp.sec, stamp.nanosec = divmod(self.robot.stamp(), 10**9)
            self.info.header.stamp = stamp
            self.robot.infos.publish(self.info)
            self.robot.images.publish(message)
            self.shown, due = self.shown + 1, max(due + 1.0 / self.rate, time.monotonic() - 1.0)
            time.sleep(max(0.0, due - time.monotonic()))


# ---- what is measured


def start_up(client: Client, map_file: Path, images: list[Image], info: CameraInfo, given: argparse.Namespace) -> None:
    """From starting the process to its first pose, with the camera already running; and what a bare node takes."""
    bare, ours = [], []
    for _ in range(given.starts):
        begin = time.monotonic()
        subprocess.run([sys.executable, "-c", BARE], check=True)
        bare.append(time.monotonic() - begin)
        begin = time.monotonic()
        robot = start(client, map_file, given)
        with Camera(robot, images, info, given.rate) as camera:
            until(lambda camera=camera: camera.first_pose_s, 60.0, "a first pose")
        ours.append(camera.first_pose_s - begin)
        robot.close()
    if ours:
        print(f"| start to first pose, median of {len(ours)} (a bare rclpy node) | {np.median(ours):.2f} s "
              f"({np.median(bare):.2f} s) |")  # fmt: skip


def start(client: Client, map_file: Path, given: argparse.Namespace) -> Robot:
    own = {"map_file": str(map_file), "autostart": True, "threads": given.threads, "backend": given.backend}
    return Robot(client, own)


def soak(client: Client, map_file: Path, images: list[Image], info: CameraInfo, given: argparse.Namespace) -> None:
    """The camera at its rate, the map loaded anew now and then."""
    robot = start(client, map_file, given)
    reloads = robot.node.create_client(LoadMap, f"{robot.name}/load_map")
    asked, memory = [], []
    with Camera(robot, images, info, given.rate) as camera:
        until(lambda: camera.first_pose_s, 60.0, "a first pose")
        time.sleep(2.0)
        before = counts(robot)
        camera.ages_s.clear()
        begin, shown, reload_s, sample_s = time.monotonic(), camera.shown, given.reload_every, 0.0
        while (elapsed_s := time.monotonic() - begin) < given.soak_minutes * 60.0:
            if given.reload_every and elapsed_s > reload_s:
                os.utime(map_file)  # a new file, as far as anybody can tell
                asked.append(reloads.call_async(LoadMap.Request(map_url=str(map_file))))
                reload_s += given.reload_every
            if elapsed_s > sample_s:
                memory.append(resident_bytes(robot.process.pid) / 1e6)
                sample_s += SAMPLE_S
            time.sleep(0.2)
        shown = camera.shown - shown
    taken = {name: (count - before[name]) / elapsed_s for name, count in counts(robot).items()}
    assert all(until(done.done) and done.result().result == LoadMap.Response.RESULT_SUCCESS for done in asked)
    values = {item.key: item.value for item in robot.statuses()[-1].values}
    robot.node.destroy_client(reloads)
    robot.close()
    report(given, camera.ages_s, shown, len(asked), memory, values)
    done = taken["localized"] + taken["not localized"]
    rates = " / ".join(f"{value:.1f}" for value in (shown / elapsed_s, done, taken["dropped"]))
    print(f"| images a second: shown / processed / dropped for a newer one | {rates} |")


def counts(robot: Robot) -> dict[str, int]:
    """Images by what became of them, from diagnostics that are asked for now."""
    said = {item.key: item.value for item in robot.until_says("").values}
    return {name: int(said[f"images {name}"]) for name in ("localized", "not localized", "dropped")}


def report(
    given: argparse.Namespace, ages_s: list[float], shown: int, reloads: int, memory: list[float], said: dict[str, str]
) -> None:
    """Rows of a Markdown table. Latencies by stage are the node's own, of its last 200 images."""
    processing, overhead = (float(said[f"latency {name} p50/p95 [ms]"].split("/")[0]) for name in ("total", "overhead"))
    bound = 2000.0 / given.rate + processing
    p50, p95, p99 = (1e3 * float(value) for value in np.percentile(ages_s, [50, 95, 99]))
    quarter = max(len(memory) // 4, 1)
    early, late = np.median(memory[quarter : 2 * quarter] or memory), np.median(memory[-quarter:])
    rows = {
        f"poses from {shown} images at {given.rate:.0f} Hz in {given.soak_minutes:g} min": str(len(ages_s)),
        f"age of a pose's stamp at a listener, p50 / p95 / p99 (bound {bound:.0f} ms)":
            f"{p50:.0f} / {p95:.0f} / {p99:.0f} ms",
        "callback to publish, p50 / p95": f"{said['latency total p50/p95 [ms]'].replace('/', ' / ')} ms",
        "of it ROS (without network and localizer), p50": f"{overhead:.2f} ms",
        f"memory in the second quarter, in the last ({reloads} loads of the map)":
            f"{early:.0f} MB, {late:.0f} MB ({late / early - 1:+.1%})",
    }  # fmt: skip
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    print({name: value for name, value in said.items() if name.startswith(("latency", "images"))})


if __name__ == "__main__":
    main()
