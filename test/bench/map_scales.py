"""`python test/bench/map_scales.py FOLDER... --front-end sift ...`: planar pairs, front ends beside ours as maps ask.

Each FOLDER holds sequences in HPatches' naming (1.png, H_1_2, ...). In the row `hfnet, map scales` the first image of a
pair is described at several scales, as a map may, and the second as it is, as a query; the scale is the one with most
matches that stand out, as in a search. In `hfnet, scales and turns` the second is also turned by quarters before it is
described, as `localizer.turns` does, and the turn counts that has most of them: one look where the last pose tells the
turn, up to four where nothing does. `--turned FRONT_END` adds the same for another one, which has no scales. Front ends
as in `hfnet bench features`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hfnet_core.benchmarks.feature_bench import Contestant, contestants
from hfnet_core.benchmarks.feature_metrics import PlanarSequence, load_sequences
from hfnet_core.config import ExtractorConfig
from hfnet_core.features.scales import MultiScale
from hfnet_core.features.sources import FeatureSource
from hfnet_core.front_ends.registry import FrontEndSetup
from hfnet_core.images.preparation import ROTATIONS, Preparation
from hfnet_core.types import Features

RATIO = 0.9
CORNER_PX = 3.0

Match = Callable[[Features, Features], tuple[np.ndarray, int]]
"""Features of two images -> pairs of keypoints [N, 2], and how many of them stand out."""


@dataclass(frozen=True, eq=False)
class Row:
    """A line of the table. first, second: what describes the images of a pair. turns: by which the second is turned,
    clockwise, degrees, before it is described; the one that most matches stand out in counts."""

    title: str
    first: FeatureSource
    second: FeatureSource
    match: Match
    turns: Sequence[int] = (0,)


def as_it_is(one: Contestant) -> Row:
    def match(first: Features, second: Features) -> tuple[np.ndarray, int]:
        pairs, _ = one.match(first, second)
        return pairs, len(pairs)

    return Row(one.title, one.source, one.source, match)


def several_scales(first: Features, second: Features) -> tuple[np.ndarray, int]:
    """A Match: that of the scale of the first image with most matches that stand out."""
    described = [first.descriptors]
    if first.scaled is not None:
        described += [rows.astype(np.float32) for rows in first.scaled.descriptors]
    return max((matches(rows, second.descriptors) for rows in described), key=lambda found: found[1])


def matches(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
    """Mutual neighbours [N, 2], and how many of them pass the ratio test."""
    similarity = first @ second.T
    there, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    rows = np.flatnonzero(back[there] == np.arange(len(first)))
    best = similarity[rows, there[rows]]
    similarity[rows, there[rows]] = -2.0
    clear = (1 - best) < RATIO**2 * (1 - similarity[rows].max(axis=1))
    return np.stack([rows, there[rows]], axis=1), int(clear.sum())


def scored(first: Features, second: Features, pairs: np.ndarray, homography: np.ndarray) -> list[float]:
    """Shares of the matches within 1, 3 and 5 px, and whether the homography's corners are right."""
    if len(pairs) < 4:
        return [0.0] * 4
    one = first.keypoints_px[pairs[:, 0]].astype(np.float64)
    other = second.keypoints_px[pairs[:, 1]].astype(np.float64)
    errors = np.linalg.norm(cv2.perspectiveTransform(one[None], homography)[0] - other, axis=1)
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(one, other, cv2.RANSAC, 3.0, maxIters=5000, confidence=0.9995)
    right = 0.0
    if found is not None:
        w, h = first.width - 1.0, first.height - 1.0
        corners = np.array([[[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]]])
        there, truth = (cv2.perspectiveTransform(corners, matrix)[0] for matrix in (found, homography))
        right = float(np.linalg.norm(there - truth, axis=1).mean() < CORNER_PX)
    return [*(float((errors <= limit).mean()) for limit in (1, 3, 5)), right]


