"""What depth does for maps, measured: scale of a map of images alone, landmarks and recall with and without it.

    python test/bench/depth.py FOLDER [--first-query 500] [--depth-focal PX] [--sparse N] [--work DIR]

FOLDER has images/, depth/ (16-bit PNG, millimetres), poses_tum.txt and camera.json. --depth-focal: of a depth camera
whose images are not registered to the colour images: they are enlarged about their centre until both focal lengths
agree. --sparse: maps of every n-th image that has depth, where little can be triangulated, are measured instead.
Scale: metres of the given poses in one of the map of images alone, by the similarity that fits both. Depth and the
given poses are compared by themselves, too: depth of one frame carried into another by the poses.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from evo.core.geometry import umeyama_alignment

from hfnet_core.config import UNHURRIED_MS, LocalizerConfig, MapBuildConfig
from hfnet_core.evaluation.bag import evaluate_bag
from hfnet_core.evaluation.metrics import Sample
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import pose_error
from hfnet_core.images.depth import read_depth_png
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import save_map
from hfnet_core.recordings.bag_writer import write_folder_bag
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.image_folder import FolderFrame, list_folder
from hfnet_core.recordings.options import BagOptions


def registered(frames: list[FolderFrame], scale: float, work: Path) -> list[FolderFrame]:
    """The frames with their depth enlarged about its centre."""
    work.mkdir()
    out = []
    for frame in frames:
        if frame.depth is None:
            out.append(frame)
            continue
        depth = cv2.imread(str(frame.depth), cv2.IMREAD_UNCHANGED)
        height, width = depth.shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        mapped = cv2.remap(
            depth, (x - width / 2) * scale + width / 2, (y - height / 2) * scale + height / 2, cv2.INTER_NEAREST
        )
        cv2.imwrite(str(work / frame.depth.name), mapped)
        out.append(replace(frame, depth=work / frame.depth.name))
    return out


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first-query", type=int, default=500)
    parser.add_argument("--depth-focal", type=float)
    parser.add_argument("--sparse", type=int, default=0)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="hfnet-depth-"))
    work.mkdir(exist_ok=True)
    folder, last = arguments.folder, arguments.first_query - 1
    camera = camera_from_file(folder / "camera.json")
    frames = list_folder(folder, folder / "poses_tum.txt", rate_hz=15.0)
    focal = arguments.depth_focal or camera.focal_length[0]
    print("depth by the given poses alone, error by scale of the poses:", self_consistency(frames, focal), flush=True)
    if arguments.depth_focal:
        frames = registered(frames, arguments.depth_focal / camera.focal_length[0], work / "depth")
    split = next(index for index, frame in enumerate(frames) if int(frame.path.stem) > last)
    drive = (
        [frame for frame in frames[:split] if frame.depth][:: arguments.sparse] if arguments.sparse else frames[:split]
    )
    write_folder_bag(drive, camera, work / "map", storage="mcap")
    write_folder_bag(frames[split:], camera, work / "query", storage="mcap")
    bare = [replace(frame, map_from_camera=None) for frame in drive]
    write_folder_bag(bare, camera, work / "bare", storage="mcap")
    config = MapBuildConfig()
    extractor = Extractor(open_backend(None, "onnxruntime"), config.extraction)
    maps = [("given poses", "map", BagOptions(depth_topic="none")), ("given poses and depth", "map", BagOptions())]
    for name, bag, options in [*maps, *([] if arguments.sparse else [("images and depth", "bare", BagOptions())])]:
        made = build_map([work / bag], extractor, config, options)
        told: dict[str, object] = {"depth": made.provenance.get("depth"), "scale": made.provenance.get("scale")}
        if bag == "bare":
            told["given poses' metres in one of the map"] = round(scale_of(made, drive), 4)
        told["keyframes"], told["landmarks"] = made.keyframes, made.landmarks
        told["by depth"] = int(made.measured.sum())
        print(f"{name}: {json.dumps(told)}", flush=True)
        if bag == "map":
            save_map(made, work / "a.hfmap")
            settings = LocalizerConfig(tracking=False, search_budget_ms=UNHURRIED_MS)
            offline = OfflineLocalizer(work / "a.hfmap", localizer=settings, source=extractor)
            for query, own in (("without depth", BagOptions(depth_topic="none")), ("with depth", BagOptions())):
                samples = evaluate_bag(offline, work / "query", own)
                found = " ".join(f"{recall(samples, m, d):.1f}" for m, d in ((0.05, 5), (0.1, 5), (0.25, 5), (0.5, 10)))
                refused = sum("depths fit" in sample.reason for sample in samples)
                print(f"  queries {query}: within 5, 10, 25, 50 cm {found} %, refused by depth {refused}", flush=True)
    if arguments.work is None:
        shutil.rmtree(work)


def scale_of(made: LandmarkMap, frames: list[FolderFrame]) -> float:
    """Metres of the given poses in one of the map."""
    numbers = [int(name.rpartition("/")[2]) for name in made.keyframe_names]
    truth = np.array([frames[number].map_from_camera.translation for number in numbers])
    return float(umeyama_alignment(made.keyframe_poses[:, :, 3].T, truth.T, with_scale=True)[2])


if __name__ == "__main__":
    main()
