"""Whether an engine may be trusted: its outputs beside those of ONNX Runtime, its keypoints beside the host's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.choosing import choose
from hfnet_core.features.backends.protocol import Backend, DenseOutputs, SelectedOutputs, check_dense
from hfnet_core.features.backends.tensorrt.device import Device
from hfnet_core.features.backends.tensorrt.engine import LoadedEngine
from hfnet_core.features.backends.tensorrt.tensors import tensor_shapes
from hfnet_core.features.network.selection import Selection
from hfnet_core.types import Float32

__all__ = ["Agreement", "agreement", "check_engine", "probe_images"]

# The choice is made in FP32 from the engine's own scores, so only sums taken in another order may differ.
_SAME_PX, _LEAST_SHARE, _LEAST_COSINE = 0.01, 0.99, 0.9999


@dataclass(frozen=True)
class Agreement:
    """How far outputs are from a reference, at worst over all images: cosines of descriptors, difference of scores."""

    local_cosine: float
    global_cosine: float
    score_difference: float

    def within(self, limits: Agreement) -> bool:
        return (
            self.local_cosine >= limits.local_cosine
            and self.global_cosine >= limits.global_cosine
            and self.score_difference <= limits.score_difference
        )

    def __str__(self) -> str:
        return (
            f"lowest cosine of local descriptors {self.local_cosine:.5f}, of global {self.global_cosine:.5f}, "
            f"largest difference of scores {self.score_difference:.2g}"
        )


_LIMITS = {
    "fp32": Agreement(0.9999, 0.9999, 1e-3),
    "fp16": Agreement(0.999, 0.999, 0.02),
    "int8": Agreement(0.9, 0.9, 0.2),  # against the same quantized graph; rounding moves points between VLAD words
}


def probe_images(height: int, width: int) -> list[Float32]:
    """Gray images on which engines have failed before: blank ones, noise, few features, many."""
    rng = np.random.default_rng(0)
    boxes = np.full((height, width), 128.0, np.float32)
    for _ in range(60):
        y, x = rng.integers(0, height), rng.integers(0, width)
        boxes[y : y + rng.integers(4, height // 4 + 5), x : x + rng.integers(4, width // 4 + 5)] = rng.uniform(0, 255)
    blank = [np.full((height, width), value, np.float32) for value in (0.0, 128.0, 255.0)]
    ramp = np.tile(np.linspace(0.0, 255.0, width, dtype=np.float32), (height, 1))
    return [*blank, ramp, rng.uniform(0.0, 255.0, (height, width)).astype(np.float32), boxes]


def agreement(outputs: DenseOutputs, reference: DenseOutputs) -> Agreement:
    """Of one image's outputs with a reference's."""
    return Agreement(
        local_cosine=float((outputs.descriptors * reference.descriptors).sum(axis=2).min()),
        global_cosine=float(outputs.global_descriptor @ reference.global_descriptor),
        score_difference=float(np.abs(outputs.scores - reference.scores).max()),
    )


def check_engine(
    device: Device, plan: bytes, reference: Backend, selection: Selection, kind: str
) -> tuple[Agreement | None, str | None]:
    """(worst agreement over all probe images, why the engine must not be used)."""
    worst: Agreement | None = None
    engine = LoadedEngine(device, plan, tensor_shapes(reference.info, selection), cuda_graph=False)
    try:
        for image in probe_images(selection.height, selection.width):
            outputs = engine.submit(image).result()
            try:
                check_dense(outputs, image, reference.info)
            except BackendError as error:
                return None, str(error)
            found = agreement(outputs, reference.infer(image))
            worst = found if worst is None else _worse(worst, found)
            problem = _choice_problem(engine, selection, image, choose(outputs, reference.info, _limits(selection)))
            if problem is not None:
                return worst, problem
    finally:
        engine.close()
    return worst, None if worst is not None and worst.within(_LIMITS[kind]) else str(worst)


def _limits(selection: Selection) -> ExtractorConfig:
    """What an engine chooses, as the host is told it."""
    return ExtractorConfig(
        max_keypoints=selection.count, nms_radius_px=selection.radius, subpixel=selection.subpixel, max_side_px=0
    )


def _choice_problem(
    engine: LoadedEngine, selection: Selection, image: Float32, expected: SelectedOutputs
) -> str | None:
    """What is wrong with the keypoints that the engine chooses. expected: the host's choice from the same outputs."""
    if len(np.unique(expected.scores)) < len(expected.scores):
        return None  # equal scores, as of a blank image: either choice is right
    limits = _limits(selection)
    try:
        found = engine.submit(image, selecting=True).selected().above(limits.detection_threshold, selection.count)
    except BackendError as error:
        return str(error)
    distances = np.abs(found.keypoints[:, None] - expected.keypoints[None]).max(axis=2)
    first, second = np.nonzero(distances < _SAME_PX)
    share = len(first) / max(len(found.keypoints), len(expected.keypoints), 1)
    cosine = float((found.descriptors[first] * expected.descriptors[second]).sum(axis=1).min(initial=1.0))
    if (len(expected.keypoints) and share < _LEAST_SHARE) or cosine < _LEAST_COSINE:
        return f"{share:.1%} of its keypoints are those of the host, lowest cosine of their descriptors {cosine:.5f}"
    return None


def _worse(first: Agreement, second: Agreement) -> Agreement:
    return Agreement(
        min(first.local_cosine, second.local_cosine),
        min(first.global_cosine, second.global_cosine),
        max(first.score_difference, second.score_difference),
    )
