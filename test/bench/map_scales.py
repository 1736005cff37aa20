"""`python test/bench/map_scales.py FOLDER`: matches of planar sequences, their first image described at several scales.

FOLDER holds sequences in HPatches' naming (1.png, H_1_2, ...). The second image is described as it is, as a query; the
scale of the first is the one with most matches that stand out, as in a search. SIFT and ORB for comparison.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from hfnet_core.benchmarks.feature_metrics import load_sequences
from hfnet_core.config import ExtractorConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.baselines import OrbExtractor, SiftExtractor
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.scales import MultiScale
from hfnet_core.types import Features

KEYPOINTS = ExtractorConfig(max_keypoints=1000)
RATIO = 0.9
CORNER_PX = 3.0


def described(features: Features, several: bool) -> list[np.ndarray]:
    found = [features.descriptors]
    if several and features.scaled is not None:
        found += [rows.astype(np.float32) for rows in features.scaled.descriptors]
    return found


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
    found, _ = cv2.findHomography(one, other, cv2.RANSAC, 3.0)
    right = 0.0
    if found is not None:
        w, h = first.width - 1.0, first.height - 1.0
        corners = np.array([[[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]]])
        there, truth = (cv2.perspectiveTransform(corners, matrix)[0] for matrix in (found, homography))
        right = float(np.linalg.norm(there - truth, axis=1).mean() < CORNER_PX)
    return [*(float((errors <= limit).mean()) for limit in (1, 3, 5)), right]


def main() -> None:
    network = MultiScale(Extractor(open_backend(kind="onnxruntime", threads=1), KEYPOINTS))
    kinds = {
        "one scale": (network, False),
        "several": (network, True),
        "SIFT": (SiftExtractor(KEYPOINTS), False),
        "ORB": (OrbExtractor(KEYPOINTS), False),
    }
    scores: dict[str, list[list[float]]] = {name: [] for name in kinds}
    for sequence in load_sequences(Path(sys.argv[1])):
        for name, (source, several) in kinds.items():
            first = source.extract(sequence.pairs[0][0])
            for _, image, homography in sequence.pairs:
                second = source.extract(image)
                tried = [matches(rows, second.descriptors) for rows in described(first, several)]
                pairs, _ = max(tried, key=lambda found: found[1])
                scores[name].append(scored(first, second, pairs, homography))
    for name, rows in scores.items():
        means = " ".join(f"{value:.3f}" for value in np.mean(rows, axis=0))
        print(f"{name:10s} {len(rows)} pairs, MMA@1/3/5, homography: {means}")


if __name__ == "__main__":
    main()
