"""ALIKED as a teacher, with its published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hfnet_core.errors import ModelError, first_line
from hfnet_core.training.data.teacher_keypoints import TeacherKeypoints

__all__ = ["Aliked"]


class Aliked:
    """ALIKED-n16 as kornia runs it.

    Source: Zhao et al., "ALIKED: A Lighter Keypoint and Descriptor Extraction Network", 2023 (weights: BSD-3).
    """

    def __init__(self, weights: Path, max_keypoints: int = 2000) -> None:
        from kornia.feature import ALIKED

        if not weights.is_file():
            raise ModelError(f"{weights} is missing: give the teacher's weights (aliked-n16.pth)")
        self._network = ALIKED("aliked-n16", max_num_keypoints=max_keypoints, detection_threshold=0.0)
        try:
            stored = torch.load(weights, map_location="cpu", weights_only=True)
            lacking = set(self._network.load_state_dict(stored, strict=False).missing_keys)
        except Exception as error:  # torch raises nearly every kind for damaged files
            raise ModelError(f"{weights} are not weights of ALIKED-n16 ({first_line(error)})") from error
        for name, _ in self._network.named_parameters():  # some of kornia's constant buffers are not in the file
            if name in lacking:
                raise ModelError(f"{weights} are not weights of ALIKED-n16: {name} is missing")
        self._network.eval()

    def __call__(self, image: NDArray[np.uint8]) -> TeacherKeypoints:
        keypoints, _ = self.describe(image)
        return keypoints

    def describe(self, image: NDArray[np.uint8]) -> tuple[TeacherKeypoints, NDArray[np.float32]]:
        """Keypoints and their descriptors [K, 128], unit length, float32."""
        with torch.inference_mode():
            found = self._network(torch.from_numpy(image)[None, None].float() / 255)[0]
        scores = getattr(found, "keypoint_scores", None)
        scores = found.detection_scores if scores is None else scores
        xy, scores, descriptors = (
            part.numpy().astype(np.float32) for part in (found.keypoints, scores, found.descriptors)
        )
        return TeacherKeypoints(xy, scores), descriptors