class Timed:
    """Features of images that are remembered while their sequence lasts, and processor times of all."""

    def __init__(self) -> None:
        self.extraction_s: dict[int, list[float]] = {}
        self.matching_s: dict[str, list[float]] = {}
        self._known: dict[tuple[int, int, int], Features] = {}

    def forget(self) -> None:
        self._known.clear()

    def features(self, source: FeatureSource, image: np.ndarray, turn: int = 0) -> Features:
        """In pixels of the image as it was taken."""
        key = (id(source), id(image), turn)
        if key not in self._known:
            start = time.process_time()
            self._known[key] = Preparation(turn).extract(source, image)
            self.extraction_s.setdefault(id(source), []).append(time.process_time() - start)
        return self._known[key]

    def matched(self, row: Row, first: Features, looks: Sequence[Features]) -> tuple[Features, np.ndarray]:
        """The look at the second image that counts, and its pairs."""
        start = time.process_time()
        found = [row.match(first, second) for second in looks]
        self.matching_s.setdefault(row.title, []).append(time.process_time() - start)
        best = max(range(len(found)), key=lambda number: found[number][1])
        return looks[best], found[best][0]


def measure(competing: list[Row], sequence: PlanarSequence, timed: Timed) -> dict[str, list[list[float]]]:
    rows: dict[str, list[list[float]]] = {one.title: [] for one in competing}
    for one in competing:
        for first_image, second_image, homography in sequence.pairs:
            first = timed.features(one.first, first_image)
            looks = [timed.features(one.second, second_image, turn) for turn in one.turns]
            second, pairs = timed.matched(one, first, looks)
            rows[one.title].append(scored(first, second, pairs, homography))
    return rows


def milliseconds(*lists: list[float] | None) -> str:
    return " + ".join("-" if not seconds else f"{1e3 * np.median(seconds):.1f}" for seconds in lists)


def told(title: str, sequences: list[list[list[float]]]) -> str:
    """Means over all pairs, and MMA@3 by the number of the second image, where all sequences have as many."""
    rows = np.array([row for sequence in sequences for row in sequence])
    means = " ".join(f"{value:.3f}" for value in rows.mean(axis=0))
    line = f"{title:24s} {len(rows)} pairs, MMA@1/3/5, homography: {means}"
    if len({len(sequence) for sequence in sequences}) > 1:
        return line
    return f"{line}; MMA@3 by image: " + " ".join(f"{value:.2f}" for value in np.mean(sequences, axis=0)[:, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--front-end", action="append", default=[])
    parser.add_argument("--turned", action="append", default=[], metavar="FRONT_END")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--keypoints", type=int, default=1000)
    asked = parser.parse_args()
    setup = FrontEndSetup(ExtractorConfig(max_keypoints=asked.keypoints), asked.model, "onnxruntime", threads=1)
    others = [*(name for name in asked.front_end if name != "hfnet"), *asked.turned]
    ours, *made = contestants(["hfnet", *others], setup)
    scales = MultiScale(setup.network())
    competing = [
        as_it_is(ours),
        Row("hfnet, map scales", scales, ours.source, several_scales),
        Row("hfnet, scales and turns", scales, ours.source, several_scales, ROTATIONS),
        *(as_it_is(one) for one in made[: len(made) - len(asked.turned)]),
        *(
            Row(f"{one.title}, turns", one.source, one.source, several_scales, ROTATIONS)
            for one in made[len(made) - len(asked.turned) :]
        ),
    ]
    timed = Timed()
    for folder in asked.folders:
        scores: dict[str, list[list[list[float]]]] = {one.title: [] for one in competing}
        for sequence in load_sequences(folder):
            for title, rows in measure(competing, sequence, timed).items():
                scores[title].append(rows)
            timed.forget()
        for title, sequences in scores.items():
            print(f"{folder.name}: {told(title, sequences)}", flush=True)
    for one in competing:
        times = milliseconds(timed.extraction_s.get(id(one.first)), timed.matching_s.get(one.title))
        print(f"{one.title:24s} features of a first image (one look) + matching a pair, ms of processor time: {times}")


if __name__ == "__main__":
    main()
