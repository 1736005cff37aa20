"""`python test/bench/map_scales.py FOLDER... --front-end sift ...`: planar sequences, front ends beside maps of scales.

Each FOLDER holds sequences in HPatches' naming (1.png, H_1_2, ...). The row `hfnet, map scales` is our network where
the first image of a pair is described at several scales, as a map may, and the second as it is, as a query; the scale
is the one with most matches that stand out, as in a search. Front ends as in `hfnet bench features`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from hfnet_core.benchmarks.feature_bench import Contestant, contestants
from hfnet_core.benchmarks.feature_metrics import PlanarSequence, load_sequences
from hfnet_core.config import ExtractorConfig
from hfnet_core.features.scales import MultiScale
from hfnet_core.front_ends.registry import FrontEndSetup
from hfnet_core.types import Features

RATIO = 0.9
CORNER_PX = 3.0
SCALES = "hfnet, map scales"


def several_scales(first: Features, second: Features) -> tuple[np.ndarray, np.ndarray]:
    """A Matcher: pairs [N, 2] of the scale of the first image with most matches that stand out."""
    described = [first.descriptors]
    if first.scaled is not None:
        described += [rows.astype(np.float32) for rows in first.scaled.descriptors]
    pairs, _ = max((matches(rows, second.descriptors) for rows in described), key=lambda found: found[1])
    return pairs, np.ones(len(pairs), np.float32)


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
        self.extraction_s: dict[str, list[float]] = {}
        self.matching_s: dict[str, list[float]] = {}
        self._known: dict[tuple[int, int], Features] = {}

    def forget(self) -> None:
        self._known.clear()

    def features(self, one: Contestant, image: np.ndarray) -> Features:
        key = (id(one.source), id(image))
        if key not in self._known:
            start = time.process_time()
            self._known[key] = one.source.extract(image)
            self.extraction_s.setdefault(one.title, []).append(time.process_time() - start)
        return self._known[key]

    def pairs(self, one: Contestant, first: Features, second: Features) -> np.ndarray:
        start = time.process_time()
        pairs, _ = one.match(first, second)
        self.matching_s.setdefault(one.title, []).append(time.process_time() - start)
        return pairs


def measure(competing: list[Contestant], sequence: PlanarSequence, timed: Timed) -> dict[str, list[list[float]]]:
    rows: dict[str, list[list[float]]] = {one.title: [] for one in competing}
    plain = {one.title: one for one in competing}["hfnet"]
    for one in competing:
        for first, second, homography in sequence.pairs:
            query = plain if one.title == SCALES else one
            found = [timed.features(one, first), timed.features(query, second)]
            rows[one.title].append(scored(*found, timed.pairs(one, *found), homography))
    return rows


def milliseconds(*lists: list[float] | None) -> str:
    return " + ".join("-" if not seconds else f"{1e3 * np.median(seconds):.1f}" for seconds in lists)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--front-end", action="append", default=[])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--keypoints", type=int, default=1000)
    asked = parser.parse_args()
    setup = FrontEndSetup(ExtractorConfig(max_keypoints=asked.keypoints), asked.model, "onnxruntime", threads=1)
    competing = contestants(["hfnet", *(name for name in asked.front_end if name != "hfnet")], setup)
    competing.insert(1, Contestant(SCALES, MultiScale(setup.network()), several_scales))
    timed = Timed()
    for folder in asked.folders:
        scores: dict[str, list[list[float]]] = {one.title: [] for one in competing}
        for sequence in load_sequences(folder):
            for title, rows in measure(competing, sequence, timed).items():
                scores[title] += rows
            timed.forget()
        for title, rows in scores.items():
            means = " ".join(f"{value:.3f}" for value in np.mean(rows, axis=0))
            print(f"{folder.name}: {title:20s} {len(rows)} pairs, MMA@1/3/5, homography: {means}", flush=True)
    for one in competing:
        times = milliseconds(timed.extraction_s.get(one.title), timed.matching_s.get(one.title))
        print(f"{one.title:20s} features + matching a pair, ms of processor time: {times}")


if __name__ == "__main__":
    main()
