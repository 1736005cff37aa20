"""Stage 3: correspondences between keypoints and landmarks, by descriptor alone or guided by a pose.

Descriptors are unit vectors: squared distance = 2 - 2 * cosine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.types import Float32, Int32

__all__ = ["Matches", "match_all", "match_guided"]

_ROUNDING = 1e-6  # cosines of float32 unit vectors are not more exact
_GUIDED_NEIGHBOURS = 24  # keypoints considered around one projected landmark
_CLAIM_RATIO = 0.95  # ratio test between keypoints that claim the same landmark
_DISTINCT = 2.5  # standard deviations above its mean similarity to this image that a landmark's match must have


@dataclass(frozen=True, eq=False)
class Matches:
    """One-to-one correspondences.

    keypoints, landmarks: [N] indices. similarity: [N] cosine. unguided: [N], whether the pair would have been found
    without a pose, because nothing else in the image resembles the landmark as much.
    """

    keypoints: NDArray[np.int64]
    landmarks: Int32
    similarity: Float32
    unguided: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keypoints)

    def naming(self, owners: Int32) -> Matches:
        """The same where rows were matched: owners [R] are the landmarks of the rows."""
        return replace(self, landmarks=owners[self.landmarks])


def match_all(
    descriptors: Float32, landmark_descriptors: Float32, landmarks: Int32, ratio: float, mutual: bool = True
) -> Matches:
    """Nearest neighbours of keypoints among landmarks that pass the ratio test, one to one.

    descriptors: [K, D] of the image; landmark_descriptors: [R, D], row r describing landmark landmarks[r]; a landmark
    may own several neighbouring rows (landmarks is sorted). The ratio test compares with the best row of *another*
    landmark. mutual: also ask that no other keypoint resembles the landmark more; without it only keypoints that
    passed the ratio test compete for a landmark, which is faster, and must win clearly.
    """
    if len(descriptors) == 0 or len(landmarks) == 0:
        return _empty()
    similarity = descriptors @ landmark_descriptors.T
    starts = np.flatnonzero(np.r_[True, landmarks[1:] != landmarks[:-1]])
    if len(starts) < len(landmarks):
        similarity = np.maximum.reduceat(similarity, starts, axis=1)
    owners = landmarks[starts]
    rows = np.arange(len(descriptors))
    best = np.argmax(similarity, axis=1)
    first = similarity[rows, best]
    wanted = np.argmax(similarity, axis=0)[best] == rows if mutual else np.ones(len(rows), bool)
    similarity[rows, best] = -2.0
    second = similarity.max(axis=1) if len(starts) > 1 else np.full_like(first, -1.0)
    kept = np.flatnonzero(wanted & _passes(first, second, ratio))
    if not mutual:
        kept = _clear_claims(kept, best, first)
    return Matches(kept, owners[best[kept]], first[kept], np.ones(len(kept), bool))


def match_guided(
    keypoints_px: NDArray[np.floating],
    descriptors: Float32,
    projections_px: NDArray[np.float64],
    landmark_descriptors: Float32,
    landmarks: Int32,
    radius_px: NDArray[np.floating] | float,
    ratio: float,
) -> Matches:
    """Match landmarks only to keypoints near where a pose projects them.

    projections_px: [L, 2], where the landmarks should appear; landmark_descriptors: [L, D]. A landmark takes the most
    similar keypoint within `radius_px` ([L], or one for all) if it passes the ratio test against the runner-up there
    and stands out from what the landmark resembles anywhere in the image; of several landmarks at one keypoint the most
    similar stays.
    Whatever the pose, some matches agree with it by chance: they refine a pose, only the `unguided` ones prove it.
    """
    if len(keypoints_px) == 0 or len(landmarks) == 0:
        return _empty()
    neighbours = min(_GUIDED_NEIGHBOURS, len(keypoints_px))
    away, near = cKDTree(keypoints_px).query(
        projections_px, k=neighbours, distance_upper_bound=float(np.max(radius_px))
    )
    near = near.reshape(len(projections_px), neighbours)
    within = away.reshape(near.shape) <= np.reshape(radius_px, (-1, 1))
    rows, columns = np.nonzero(within)
    similarity = np.full(near.shape, -2.0, np.float32)
    pairs = (landmark_descriptors[rows], descriptors[near[rows, columns]])
    similarity[rows, columns] = np.einsum("ij,ij->i", *pairs)
    everyone = np.arange(len(landmarks))
    best = np.argmax(similarity, axis=1)
    first = similarity[everyone, best]
    similarity[everyone, best] = -2.0
    second = np.maximum(similarity.max(axis=1), -1.0)
    kept = np.flatnonzero((first > -2.0) & _passes(first, second, ratio))
    kept = kept[np.argsort(-first[kept], kind="stable")]
    chosen = near[kept, best[kept]]
    everywhere = landmark_descriptors[kept] @ descriptors.T
    mean = everywhere.mean(axis=1)
    variance = np.einsum("ij,ij->i", everywhere, everywhere) / len(descriptors) - mean**2
    distinct = first[kept] >= mean + _DISTINCT * np.sqrt(np.maximum(variance, 0.0))
    everywhere[np.arange(len(kept)), chosen] = -2.0
    unguided = _passes(first[kept], np.maximum(everywhere.max(axis=1), -1.0), _CLAIM_RATIO)
    kept, chosen, unguided = kept[distinct], chosen[distinct], unguided[distinct]
    _, unique = np.unique(chosen, return_index=True)
    return Matches(chosen[unique].astype(np.int64), landmarks[kept[unique]], first[kept[unique]], unguided[unique])


def _clear_claims(keypoints: NDArray[np.int64], landmarks: NDArray[np.int64], similarity: Float32) -> NDArray[np.int64]:
    """Of several keypoints that claim one landmark the most similar, unless another resembles it about as much.

    keypoints: rows of landmarks [K] and similarity [K]. Images of repeated structure are full of such doubles.
    """
    order = keypoints[np.lexsort((-similarity[keypoints], landmarks[keypoints]))]
    if len(order) < 2:
        return order
    same = landmarks[order[1:]] == landmarks[order[:-1]]
    leads = np.append(True, ~same)
    doubtful = np.append(same & ~_passes(similarity[order[:-1]], similarity[order[1:]], _CLAIM_RATIO), False)
    return np.sort(order[leads & ~doubtful])


def _passes(first: Float32, second: Float32, ratio: float) -> NDArray[np.bool_]:
    """The ratio test on cosines. Two equally perfect neighbours fail it: neither can be preferred."""
    passed: NDArray[np.bool_] = np.maximum(1.0 - first, _ROUNDING) < ratio**2 * np.maximum(1.0 - second, _ROUNDING)
    return passed


def _empty() -> Matches:
    return Matches(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, bool))
