"""How good local features are by themselves: matching under known homographies, relocalization by known depth.

Protocols: HF-Net's evaluation of features (HPatches metrics: repeatability, localization error, matching accuracy,
homography accuracy) after DeTone et al. 2018 and Mikolajczyk & Schmid 2005.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.benchmarks.feature_protocols.hpatches import pairs_of, warped
from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.depth_sequence import DepthSequence, lift
from hfnet_core.extras import later
from hfnet_core.front_ends.matchers import Matcher, mutual_neighbours
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.types import Features, Float32

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = [
    "TRIALS",
    "Extract",
    "HomographyScores",
    "RelocalizationScores",
    "evaluate_homographies",
    "evaluate_relocalization",
    "load_sequences",
]

Extract = Callable[[NDArray[Any]], Features]
THRESHOLDS_PX = (1.0, 3.0, 5.0)
RECALL_AT = ((0.05, 2.0), (0.10, 5.0), (0.25, 5.0))  # metres, degrees
_CORNER_PX = 3.0
_CANDIDATES = 6  # map frames given per query frame
_PNP_ERROR_PX = 6.0
_FAR_PX = 1e9  # from every image
TRIALS = 10  # of RANSAC: another seed alone moves recall by several points


@dataclass(frozen=True, eq=False)
class PlanarSequence:
    """Images of one plane (or from one centre): pairs (first, other, other_from_first [3, 3])."""

    name: str
    pairs: tuple[tuple[NDArray[np.uint8], NDArray[np.uint8], Array], ...]


@dataclass(frozen=True)
class HomographyScores:
    """Means over image pairs, shares 0..1. accuracy: of mutual matches within THRESHOLDS_PX of the truth."""

    pairs: int
    repeatability: float
    localization_error_px: float
    accuracy: tuple[float, ...]
    homography_accuracy: float


@dataclass(frozen=True)
class RelocalizationScores:
    """Share of query frames within RECALL_AT, mean over RANSAC's seeds and standard deviation between them, and medians
    over all poses of all seeds."""

    queries: int
    recall: tuple[float, ...]
    deviation: tuple[float, ...]
    median_m: float
    median_deg: float


def load_sequences(folder: Path, side_px: int = 640) -> list[PlanarSequence]:
    """Sequences in HPatches' naming (`1.png`..., `H_1_2`...), images scaled to a longer side of `side_px`.

    Raises DatasetError when a folder holds no sequence or a homography is damaged.
    """
    sequences = []
    for scene in sorted(path.parent for path in folder.glob("*/H_1_2")):
        pairs = ((pair.first, pair.second, pair.second_from_first) for pair in pairs_of(scene, longest_px=side_px))
        sequences.append(PlanarSequence(scene.name, tuple(pairs)))
    if not sequences:
        raise DatasetError(f"{folder}: no sequence (folders with 1.png and H_1_2) in it")
    return sequences


def evaluate_homographies(
    extract: Extract, sequence: PlanarSequence, match: Matcher = mutual_neighbours
) -> HomographyScores:
    """Scores of one sequence. cv2's RANSAC is seeded, so results repeat."""
    rows = []
    for first, other, other_from_first in sequence.pairs:
        a, b = extract(first), extract(other)
        pairs, _ = match(a, b)
        source, target = a.keypoints_px[pairs[:, 0]], b.keypoints_px[pairs[:, 1]]
        error = np.linalg.norm(_warp(source, other_from_first) - target, axis=1)
        accuracy = [float((error <= threshold).mean()) if len(error) else 0.0 for threshold in THRESHOLDS_PX]
        repeatability, localization = _repeatability(a, b, other_from_first)
        correct = _homography_is_correct(source, target, other_from_first, first.shape[:2])
        rows.append([repeatability, localization, *accuracy, correct])
    table = np.ma.masked_invalid(np.array(rows))
    mean = table.mean(axis=0).filled(np.nan)  # a pair without common keypoints has no localization error
    return HomographyScores(len(rows), float(mean[0]), float(mean[1]), tuple(map(float, mean[2:5])), float(mean[5]))


