"""Retrieval, exact and through an index."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core import retrieval
from hfnet_core.errors import MapError
from hfnet_core.retrieval import Retriever


def descriptors(count: int, size: int = 16) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(count, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_ranks_by_similarity() -> None:
    rows = descriptors(50)
    found, similarity = Retriever(rows).query(rows[17], 5)
    assert found[0] == 17
    assert similarity[0] == pytest.approx(1.0, abs=1e-5)
    assert list(found) == list(np.argsort(-(rows @ rows[17]))[:5])
    assert (np.diff(similarity) <= 0).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_small_maps_return_what_there_is(count: int) -> None:
    found, similarity = Retriever(descriptors(count)).query(descriptors(4)[3], 10)
    assert len(found) == len(similarity) == count


def test_a_descriptor_of_another_length_is_refused() -> None:
    with pytest.raises(MapError, match="17"):
        Retriever(descriptors(5)).query(np.ones(17, np.float32), 3)


def test_the_index_for_large_maps_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed: pip install faiss-cpu")
    rows = descriptors(3000)
    exact = Retriever(rows)
    monkeypatch.setattr(retrieval, "EXACT_LIMIT", 1000)
    indexed = Retriever(rows)
    rng = np.random.default_rng(1)
    agree = 0
    for index in rng.choice(3000, 50, replace=False):
        query = rows[index] + 0.1 * rng.normal(size=16).astype(np.float32)
        query /= np.linalg.norm(query)
        agree += int(exact.query(query, 1)[0][0] == indexed.query(query, 1)[0][0])
    assert agree >= 45
