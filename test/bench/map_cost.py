"""What building a map costs as drives get longer, and what is left of the drift of odometry.

    python test/bench/map_cost.py [--keyframes 100 200 500 1000] [--keypoints 500]

Synthetic drives around a ring, one and a half laps with odometry that drifts by 1 % and 0.5 degrees per metre, each
built in a process of its own. Features are given, so reading and extraction, which cost the same for every image, are
not in it. Seconds are those of one core. Errors are after the best rotation and translation: scale counts.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hfnet_core.config import MapBuildConfig
from hfnet_core.mapping.builder import Placed, build_from_keyframes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from circuit import aligned_error, circuit, with_drift
from drive import INFO

DIM = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keyframes", type=int, nargs="+", default=[100, 200, 500, 1000], help="sizes of the drives")
    parser.add_argument("--keypoints", type=int, default=500, help="landmarks in a view (default 500)")
    parser.add_argument("--here", action="store_true", help="build the first size in this process, print numbers only")
    arguments = parser.parse_args()
    if arguments.here:
        print(*measured(arguments.keyframes[0], arguments.keypoints))
        return
    table = Table(title=f"{arguments.keypoints} keypoints of {DIM} dimensions, one core")
    for name in ("keyframes", "s", "s/keyframe", "peak MiB", "MiB/keyframe", "odometry off, m", "map off, m",
                 "observations/keyframe"):  # fmt: skip
        table.add_column(name, justify="right")
    for size in arguments.keyframes:
        numbers = ["--keyframes", str(size), "--keypoints", str(arguments.keypoints)]
        command = [sys.executable, __file__, "--here", *numbers]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds, start, peak, before, after, seen = (float(value) for value in done.stdout.split())
        table.add_row(
            str(size), f"{seconds:.0f}", f"{seconds / size:.3f}", f"{peak:.0f}", f"{(peak - start) / size:.2f}",
            f"{before:.3f}", f"{after:.3f}", f"{seen / size:.0f}",
        )  # fmt: skip
    Console().print(table)


def measured(keyframes: int, keypoints: int) -> tuple[float, ...]:
    """Seconds of CPU, memory before anything was made and its peak in MiB, errors in metres, observations."""
    start_mib = resident_mib()
    scene = with_drift(circuit(keyframes, keypoints=keypoints, dim=DIM))
    start = time.process_time()
    built = build_from_keyframes(Placed(scene.keyframes), INFO, MapBuildConfig())
    seconds = time.process_time() - start
    before = aligned_error([keyframe.map_from_camera for keyframe in scene.keyframes], scene.truth)
    after = aligned_error([built.map_from_camera(index) for index in range(built.keyframes)], scene.truth)
    return seconds, start_mib, resident_mib(), before, after, float(built.observations)


def resident_mib() -> float:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
