"""What mapping while driving costs: a keyframe's recording, and a version of the map as the drive gets longer.

    python test/bench/live.py [--keyframes 250 500 1000 2000] [--grown 125 250 500 1000 2000] [--recorded 2000]

Recording: images of the rendered courtyard at 640x480 through the shipped network, judged, described, written; seconds
of processor time for an image that becomes no keyframe and for one that does, and the share of a core at 5 km/h and
30 images a second for several distances between keyframes. Then the same images again and again, as fast as it goes,
until so many keyframes are recorded: time for each at the beginning and at the end, and memory.
Whole versions: a synthetic ring, once and a half around, whose keyframes are recorded without images; each version is
made as the node makes it, with the matches of the one before. Seconds of processor time, and the memory of its process.
Grown versions: the same ring, to whose map the newest keyframes are added, as the node does while no whole version is
ready; larger maps hold it several times.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hfnet_core.config import MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.live.drive_folder import DriveFolder, RecordedKeyframe, Source
from hfnet_core.mapping.live.growing import MOST, grown
from hfnet_core.mapping.live.mapper import LiveFrame, LiveMapper, LiveSource
from hfnet_core.mapping.live.side_by_side import beside
from hfnet_core.mapping.live.solving import build_from_drive
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.synthetic import walk
from hfnet_core.threads import one_blas_thread

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from circuit import circuit, with_drift
from drive import INFO
from processes import resident_bytes

SPEED_M_S, RATE_HZ = 5 / 3.6, 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keyframes", type=int, nargs="*", default=[250, 500, 1000, 2000], help="whole versions at")
    parser.add_argument("--keypoints", type=int, default=500, help="of a keyframe of the ring (default 500)")
    parser.add_argument("--grown", type=int, nargs="*", default=[125, 250, 500, 1000, 2000], help="grown versions at")
    parser.add_argument("--recorded", type=int, default=2000, help="keyframes to record (default 2000)")
    parser.add_argument("--version-of", type=Path, help="make one version of a drive folder here, print numbers only")
    given = parser.parse_args()
    one_blas_thread()  # as the node's processes do
    if given.version_of is not None:
        print(*version(given.version_of))
        return
    with tempfile.TemporaryDirectory() as name:
        if given.grown:
            Console().print(growing(Path(name) / "grown.hfdrive", sorted(given.grown), given.keypoints))
        if given.recorded:
            Console().print(recording(Path(name) / "yard.hfdrive"))
            Console().print(long_recording(Path(name) / "long.hfdrive", given.recorded))
        if given.keyframes:
            Console().print(versions(Path(name) / "ring.hfdrive", given.keyframes, given.keypoints))


def recording(path: Path) -> Table:
    """Of the courtyard's images, all of them keyframes or none."""
    config = MapBuildConfig(keyframe_distance_m=0.01, keyframe_angle_deg=0.1)
    extractor = Extractor(open_backend(None, "onnxruntime", 1), config.extraction)
    shots = list(walk.shots(walk.MAP_PASS, every=6))
    frames = [LiveFrame(0, "camera", s.image, round(s.time_s * 1e9), walk.CAMERA, s.map_from_camera) for s in shots]
    taken = []
    for settings in (config, replace(config, keyframe_distance_m=100.0, keyframe_angle_deg=180.0)):
        folder = DriveFolder(path.with_suffix(f".{len(taken)}"))
        with folder.recording(extractor.info, settings):
            mapper = LiveMapper(folder, extractor, settings, "drifting", [LiveSource("/image")])
            mapper.add(frames[:1])
            began = time.process_time()
            for frame in frames[1:]:
                mapper.add([frame])
            mapper.finish()
            taken.append(((time.process_time() - began) / (len(frames) - 1), mapper.keyframes))
    (both_s, count), (image_s, _) = taken
    keyframe_s = (both_s - image_s) * (len(frames) - 1) / count
    table = Table(title=f"recording: {1e3 * image_s:.1f} ms an image, {1e3 * keyframe_s:.0f} ms a keyframe")
    table.add_column("a keyframe every, m", justify="right")
    table.add_column("keyframes/s", justify="right")
    table.add_column("share of a core", justify="right")
    for distance in (0.1, 0.2, 0.3, 0.5):
        rate = SPEED_M_S / distance
        table.add_row(f"{distance}", f"{rate:.1f}", f"{RATE_HZ * image_s + rate * keyframe_s:.2f}")
    return table


