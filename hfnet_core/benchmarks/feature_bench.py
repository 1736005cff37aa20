"""Our features beside the classical ones and the teacher: same images, same budget, one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from hfnet_core.benchmarks.front_ends import AlikedExtractor
from hfnet_core.benchmarks.retrieval_metrics import Describe, RetrievalScores, evaluate_retrieval, vlad_of_map
from hfnet_core.config import ExtractorConfig
from hfnet_core.evaluation.depth_sequence import DepthSequence, overlaps
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.baselines import OrbExtractor, SiftExtractor
from hfnet_core.features.extractor import Extractor

__all__ = ["FrontEndScores", "front_ends", "run"]


@dataclass(frozen=True, eq=False)
class FrontEndScores:
    """Everything measured of one front end; None or empty where the data for it were not given. retrieval: by the
    readings of unknown depth that `Overlaps` names."""

    name: str
    homographies: Mapping[str, HomographyScores]
    relocalization: RelocalizationScores | None
    retrieval: Mapping[str, RetrievalScores]
    extraction_s: float


def front_ends(model: Path | None, keypoints: int, aliked: Path | None = None) -> dict[str, Extract]:
    """Extractors by name, all with the same budget of keypoints. aliked: the teacher's weights; needs torch."""
    config = ExtractorConfig(max_keypoints=keypoints)
    found: dict[str, Extract] = {
        "HF-Net (ours)": Extractor(open_backend(model), config).extract,
        "SIFT": SiftExtractor(config).extract,
        "ORB": OrbExtractor(config).extract,
    }
    if aliked is not None:
        found["ALIKED"] = AlikedExtractor(aliked, config).extract
    return found


def run(
    extractors: Mapping[str, Extract],
    planar: Sequence[PlanarSequence],
    depth: DepthSequence | None,
    distractors: Sequence[NDArray[Any]] = (),
    progress: Callable[[str], None] = lambda _: None,
    trials: int = TRIALS,
) -> list[FrontEndScores]:
    """All scores of all front ends. Retrieval is measured where there is a global descriptor; SIFT, which has none,
    retrieves with a VLAD of its own descriptors, trained on the map frames."""
    overlap = None if depth is None else overlaps(depth)
    scores = []
    for name, extract in extractors.items():
        progress(name)
        timed = _Timed(extract)
        homographies = {sequence.name: evaluate_homographies(timed, sequence) for sequence in planar}
        relocalization, retrieval = None, {}
        if depth is not None and overlap is not None:
            relocalization = evaluate_relocalization(timed, depth, overlap.unseen.with_map, trials)
            describe = _describe(name, extract, depth)  # untimed: others see fewer images
            retrieval = {} if describe is None else evaluate_retrieval(describe, depth, overlap, distractors)
        scores.append(FrontEndScores(name, homographies, relocalization, retrieval, timed.median_s()))
    return scores


def _describe(name: str, extract: Extract, depth: DepthSequence) -> Describe | None:
    """What a front end retrieves with."""
    images = [frame.image for frame in depth.map_frames]
    if len(extract(images[0]).global_descriptor):
        return lambda image: extract(image).global_descriptor
    return vlad_of_map(extract, images) if name == "SIFT" else None


class _Timed:
    """Remembers how long extraction took."""

    def __init__(self, extract: Extract) -> None:
        self._extract = extract
        self._seconds: list[float] = []

    def __call__(self, image: NDArray[Any]) -> Any:
        start = time.perf_counter()
        features = self._extract(image)
        self._seconds.append(time.perf_counter() - start)
        return features

    def median_s(self) -> float:
        return statistics.median(self._seconds) if self._seconds else float("nan")
