"""Stored descriptors: small, and as good as the ones that went in."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.maps.descriptors import DTYPES, compact, unit


def rows(count: int = 500, size: int = 128) -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(count, size))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("name", "degrees"), [("int8", 0.8), ("float16", 0.03)])
def test_directions_survive(name: str, degrees: float) -> None:
    given = rows()
    stored = compact(given, DTYPES[name])
    found = unit(stored)
    assert stored.dtype == DTYPES[name]
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-3)
    chord = np.linalg.norm(found - given, axis=1)
    assert np.degrees(chord.max()) < degrees


@pytest.mark.parametrize("name", DTYPES)
def test_storing_again_changes_nothing(name: str) -> None:
    stored = compact(rows(), DTYPES[name])
    np.testing.assert_array_equal(compact(unit(stored), DTYPES[name]), stored)


def test_extremes() -> None:
    given = np.array([[0.0, 0.0], [-1.0, 0.0], [1e-9, 1e-9]], np.float32)
    found = unit(compact(given, DTYPES["int8"]))
    np.testing.assert_allclose(found, [[0, 0], [-1, 0], [np.sqrt(0.5), np.sqrt(0.5)]], atol=1e-6)
    assert unit(compact(np.zeros((0, 8), np.float32), DTYPES["int8"])).shape == (0, 8)
