"""Correspondences of real photos that mutual nearest neighbours miss: wide baselines, other scales, other light.

A learned matcher proposes them, geometry decides. The cache has the form of `pair_matches`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.files import make_folder, whole_file
from hfnet_core.training.data.pair_matches import pair_file
from hfnet_core.training.data.pool import Pool, read_gray

__all__ = ["PairMatcher", "match_correspondences", "verified", "with_second_neighbours"]

Points = NDArray[np.float32]

_EPIPOLAR_PX, _PLANAR_PX = 1.5, 3.0
_MIN_INLIERS = 30  # fewer are too often a repeated texture
_MIN_SHARE = 0.4  # of the matches proposed
_PLANAR = (
    0.7  # of the epipolar inliers on one plane: lines of points can hide wrong matches then, and the plane decides
)
_MIN_MOTION = 0.02  # of the image width: closer views teach no more than noise on one photo
_SECOND_NEIGHBOURS = 2  # photos that see what a photo sees through a third one: at most so many each


class PairMatcher(Protocol):
    """Corresponding pixels [N, 2] of two gray images [H, W] uint8."""

    def __call__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[Points, Points]: ...


def with_second_neighbours(pool: Pool) -> Pool:
    """The pool with pairs added of photos that overlap with the same third one: wider baselines than its own pairs."""
    near: dict[int, set[int]] = defaultdict(set)
    for a, b in pool.pairs:
        near[a].add(b)
        near[b].add(a)
    known = {frozenset(pair) for pair in pool.pairs}
    added: list[tuple[int, int]] = []
    count: dict[int, int] = defaultdict(int)
    for a in sorted(near):
        for c in sorted({other for b in near[a] for other in near[b]} - {a} - near[a]):
            pair = frozenset((a, c))
            if pair not in known and max(count[a], count[c]) < _SECOND_NEIGHBOURS:
                known.add(pair)
                added.append((min(a, c), max(a, c)))
                count[a] += 1
                count[c] += 1
    return Pool(pool.photos, (*pool.pairs, *added))


def match_correspondences(
    make_matcher: Callable[[], PairMatcher],
    pool: Pool,
    folder: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Fill the cache for the pool's pairs; pairs that have a file are left alone, so a killed pass goes on.

    make_matcher: called once, and only if a pair has no file yet.
    """
    make_folder(folder)
    matcher: PairMatcher | None = None
    for done, (first, second) in enumerate(pool.pairs):
        path = pair_file(folder, pool, first, second)
        if not path.is_file():
            matcher = matcher or make_matcher()
            images = [read_gray(pool.photos[index].path) for index in (first, second)]
            a, b = verified(*matcher(images[0], images[1]), images[0].shape[1])
            with whole_file(path) as temporary:
                np.savez(temporary, first=a, second=b)
        report(done + 1, len(pool.pairs))


def verified(first: Points, second: Points, width: int) -> tuple[Points, Points]:
    """Those of matches [N, 2] that one rigid scene, or one plane, explains; none where too few are. width: pixels."""
    nothing = np.zeros((0, 2), np.float32)
    if len(first) < _MIN_INLIERS:
        return nothing, nothing
    cv2.setRNGSeed(0)
    _, mask = cv2.findFundamentalMat(first, second, cv2.USAC_MAGSAC, _EPIPOLAR_PX, 0.999, 5000)
    kept = _mask(mask, len(first))
    _, mask = cv2.findHomography(first, second, cv2.USAC_MAGSAC, _PLANAR_PX, None, 5000, 0.999)
    on_plane = _mask(mask, len(first))
    if on_plane.sum() >= _PLANAR * max(kept.sum(), 1):
        kept = on_plane
    if kept.sum() < max(_MIN_INLIERS, _MIN_SHARE * len(first)):
        return nothing, nothing
    a, b = first[kept], second[kept]
    if np.median(np.linalg.norm(a - b, axis=1)) < _MIN_MOTION * width:
        return nothing, nothing
    return a, b


def _mask(found: NDArray[np.uint8] | None, count: int) -> NDArray[np.bool_]:
    return np.zeros(count, bool) if found is None else found.ravel().astype(bool)
