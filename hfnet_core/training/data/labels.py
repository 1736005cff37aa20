"""Detector targets: keypoints at sub-pixel positions as a soft distribution over the 65 classes of each cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_core.features.network.architecture import DETECTOR_CELL, DETECTOR_CLASSES

__all__ = ["cell_validity", "soft_labels"]


def soft_labels(xy: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Targets [65, height/8, width/8] for keypoints [K, 2]; each column sums to 1.

    Each keypoint is split bilinearly over its four nearest pixels, across cell borders too. A cell with mass above 1
    is normalised; one with less gives the rest to the dustbin (class 64), so an empty cell is all dustbin.
    """
    width, height = size
    mass = np.zeros((height, width), np.float32)
    xy = xy[np.isfinite(xy).all(axis=1)]
    corner = np.floor(xy).astype(np.int64)
    fraction = xy - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dx - fraction[:, 0]) * np.abs(1 - dy - fraction[:, 1])
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
            np.add.at(mass, (y[inside], x[inside]), weight[inside])
    rows, columns = height // DETECTOR_CELL, width // DETECTOR_CELL
    cells = mass.reshape(rows, DETECTOR_CELL, columns, DETECTOR_CELL).transpose(1, 3, 0, 2).reshape(-1, rows, columns)
    total = cells.sum(axis=0)
    target = np.empty((DETECTOR_CLASSES, rows, columns), np.float32)
    target[:-1] = cells / np.maximum(total, 1.0)
    target[-1] = np.maximum(1.0 - total, 0.0)
    return target


def cell_validity(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells [height/8, width/8] whose every pixel shows the photo, from the crop's mask [height, width]."""
    rows, columns = inside.shape[0] // DETECTOR_CELL, inside.shape[1] // DETECTOR_CELL
    return np.asarray(inside.reshape(rows, DETECTOR_CELL, columns, DETECTOR_CELL).all(axis=(1, 3)))
