"""Retrieval, exact and through an index."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hfnet_core.errors import MapError
from hfnet_core.localization import retrieval
from hfnet_core.localization.retrieval import Retriever


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


def test_a_large_map_is_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed: pip install faiss-cpu")
    rows = descriptors(3000, 64)
    exact = Retriever(rows)
    monkeypatch.setattr(retrieval, "SCAN_LIMIT", 1000)
    rounded = Retriever(rows)
    monkeypatch.setattr(retrieval, "_SHORTLIST", 5)
    monkeypatch.setattr(retrieval, "_SHORTLIST_LEAST", 1)
    for drawn in descriptors(40, 64)[20:] + 0.1 * descriptors(3000, 64)[-20:]:
        query = drawn / np.linalg.norm(drawn)
        for count in (1, 10):
            expected, similarity = exact.query(query, count)
            found, measured = rounded.query(query, count)
            assert list(found) == list(expected)
            np.testing.assert_allclose(measured, similarity, atol=1e-6)


def test_without_faiss_a_large_map_is_scanned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retrieval, "SCAN_LIMIT", 10)
    monkeypatch.setitem(sys.modules, "faiss", None)
    rows = descriptors(50)
    assert Retriever(rows).query(rows[17], 1)[0][0] == 17
    assert "pip install faiss-cpu" in caplog.text
