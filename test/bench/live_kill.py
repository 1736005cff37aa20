"""Kill the mapping node at chosen and at random moments of a drive; it must go on, with at most the last seconds lost.

    python test/bench/live_kill.py [--rounds 2] [--seed 0]

Over real topics: a robot drives up and down along a wall, a localization node follows the map. In each round the node
is killed (SIGKILL) once at each of MOMENTS, each time in a drive of its own, every other time with all the processes
that make maps for it, as when power goes; and started again while the robot drives on. What was on disk must be in the
map at the end, the map's file must be whole at every moment, the mapping node must record again, and the localization
node must go on. Exit status 1 where something is not so.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from std_srvs.srv import Trigger

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
from mapping_robot import STEPS, Driver, ask, parameters, values
from robot import Client, Mapper, Robot
from wall import wall_files

from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.maps.storage import load_map
from hfnet_core.maps.tensor_file import UNFINISHED

Row = tuple[str, ...]
RATE_HZ = 10.0
WARM_S = 6.0  # of driving before each kill, beside up to as much at random, and after it
PATIENCE_S = 90.0  # for a moment that does not come, or a node that starts on a busy machine
MOMENTS = (
    "at any moment",
    "while a keyframe is written",
    "while a version is written",
    "when a version has just come",
    "while the whole is adjusted",
    "after ~/finish",
)


@dataclass
class Drive:
    """A robot on its way, past nodes that come and go."""

    client: Client
    place: Path
    model: Path
    robot: Mapper = field(init=False)
    driver: Driver = field(init=False)
    way: itertools.cycle = field(default_factory=lambda: itertools.cycle([*STEPS, *reversed(STEPS)]))

    def start(self, namespace: str = "") -> None:
        """The mapping node, for the first time or again."""
        given = parameters(self.place, self.model, publish_every_s=1.0, queue_images=100, diagnostics_period_s=0.1)
        self.robot = Mapper(self.client, given, namespace=namespace)
        self.driver = Driver(self.robot)

    @property
    def map_file(self) -> Path:
        return self.place / "wall.hfmap"

    @property
    def folder(self) -> DriveFolder:
        return DriveFolder(self.place / "wall.hfdrive")

    def drive(self, until_true: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
        """On and on, until something is so; whether it was so in time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.driver.show(next(self.way))
            next_s = time.monotonic() + 1.0 / RATE_HZ
            while time.monotonic() < next_s:
                if until_true():
                    return True
                time.sleep(0.0005)
        return False

    def go(self, seconds: float) -> None:
        self.drive(lambda: False, seconds)

    def strike(self, *, all_of_it: bool) -> None:
        """SIGKILL, to the node alone or to what works for it too."""
        own = self.robot.process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split() if all_of_it else []
        for pid in (own, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.robot.process.wait()


def is_written(folder: Path, start: str) -> bool:
    """Whether a file is being written there."""
    return next(folder.glob(f".{start}*{UNFINISHED}"), None) is not None


def await_moment(drive: Drive, moment: str, rng: np.random.Generator) -> bool:
    """Drive on until it is there; whether it came."""
    drive.go(WARM_S + float(rng.uniform(0.0, WARM_S)))
    if moment == "while a keyframe is written":
        return drive.drive(lambda: is_written(drive.folder.path, "keyframe-"))
    if moment == "while a version is written":
        return drive.drive(lambda: is_written(drive.place, drive.map_file.name))
    if moment == "when a version has just come":
        before = drive.map_file.stat().st_ino if drive.map_file.exists() else 0
        return drive.drive(lambda: drive.map_file.exists() and drive.map_file.stat().st_ino != before)
    if moment == "while the whole is adjusted":
        asking = drive.client.node.create_client(Trigger, f"{drive.robot.name}/save_map")
        asking.call_async(Trigger.Request())
        came = drive.drive(lambda: values(drive.robot).get("solving", "").startswith(("match", "triang", "adjust")))
        drive.go(float(rng.uniform(0.0, 1.0)))
        drive.client.node.destroy_client(asking)
        return came
    if moment == "after ~/finish":
        asking = drive.client.node.create_client(Trigger, f"{drive.robot.name}/finish")
        done = asking.call_async(Trigger.Request())
        time.sleep(float(rng.uniform(0.0, 2.0)))
        drive.client.node.destroy_client(asking)
        return not done.done()
    return True


def one(client: Client, place: Path, model: Path, moment: str, rng: np.random.Generator, *, all_of_it: bool) -> Row:
    """The moment, who was killed, and what followed; the last cell is what is wrong, or nothing."""
    place.mkdir()
    drive = Drive(client, place, model)
    drive.start()
    beside = localizer(drive)
    drive.driver.wait()
    drive.drive(lambda: bool(beside.poses), 2 * PATIENCE_S)
    came = await_moment(drive, moment, rng)
    told = int(values(drive.robot).get("keyframes", "0"))
    drive.strike(all_of_it=all_of_it)
    first_ns, last_ns = drive.driver.stamps[0], drive.driver.stamps[-1]
    poses, killed_s = len(beside.poses), time.monotonic()
    kept = {item.keyframe.stamp_ns for item in drive.folder.keyframes()}
    version = load_map(drive.map_file).keyframes if drive.map_file.exists() else 0  # raises for a damaged one
    wrong = [] if len(kept) >= told else ["keyframes are missing"]
    drive.robot.close()
    drive.start(drive.robot.namespace)
    listening = drive.drive(lambda: "active: listening" in drive.robot.log)  # nobody records this
    again_s, localized = time.monotonic() - killed_s, len(beside.poses) - poses
    wrong += [] if listening and f"which has {len(kept)}" in drive.robot.log else ["it does not go on where it was"]
    drive.go(WARM_S)
    wrong += [] if len(beside.poses) > poses else ["no pose after it"]
    answer = ask(drive.robot, "finish")
    made = set(load_map(drive.map_file).keyframe_stamps_ns.tolist()) if answer.success else set()
    wrong += [] if kept <= made else [f"{len(kept - made)} of {len(kept)} missing in the end: {answer.message}"]
    wrong += [] if drive.folder.count() > len(kept) else ["nothing recorded after it"]
    wrong += [] if came else ["the moment did not come"]
    beside.close()
    drive.robot.close()
    numbers = told, len(kept), version, len(made), localized
    seconds = f"{(last_ns - max(kept, default=first_ns)) * 1e-9:.1f}", f"{again_s:.1f}"
    row = (moment, "all processes" if all_of_it else "the node", *map(str, numbers), *seconds, "; ".join(wrong))
    print(*row, sep=" | ", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="kills at each moment (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default 0)")
    parser.add_argument("--moments", nargs="+", choices=MOMENTS, default=MOMENTS, help="some of them (default all)")
    given = parser.parse_args()
    rng, rows = np.random.default_rng(given.seed), []
    print("when | killed | keyframes told | on disk | in the map | in the map at the end | poses meanwhile | "
          "s without a keyframe | s until it listens | wrong", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        model, _ = wall_files(Path(name))
        for number, (turn, moment) in enumerate(itertools.product(range(given.rounds), given.moments)):
            client = Client()
            try:
                all_of_it = (turn + given.moments.index(moment)) % 2 == 1
                rows.append(one(client, Path(name) / str(number), model, moment, rng, all_of_it=all_of_it))
            finally:
                client.close()
    sys.exit(1 if any(row[-1] for row in rows) else 0)


def localizer(drive: Drive) -> Robot:
    """The localization node beside, which waits for the map."""
    given = {
        "map_file": str(drive.map_file), "model_file": str(drive.model), "autostart": True, "map_follow": True,
        "backend": "onnxruntime", "odom_frame_id": "odom", "odom_topic": "odom", "image_reliability": "reliable",
        "localizer.search_budget_ms": 1000.0, "localizer.min_confidence": 0.5, "localizer.min_inliers": 12,
    }  # fmt: skip
    return Robot(drive.client, given, namespace=drive.robot.namespace)


if __name__ == "__main__":
    main()
