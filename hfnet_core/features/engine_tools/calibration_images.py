"""A quantized model from the images of a recording, with a measurement of what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.tensorrt.building.graphs import parse_model
from hfnet_core.features.engine_tools.quantization import activation_ranges, quantize
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.model_file import read_model_file
from hfnet_core.features.network.onnx_graph import save_onnx
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Float32

__all__ = ["QuantizationReport", "quantized_by_bag"]

_TEST_EVERY = 5  # of the chosen images, one in this many is kept for the measurement


@dataclass(frozen=True)
class QuantizationReport:
    """images: that set the scales; tested: others, on which the cosines to the original's descriptors were taken."""

    images: int
    tested: int
    local_mean: float
    local_low: float
    global_low: float

    def __str__(self) -> str:
        return (
            f"cosine to the original, local descriptors mean {self.local_mean:.4f}, worst hundredth below "
            f"{self.local_low:.4f}; global descriptors lowest {self.global_low:.4f}"
        )


def quantized_by_bag(
    model: Path, bag: Path, output: Path, count: int, image_topic: str | None = None
) -> QuantizationReport:
    """Write an INT8 copy of `model` to `output`, its scales set by `count` images spread over a bag.

    The copy keeps the original's model hash: maps made with one serve the other. Raises DatasetError for an unusable
    bag, ModelError for an unusable model.
    """
    original = OnnxRuntimeBackend(model)
    proto = parse_model(read_model_file(model), str(model))
    images = list(_images(Extractor(original), bag, count, image_topic))
    tested = images[_TEST_EVERY - 1 :: _TEST_EVERY]
    calibrating = [image for index, image in enumerate(images) if index % _TEST_EVERY != _TEST_EVERY - 1]
    if not tested:
        raise DatasetError(
            f"{bag}: {len(images)} images are too few to quantize a model; at least {_TEST_EVERY} needed"
        )
    save_onnx(quantize(proto, activation_ranges(proto, calibrating)), output)
    local, whole = [], []
    copy = OnnxRuntimeBackend(output)
    for image in tested:
        ours, theirs = copy.infer(image), original.infer(image)
        local.append((ours.descriptors * theirs.descriptors).sum(axis=2).reshape(-1))
        whole.append(float(ours.global_descriptor @ theirs.global_descriptor))
    cosines = np.concatenate(local)
    return QuantizationReport(
        len(calibrating), len(tested), float(cosines.mean()), float(np.percentile(cosines, 1)), min(whole)
    )


def _images(extractor: Extractor, bag: Path, count: int, image_topic: str | None) -> Iterator[Float32]:
    """Gray images as the network sees them, spread evenly over the recording."""
    options = BagOptions(image_topic=image_topic, camera_optional=True, poses_wanted=False)  # images are all it takes
    with Bag(bag, options) as recording:
        wanted = min(len(recording), count + -(-count // (_TEST_EVERY - 1)))  # and those kept for the measurement
        chosen = np.unique(np.linspace(0, len(recording) - 1, wanted).astype(int))
        for frame in recording.frames(chosen.tolist()):
            yield extractor.prepare(frame.image)[0]