def _repeatability(a: Features, b: Features, other_from_first: Array, threshold_px: float = 3.0) -> tuple[float, float]:
    """Share of keypoints visible in both images that are mutual nearest within the threshold, and their distance."""
    there = _warp(a.keypoints_px, other_from_first)
    back = _warp(b.keypoints_px, np.linalg.inv(other_from_first))
    seen_a, seen_b = _inside(there, b), _inside(back, a)
    if not seen_a.any() or not seen_b.any():
        return 1.0 if not (seen_a.any() or seen_b.any()) else 0.0, float("nan")
    correct, distances = 0, []
    for moved, points, seen in ((there, b.keypoints_px, seen_a), (back, a.keypoints_px, seen_b)):
        distance, nearest = cKDTree(points).query(moved)
        _, reverse = cKDTree(moved).query(points)
        mutual = reverse[nearest] == np.arange(len(moved))
        good = seen & mutual & (distance <= threshold_px)
        correct += int(good.sum())
        distances.append(distance[good])
    found = np.concatenate(distances)
    return correct / int(seen_a.sum() + seen_b.sum()), float(found.mean()) if len(found) else float("nan")


def _homography_is_correct(source: Float32, target: Float32, truth: Array, size: Sequence[int]) -> float:
    if len(source) < 4:
        return 0.0
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(source, target, cv2.RANSAC, _CORNER_PX, maxIters=5000, confidence=0.9995)
    if found is None:
        return 0.0
    height, width = size
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float32)
    error = np.linalg.norm(_warp(corners, truth) - _warp(corners, found), axis=1).mean()
    return float(error < _CORNER_PX)


def evaluate_relocalization(
    extract: Extract,
    sequence: DepthSequence,
    overlap: Array,
    trials: int = TRIALS,
    match: Matcher = mutual_neighbours,
) -> RelocalizationScores:
    """Pose recall with landmarks from depth and the best-overlapping map frames given: features alone decide.

    overlap: [Q, M], of `Overlaps.unseen`: landmarks need known depth. trials: seeds of RANSAC, from 0 on.
    """
    maps = []
    for frame in sequence.map_frames:
        features = extract(frame.image)
        points, known = lift(features.keypoints_px, frame, sequence.camera)
        maps.append((_chosen(features, known), points[known]))
    errors = []
    for row, query in enumerate(sequence.query_frames):
        features = extract(query.image)
        pixels: list[Float32] = []
        lifted: list[Array] = []
        for column in np.argsort(-overlap[row], kind="stable")[:_CANDIDATES]:
            mapped, xyz = maps[column]
            pairs, _ = match(features, mapped)
            pixels.append(features.keypoints_px[pairs[:, 0]])
            lifted.append(xyz[pairs[:, 1]])
        solve = _Pnp(np.concatenate(pixels).astype(np.float64), np.concatenate(lifted), sequence.camera)
        errors.append([solve.error(seed, query.map_from_camera) for seed in range(trials)])
    metres, degrees = np.array(errors).transpose(2, 1, 0)  # [trials, queries] each
    recall = np.array([((metres <= m) & (degrees <= d)).mean(axis=1) for m, d in RECALL_AT])
    means, deviations = (tuple(map(float, values)) for values in (recall.mean(axis=1), recall.std(axis=1)))
    return RelocalizationScores(len(errors), means, deviations, float(np.median(metres)), float(np.median(degrees)))


def _chosen(features: Features, rows: NDArray[np.bool_]) -> Features:
    return features.without_dense().where(rows)


class _Pnp(NamedTuple):
    """Matches to solve a pose from: pixels [N, 2], map points [N, 3], pycolmap's camera."""

    pixels: Array
    points: Array
    camera: Any

    def error(self, seed: int, map_from_camera: Pose) -> tuple[float, float]:
        """Metres and degrees off, infinite without a pose."""
        options = pycolmap.AbsolutePoseEstimationOptions()
        options.ransac.max_error = _PNP_ERROR_PX
        options.ransac.random_seed = seed
        answer = pycolmap.estimate_and_refine_absolute_pose(self.pixels, self.points, self.camera, options)
        if answer is None:
            return np.inf, np.inf
        return pose_error(Pose.from_matrix(answer["cam_from_world"].matrix()).inverse(), map_from_camera)


def _warp(points: NDArray[Any], homography: NDArray[Any]) -> Array:
    """Points [N, 2] through a homography; far away where it sends them beyond its horizon."""
    moved = warped(np.asarray(points, float).reshape(-1, 2), homography)
    return np.asarray(np.where(np.isfinite(moved), moved, _FAR_PX))


def _inside(points: Array, features: Features) -> NDArray[np.bool_]:
    limit = np.array([features.width - 1, features.height - 1])
    return np.asarray(((points >= 0) & (points <= limit)).all(axis=1), dtype=bool)
