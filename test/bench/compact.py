"""What compact descriptors cost: `python test/bench/compact.py MAP QUERY_BAG`.

One map in each type that descriptors are stored in (see hfnet_core/maps/descriptors.py), and the same queries in turns.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfnet_core.benchmarks.localization_bench import globally, measure, read_queries
from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.evaluation.metrics import Spread
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.backends.protocol import Backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.descriptors import DTYPES, compact, unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import MAP_SUFFIX, load_map, save_map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path, help="recording to build it from, or a map with float16 descriptors")
    parser.add_argument("query_bag", type=Path)
    parser.add_argument("--every", type=int, default=1, help="use only every Nth query")
    given = parser.parse_args()
    backend = open_backend(None)
    exact = load_map(given.map) if given.map.suffix == MAP_SUFFIX else built(given.map, backend)
    queries = read_queries(given.query_bag, Extractor(backend, ExtractorConfig()))[:: given.every]
    print(f"{exact.keyframes} keyframes, {exact.landmarks} landmarks, {len(queries)} queries, global mode")
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.hfmap" for name in DTYPES}
        for name, path in files.items():
            rows = compact(unit(exact.observation_descriptors), DTYPES[name])
            save_map(replace(exact, observation_descriptors=rows), path)
        localizers = {name: globally(load_map(path)) for name, path in files.items()}
        pieces = np.array_split(np.arange(len(queries)), 10)
        parts = {name: [] for name in files}
        for piece in pieces:  # in turns: a busy machine slows both alike
            for name, localize in localizers.items():
                parts[name].append(measure(name, [queries[index] for index in piece], localize))
        for name, path in files.items():
            everything = measure(name, queries, localizers[name])
            recalls = ", ".join(f"{r.distance_m * 100:.0f} cm {r.share:.1%}" for r in everything.score.recalls)
            matching = Spread.of([run.stages_s["matching"].p50 for run in parts[name]])
            error, turn = everything.score.distance_m, everything.score.angle_deg
            assert matching is not None and error is not None and turn is not None
            print(f"{name:8} {path.stat().st_size / 1e6:6.2f} MB, within {recalls}, wrong {everything.score.wrong}, "
                  f"median {error.p50 * 100:.2f} cm {turn.p50:.2f} deg, match {matching.p50 * 1e3:.1f} ms")  # fmt: skip


def built(bag: Path, backend: Backend) -> LandmarkMap:
    config = MapBuildConfig(descriptor_dtype="float16")
    return build_map([bag], Extractor(backend, config.extraction), config)


if __name__ == "__main__":
    main()
