"""How opening a map and localizing in it grow with its size: memory, and time by stage.

    python test/bench/scale.py [--map MAP --queries BAG] [--sizes 1000 3000 10000 30000 100000] [--folder DIR]

Maps of every size are written around one real map and hold it: the queries are found in it, everything else
distracts. Without --map, a synthetic room takes its place. The largest default map holds about 20 million landmarks and
takes 13 GB in DIR, one map at a time. Each map is opened by a fresh process, once with a cold file cache, once warm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from large_map import thinned, write_copies
from scene import CAMERA, Scene, looking

from hfnet_core.benchmarks.localization_bench import Query, read_queries
from hfnet_core.config import ExtractorConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.retrieval import Retriever
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map
from hfnet_core.types import Localized

WRONG_M = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--map", type=Path, help="map to write the large ones around")
    parser.add_argument("--queries", type=Path, help="recording with poses, in the frame of that map")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10000, 30000, 100000], help="keyframes")
    parser.add_argument("--landmarks", type=int, default=200, help="landmarks per keyframe (default 200)")
    parser.add_argument("--observations", type=int, default=3, help="most observations per landmark (default 3)")
    parser.add_argument("--limit", type=int, default=250, help="most queries (default 250)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to write the maps")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.open is not None:
        print(json.dumps(opening(given.open)))
        return
    source, queries = real(given.map, given.queries) if given.map is not None else synthetic()
    queries = queries[:: max(1, len(queries) // given.limit)]
    base = thinned(source, given.landmarks, given.observations)
    print(
        f"around {source.keyframes} keyframes, {base.landmarks} of {source.landmarks} landmarks; {len(queries)} queries"
    )
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        smallest = None
        for size in given.sizes:
            path = Path(folder) / f"{size}.hfmap"
            start = time.perf_counter()
            write_copies(base, -(-size // source.keyframes), path)
            written_s = time.perf_counter() - start
            cold, warm = (open_in_a_process(path, cold) for cold in (True, False))
            report(path, written_s, cold, warm, queries)
            smallest = smallest or Localizer(load_map(path))
            localize(path, queries, smallest)
            path.unlink()  # still mapped, where it is needed


def real(path: Path, bag: Path) -> tuple[LandmarkMap, list[Query]]:
    extractor = Extractor(open_backend(None, threads=1), ExtractorConfig())
    return load_map(path), read_queries(bag, extractor)


def synthetic() -> tuple[LandmarkMap, list[Query]]:
    scene = Scene.make()
    rng = np.random.default_rng(0)

    def somewhere() -> tuple[float, float, float]:
        return rng.uniform(-2, 2), rng.uniform(-1.5, 1.5), rng.uniform(0, 360)

    source = scene.build_map([looking(*somewhere()) for _ in range(40)])
    truths = [looking(*somewhere()) for _ in range(200)]
    queries = [Query(index, scene.view(truth, seed=index)[0], CAMERA, truth, 0.0) for index, truth in enumerate(truths)]
    return source, queries


def resident_mb() -> tuple[float, float]:
    """(of this process alone, of mapped files) in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    anonymous, files = (int(lines[name].split()[0]) * 1024 / 1e6 for name in ("RssAnon", "RssFile"))
    return anonymous, files


def opening(path: Path) -> dict[str, float]:
    """Open a map and make a localizer for it. Imports are done by now, and counted as memory but not as time."""
    before = sum(resident_mb())
    start = time.perf_counter()
    landmark_map = load_map(path)
    opened_s, opened_mb = time.perf_counter() - start, sum(resident_mb())
    Localizer(landmark_map)
    return {
        "before_mb": before, "open_s": opened_s, "open_mb": opened_mb,
        "ready_s": time.perf_counter() - start, "ready_mb": sum(resident_mb()),
    }  # fmt: skip


def open_in_a_process(path: Path, cold: bool) -> dict[str, float]:
    if cold:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, __file__, "--open", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def report(path: Path, written_s: float, cold: dict[str, float], warm: dict[str, float], queries: list[Query]) -> None:
    found = load_map(path)
    print(f"\n{found.keyframes:,} keyframes, {found.landmarks:,} landmarks, {found.observations:,} observations, "
          f"{path.stat().st_size / 1e9:.2f} GB, written in {written_s:.0f} s")  # fmt: skip
    for name, value in (("cold", cold), ("warm", warm)):
        print("  opening, {}: {open_s:.2f} s and {open_mb:.0f} MB resident; with a localizer {ready_s:.2f} s and "
              "{ready_mb:.0f} MB ({before_mb:.0f} MB before)".format(name, **value))  # fmt: skip
    retriever = Retriever(found.place_descriptors)
    wanted = np.array([query.features.global_descriptor for query in queries])
    scores = wanted @ np.asarray(found.place_descriptors).T
    exact = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    hits = [len(set(row) & set(retriever.query(d, 10)[0])) for row, d in zip(exact, wanted, strict=True)]
    print(f"  retrieval finds {np.sum(hits) / exact.size:.2%} of the exact top 10")


def localize(path: Path, queries: list[Query], smallest: Localizer) -> None:
    """Every query in the smallest map and in this one, in turns, so that a busy machine slows both alike."""
    landmark_map = load_map(path)
    before = resident_mb()
    localizer = Localizer(landmark_map)
    start = time.perf_counter()
    localizer.localize([View(queries[0].features, queries[0].camera)])
    print(f"  first query {time.perf_counter() - start:.2f} s")
    small_s, large_s = [], []
    stages: dict[str, list[float]] = {}
    localized = wrong = 0
    for query in queries:
        start = time.perf_counter()
        smallest.localize([View(query.features, query.camera)])
        small_s.append(time.perf_counter() - start)
        start = time.perf_counter()
        result = localizer.localize([View(query.features, query.camera)])
        large_s.append(time.perf_counter() - start)
        for stage, seconds in result.timings_s.items():
            stages.setdefault(stage, []).append(seconds)
        if isinstance(result, Localized):
            localized += 1
            wrong += query.truth is not None and pose_error(result.map_from_camera, query.truth)[0] > WRONG_M
    after = resident_mb()
    ratio = np.median(large_s) / np.median(small_s)
    print(
        f"  global localization, p50 / p95: {spread(large_s)}; {ratio:.2f} times the smallest map's {spread(small_s)}"
    )
    print("  of this " + ", ".join(f"{stage} {spread(values)}" for stage, values in stages.items()))
    print(f"  localized {localized} of {len(queries)}, wrong {wrong}; memory grew by {after[0] - before[0]:.0f} MB, "
          f"and {after[1] - before[1]:.0f} MB of the file were touched")  # fmt: skip


def spread(seconds: list[float]) -> str:
    return "{:.1f} / {:.1f} ms".format(*np.percentile(seconds, (50, 95)) * 1e3)


if __name__ == "__main__":
    main()
