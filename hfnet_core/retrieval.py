"""Stage 1: map images that look like the query, by their global descriptors."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import MapError

__all__ = ["EXACT_LIMIT", "Retriever"]

EXACT_LIMIT = 50_000  # up to here one matrix-vector product is faster than any index
_log = logging.getLogger(__name__)


class Retriever:
    """Ranks map images by cosine similarity: exact up to EXACT_LIMIT images, through a faiss index beyond."""

    def __init__(self, global_descriptors: NDArray[np.float32]) -> None:
        """global_descriptors: [M, G], unit length; kept, not copied, so that it may be memory-mapped."""
        self._descriptors = global_descriptors
        self._index: Any = _approximate_index(global_descriptors) if len(global_descriptors) > EXACT_LIMIT else None

    def query(self, descriptor: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Indices and similarities [-1, 1] of the `count` most similar map images, best first.

        descriptor: [G], unit length. Raises MapError when its length is not the map's.
        """
        images, size = self._descriptors.shape
        if descriptor.shape != (size,):
            raise MapError(f"the query's global descriptor has {descriptor.shape} values, the map's {size}: "
                           "use the model that made the map")  # fmt: skip
        count = min(count, images)
        if count == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        if self._index is not None:
            found_similarity, found = self._index.search(descriptor[None], count)
            valid = found[0] >= 0
            return found[0][valid].astype(np.int64), found_similarity[0][valid]
        similarity = self._descriptors @ descriptor
        best = np.argpartition(-similarity, count - 1)[:count]
        best = best[np.lexsort((best, -similarity[best]))]
        return best.astype(np.int64), similarity[best]


def _approximate_index(descriptors: NDArray[np.float32]) -> Any:
    try:
        import faiss
    except ImportError:
        _log.warning("faiss is not installed: retrieval among %d map images is exact and slow; pip install faiss-cpu",
                     len(descriptors))  # fmt: skip
        return None
    lists = int(4 * np.sqrt(len(descriptors)))
    size = descriptors.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, lists, faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).choice(len(descriptors), min(len(descriptors), 40 * lists), replace=False)
    index.train(np.ascontiguousarray(descriptors[np.sort(sample)]))
    index.add(np.ascontiguousarray(descriptors))
    index.nprobe = max(16, lists // 32)
    return index
