"""What a robot recognises in the map that it is making: how it depends on how soon a version comes.

    python test/bench/live_sight.py [--takes 0.8 1.2 2.0] [--every 1.0]

The courtyard's drive at 10 images a second with odometry that drifts, without ROS and without a clock: what the machine
is busy with does not matter. Keyframes are recorded as the mapping node does; a version that grows begins every so many
seconds and is there when it would have been; every image is looked for in the version that is there, alone and by the
localization node's tracker, with its default budget. Recognised images of those that had a version, and how old its
newest keyframe was then.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hfnet_core.config import MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.mapping.live.growing import grown
from hfnet_core.mapping.live.mapper import LiveFrame, LiveMapper, LiveSource
from hfnet_core.mapping.live.position import LivePosition, map_from_odom
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.synthetic import walk
from hfnet_core.synthetic.odometry import drifted
from hfnet_core.threads import one_blas_thread
from hfnet_core.types import Features, Localized

CONFIG = MapBuildConfig(keyframe_distance_m=0.2)  # as the demo
FEWEST = 5  # keyframes of a first version
WRONG_M = 0.5


@dataclass(frozen=True, eq=False)
class Seen:
    """An image with its features. odom: odom_from_camera."""

    frame: LiveFrame
    features: Features
    truth: Pose

    @property
    def odom(self) -> Pose:
        assert self.frame.pose is not None
        return self.frame.pose


@dataclass(frozen=True, eq=False)
class Known:
    """Features that were extracted before."""

    info: Any
    features: dict[int, Features]

    def extract(self, image: np.ndarray) -> Features:
        return self.features[id(image)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--takes", type=float, nargs="+", default=[0.8, 1.2, 2.0], help="seconds until a version is there"
    )
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two, at least (publish_every_s)")
    given = parser.parse_args()
    one_blas_thread()
    extractor = Extractor(open_backend(None, "onnxruntime", 1), CONFIG.extraction)
    shots = list(walk.shots(walk.MAP_PASS))
    said = drifted([shot.map_from_camera for shot in shots], seed=walk.MAP_PASS.seed)
    drive = [
        Seen(
            LiveFrame(0, "camera", shot.image, walk.MAP_PASS.stamp_ns(shot.time_s), walk.CAMERA, odom),
            extractor.extract(shot.image).without_dense(),
            shot.map_from_camera,
        )
        for shot, odom in zip(shots, said, strict=True)
    ]
    known = Known(extractor.info, {id(item.frame.image): item.features for item in drive})
    table = Table("a version takes, s", "every, s", "age, median / most, s", "alone", "tracked", "wrong")
    for takes_s in given.takes:
        every_s = max(given.every, 1.25 * takes_s)  # as the node rests
        with tempfile.TemporaryDirectory() as name:
            row = driven(DriveFolder(Path(name) / "a.hfdrive"), drive, known, takes_s, every_s)
        print(takes_s, every_s, *row, sep=" | ", flush=True)
        table.add_row(f"{takes_s:g}", f"{every_s:g}", *row)
    Console().print(table)


def driven(folder: DriveFolder, drive: Sequence[Seen], known: Known, takes_s: float, every_s: float) -> tuple[str, ...]:
    """Ages of the newest keyframe; images recognised of those that had a version, alone and tracked; wrong ones."""
    coming: list[tuple[float, LandmarkMap]] = []
    made: LandmarkMap | None = None
    tracker: Tracker | None = None
    ages, alone, tracked, wrong, began_s = [], 0, 0, 0, -np.inf
    position = LivePosition("drifting", CONFIG)
    with folder.recording(known.info, CONFIG):
        mapper = LiveMapper(folder, known, CONFIG, "drifting", [LiveSource("/image", poses="/odom")])
        for item in drive:
            now_ns, now_s = item.frame.stamp_ns, 1e-9 * (item.frame.stamp_ns - drive[0].frame.stamp_ns)
            mapper.add([item.frame])
            position.add(now_ns, item.odom, is_first=True)
            while coming and coming[0][0] <= now_s:
                tracker = followed(tracker, coming.pop(0)[1], folder, position, item.odom)
            if now_s - began_s >= every_s and mapper.keyframes >= FEWEST:
                newer = grown(made, folder, CONFIG)
                if newer is not None:
                    made, began_s = newer, now_s
                    coming.append((now_s + takes_s, newer))
            if tracker is None:
                continue
            view = [View(item.features, item.frame.camera)]
            answers = tracker.localizer.localize(view), tracker.process(view, 1e-9 * now_ns, item.odom)
            alone, tracked = (
                count + isinstance(answer, Localized) for count, answer in zip((alone, tracked), answers, strict=True)
            )
            wrong += any(
                isinstance(answer, Localized) and pose_error(answer.map_from_camera, item.truth)[0] > WRONG_M
                for answer in answers
            )
            ages.append(1e-9 * (now_ns - int(tracker.localizer.map.keyframe_stamps_ns.max())))
    return (
        f"{np.median(ages):.1f} / {max(ages):.1f}",
        f"{alone} of {len(ages)}",
        f"{tracked} of {len(ages)}",
        str(wrong),
    )


def followed(
    tracker: Tracker | None, version: LandmarkMap, folder: DriveFolder, position: LivePosition, odom: Pose
) -> Tracker:
    """The localization node in a new version, with the mapping node's word on it."""
    localizer = Localizer(version)
    tracker = tracker or Tracker(localizer)
    tracker.localizer = localizer
    told = map_from_odom(version, folder, 0, CONFIG)
    if told is not None:
        position.take(told)
    there = position.at(odom)
    if there is not None and position.known is not None:
        tracker.expect(position.known.pose, there.covariance)
    return tracker


if __name__ == "__main__":
    main()
