"""A map over a year, measured: a room at twelve visits, of which posters, furniture and lamps change by a third each.

    python test/bench/months.py [--visits 12] [--images 40] [--seed 0] [--max-keyframes 60]

Each visit is localized in three maps: the one of the first visit, the one that every visit before has updated, and the
same with a limit on its keyframes. A pose that is off by more than half a metre or 10 degrees is wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from months import months, visit

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import MapError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.maintenance.prune import map_bytes
from hfnet_core.maintenance.updating.held_back import Held, Recall, recall_of
from hfnet_core.maintenance.updating.update import Limits, update_with_keyframes
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.mapping.keyframes.reading import Reading
from hfnet_core.maps.landmark_map import LandmarkMap


def asked(landmark_map: LandmarkMap, reading: Reading, poses: list[Pose]) -> Recall:
    """What a robot would have localized of a visit with this map."""
    views = [View(item.features, item.camera) for item in reading.keyframes]
    return recall_of(landmark_map, [Held(view, pose) for view, pose in zip(views, poses, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=12)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-keyframes", type=int, default=60)
    arguments = parser.parse_args()
    config = MapBuildConfig()
    extractor = Extractor(open_backend(None, "onnxruntime", 1), ExtractorConfig(max_keypoints=800))
    first, *later = months(arguments.visits + 1, arguments.seed)
    reading, _ = visit(0, first, extractor, arguments.images)
    old = build_from_keyframes(Placed(reading.keyframes), extractor.info, config)
    kept = {"updated": old, f"at most {arguments.max_keyframes}": old}
    limits = {"updated": Limits(), f"at most {arguments.max_keyframes}": Limits(max_keyframes=arguments.max_keyframes)}
    print(f"{'visit':>5} {'without':>9} " + " ".join(f"{name:>12} keyframes  MB" for name in kept), flush=True)
    wrong = 0
    for number, month in enumerate(later, start=1):
        reading, poses = visit(number, month, extractor, arguments.images)
        without = asked(old, reading, poses)
        wrong += without.wrong
        told = []
        for name, landmark_map in kept.items():
            found = asked(landmark_map, reading, poses)
            wrong += found.wrong
            told.append(f"{found.right:12d} {landmark_map.keyframes:9d} {map_bytes(landmark_map) / 1e6:4.1f}")
            try:
                kept[name] = update_with_keyframes(landmark_map, [reading], config, limits[name]).landmark_map
            except MapError as error:
                print(f"      {name}: {error}")
        print(f"{number:5d} {without.right:9d} " + " ".join(told), flush=True)
    print(f"of {arguments.images} images each; wrong poses in all: {wrong}")


if __name__ == "__main__":
    main()
