"""How well global descriptors find overlapping views, and a classical rival that learns the place itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.depth_sequence import DepthSequence, Overlap, Overlaps
from hfnet_core.maps.descriptors import adapted
from hfnet_core.types import Features, Float32

__all__ = ["Describe", "Recall", "Recalls", "RetrievalScores", "evaluate_retrieval", "vlad_of_map"]

Describe = Callable[[NDArray[Any]], Float32]  # image -> unit global descriptor [G]
_FIRST = 5  # of what is found: recall@5
_POSITIVE = 0.5  # overlap from which two views belong together
_WORDS = 32
_SAMPLES = 40_000


@dataclass(frozen=True)
class Recall:
    """Share of the queries with a positive among the first 1 and the first 5."""

    at_1: float
    at_5: float


@dataclass(frozen=True)
class Recalls:
    """Recall among the map frames alone and, by their number, among them and so many distractors."""

    alone: Recall
    among: Mapping[int, Recall] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrievalScores:
    """Recall of descriptors as they are, and with those of the map frames adapted to the map as a LandmarkMap's are.

    queries: those with a positive. chance_1: the share of positives among the map frames.
    """

    queries: int
    chance_1: float
    plain: Recalls
    adapted: Recalls


def evaluate_retrieval(
    describe: Describe,
    sequence: DepthSequence,
    overlaps: Overlaps,
    distractors: Iterable[NDArray[Any]] = (),
    counts: Sequence[int] = (),
) -> dict[str, RetrievalScores]:
    """Recall of global descriptors, by the readings of unknown depth that `Overlaps` names. Positive: each of the two
    views sees at least half of the other's surface.

    distractors: images of other places, described one after the other and not kept; recall is measured among the first
    of them by each of `counts` that there are, and among all. What two map frames have in common is, for the
    adaptation, their overlap (a map counts landmarks). Readings in which no query has a positive are left out; raises
    DatasetError when all are.
    """
    queries = np.stack([describe(frame.image) for frame in sequence.query_frames])
    frames = np.stack([describe(frame.image) for frame in sequence.map_frames])
    strange = _strange(queries, (describe(image) for image in distractors), counts)
    found = {name: _scores(queries, frames, strange, getattr(overlaps, name)) for name in overlaps._fields}
    if not any(found.values()):
        raise DatasetError("no query frame overlaps a map frame by half: retrieval cannot be measured on this walk")
    return {name: scores for name, scores in found.items() if scores is not None}


def _strange(queries: Float32, descriptors: Iterable[Float32], counts: Sequence[int]) -> dict[int, Float32]:
    """By the number of distractors, each query's similarities to the most similar of them, [Q, 5]: no others matter."""
    best, found, number = np.full((len(queries), _FIRST), -np.inf, np.float32), {}, 0
    for number, descriptor in enumerate(descriptors, 1):
        best = np.sort(np.column_stack([best, queries @ descriptor]), axis=1)[:, 1:]
        if number in counts:
            found[number] = best
    return found | {number: best} if number else {}


def _scores(
    queries: Float32, frames: Float32, strange: Mapping[int, Float32], overlap: Overlap
) -> RetrievalScores | None:
    positive = overlap.with_map >= _POSITIVE
    asked = np.flatnonzero(positive.any(axis=1))
    if len(asked) == 0:
        return None
    queries, positive = queries[asked], positive[asked]

    def recalls(database: Float32) -> Recalls:
        similarity = queries @ database.T
        among = np.hstack([positive, np.zeros((len(asked), _FIRST), bool)])
        with_strange = {count: _recall(np.hstack([similarity, best[asked]]), among) for count, best in strange.items()}
        return Recalls(_recall(similarity, positive), with_strange)

    plain, with_map = recalls(frames), recalls(adapted(frames, overlap.within_map))
    return RetrievalScores(len(asked), float(positive.mean()), plain, with_map)


def _recall(similarity: Float32, positive: NDArray[np.bool_]) -> Recall:
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :_FIRST]
    hit = np.take_along_axis(positive, order, axis=1)
    return Recall(float(hit[:, 0].mean()), float(hit.any(axis=1).mean()))


def vlad_of_map(extract: Callable[[NDArray[Any]], Features], images: Sequence[NDArray[Any]]) -> Describe:
    """A VLAD of local descriptors, its 32 words trained on the map's own images: what a place can teach by itself.

    Source: Jegou et al., PAMI 2012, with the signed square root and each word's part brought to unit length.
    """
    found = [extract(image).descriptors for image in images]
    every = np.concatenate(found).astype(np.float32)
    if len(every) < _WORDS:
        raise DatasetError(f"the map's images have {len(every)} features together: too few to train {_WORDS} words")
    sample = every[np.random.default_rng(0).permutation(len(every))[:_SAMPLES]]
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    k_means: Any = cv2.kmeans  # its stubs differ between versions
    words = np.asarray(k_means(sample, _WORDS, None, stop, 1, cv2.KMEANS_PP_CENTERS)[2], np.float32)

    def describe(image: NDArray[Any]) -> Float32:
        descriptors = extract(image).descriptors.astype(np.float32)
        nearest = (descriptors @ words.T - 0.5 * (words**2).sum(axis=1)).argmax(axis=1)
        residuals = np.zeros_like(words)
        np.add.at(residuals, nearest, descriptors - words[nearest])
        rooted = np.sign(residuals) * np.sqrt(np.abs(residuals))
        vlad = (rooted / np.maximum(np.linalg.norm(rooted, axis=1, keepdims=True), 1e-9)).ravel()
        unit: Float32 = vlad / max(float(np.linalg.norm(vlad)), 1e-9)
        return unit

    return describe
