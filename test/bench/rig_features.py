"""Features of the images of a rig: one after the other, two at once, or all in one call.

    python test/bench/rig_features.py [--cameras 2] [--repeats 40] [--threads 2]

The ways take turns, so that what else the machine does falls on all alike; ratios are medians of the single ratios to
one after the other. A batch is the shipped network with its first dimension freed; of it only the network is timed,
beside the network alone of the same images. The node goes by `Backend.images_at_once`. OpenVINO needs
`pip install 'hfnet_ros[openvino]'`.
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
from onnx import numpy_helper
from rich.console import Console
from rich.table import Table

from hfnet_core.config import EngineConfig
from hfnet_core.features.backends.opening import DEFAULT_MODEL, open_backend
from hfnet_core.features.backends.tuning import sample_images
from hfnet_core.features.extractor import Extractor
from hfnet_core.threads import one_blas_thread, side_by_side

OUTPUTS = ["scores", "descriptors", "global_descriptor"]
WARM_UP = 3


def batched() -> bytes:
    """The shipped network for any number of images."""
    model = onnx.load(str(DEFAULT_MODEL))
    for constant in model.graph.initializer:
        if constant.name.endswith("/shape"):  # of a reshape: its 1 is the number of images, and 0 keeps what comes
            constant.CopyFrom(
                numpy_helper.from_array(np.append([0], numpy_helper.to_array(constant)[1:]), constant.name)
            )
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "images"
    del model.graph.value_info[:]
    return model.SerializeToString()


def batch_in_onnxruntime(threads: int) -> Callable[[np.ndarray], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(batched(), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(OUTPUTS, {"image": images})


def batch_in_openvino(threads: int, precision: str, count: int) -> Callable[[np.ndarray], Any]:
    import openvino

    core = openvino.Core()
    network = core.read_model(batched())
    network.reshape([count, 1, 480, 640])
    hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(network, "CPU", hints).create_infer_request()

    def run(images: np.ndarray) -> list[np.ndarray]:
        request.infer([images])
        return [request.get_tensor(name).data.copy() for name in OUTPUTS]

    return run


def milliseconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def row(extractor: Extractor, batch: Callable[[np.ndarray], Any], images: list[np.ndarray], repeats: int) -> list[str]:
    stack = np.stack(images)[:, None]
    ways: list[Callable[[], Any]] = [
        lambda: [extractor.extract(image) for image in images],
        lambda: side_by_side(extractor.extract, images, 2),
        lambda: [extractor.backend.infer(image) for image in images],
        lambda: batch(stack),
    ]
    taken = np.array([[milliseconds(way) for way in ways] for _ in range(WARM_UP + repeats)])[WARM_UP:]
    after_each_other, at_once, networks, together = (statistics.median(own) for own in taken.T)
    ratios = [statistics.median(taken[:, way] / taken[:, of]) for way, of in ((1, 0), (3, 2))]
    times = [f"{value:.0f}" for value in (after_each_other, at_once, networks, together)]
    return [*times[:2], f"{ratios[0]:.2f}", *times[2:], f"{ratios[1]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    one_blas_thread()
    images = sample_images(count=given.cameras)
    table = Table(title=f"{given.cameras} images of 640x480, {given.threads} threads, ms")
    for column in ("runtime", "one by one", "two at once", "ratio", "networks one by one", "one batch", "ratio"):
        table.add_column(column, justify="left" if column == "runtime" else "right")
    ways = [("onnxruntime", "fp32")]
    if importlib.util.find_spec("openvino"):
        ways.append(("openvino", "fp16"))
    for kind, precision in ways:
        backend = open_backend(None, kind, given.threads, EngineConfig(precision=precision))
        hint = "bf16" if "bf16" in backend.description else "f32"
        openvino = kind == "openvino"
        batch = (
            batch_in_openvino(given.threads, hint, given.cameras) if openvino else batch_in_onnxruntime(given.threads)
        )
        table.add_row(backend.description, *row(Extractor(backend), batch, images, given.repeats))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
