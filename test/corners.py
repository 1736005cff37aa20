"""Features that need no network."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np

from hfnet_core.types import Features

__all__ = ["Corners"]


class Corners:
    """Corners, described by the pixels around them. Counts its calls."""

    info = SimpleNamespace(name="corners", version="0", model_hash="c" * 64)

    def __init__(self) -> None:
        self.calls = 0

    def extract(self, image: np.ndarray) -> Features:
        self.calls += 1
        gray = image if image.ndim == 2 else image[:, :, 0]
        corners = cv2.goodFeaturesToTrack(gray, 200, 0.01, 4).reshape(-1, 2)
        corners = corners[((corners > 8) & (corners < np.array(gray.shape[::-1]) - 8)).all(axis=1)]
        patches = np.array([gray[y - 7 : y + 8 : 2, x - 7 : x + 8 : 2].ravel() for x, y in corners.astype(int)])
        patches = patches - patches.mean(axis=1, keepdims=True) + 1e-3
        unit = patches / np.linalg.norm(patches, axis=1, keepdims=True)
        place = np.array([1.0, 0.0], dtype=np.float32)
        return Features(corners, np.ones(len(corners), np.float32), unit.astype(np.float32), place, *gray.shape[::-1])
