"""Life with maps, measured: half a drive extended and merged with the other half, pruned, imported from COLMAP.

    python test/bench/life.py FOLDER QUERY_BAG [--work DIR] [--frames 0 249 499] [--colmap-every 6]

FOLDER has images/, poses_tum.txt and camera.json. Every map is asked for the images of QUERY_BAG: recall within 5, 10
and 25 cm (5 degrees). The COLMAP model is built by pycolmap with SIFT from every n-th image of the drive.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pycolmap

from hfnet_core.benchmarks import localization_bench as bench
from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.maintenance.align import Known, fit_positions, moved_map
from hfnet_core.maintenance.check import check_map
from hfnet_core.maintenance.colmap_import import import_colmap_model
from hfnet_core.maintenance.extend import extend_map
from hfnet_core.maintenance.merge import merge_maps
from hfnet_core.maintenance.prune import Budget, map_bytes, prune_map
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bag_writer import write_folder_bag
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.image_folder import list_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("query_bag", type=Path)
    parser.add_argument("--work", type=Path, help="keeps bags, features and the COLMAP model for the next time")
    parser.add_argument("--frames", type=int, nargs=3, default=(0, 249, 499), help="first, last of one half, last")
    parser.add_argument("--colmap-every", type=int, default=6, help="0: no COLMAP model")
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="life-"))
    (work / "features").mkdir(parents=True, exist_ok=True)
    kept = Workspace(work / "features")
    backend = open_backend(None)
    mapping = Extractor(backend, MapBuildConfig().extraction)
    queries = bench.read_queries(arguments.query_bag, Extractor(backend, ExtractorConfig()))
    first, middle, last = arguments.frames
    bags = {
        name: _bag(arguments.folder, work / name, low, high, posed)
        for name, low, high, posed in (("all", first, last, True), ("one", first, middle, True),
                                       ("two", middle + 1, last, True), ("bare", middle + 1, last, False))
    }  # fmt: skip
    print(f"{'map':28}{'keyframes':>10}{'landmarks':>10}{'track':>7}{'MiB':>7}{'s':>7}  recall 5/10/25 cm, median")
    whole = _timed("all at once", queries, lambda: build_map([bags["all"]], mapping, workspace=kept))
    one = _timed("first half", queries, lambda: build_map([bags["one"]], mapping, workspace=kept))
    two = _timed("second half", queries, lambda: build_map([bags["two"]], mapping, workspace=kept))
    for name, bag in (("extended by the second", "two"), ("extended, without poses", "bare")):
        _timed(
            name,
            queries,
            lambda bag=bag: extend_map(one, [bags[bag]], BuildTools(mapping, workspace=kept)).landmark_map,
        )
    _timed("merged", queries, lambda: merge_maps(one, two).landmark_map)
    hits = check_map(whole).hits
    for share in (2, 4, 6):
        budget = Budget(max_bytes=map_bytes(whole) // share)
        _timed(f"pruned to 1/{share}", queries, lambda budget=budget: prune_map(whole, hits, budget))
    if arguments.colmap_every:
        model, photos = _colmap(arguments.folder, work, first, last, arguments.colmap_every)
        imported = import_colmap_model(model, photos, BuildTools(mapping, workspace=kept)).landmark_map
        _timed("COLMAP's, described anew", queries, lambda: _aligned(imported, arguments.folder))


def _timed(name: str, queries: list[bench.Query], make: Any) -> LandmarkMap:
    start = time.perf_counter()
    made: LandmarkMap = make()
    seconds = time.perf_counter() - start
    score = bench.measure(name, queries, bench.globally(made)).score
    recalls = " / ".join(f"{item.share:.1%}" for item in score.recalls)
    median = "-" if score.distance_m is None else f"{score.distance_m.p50 * 100:.1f} cm"
    track = made.observations / max(made.landmarks, 1)
    print(f"{name:28}{made.keyframes:10}{made.landmarks:10}{track:7.2f}{map_bytes(made) / 2**20:7.1f}{seconds:7.1f}  "
          f"{recalls}, {median}, {score.wrong} wrong", flush=True)  # fmt: skip
    return made


def _bag(folder: Path, path: Path, first: int, last: int, posed: bool) -> Path:
    if not path.exists():
        poses = folder / "poses_tum.txt" if posed else None
        frames = list_folder(folder, poses, rate_hz=15.0, first=first, last=last)
        write_folder_bag(frames, camera_from_file(folder / "camera.json"), path, storage="mcap")
    return path


def _colmap(folder: Path, work: Path, first: int, last: int, every: int) -> tuple[Path, Path]:
    """(model, images) by SIFT, exhaustive matching and the incremental mapper."""
    photos, database, sparse = work / "photos", work / "colmap.db", work / "sparse"
    if not (sparse / "0").is_dir():
        photos.mkdir(exist_ok=True)
        sparse.mkdir(exist_ok=True)
        for frame in list_folder(folder, None, rate_hz=15.0, first=first, last=last, every=every):
            shutil.copy(frame.path, photos / frame.path.name)
        pycolmap.extract_features(database, photos, camera_mode=pycolmap.CameraMode.SINGLE)
        pycolmap.match_exhaustive(database)
        pycolmap.incremental_mapping(database, photos, sparse)
    return sparse / "0", photos


def _aligned(landmark_map: LandmarkMap, folder: Path) -> LandmarkMap:
    """In metres and in the frame of the poses, which the queries are judged by."""
    frames = list_folder(folder, folder / "poses_tum.txt", rate_hz=15.0)
    poses = {frame.path.name: frame.map_from_camera for frame in frames}
    known = [Known(name, None, pose.translation, pose.rotation)
             for name in landmark_map.keyframe_names if (pose := poses[name]) is not None]  # fmt: skip
    fit = fit_positions(landmark_map, known, 0.15, scaled=True)
    print(f"  {fit.inliers} of {fit.used} positions agree after a similarity: {fit.rmse_m * 100:.1f} cm RMSE")
    return moved_map(landmark_map, fit.new_from_old)


if __name__ == "__main__":
    main()
