"""Localization measured from all sides in one run: modes, front ends, strangers, kidnapping, a baseline, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pycolmap
from numpy.typing import NDArray

from hfnet_core import pose
from hfnet_core.config import EvaluationConfig, LocalizerConfig
from hfnet_core.errors import HFNetError
from hfnet_core.evaluation.metrics import Sample, Score, Spread, score
from hfnet_core.features.model_info import ModelInfo
from hfnet_core.geometry import Pose
from hfnet_core.localizer import Localizer
from hfnet_core.mapping.bags import Bag
from hfnet_core.mapping.landmark_map import LandmarkMap
from hfnet_core.matching import match_all
from hfnet_core.retrieval import Retriever
from hfnet_core.tracking import Tracker
from hfnet_core.types import Camera, Features, Localization, Localized, Mode, NotLocalized, Reason

__all__ = [
    "BorrowedRetrieval",
    "Kidnapping",
    "Query",
    "Run",
    "Strangers",
    "evaluate_kidnapping",
    "evaluate_strangers",
    "globally",
    "hloc_style",
    "measure",
    "read_queries",
    "stranger_images",
    "tracking",
]

Progress = Callable[[str], None]
_BASELINE_ERROR_PX = 12.0  # hloc's


class FeatureSource(Protocol):
    """An extractor, ours or another."""

    @property
    def info(self) -> ModelInfo: ...

    def extract(self, image: NDArray[Any]) -> Features: ...


class BorrowedRetrieval:
    """Local features of one front end with the global descriptor of another, so that both retrieve the same images."""

    def __init__(self, local: FeatureSource, retrieval: FeatureSource) -> None:
        self._local, self._retrieval = local, retrieval

    @property
    def info(self) -> ModelInfo:
        return self._local.info

    def extract(self, image: NDArray[Any]) -> Features:
        features = self._local.extract(image)
        return replace(features, global_descriptor=self._retrieval.extract(image).global_descriptor)


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
    """One way of localizing all queries. latency_s: after the features. stages_s: stage -> spread of seconds."""

    name: str
    score: Score
    latency_s: Spread | None
    stages_s: Mapping[str, Spread]


def read_queries(bag: Path, extractor: FeatureSource) -> list[Query]:
    """Every image of a bag as features. Raises DatasetError when the bag has no poses."""
    queries = []
    with Bag(bag) as recording:
        recording.require_poses()
        for frame in recording.frames():
            start = time.perf_counter()
            features = extractor.extract(frame.image)
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
        samples.append(_sample(query, result, latencies[-1]))
    spreads = {stage: spread for stage, values in stages.items() if (spread := Spread.of(values)) is not None}
    return Run(name, score(samples), Spread.of(latencies), spreads)


def globally(landmark_map: LandmarkMap, config: LocalizerConfig | None = None) -> Callable[[Query], Localization]:
    """Every image on its own."""
    localizer = Localizer(landmark_map, config)
    return lambda query: localizer.localize(query.features, query.camera)


def tracking(landmark_map: LandmarkMap, config: LocalizerConfig | None = None) -> Callable[[Query], Localization]:
    """One image after the other, each the prior of the next."""
    tracker = Tracker(Localizer(landmark_map, config))
    return lambda query: tracker.process(query.features, query.camera, query.stamp_ns * 1e-9)


def hloc_style(landmark_map: LandmarkMap, config: LocalizerConfig | None = None) -> Callable[[Query], Localization]:
    """The plain pipeline for comparison: mutual matching with each retrieved image by itself, PnP over all matches.

    After hloc's `localize_sfm` without clustering: every solved pose counts as an answer, whatever its support.
    """
    config = config or LocalizerConfig()
    retriever = Retriever(landmark_map.global_descriptors)

    def localize(query: Query) -> Localization:
        pixels, points, used = [], [], []
        found, _ = retriever.query(query.features.global_descriptor, config.retrieved)
        for keyframe in found:
            rows = landmark_map.observations_of(int(keyframe))
            descriptors = landmark_map.observation_descriptors[rows].astype(np.float32)
            owners = landmark_map.observation_landmarks[rows]
            places = np.arange(len(rows), dtype=np.int32)
            matches = match_all(query.features.descriptors, descriptors, places, ratio=np.inf)
            pixels.append(query.features.keypoints_px[matches.keypoints])
            points.append(landmark_map.landmarks_xyz[owners[matches.landmarks]])
            used.append(owners[matches.landmarks])
        scale = query.camera.width / pose.REFERENCE_WIDTH
        options = pycolmap.AbsolutePoseEstimationOptions()
        options.ransac.max_error = _BASELINE_ERROR_PX * scale
        options.ransac.random_seed = 0
        camera = landmark_map.calibration_for(query.camera)
        keypoints, xyz = np.concatenate(pixels), np.concatenate(points)
        answer = pycolmap.estimate_and_refine_absolute_pose(
            keypoints.astype(np.float64), xyz.astype(np.float64), pose.colmap_camera(camera), options
        )
        if answer is None:
            return NotLocalized(Reason.NO_CONSENSUS, matches=len(keypoints))
        inliers = np.asarray(answer["inlier_mask"], bool)
        return Localized(
            map_from_camera=Pose.from_matrix(answer["cam_from_world"].matrix()).inverse(),
            covariance=np.full((6, 6), np.nan), mode=Mode.GLOBAL, inliers=int(inliers.sum()), matches=len(keypoints),
            keypoints_px=keypoints[inliers], landmarks=np.concatenate(used)[inliers], keyframes=tuple(map(int, found)),
            coverage=pose.coverage(keypoints[inliers], camera), reprojection_px=float("nan"),
        )  # fmt: skip

    return localize


@dataclass(frozen=True)
class Strangers:
    """Images from elsewhere: how many, and how many of them got a pose all the same."""

    images: int
    accepted: int


def evaluate_strangers(
    landmark_map: LandmarkMap, images: Iterable[NDArray[Any]], extractor: FeatureSource, config: LocalizerConfig | None
) -> Strangers:
    """Localize images from places that are not in the map. Every pose for them is a wrong one.

    Their cameras are unknown; a field of view of 60 degrees is assumed, as a careless user might.
    """
    localizer = Localizer(landmark_map, config)
    count = accepted = 0
    for image in images:
        height, width = image.shape[:2]
        focal = max(height, width) / (2 * np.tan(np.radians(30)))
        camera = Camera("PINHOLE", width, height, (focal, focal, (width - 1) / 2, (height - 1) / 2))
        try:
            features = extractor.extract(image)
        except HFNetError:
            continue
        count += 1
        accepted += isinstance(localizer.localize(features, camera), Localized)
    return Strangers(count, accepted)


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
            sample = _sample(query, tracker.process(query.features, query.camera, clock_s), None)
            error = sample.error
            right = error is not None and error[0] <= limits.wrong_distance_m and error[1] <= limits.wrong_angle_deg
            verdicts.append(right)
            wrong += error is not None and not right
        recovered += any(verdicts[:2])
    return Kidnapping(len(parts), recovered, wrong)


def stranger_images(folder: Path, count: int, read: Callable[[Path], NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """`count` images of a folder, evenly spread over its sorted files."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    for index in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)):
        yield read(files[index])


def _sample(query: Query, result: Localization, latency_s: float | None) -> Sample:
    if not isinstance(result, Localized):
        return Sample(query.stamp_ns, query.truth, latency_s=latency_s, reason=result.reason.value)
    covariance = result.covariance if np.isfinite(result.covariance).all() else None
    return Sample(query.stamp_ns, query.truth, result.map_from_camera, covariance, latency_s)
