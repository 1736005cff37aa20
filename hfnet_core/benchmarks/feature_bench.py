"""Front ends side by side: same images, same budget of keypoints, one run."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hfnet_core.benchmarks.feature_metrics import (
    TRIALS,
    Extract,
    HomographyScores,
    PlanarSequence,
    RelocalizationScores,
    evaluate_homographies,
    evaluate_relocalization,
)
from hfnet_core.benchmarks.retrieval_metrics import Describe, RetrievalScores, evaluate_retrieval, vlad_of_map
from hfnet_core.evaluation.depth_sequence import DepthSequence, overlaps
from hfnet_core.features.sources import FeatureSource
from hfnet_core.front_ends.matchers import Matcher, matcher
from hfnet_core.front_ends.registry import FrontEndSetup, local_front_end, named
from hfnet_core.types import Features, Float32

_log = logging.getLogger(__name__)

__all__ = ["Contestant", "Distractors", "FrontEndScores", "contestants", "run"]


@dataclass(frozen=True, eq=False)
class Contestant:
    """A source of features and who matches them. title: for tables."""

    title: str
    source: FeatureSource
    match: Matcher


class Distractors(NamedTuple):
    """Images of other places: makes them, anew for each front end, and the numbers of them that recall is told for."""

    make: Callable[[], Iterable[NDArray[Any]]]
    counts: Sequence[int] = ()


@dataclass(frozen=True, eq=False)
class FrontEndScores:
    """Everything measured of one contestant; None or empty where the data for it were not given. retrieval: by the
    readings of unknown depth that `Overlaps` names. extraction_s of an image and matching_s of a pair: medians, seconds
    of processor time of all threads."""

    name: str
    homographies: Mapping[str, HomographyScores]
    relocalization: RelocalizationScores | None
    retrieval: Mapping[str, RetrievalScores]
    extraction_s: float
    matching_s: float


def contestants(texts: Sequence[str], setup: FrontEndSetup) -> list[Contestant]:
    """Of texts FRONT_END or FRONT_END+MATCHER, see `registry` and `matchers`; one that is named twice is made once.

    Raises ConfigError for what is not known, MissingExtraError for what is not installed.
    """
    made: dict[str, FeatureSource] = {}
    out = []
    for text in texts:
        front_end, _, how = text.partition("+")
        if front_end not in made:
            made[front_end] = local_front_end(front_end, setup)
        matching = matcher(how or "nn", named(front_end)[0])
        out.append(Contestant(text, made[front_end], matching))
    return out


def run(
    competing: Sequence[Contestant],
    planar: Sequence[PlanarSequence],
    depth: DepthSequence | None,
    distractors: Distractors | None = None,
    progress: Callable[[str], None] = lambda _: None,
    trials: int = TRIALS,
) -> list[FrontEndScores]:
    """All scores of all contestants. Retrieval is measured where there is a global descriptor; SIFT, which has none,
    retrieves with a VLAD of its own descriptors, trained on the map frames. Contestants that differ only in matching
    share their features."""
    overlap = None if depth is None else overlaps(depth)
    scores: list[FrontEndScores] = []
    remembered: dict[int, _Timed] = {}
    for one in competing:
        progress(one.title)
        fresh = id(one.source) not in remembered
        timed = remembered.setdefault(id(one.source), _Timed(one.source.extract))
        matching = _TimedMatcher(one.match)
        homographies = {sequence.name: evaluate_homographies(timed, sequence, matching) for sequence in planar}
        relocalization, retrieval = None, {}
        if depth is not None and overlap is not None:
            relocalization = evaluate_relocalization(timed, depth, overlap.unseen.with_map, trials, matching)
            describe = _describe(one.title, timed.passing, depth) if fresh else None
            if describe is not None:
                others, counts = ((), ()) if distractors is None else (distractors.make(), distractors.counts)
                retrieval = evaluate_retrieval(describe, depth, overlap, others, counts)
        times = (timed.median_s(), matching.median_s())
        scores.append(FrontEndScores(one.title, homographies, relocalization, retrieval, *times))
        _log.info("%s: measured, %s", one.title, scores[-1])
    return scores


def _describe(title: str, extract: Extract, depth: DepthSequence) -> Describe | None:
    """What a front end retrieves with."""
    images = [frame.image for frame in depth.map_frames]
    if len(extract(images[0]).global_descriptor):
        return lambda image: extract(image).global_descriptor
    return vlad_of_map(extract, images) if title.partition("+")[0] == "sift" else None


class _Timed:
    """Remembers features of an image and how long their extraction took."""

    def __init__(self, extract: Extract) -> None:
        self._extract = extract
        self._seconds: list[float] = []
        self._known: dict[int, tuple[NDArray[Any], Features]] = {}

    def __call__(self, image: NDArray[Any]) -> Features:
        known = self._known.get(id(image))
        if known is not None and known[0] is image:
            return known[1]
        start = time.process_time()
        features = self._extract(image)
        self._seconds.append(time.process_time() - start)
        self._known[id(image)] = (image, features.without_dense())  # holding the image keeps its id its own
        return features

    def passing(self, image: NDArray[Any]) -> Features:
        """The features of an image that is not remembered if it is new: one of very many."""
        known = self._known.get(id(image))
        return known[1] if known is not None and known[0] is image else self._extract(image)

    def median_s(self) -> float:
        return statistics.median(self._seconds) if self._seconds else float("nan")


class _TimedMatcher:
    """Remembers how long matching took."""

    def __init__(self, match: Matcher) -> None:
        self._match = match
        self._seconds: list[float] = []

    def __call__(self, first: Features, second: Features) -> tuple[NDArray[np.int32], Float32]:
        start = time.process_time()
        found = self._match(first, second)
        self._seconds.append(time.process_time() - start)
        return found

    def median_s(self) -> float:
        return statistics.median(self._seconds) if self._seconds else float("nan")
