"""Kill the mapping node at random moments of a drive; it must go on, with at most the last seconds lost.

    python test/bench/live_kill.py [--kills 10] [--seed 0]

Over real topics: a robot drives along a wall, the node is killed (SIGKILL) and started again while it drives on. What
was on disk before must be in the map at the end. Exit status 1 where it is not.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
from mapping_robot import STEPS, Driver, ask, parameters
from robot import Client, Mapper
from wall import wall_files

from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.maps.storage import load_map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="how many nodes to kill (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    given = parser.parse_args()
    rng, client, failures = np.random.default_rng(given.seed), Client(), 0
    try:
        with tempfile.TemporaryDirectory() as name:
            model, _ = wall_files(Path(name))
            for number in range(given.kills):
                place = Path(name) / str(number)
                place.mkdir()
                failures += not one(client, place, model, float(rng.uniform(0.0, len(STEPS) * 0.1)))
    finally:
        client.close()
    sys.exit(1 if failures else 0)


def one(client: Client, place: Path, model: Path, moment_s: float) -> bool:
    """Whether nothing was lost that was on disk."""
    robot = Mapper(client, parameters(place, model, publish_every_s=1.0))
    driver = Driver(robot)
    driver.wait()
    began_s, shown = time.monotonic(), 0
    while time.monotonic() < began_s + moment_s and shown < len(STEPS):
        driver.show(STEPS[shown])
        shown += 1
        time.sleep(0.1)
    robot.process.kill()
    robot.process.wait()
    kept = [item.keyframe.stamp_ns for item in DriveFolder(place / "wall.hfdrive").keyframes()]
    lost_s = (driver.stamps[-1] - max(kept, default=driver.stamps[0])) * 1e-9 if driver.stamps else 0.0
    again = Mapper(client, parameters(place, model, publish_every_s=1.0), namespace=robot.namespace)
    follower = Driver(again)
    follower.wait()
    follower.drive(STEPS[shown:] or STEPS[-2:])
    answer = ask(again, "finish")
    made = load_map(place / "wall.hfmap").keyframe_stamps_ns.tolist() if answer.success else []
    right = answer.success and set(kept) <= set(made)
    print(f"killed after {moment_s:4.1f} s with {len(kept):2d} keyframes, the last {lost_s:.1f} s without one: "
          f"{len(made)} in the map, {'nothing lost' if right else 'LOST: ' + answer.message}", flush=True)  # fmt: skip
    again.close()
    robot.close()
    return right


if __name__ == "__main__":
    main()
