"""Kill a map's build at random moments; every one must resume and end with the same map, byte by byte.

    python test/bench/kill.py [--bag BAG] [--kills 10] [--seed 0] [-- OPTIONS OF hfnet map build]

Without --bag, a drive along a synthetic wall. Moments are uniform over the time in which the build works. Exit status 1
if a map differs or something is left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bags import wall_drive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bag", type=Path, help="recording with poses")
    parser.add_argument("--kills", type=int, default=10, help="how many builds to kill (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("options", nargs="*", help="options of `hfnet map build`, after --")
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag = given.bag or wall_drive(folder / "wall", frames=40)
        expected, seconds = build(bag, folder / "whole", given.options)
        print(f"a whole build works {seconds:.1f} s: {expected[:16]}")
        failures = 0
        for number in range(given.kills):
            moment = float(rng.uniform(0.0, seconds))
            place = folder / str(number)
            left = kill(bag, place, given.options, moment)
            found, resumed_s = build(bag, place, given.options)
            right = found == expected and [item.name for item in place.iterdir()] == ["a.hfmap"]
            failures += not right
            print(f"killed after {moment:5.1f} s with {left:4d} results: resumed for {resumed_s:5.1f} s, "
                  f"{'the same map' if right else 'NOT THE SAME'}", flush=True)  # fmt: skip
            shutil.rmtree(place)
    sys.exit(1 if failures else 0)


def start(bag: Path, place: Path, options: list[str]) -> tuple[subprocess.Popen[bytes], float]:
    """A build in a folder, and the time at which it had begun to work."""
    place.mkdir(exist_ok=True)
    had = (place / ".a.hfmap.work").exists()
    command = [sys.executable, "-m", "hfnet_core", "map", "build", str(bag), "-o", str(place / "a.hfmap"), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    begun = time.monotonic()
    while not had and not (place / ".a.hfmap.work").exists() and process.poll() is None:
        time.sleep(0.01)
        begun = time.monotonic()
    return process, begun


def build(bag: Path, place: Path, options: list[str]) -> tuple[str, float]:
    """(hash of the map, seconds of work)."""
    process, begun = start(bag, place, options)
    errors = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"the build failed: {errors.decode(errors='replace')[-500:]}")
    return hashlib.sha256((place / "a.hfmap").read_bytes()).hexdigest(), time.monotonic() - begun


def kill(bag: Path, place: Path, options: list[str], moment_s: float) -> int:
    """How many results were there when it was killed."""
    process, begun = start(bag, place, options)
    time.sleep(max(0.0, begun + moment_s - time.monotonic()))
    process.kill()
    process.communicate()
    return len(list((place / ".a.hfmap.work").glob("[!l]*")))


if __name__ == "__main__":
    main()
