"""Which runtime is the fastest on this machine whose features are as good: measured once, remembered, looked up."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hfnet_core.config import EngineConfig, ExtractorConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.choosing import choose
from hfnet_core.features.backends.kinds import open_kind, with_precision
from hfnet_core.features.backends.protocol import Backend, DenseOutputs, DetectingBackend, SelectedOutputs
from hfnet_core.types import Float32

__all__ = [
    "BOUNDS",
    "REFERENCE",
    "Candidate",
    "Likeness",
    "Measured",
    "candidates",
    "fastest",
    "measure",
    "sample_images",
]

_WARM_UP, _ROUNDS = 2, 4  # of all images
_SAME_PX = 1.0


@dataclass(frozen=True)
class Candidate:
    """A runtime and the precision it is asked for."""

    kind: str
    precision: str


REFERENCE = Candidate("onnxruntime", "fp32")


@dataclass(frozen=True)
class Likeness:
    """How like the reference's features are, on average over the images.

    keypoints: share that the reference has too, within a pixel. local_cosine: of their descriptors. global_cosine: of
    the global descriptor, at worst.
    """

    keypoints: float
    local_cosine: float
    global_cosine: float

    def within(self, bounds: Likeness) -> bool:
        return (
            self.keypoints >= bounds.keypoints
            and self.local_cosine >= bounds.local_cosine
            and self.global_cosine >= bounds.global_cosine
        )


# On the sample images bfloat16 has 0.98, 0.9997 and 0.999; recall with it is that of FP32 (docs/benchmarks.md).
# INT8 has 0.984 in its local descriptors.
BOUNDS = Likeness(keypoints=0.93, local_cosine=0.998, global_cosine=0.99)


@dataclass(frozen=True)
class Measured:
    """A candidate's median time from gray image to features, and its likeness; or why there is neither."""

    candidate: Candidate
    description: str
    milliseconds: float = 0.0
    likeness: Likeness | None = None
    problem: str | None = None

    @property
    def is_good(self) -> bool:
        return self.likeness is not None and self.likeness.within(BOUNDS)


def candidates(engine: EngineConfig) -> list[Candidate]:
    """What is installed and allowed, REFERENCE first: with `precision` fp32 nothing coarser.

    TensorRT is not among them: `auto` takes it wherever it works.
    """
    found = [REFERENCE]
    if importlib.util.find_spec("openvino") is not None:
        found += [Candidate("openvino", precision) for precision in dict.fromkeys(["fp32", engine.precision])]
    return found


def measure(
    model: Path, images: Sequence[Float32], engine: EngineConfig, threads: int = 0, also: Sequence[Candidate] = ()
) -> list[Measured]:
    """Every candidate on gray images [H, W] in turns, so that what else the machine does falls on all alike.

    also: more candidates. Raises ModelError for an unusable file.
    """
    limits = ExtractorConfig()
    backends: dict[Candidate, Backend] = {}
    failed: list[Measured] = []
    for candidate in [*candidates(engine), *also]:
        try:
            backends[candidate] = _opened(candidate, model, engine, threads)
        except BackendError as error:  # noqa: PERF203 - the others still count
            failed.append(Measured(candidate, f"{candidate.kind} {candidate.precision}", problem=str(error)))
    try:
        times = _times(list(backends.values()), images, limits)
        expected = [_features(backends[REFERENCE], image, limits) for image in images]
        return [
            *(
                Measured(candidate, backend.description, taken, _likeness(backend, images, expected, limits))
                for (candidate, backend), taken in zip(backends.items(), times, strict=True)
            ),
            *failed,
        ]
    finally:
        for backend in backends.values():
            backend.close()


def fastest(rows: Sequence[Measured]) -> Measured:
    """The one to take: of those that are good the quickest, the reference if there is no other."""
    return min((row for row in rows if row.is_good), key=lambda row: row.milliseconds, default=rows[0])


def sample_images(height: int = 480, width: int = 640, count: int = 3) -> list[Float32]:
    """Gray images with edges, corners and texture as cameras see them: a little blurred, a little noisy."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        image = cv2.resize(rng.uniform(60, 190, (height // 40, width // 40)), (width, height))
        for _ in range(150):
            y, x = rng.integers(0, height), rng.integers(0, width)
            image[y : y + rng.integers(6, 90), x : x + rng.integers(6, 90)] += rng.uniform(-70, 70)
        image = cv2.GaussianBlur(image, (0, 0), 0.8) + rng.normal(0, 2, image.shape)
        found.append(np.clip(image, 0, 255).round().astype(np.float32))
    return found


def _opened(candidate: Candidate, model: Path, engine: EngineConfig, threads: int) -> Backend:
    backend = open_kind(candidate.kind, model, threads, with_precision(engine, candidate.precision))
    if candidate.kind == "openvino" and candidate.precision == "fp16" and "bf16" not in backend.description:
        backend.close()
        raise BackendError("this processor does not compute in bfloat16")
    return backend


def _times(backends: Sequence[Backend], images: Sequence[Float32], limits: ExtractorConfig) -> list[float]:
    """Median milliseconds of each."""
    taken: list[list[float]] = [[] for _ in backends]
    for number, image in enumerate(_repeated(images)):
        for backend, own in zip(backends, taken, strict=True):
            started = time.perf_counter()
            _features(backend, image, limits)
            if number >= _WARM_UP:
                own.append(1e3 * (time.perf_counter() - started))
    return [float(np.median(own)) for own in taken]


def _repeated(images: Sequence[Float32]) -> Iterator[Float32]:
    yield from list(images)[:1] * _WARM_UP
    for _ in range(_ROUNDS):
        yield from images


def _features(backend: Backend, image: Float32, limits: ExtractorConfig) -> SelectedOutputs:
    found: SelectedOutputs | DenseOutputs
    found = backend.detect(image, limits) if isinstance(backend, DetectingBackend) else backend.infer(image)
    return found if isinstance(found, SelectedOutputs) else choose(found, backend.info, limits)


def _likeness(
    backend: Backend, images: Sequence[Float32], expected: Sequence[SelectedOutputs], limits: ExtractorConfig
) -> Likeness:
    shares, locals_, globals_ = [], [], []
    for image, reference in zip(images, expected, strict=True):
        found = _features(backend, image, limits)
        globals_.append(float(found.global_descriptor @ reference.global_descriptor))
        if not len(found.keypoints) or not len(reference.keypoints):
            shares.append(float(len(found.keypoints) == len(reference.keypoints)))
            continue
        distances = np.linalg.norm(found.keypoints[:, None] - reference.keypoints[None], axis=2)
        nearest = distances.argmin(axis=1)
        same = distances[np.arange(len(nearest)), nearest] < _SAME_PX
        shares.append(float(min(same.mean(), (distances.min(axis=0) < _SAME_PX).mean())))
        locals_.append(float((found.descriptors * reference.descriptors[nearest]).sum(axis=1)[same].mean()))
    return Likeness(float(np.mean(shares)), float(np.mean(locals_ or [0.0])), min(globals_))
