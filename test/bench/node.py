"""What ROS costs around the localizer, and whether memory stays flat: `python test/bench/node.py [--minutes 20]`.

Shows the synthetic wall to a node in its own process, reloads the map every minute, and prints latency percentiles as
the node measured them, the age of poses as a listener saw them, and the growth of the process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from nav_msgs.srv import LoadMap
from robot import Client, Robot, image_msg, info_msg, stamp_of
from wall import SHIFTS, view, wall_files


def resident_mb(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    given = parser.parse_args()
    client = Client()
    with tempfile.TemporaryDirectory() as folder:
        model, map_file = wall_files(Path(folder))
        start = time.monotonic()
        robot = Robot(client, {"map_file": str(map_file), "model_file": str(model), "autostart": True})
        try:
            robot.wait_active()
            robot.pose_of(view(SHIFTS[0]))
            print(f"start to first pose: {time.monotonic() - start:.1f} s")
            run(robot, map_file, given.minutes * 60.0, 1.0 / given.rate)
        finally:
            robot.close()
            client.close()


def run(robot: Robot, map_file: Path, seconds: float, period_s: float) -> None:
    images = [view(shift) for shift in range(0, SHIFTS[-1], 8)]
    ages: list[float] = []
    memory: list[float] = []
    begin = due = time.monotonic()
    reload_at, sample_at = begin + 60.0, begin + min(30.0, 0.2 * seconds)
    shown, seen = 0, len(robot.poses)
    while time.monotonic() < begin + seconds:
        robot.infos.publish(info_msg())
        there_and_back = abs((shown % (2 * len(images) - 2)) - len(images) + 1)
        robot.images.publish(image_msg(images[there_and_back], robot.stamp()))
        shown, due = shown + 1, due + period_s
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, 0.001))
            while seen < len(robot.poses):
                ages.append(time.time() - stamp_of(robot.poses[seen]) / 1e9)
                seen += 1
        if time.monotonic() > reload_at:
            os.utime(map_file)  # a new file, as far as anybody can tell
            robot.call(LoadMap, "localization/load_map", LoadMap.Request(map_url=str(map_file)))
            reload_at += 60.0
        if time.monotonic() > sample_at:
            memory.append(resident_mb(robot.process.pid))
            sample_at += 5.0
    values = {item.key: item.value for item in robot.statuses()[-1].values}
    print(f"{shown} images at {1 / period_s:.0f} Hz, {len(ages)} poses, {values['images dropped']} dropped")
    print("age of poses [ms] p50 {:.1f}, p95 {:.1f}, p99 {:.1f}".format(*(1e3 * np.percentile(ages, [50, 95, 99]))))
    for name, value in values.items():
        if name.startswith("latency"):
            print(f"{name}: {value}")
    growth = memory[-1] / memory[0] - 1
    print(f"resident memory [MB]: {memory[0]:.0f} at first, {memory[-1]:.0f} at the end ({growth:+.1%})")


if __name__ == "__main__":
    main()
