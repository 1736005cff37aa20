"""Stage 1: map images that look like the query, by their global descriptors."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import MapError

__all__ = [
    "SCAN_LIMIT",
    "Retriever",
]

SCAN_LIMIT = 10_000  # images up to which one matrix-vector product costs a millisecond or so
_SHORTLIST = 8  # times the images asked for, and at least this many:
_SHORTLIST_LEAST = 128  # rounding to int8 moves an image by a few places, never by a hundred
_CHUNK = 8192
_log = logging.getLogger(__name__)


class Retriever:
    """Ranks map images by cosine similarity.

    Up to SCAN_LIMIT images by one product. Beyond, faiss scans the descriptors rounded to int8, a quarter of the bytes,
    which are what such a scan waits for; the best are then compared exactly. Every image is looked at either way.
    """

    def __init__(self, global_descriptors: NDArray[np.float32]) -> None:
        """global_descriptors: [M, G], unit length; kept, not copied, so that it may be memory-mapped."""
        self._descriptors = global_descriptors
        self._rounded: Any = _rounded(global_descriptors) if len(global_descriptors) > SCAN_LIMIT else None

    def query(self, descriptor: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Indices and similarities [-1, 1] of the `count` most similar map images, best first.

        descriptor: [G], unit length. Raises MapError when its length is not the map's.
        """
        images, size = self._descriptors.shape
        if descriptor.shape != (size,):
            raise MapError(
                f"the query's global descriptor has {descriptor.shape} values, the map's {size}: "
                "use the model that made the map, or describe it anew with `hfnet map upgrade`"
            )
        count = min(count, images)
        if count == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        if self._rounded is not None:
            candidates = np.sort(self._shortlist(descriptor, min(max(_SHORTLIST * count, _SHORTLIST_LEAST), images)))
            similarity = self._descriptors[candidates] @ descriptor
        else:
            candidates = np.arange(images)
            similarity = self._descriptors @ descriptor
        best = np.argpartition(-similarity, count - 1)[:count]
        best = best[np.lexsort((best, -similarity[best]))]
        return candidates[best].astype(np.int64), similarity[best]

    def _shortlist(self, descriptor: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        query = _whole(descriptor[None], float(np.abs(descriptor).max()))
        found: NDArray[np.int64] = self._rounded.search(query, count)[1][0]
        return found[found >= 0]


def _rounded(descriptors: NDArray[np.float32]) -> Any:
    """A faiss index of all descriptors as int8 with one scale, or None where faiss is missing."""
    try:
        import faiss
    except ImportError:
        _log.warning(
            "faiss is not installed: retrieval among %d map images takes several times longer; pip install faiss-cpu",
            len(descriptors),
        )
        return None
    starts = range(0, len(descriptors), _CHUNK)
    largest = max(float(np.abs(descriptors[start : start + _CHUNK]).max()) for start in starts)
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    index = faiss.IndexScalarQuantizer(descriptors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    for start in starts:
        index.add(_whole(descriptors[start : start + _CHUNK], largest))
    return index


def _whole(descriptors: NDArray[np.float32], largest: float) -> NDArray[np.float32]:
    """Whole numbers from -127 to 127."""
    scale = np.float32(127.0 / max(largest, 1e-12))
    whole: NDArray[np.float32] = np.rint(descriptors * scale)
    return whole
