"""A teacher whose keypoints turn with the image.

ALIKED-n16, and what was taught by it, prefer corners that open to one side of the image: of the keypoints of a photo
turned by 90 degrees, none in a hundred lies within a pixel of one of the photo itself. Labels that are to be found
again by a camera that rolls are those of all four quarter turns together, as in homographic adaptation.

Source: DeTone et al., "SuperPoint", CVPRW 2018.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_core.training.data.teacher_keypoints import Teacher, TeacherKeypoints

__all__ = ["TurnedTeacher"]


class TurnedTeacher:
    """What a teacher finds in an image and in its three quarter turns, in pixels of the image."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    def __call__(self, image: NDArray[np.uint8]) -> TeacherKeypoints:
        found = [_turned_back(self._teacher(_turned(image, turns)), image, turns) for turns in range(4)]
        return TeacherKeypoints(np.concatenate([each.xy for each in found]), np.concatenate([e.scores for e in found]))


def _turned(image: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    """Clockwise."""
    return np.ascontiguousarray(np.rot90(image, -turns))


def _turned_back(found: TeacherKeypoints, image: NDArray[np.uint8], turns: int) -> TeacherKeypoints:
    height, width = image.shape
    x, y = found.xy.T
    back = ((x, y), (y, height - 1 - x), (width - 1 - x, height - 1 - y), (width - 1 - y, x))[turns]
    return TeacherKeypoints(np.stack(back, axis=1).astype(np.float32), found.scores)
