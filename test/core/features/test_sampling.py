"""Both conventions of where a pixel lies in the descriptor map."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.features.sampling import DescriptorMap, map_coordinates, sample_descriptors
from hfnet_core.images.pixels import PixelMap


def unit_map(rows: int, columns: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(rows, columns, dim))
    return (values / np.linalg.norm(values, axis=2, keepdims=True)).astype(np.float32)


def pixels(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float32).reshape(-1, 2)


def test_cell_centres_give_the_cells() -> None:
    cells = unit_map(4, 6)
    found = sample_descriptors(
        cells, pixels((3.5, 3.5), (8 * 5 + 3.5, 8 * 3 + 3.5), (11.5, 19.5)), corner_aligned=False
    )
    np.testing.assert_allclose(found, [cells[0, 0], cells[3, 5], cells[2, 1]], atol=1e-6)


def test_beyond_the_outer_centres_the_border_counts() -> None:
    cells = unit_map(3, 5)
    found = sample_descriptors(cells, pixels((0, 0), (39, 23), (0, 11.5)), corner_aligned=False)
    np.testing.assert_allclose(found, [cells[0, 0], cells[2, 4], cells[1, 0]], atol=1e-6)


def test_corner_aligned_puts_corner_pixels_on_corner_cells() -> None:
    cells = unit_map(3, 5)
    found = sample_descriptors(cells, pixels((0, 0), (39, 0), (0, 23), (39, 23)), corner_aligned=True)
    np.testing.assert_allclose(found, [cells[0, 0], cells[0, 4], cells[2, 0], cells[2, 4]], atol=1e-5)


def test_outside_the_map_is_zero_when_corner_aligned() -> None:
    cells = unit_map(3, 5)
    half = -0.5 * 39 / 4  # half a cell to the left: half of the first cell, whose direction remains
    found = sample_descriptors(cells, pixels((half, 0), (-100, 0), (500, 500)), corner_aligned=True)
    np.testing.assert_allclose(found[0], cells[0, 0], atol=1e-5)
    np.testing.assert_array_equal(found[1:], 0)


@pytest.mark.parametrize("corner_aligned", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2)])
def test_bilinear_and_unit_length(shape: tuple[int, int], corner_aligned: bool) -> None:
    cells = unit_map(*shape, seed=1)
    rng = np.random.default_rng(2)
    points = (rng.uniform(0, 1, (50, 2)) * (np.array(shape[::-1]) * 8 - 1)).astype(np.float32)
    found = sample_descriptors(cells, points, corner_aligned)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for (x, y), descriptor in zip(map_coordinates(points, shape, corner_aligned).astype(float), found, strict=True):
        expected = np.zeros(cells.shape[2])
        for row, column in np.ndindex(shape):
            expected += cells[row, column] * max(1 - abs(x - column), 0) * max(1 - abs(y - row), 0)
        np.testing.assert_allclose(descriptor, expected / np.linalg.norm(expected), atol=1e-5)


def test_no_keypoints() -> None:
    assert sample_descriptors(unit_map(3, 3), pixels(), corner_aligned=False).shape == (0, 8)


@pytest.mark.parametrize("corner_aligned", [False, True])
def test_a_map_is_asked_in_pixels_of_the_original_image(corner_aligned: bool) -> None:
    cells = unit_map(4, 6)
    pixel_map = PixelMap((2.5, 3.0), 0.0 if corner_aligned else 0.5)
    places = pixels((0, 0), (17.25, 9.5), (47, 31))
    found = DescriptorMap(lambda: cells, pixel_map, corner_aligned).sample(pixel_map.to_original(places))
    np.testing.assert_allclose(found, sample_descriptors(cells, places, corner_aligned), atol=1e-5)


@pytest.mark.parametrize("corner_aligned", [False, True])
def test_outside_the_image_a_map_gives_what_is_nearest(corner_aligned: bool) -> None:
    cells = unit_map(4, 6)
    whole = DescriptorMap(lambda: cells, PixelMap((1.0, 1.0), 0.5), corner_aligned)
    found = whole.sample(pixels((-50, -9), (500, 12), (20, 1e6)))
    np.testing.assert_array_equal(found, whole.sample(pixels((0, 0), (47, 12), (20, 31))))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert whole.sample(pixels()).shape == (0, 8)
