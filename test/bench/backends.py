"""The runtimes of the network on a CPU, side by side: time per image, agreement, and what it means for poses.

    python test/bench/backends.py MAP_BAG QUERY_BAG

The map is built with ONNX Runtime; every runtime then localizes the queries in it, each image on its own. Times are
medians of features (network, keypoints, sampling), the runtimes taking turns image by image. OpenVINO needs
`pip install 'hfnet_ros[openvino]'`.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hfnet_core.benchmarks import localization_bench as bench
from hfnet_core.config import EngineConfig, ExtractorConfig, MapBuildConfig
from hfnet_core.evaluation.metrics import score
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.backends.protocol import Backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.images.pixels import to_gray
from hfnet_core.mapping.builder import build_map
from hfnet_core.recordings.bags import Bag

TIMED = 40  # images


def backends(threads: int) -> list[tuple[str, Backend]]:
    found = [("ONNX Runtime", open_backend(None, "onnxruntime", threads))]
    if importlib.util.find_spec("openvino"):
        for precision in ("fp32", "fp16"):
            made = open_backend(None, "openvino", threads, EngineConfig(precision=precision))
            found.append((f"OpenVINO, {precision}", made))
    return found


def times_ms(images: list[np.ndarray], threads: int) -> list[float]:
    extractors = [Extractor(backend, ExtractorConfig()) for _, backend in backends(threads)]
    taken: list[list[float]] = [[] for _ in extractors]
    for number, image in enumerate([*images[:3], *images]):
        for extractor, own in zip(extractors, taken, strict=True):
            start = time.perf_counter()
            extractor.extract(image)
            if number >= 3:  # the first ones compile and warm up
                own.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(own) for own in taken]


def agreement(images: list[np.ndarray], backend: Backend, reference: Backend) -> tuple[float, float, float]:
    """Mean and lowest hundredth of the local descriptors' cosines, lowest of the global ones."""
    local, overall = [], []
    for image in images:
        a, b = (one.infer(image.astype(np.float32)) for one in (backend, reference))
        local.append(np.einsum("ijk,ijk->ij", a.descriptors, b.descriptors).ravel())
        overall.append(float(a.global_descriptor @ b.global_descriptor))
    every = np.concatenate(local)
    return float(every.mean()), float(np.quantile(every, 0.01)), min(overall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map_bag", type=Path)
    parser.add_argument("query_bag", type=Path)
    given = parser.parse_args()
    opened = backends(0)
    config = MapBuildConfig()
    landmark_map = build_map([given.map_bag], Extractor(opened[0][1], config.extraction), config)
    with Bag(given.query_bag) as bag:
        every = max(len(bag) // TIMED, 1)
        images = [frame.image for frame in bag.frames(range(0, len(bag), every))]
    grays = [to_gray(image) for image in images]
    table = Table(title=f"{given.query_bag.name}, {landmark_map.keyframes} keyframes of {given.map_bag.name}")
    for column in (
        "runtime",
        "1 thread",
        "all cores",
        "local cosine, mean (1 %)",
        "global, lowest",
        "localized",
        "5 / 10 / 25 cm",
        "wrong",
    ):
        table.add_column(column, justify="left" if column == "runtime" else "right")
    single, all_cores = times_ms(images, 1), times_ms(images, 0)
    for (name, backend), one, many in zip(opened, single, all_cores, strict=True):
        localize = bench.globally(landmark_map)
        queries = bench.read_queries(given.query_bag, Extractor(backend, ExtractorConfig()))
        result = score([bench.sample_of(query, localize(query)) for query in queries])
        mean, low, overall = agreement(grays, backend, opened[0][1])
        recalls = " / ".join(f"{100 * recall.share:.0f}" for recall in result.recalls)
        table.add_row(
            name,
            f"{one:.0f} ms",
            f"{many:.0f} ms",
            f"{mean:.4f} ({low:.3f})",
            f"{overall:.4f}",
            f"{result.published} of {result.images}",
            f"{recalls} %",
            str(result.wrong),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
