"""Descriptors as they are stored: float16, or int8 in a quarter of the space of float32.

A stored row means its direction: the descriptor is row / |row|. So an int8 row needs no scale beside it, rows of
different maps can lie in one array, and what was stored once is stored again without a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from hfnet_core.types import Float32

__all__ = ["DTYPES", "Stored", "compact", "unit"]

Stored = NDArray[np.float16] | NDArray[np.int8]
"""Rows of either kind."""
DTYPES: Mapping[str, np.dtype[Any]] = {"int8": np.dtype(np.int8), "float16": np.dtype(np.float16)}
_LARGEST = 127.0
_TINY = 1e-12  # rows shorter than this have no direction


def compact(descriptors: Float32, dtype: np.dtype[Any]) -> Stored:
    """Rows [N, D] as `dtype`. int8 rows are scaled so that their largest component becomes 127 or -127.

    The rounding turns a random unit vector of 128 dimensions by about 0.4 degrees (float16: 0.01).
    """
    if dtype != np.int8:
        return descriptors.astype(np.float16)
    largest = np.abs(descriptors).max(axis=1, keepdims=True, initial=_TINY)
    whole: NDArray[np.int8] = np.rint(descriptors * (_LARGEST / largest)).astype(np.int8)
    return whole


def unit(stored: Stored) -> Float32:
    """The descriptors [N, D] that stored rows stand for, float32, unit length (zero where a row is zero)."""
    rows = stored.astype(np.float32)
    if stored.dtype == np.int8:
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        rows *= (1.0 / np.maximum(lengths, _TINY))[:, None]
    return rows


def adapted(global_descriptors: NDArray[np.float32], shares: Any) -> NDArray[np.float32]:
    """[M, G] global descriptors of map images adapted to their map, unit length.

    shares: [M, M], an array or a scipy.sparse matrix: how much of what two images see both see, 0..1, with zeros on the
    diagonal. Each row is the direction of the sum of the image's own and the others', weighted by the cubed shares:
    what a single view shows by accident averages out, what the place looks like stays; the cube keeps what is seen
    from far off out of it. It is the database-side augmentation of Arandjelovic & Zisserman, CVPR 2012, with weights
    from geometry instead of similarity.
    """
    # Not .power(3), which sorts in place what a map file holds read-only.
    weights = shares.multiply(shares).multiply(shares) if scipy.sparse.issparse(shares) else np.power(shares, 3)
    found = global_descriptors + weights @ np.asarray(global_descriptors)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)
    return np.asarray(found, np.float32)
