"""Keypoints chosen inside the graph against the host's choice, in ONNX Runtime and OpenVINO on this machine's CPU.

    python test/bench/selection.py [--size 640x480] [--repeats 30] [--threads 2]

Both ways take turns image by image, so that what else the machine does falls on both alike; the ratio is the median of
the single ratios. OpenVINO needs `pip install 'hfnet_ros[openvino]'`.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from rich.console import Console
from rich.table import Table

from hfnet_core.config import EngineConfig, ExtractorConfig
from hfnet_core.features.backends.choosing import choose
from hfnet_core.features.backends.opening import DEFAULT_MODEL, open_backend
from hfnet_core.features.backends.protocol import Backend, SelectedOutputs
from hfnet_core.features.backends.tuning import sample_images
from hfnet_core.features.network.selection import Selection
from hfnet_core.features.network.selection_graph import with_selection

NAMES = ("keypoints", "keypoint_scores", "keypoint_descriptors", "global_descriptor", "descriptors")
CONFIG = ExtractorConfig()


def in_onnxruntime(model: bytes, threads: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda gray: session.run(list(NAMES), {"image": gray[None, None]})


def in_openvino(model: bytes, threads: int, precision: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    import openvino

    core = openvino.Core()
    hints: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(core.read_model(model), "CPU", {**hints, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()

    def run(gray: np.ndarray) -> list[np.ndarray]:
        request.infer([gray[None, None]])
        return [request.get_tensor(name).data.copy() for name in NAMES]

    return run


def difference(found: list[np.ndarray], expected: SelectedOutputs) -> tuple[float, float]:
    """(share of the host's keypoints within 0.01 px, largest difference of their descriptors)."""
    distances = np.abs(found[0][:, None] - expected.keypoints[None]).max(axis=2)
    first, second = np.nonzero(distances < 0.01)
    largest = np.abs(found[2][first] - expected.descriptors[second]).max(initial=0.0)
    return len(first) / max(len(expected.keypoints), 1), float(largest)


def measure(
    backend: Backend, inside: Callable[[np.ndarray], list[np.ndarray]], images: list[np.ndarray], repeats: int
) -> list[str]:
    host, graph, network = [], [], []
    for number in range(repeats + 3):
        gray = images[number % len(images)]
        started = time.perf_counter()
        dense = backend.infer(gray)
        between = time.perf_counter()
        expected = choose(dense, backend.info, CONFIG)
        ended = time.perf_counter()
        found = inside(gray)
        finished = time.perf_counter()
        if number >= 3:
            network.append(1e3 * (between - started))
            host.append(1e3 * (ended - started))
            graph.append(1e3 * (finished - ended))
    share, largest = difference(found, expected)
    ratio = statistics.median(b / a for a, b in zip(host, graph, strict=True))
    times = [f"{statistics.median(values):.1f}" for values in (network, host, graph)]
    return [*times, f"{ratio:.2f}", f"{100 * share:.1f} %", f"{largest:.1e}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    images = sample_images(height, width)
    table = Table(title=f"{given.size}, {given.threads} threads, ms")
    for column in (
        "runtime",
        "network",
        "choice on the host",
        "in the graph",
        "ratio",
        "same keypoints",
        "descriptors",
    ):
        table.add_column(column, justify="left" if column == "runtime" else "right")
    ways = [("onnxruntime", "fp32")]
    if importlib.util.find_spec("openvino"):
        ways += [("openvino", "fp32"), ("openvino", "fp16")]
    for kind, precision in ways:
        backend = open_backend(None, kind, given.threads, EngineConfig(precision=precision))
        selection = Selection.of(CONFIG, backend.info, height, width)
        graph = with_selection(onnx.load(str(DEFAULT_MODEL)), backend.info, selection).SerializeToString()
        hint = "bf16" if "bf16" in backend.description else "f32"
        inside = in_openvino(graph, given.threads, hint) if kind == "openvino" else in_onnxruntime(graph, given.threads)
        table.add_row(backend.description, *measure(backend, inside, images, given.repeats))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
