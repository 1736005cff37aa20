"""Localization measured from all sides in one run: modes, front ends, foreign images, kidnapping, a baseline, time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.benchmarks.hloc_style import HlocStyle, MapImage, observed_only
from hfnet_core.config import EvaluationConfig, LocalizerConfig
from hfnet_core.errors import ConfigError, HFNetError
from hfnet_core.evaluation.metrics import Sample, Score, Spread, score
from hfnet_core.features.sources import FeatureSource, NamedSource, extract_named
from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Features, Localization, Localized, NotLocalized

__all__ = [
    "ForeignImages",
    "Kidnapping",
    "Query",
    "Rate",
    "Run",
    "evaluate_foreign",
    "evaluate_kidnapping",
    "foreign_images",
    "globally",
    "hloc_style",
    "measure",
    "read_queries",
    "sample_of",
    "sustained_rate",
    "tracking",
]


@dataclass(frozen=True, eq=False)
class Query:
    """A query image as its features, with the truth if it is known. extraction_s: what they took."""

    stamp_ns: int
    features: Features
    camera: Camera
    truth: Pose | None
    extraction_s: float


@dataclass(frozen=True, eq=False)
class Run:
    """One way of localizing all queries.

    latency_s: after the features. stages_s: stage -> spread of seconds. refusals: reason -> how many, most first.
    """

    name: str
    score: Score
    latency_s: Spread | None
    stages_s: Mapping[str, Spread]
    refusals: Mapping[str, int]


def read_queries(bag: Path, extractor: FeatureSource, options: BagOptions | None = None) -> list[Query]:
    """Every image of a bag as features. Raises DatasetError when the bag has no poses."""
    queries = []
    with Bag(bag, options) as recording:
        recording.require_poses()
        for frame in recording.frames():
            start = time.perf_counter()
            features = extract_named(extractor, frame.image, frame.name, frame.preparation)
            seconds = time.perf_counter() - start
            queries.append(Query(frame.stamp_ns, features, frame.camera, frame.map_from_camera, seconds))
    return queries


def measure(name: str, queries: Sequence[Query], localize: Callable[[Query], Localization]) -> Run:
    """Localize all queries in order and judge the result."""
    samples, latencies = [], []
    stages: dict[str, list[float]] = {}
    for query in queries:
        start = time.perf_counter()
        result = localize(query)
        latencies.append(time.perf_counter() - start)
        for stage, seconds in result.timings_s.items():
            stages.setdefault(stage, []).append(seconds)
        samples.append(sample_of(query, result, latencies[-1]))
    spreads = {stage: spread for stage, values in stages.items() if (spread := Spread.of(values)) is not None}
    return Run(name, score(samples), Spread.of(latencies), spreads, _counted(sample.reason for sample in samples))


def _counted(reasons: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(reason for reason in reasons if reason).most_common())


def globally(landmark_map: LandmarkMap, config: LocalizerConfig | None = None) -> Callable[[Query], Localization]:
    """Every image on its own."""
    localizer = Localizer(landmark_map, config)
    return lambda query: localizer.localize([View(query.features, query.camera)])


def tracking(landmark_map: LandmarkMap, config: LocalizerConfig | None = None) -> Callable[[Query], Localization]:
    """One image after the other, each the prior of the next."""
    tracker = Tracker(Localizer(landmark_map, config))
    return lambda query: tracker.process([View(query.features, query.camera)], query.stamp_ns * 1e-9)


def hloc_style(
    landmark_map: LandmarkMap, images: Sequence[MapImage] | None = None, config: LocalizerConfig | None = None
) -> Callable[[Query], Localization]:
    """The plain pipeline for comparison. images: see `map_images`; without, only keypoints with a landmark."""
    baseline = HlocStyle(landmark_map, observed_only(landmark_map) if images is None else images, config)
    return lambda query: baseline.localize(query.features, query.camera)


@dataclass(frozen=True)
class Rate:
    """A recording from end to end, one image after the other: decoding, features, tracking."""

    images: int
    seconds: float

    @property
    def per_s(self) -> float:
        return self.images / self.seconds


def sustained_rate(
    landmark_map: LandmarkMap, bag: Path, extractor: FeatureSource, options: BagOptions | None = None
) -> Rate:
    """How many images per second a robot could send. The first is not counted: it finds everything cold."""
    tracker = Tracker(Localizer(landmark_map))
    images, started = 0, 0.0
    with Bag(bag, options) as recording:
        for frame in recording.frames():
            features = extract_named(extractor, frame.image, frame.name, frame.preparation)
            tracker.process([View(features, frame.camera)], frame.stamp_ns * 1e-9)
            started = started or time.perf_counter()
            images += 1
    return Rate(images - 1, time.perf_counter() - started)


@dataclass(frozen=True)
class ForeignImages:
    """Images from elsewhere: how many, how many of them got a pose all the same, and why the others got none."""

    images: int
    accepted: int
    refusals: Mapping[str, int]


def evaluate_foreign(
    landmark_map: LandmarkMap, images: Iterable[NDArray[Any]], extractor: FeatureSource, config: LocalizerConfig | None
) -> ForeignImages:
    """Localize images from places that are not in the map. Every pose for them is a wrong one.

    Their cameras are unknown; a field of view of 60 degrees is assumed, as a careless user might.
    """
    if isinstance(extractor, NamedSource):
        raise ConfigError("features from files know no foreign images: leave --foreign-images away")
    localizer = Localizer(landmark_map, config)
    accepted, reasons = 0, []
    for image in images:
        height, width = image.shape[:2]
        focal = max(height, width) / (2 * np.tan(np.radians(30)))
        camera = Camera("PINHOLE", width, height, (focal, focal, (width - 1) / 2, (height - 1) / 2))
        try:
            features = extractor.extract(image)
        except HFNetError:
            continue
        result = localizer.localize([View(features, camera)])
        accepted += isinstance(result, Localized)
        reasons.append(result.reason.value if isinstance(result, NotLocalized) else None)
    return ForeignImages(len(reasons), accepted, _counted(reasons))


@dataclass(frozen=True)
class Kidnapping:
    """A drive cut into pieces and shuffled. recovered: cuts after which the second image at the latest was right."""

    cuts: int
    recovered: int
    wrong: int


def evaluate_kidnapping(
    landmark_map: LandmarkMap, queries: Sequence[Query], pieces: int = 20, config: LocalizerConfig | None = None
) -> Kidnapping:
    """Let a tracker live through `pieces` parts of the drive in random order (seeded), at a steady camera rate."""
    limits = EvaluationConfig()
    order = np.random.default_rng(0).permutation(pieces)
    parts = [part for part in np.array_split(np.arange(len(queries)), pieces) if len(part) >= 2]
    interval_s = float(np.median(np.diff([query.stamp_ns for query in queries]))) * 1e-9
    tracker = Tracker(Localizer(landmark_map, config))
    clock_s, recovered, wrong = 0.0, 0, 0
    for number in [number for number in order if number < len(parts)]:
        verdicts = []
        for index in parts[number]:
            clock_s += interval_s
            query = queries[index]
            sample = sample_of(query, tracker.process([View(query.features, query.camera)], clock_s))
            error = sample.error
            right = error is not None and error[0] <= limits.wrong_distance_m and error[1] <= limits.wrong_angle_deg
            verdicts.append(right)
            wrong += error is not None and not right
        recovered += any(verdicts[:2])
    return Kidnapping(len(parts), recovered, wrong)


def foreign_images(folder: Path, count: int, read: Callable[[Path], NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """`count` images of a folder, evenly spread over its sorted files."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    for index in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)):
        yield read(files[index])


def sample_of(query: Query, result: Localization, latency_s: float | None = None) -> Sample:
    """The answer to a query beside its true pose."""
    if not isinstance(result, Localized):
        return Sample(query.stamp_ns, query.truth, latency_s=latency_s, reason=result.reason.value)
    covariance = result.covariance if np.isfinite(result.covariance).all() else None
    return Sample(query.stamp_ns, query.truth, result.map_from_camera, covariance, latency_s)