def long_recording(path: Path, keyframes: int) -> Table:
    """As many keyframes of the courtyard's images as wanted, every image one."""
    config = MapBuildConfig(keyframe_distance_m=0.01, keyframe_angle_deg=0.1)
    extractor = Extractor(open_backend(None, "onnxruntime", 1), config.extraction)
    shots = [shot.image for shot in walk.shots(walk.MAP_PASS, every=6)]
    table = Table(title=f"recording {keyframes} keyframes")
    for name in ("keyframes", "ms for each", "MiB of the process", "MB in the folder"):
        table.add_column(name, justify="right")
    folder, step = DriveFolder(path), max(1, keyframes // 5)
    with folder.recording(extractor.info, config):
        mapper, began, shown, before = (
            LiveMapper(folder, extractor, config, "drifting", [LiveSource("/image")]),
            0.0,
            0,
            0,
        )
        for due in range(step, keyframes + 1, step):
            began = time.process_time()
            while mapper.keyframes < due:
                pose = Pose(np.eye(3), np.array([0.0, 0.0, 0.3 * shown]))
                mapper.add([LiveFrame(0, "camera", shots[shown % len(shots)], shown * 10**8 + 1, walk.CAMERA, pose)])
                shown += 1
            each_s = (time.process_time() - began) / (mapper.keyframes - before)
            before = mapper.keyframes
            stored = sum(item.stat().st_size for item in path.iterdir())
            table.add_row(str(before), f"{1e3 * each_s:.0f}", f"{resident_bytes() / 2**20:.0f}", f"{stored / 1e6:.0f}")
    return table


def growing(path: Path, sizes: list[int], keypoints: int) -> Table:
    """Of a ring, to whose map the newest keyframes are added; for a larger map the same one is there several times, of
    other recordings: what is adjusted is the same, and there is more to read and write."""
    count = _GROWN + MOST * len(sizes)
    scene = with_drift(circuit(count, keypoints=keypoints, dim=128))
    table = Table(title=f"grown versions: {keypoints} keypoints of 128 dimensions")
    for name in ("keyframes", "s of one core", "of them reading, writing", "MiB of the process", "MB of the map"):
        table.add_column(name, justify="right")
    folder, output, made = DriveFolder(path), path.with_suffix(".hfmap"), None
    for recorded in range(0, _GROWN, MOST):
        record(folder, scene.keyframes[recorded : recorded + MOST], recorded)
        made = grown(made, folder, folder.settings)
    assert made is not None
    for number, size in enumerate(sizes):
        save_map(several(made, max(1, round(size / made.keyframes))), output)
        record(folder, scene.keyframes[_GROWN + MOST * number :][:MOST], _GROWN + MOST * number)
        began = time.process_time()
        before = load_map(output, verify=False)
        read = time.process_time()
        larger = grown(before, folder, folder.settings)
        solved = time.process_time()
        assert larger is not None
        save_map(larger, output)
        ended = time.process_time()
        files_s = ended - solved + read - began
        row = (
            f"{ended - began:.2f}",
            f"{files_s:.2f}",
            f"{resident_bytes() / 2**20:.0f}",
            f"{output.stat().st_size / 1e6:.0f}",
        )
        table.add_row(str(larger.keyframes), *row)
    return table


_GROWN = 126  # keyframes of the map that is grown


def several(made: LandmarkMap, times: int) -> LandmarkMap:
    """The same map several times over."""
    out = made
    for number in range(1, times):
        names = tuple(f"{100 + number}/{name.partition('/')[2]}" for name in made.keyframe_names)
        out = beside(out, replace(made, keyframe_names=names))
    return out


def record(folder: DriveFolder, keyframes: Sequence[Keyframe], first: int) -> None:
    """As while driving."""
    with folder.recording(INFO, MapBuildConfig()):
        if not first:
            folder.add_source(Source(0, 0, "drifting", "/image", "camera", "camera_info", "odom", "map"))
        for index, keyframe in enumerate(keyframes, start=first):
            named = replace(keyframe, name=f"0/{index:06d}", key=f"{index:064x}", drive=0, drifting=True)
            folder.add(RecordedKeyframe(named, index + 1))


def versions(path: Path, sizes: list[int], keypoints: int) -> Table:
    """Of a ring that grows."""
    scene = with_drift(circuit(max(sizes), keypoints=keypoints, dim=128))
    table = Table(title=f"versions: {keypoints} keypoints of 128 dimensions")
    for name in ("keyframes", "s of one core", "s for each new keyframe", "peak MiB", "folder MiB", "s at 5 km/h"):
        table.add_column(name, justify="right")
    before = 0
    folder = DriveFolder(path)
    for size in sorted(sizes):
        record(folder, scene.keyframes[before:size], before)
        command = [sys.executable, __file__, "--version-of", str(path)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds, peak = (float(value) for value in done.stdout.split()[-2:])
        print(f"a whole version of {size} keyframes: {seconds:.0f} s, {peak:.0f} MiB", flush=True)
        stored = sum(item.stat().st_size for item in path.iterdir()) / 2**20
        table.add_row(
            str(size), f"{seconds:.0f}", f"{seconds / (size - before):.2f}", f"{peak:.0f}", f"{stored:.0f}",
            f"{0.3 * (size - before) / SPEED_M_S:.0f}",
        )  # fmt: skip
        before = size
    return table


def version(path: Path) -> tuple[float, float]:
    """Seconds of processor time, peak memory in MiB."""
    began = time.process_time()
    build_from_drive(DriveFolder(path))
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
