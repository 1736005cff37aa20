"""Detectors and descriptors on a pair of images whose true correspondence is known, as the HF-Net paper measures them.

Conventions: a point is visible where its warp lies within [0, size - 1] of the other image; 0 of 0 counts 1, some of 0
counts 0; precision is made non-increasing before it is integrated over recall. After DeTone et al., "SuperPoint", 2018
and Sarlin et al., "From Coarse to Fine", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.geometry import Array
from hfnet_core.types import Features

__all__ = [
    "DescriptorScores",
    "DetectorScores",
    "Ranked",
    "View",
    "average_precision",
    "descriptor_scores",
    "detector_scores",
    "nearest",
    "ratio_of",
    "share",
]

CORRECT_PX = 3.0
_BLOCK = 1024


class View(NamedTuple):
    """One side of a pair: its features, where its keypoints lie in the other image [K, 2], and which are visible there
    [K]."""

    features: Features
    there: Array
    visible: NDArray[np.bool_]


class Ranked(NamedTuple):
    """What average precision is of: values, the smaller the surer, which are right, and how many could be."""

    values: Array
    right: NDArray[np.bool_]
    possible: int


@dataclass(frozen=True, eq=False)
class DetectorScores:
    """Of one pair. localization_px: NaN without a correct keypoint. ranked: both directions, by falling score."""

    repeatability: float
    localization_px: float
    ranked: Ranked


@dataclass(frozen=True, eq=False)
class DescriptorScores:
    """Of one pair. matching_score: mean of both directions. ranked: matches of the first image, by ratio. matches:
    [K] the nearest keypoint of the second image for each of the first, without a test."""

    matching_score: float
    ranked: Ranked
    matches: NDArray[np.int64]


def share(part: float, whole: float) -> float:
    """A ratio in which 0 of 0 is 1 and some of 0 is 0."""
    return part / whole if whole else float(part == 0)


def average_precision(rankings: Sequence[Ranked]) -> float:
    """Of all rankings taken together."""
    possible = sum(one.possible for one in rankings)
    values = np.concatenate([one.values for one in rankings]) if rankings else np.zeros(0)
    right = np.concatenate([one.right for one in rankings]) if rankings else np.zeros(0, bool)
    hits = np.cumsum(right[np.argsort(values, kind="stable")])
    if not possible or not len(hits):
        return share(float(hits[-1]) if len(hits) else 0.0, possible)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = hits / possible
    return float(np.sum(envelope * np.diff(recall, prepend=0.0)))


def detector_scores(first: View, second: View, correct_px: float = CORRECT_PX) -> DetectorScores:
    """Repeatability, localization error and what detector mAP is made of.

    A keypoint is correct where the nearest keypoint of the other image to its warp is within the distance, and its
    warp is the nearest to that one.
    """
    correct_total, visible_total = 0, 0
    errors, values, right = [], [], []
    for own, other in ((first, second), (second, first)):
        distance, correct = _correct(own.there, np.asarray(other.features.keypoints_px, float), correct_px)
        good = correct & own.visible
        correct_total += int(good.sum())
        visible_total += int(own.visible.sum())
        errors.append(float(distance[good].mean()) if good.any() else np.nan)
        values.append(-np.asarray(own.features.scores, float)[own.visible])
        right.append(good[own.visible])
    known = [error for error in errors if np.isfinite(error)]
    ranked = Ranked(np.concatenate(values), np.concatenate(right), visible_total)
    return DetectorScores(share(correct_total, visible_total), float(np.mean(known)) if known else np.nan, ranked)


def _correct(warped: Array, points: Array, limit_px: float) -> tuple[Array, NDArray[np.bool_]]:
    """Distance of each warp to its nearest point, and whether it is near enough and mutual."""
    if not len(warped) or not len(points):
        return np.full(len(warped), np.inf), np.zeros(len(warped), bool)
    usable = np.isfinite(warped).all(axis=1)
    distance, mutual = np.full(len(warped), np.inf), np.zeros(len(warped), bool)
    numbers = np.flatnonzero(usable)
    if not len(numbers):
        return distance, mutual
    found, partner = cKDTree(points).query(warped[numbers])
    _, back = cKDTree(warped[numbers]).query(points)
    distance[numbers] = found
    mutual[numbers] = back[partner] == np.arange(len(numbers))
    return distance, mutual & (distance <= limit_px)


def descriptor_scores(first: View, second: View, correct_px: float = CORRECT_PX) -> DescriptorScores:
    """Matching score, and what descriptor mAP is made of; matches are nearest neighbours, without a cross-check."""
    scores = []
    ranked, partners = Ranked(np.zeros(0), np.zeros(0, bool), 0), np.zeros(0, np.int64)
    for own, other in ((first, second), (second, first)):
        found, ratio = ratio_of(own.features, other.features)
        points = np.asarray(other.features.keypoints_px, float)
        error = np.linalg.norm(own.there - points[found], axis=1) if len(points) else np.full(len(own.there), np.inf)
        right = (error < correct_px) & own.visible
        scores.append(share(int(right.sum()), int(own.visible.sum())))
        if own is first:
            near = nearest(own.there, points) < correct_px
            ranked = Ranked(ratio[own.visible], right[own.visible], int((near & own.visible).sum()))
            partners = found
    return DescriptorScores(float(np.mean(scores)), ranked, partners)


def nearest(warped: Array, points: Array) -> Array:
    """Distance of each warp to its nearest point; infinite where there is none."""
    out = np.full(len(warped), np.inf)
    usable = np.isfinite(warped).all(axis=1)
    if len(points) and usable.any():
        out[usable] = cKDTree(points).query(warped[usable])[0]
    return out


def ratio_of(first: Features, second: Features) -> tuple[NDArray[np.int64], Array]:
    """The nearest of the second's descriptors for each of the first's [K], and the ratio of the distances to it and to
    the second nearest [K]; 1 where there is no second."""
    count = len(first)
    partner, ratio = np.zeros(count, np.int64), np.ones(count)
    if not len(second):
        return partner, ratio
    for start in range(0, count, _BLOCK):
        cosines = first.descriptors[start : start + _BLOCK] @ second.descriptors.T
        rows = np.arange(len(cosines))
        best = cosines.argmax(axis=1)
        near = np.sqrt(np.maximum(2 - 2 * cosines[rows, best].astype(float), 0))
        partner[start : start + len(rows)] = best
        if cosines.shape[1] > 1:
            cosines[rows, best] = -2
            far = np.sqrt(np.maximum(2 - 2 * cosines.max(axis=1).astype(float), 0))
            ratio[start : start + len(rows)] = np.where(far > 0, near / np.maximum(far, 1e-12), 1.0)
    return partner, ratio
