"""What depth does for maps, measured: scale of a map of images alone, landmarks and recall with and without it.

    python test/bench/depth.py FOLDER [--first-query 500] [--depth-focal PX] [--sparse N] [--work DIR]

FOLDER has images/, depth/ (16-bit PNG, millimetres), poses_tum.txt and camera.json. --depth-focal: of a depth camera
beside the colour camera, whose images are not registered to it. --sparse: maps of every n-th image that has depth,
where little can be triangulated, are measured instead. Images alone, and queries, are those that have depth.
Scale: metres of the given poses in one of the map of images alone, by the similarity that fits both. Depth and the
given poses are compared by themselves, too: depth of one frame carried into another by the poses.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from evo.core.geometry import umeyama_alignment

from hfnet_core.config import UNHURRIED_MS, LocalizerConfig, MapBuildConfig
from hfnet_core.evaluation.bag import evaluate_bag
from hfnet_core.evaluation.metrics import Sample
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.images.depth import read_depth_png
from hfnet_core.images.registration import DepthMount
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import save_map
from hfnet_core.recordings.bag_writer import write_folder_bag
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.image_folder import FolderFrame, list_folder
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera


def self_consistency(frames: list[FolderFrame], focal_px: float) -> dict[float, float]:
    """Median relative error of depth carried from one frame into the next with depth, by factors on the way between."""
    posed = [
        (frame.map_from_camera, read_depth_png(frame.depth.read_bytes()).metres) for frame in frames if frame.depth
    ]
    out = {}
    for factor in (0.9, 0.95, 1.0, 1.05, 1.1):
        errors = []
        for (one_pose, one), (other_pose, other) in pairwise(posed):
            height, width = one.shape
            y, x = (grid.ravel() for grid in np.mgrid[4:height:8, 4:width:8])
            z = one[y, x].astype(np.float64)
            y, x, z = y[z > 0], x[z > 0], z[z > 0]
            points = np.stack([(x - width / 2) / focal_px * z, (y - height / 2) / focal_px * z, z], axis=1)
            moved = other_pose.inverse() @ one_pose
            there = points @ moved.rotation.T + factor * moved.translation
            u, v = (np.rint(there[:, i] / there[:, 2] * focal_px + size / 2) for i, size in ((0, width), (1, height)))
            seen = (there[:, 2] > 0.2) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
            measured = other[v[seen].astype(int), u[seen].astype(int)]
            relative = np.abs(measured / there[seen, 2] - 1)[measured > 0]
            errors.append(relative[relative < 0.3])
        out[factor] = round(float(np.median(np.concatenate(errors))), 4)
    return out


def recall(samples: list[Sample], metres: float, degrees: float) -> float:
    """Percent of the images within bounds."""
    near = 0
    for sample in samples:
        if sample.estimate is not None and sample.truth is not None:
            off = pose_error(sample.estimate, sample.truth)
            near += off[0] <= metres and off[1] <= degrees
    return 100 * near / len(samples)


@dataclass(frozen=True)
class Bench:
    """What every map here is made of."""

    work: Path
    extractor: Extractor

    def build(self, name: str, bag: str, options: BagOptions, config: MapBuildConfig) -> LandmarkMap:
        began_s = time.process_time()
        made = build_map([self.work / bag], self.extractor, config, options, workspace=Workspace(self.work / "known"))
        told: dict[str, object] = {"depth": made.provenance.get("depth"), "scale": made.provenance.get("scale")}
        told |= {"keyframes": made.keyframes, "landmarks": made.landmarks, "by depth": int(made.measured.sum())}
        told["focal lengths"] = [round(camera.focal_length[0], 1) for camera in made.cameras]
        told["processor time, s"] = round(time.process_time() - began_s, 1)
        print(f"{name}: {json.dumps(told)}", flush=True)
        return made

    def ask(self, made: LandmarkMap) -> None:
        """Queries without and with their depth."""
        save_map(made, self.work / "a.hfmap")
        settings = LocalizerConfig(tracking=False, search_budget_ms=UNHURRIED_MS)
        offline = OfflineLocalizer(self.work / "a.hfmap", localizer=settings, source=self.extractor)
        for query, own in (("without depth", BagOptions(depth_topic="none")), ("with depth", BagOptions())):
            samples = evaluate_bag(offline, self.work / "query", own)
            found = " ".join(f"{recall(samples, m, d):.1f}" for m, d in ((0.05, 5), (0.1, 5), (0.25, 5), (0.5, 10)))
            refused = sum("depths fit" in sample.reason for sample in samples)
            print(f"  queries {query}: within 5, 10, 25, 50 cm {found} %, refused by depth {refused}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first-query", type=int, default=500)
    parser.add_argument("--depth-focal", type=float)
    parser.add_argument("--sparse", type=int, default=0)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="hfnet-depth-"))
    (work / "known").mkdir(parents=True, exist_ok=True)
    folder, last = arguments.folder, arguments.first_query - 1
    camera = camera_from_file(folder / "camera.json")
    frames = list_folder(folder, folder / "poses_tum.txt", rate_hz=15.0)
    focal, mount = arguments.depth_focal or camera.focal_length[0], None
    print("depth by the given poses alone, error by scale of the poses:", self_consistency(frames, focal), flush=True)
    if arguments.depth_focal:
        of_depth = Camera("PINHOLE", camera.width, camera.height, (focal, focal, *camera.principal_point))
        mount = DepthMount(of_depth, Pose())
    split = next(index for index, frame in enumerate(frames) if int(frame.path.stem) > last)
    deep = [frame for frame in frames[:split] if frame.depth]
    parts = {
        "map": deep[:: arguments.sparse] if arguments.sparse else frames[:split],
        "query": [frame for frame in frames[split:] if frame.depth],
        "bare": [replace(frame, map_from_camera=None) for frame in deep],
    }
    parts["bare_query"] = [replace(frame, map_from_camera=None) for frame in parts["query"]]
    for name, chosen in parts.items():
        write_folder_bag(chosen, camera, work / name, storage="mcap", depth_mount=mount, overwrite=True)
    bench = Bench(work, Extractor(open_backend(None, "onnxruntime"), MapBuildConfig().extraction))
    bench.ask(bench.build("given poses", "map", BagOptions(depth_topic="none"), MapBuildConfig()))
    for adjusted in (False, True):
        name, config = f"depth, adjust_depth {adjusted}", MapBuildConfig(adjust_depth=adjusted)
        bench.ask(bench.build(f"given poses and {name}", "map", BagOptions(), config))
        if not arguments.sparse:
            for own, posed in (("bare", deep), ("bare_query", parts["query"])):
                made = bench.build(f"images ({own}) and {name}", own, BagOptions(), config)
                print(f"  metres of the given poses in one of it: {scale_of(made, posed):.4f}", flush=True)
    if arguments.work is None:
        shutil.rmtree(work)


def scale_of(made: LandmarkMap, frames: list[FolderFrame]) -> float:
    """Metres of the given poses in one of the map."""
    numbers = [int(name.rpartition("/")[2]) for name in made.keyframe_names]
    truth = np.array([frames[number].map_from_camera.translation for number in numbers])
    return float(umeyama_alignment(made.keyframe_poses[:, :, 3].T, truth.T, with_scale=True)[2])


if __name__ == "__main__":
    main()
