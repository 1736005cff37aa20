"""A finished model as the teacher of what goes on from it: its keypoints stay where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import ExtractorConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.training.data.teacher_keypoints import TeacherKeypoints

__all__ = ["ModelTeacher"]

_SURE = 2.0  # times our scores: a keypoint of .08 is as good as one of .15 of ALIKED's, by how many there are


class ModelTeacher:
    """Keypoints and descriptors of one of our model files."""

    def __init__(self, model: Path, max_keypoints: int = 2000, threads: int = 0) -> None:
        config = ExtractorConfig(max_keypoints=max_keypoints, max_side_px=0)
        self._extractor = Extractor(open_backend(model, "onnxruntime", threads), config)

    def __call__(self, image: NDArray[np.uint8]) -> TeacherKeypoints:
        keypoints, _ = self.describe(image)
        return keypoints

    def describe(self, image: NDArray[np.uint8]) -> tuple[TeacherKeypoints, NDArray[np.float32]]:
        """Keypoints and their descriptors [K, D], unit length, float32."""
        found = self._extractor.extract(image)
        return TeacherKeypoints(found.keypoints_px, np.float32(_SURE) * found.scores), found.descriptors
