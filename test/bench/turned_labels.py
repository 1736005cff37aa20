"""`python test/bench/turned_labels.py PHOTO...`: how many labels of a photo are labels again of the photo turned.

The teacher is the network that ships, once looking at a photo as it is and once at its four quarter turns as well, as
with `turned_labels`. Only labels in the middle of the photo count, which all turned photos show.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from hfnet_core.config import ExtractorConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.training.data.pool import read_gray, select_keypoints
from hfnet_core.training.data.teacher_keypoints import Teacher, TeacherKeypoints
from hfnet_core.training.teachers.turned import TurnedTeacher

SIZE = (480, 360)
DEGREES = (10, 30, 45, 60, 90)
BUDGET, MIN_SCORE, RADIUS_PX, SURE = 1200, 0.15, 3.0, 2.0  # as `LocalDataSettings` and `ModelTeacher` have them


def turned(photo: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The photo about its middle on a canvas that holds all of it, and turned_from_photo [2, 3]."""
    middle = (np.array(SIZE) - 1) / 2
    matrix = cv2.getRotationMatrix2D(tuple(middle), degrees, 1.0)
    sides = np.abs(matrix[:, :2]) @ SIZE
    canvas = [8 * int(np.ceil(side / 8)) for side in sides]
    matrix[:, 2] += (np.array(canvas) - 1) / 2 - middle
    return cv2.warpAffine(photo, matrix, canvas, borderMode=cv2.BORDER_REFLECT), matrix


def labels(teacher: Teacher, image: np.ndarray) -> np.ndarray:
    found = teacher(np.asarray(image, np.uint8))
    return select_keypoints(found.xy, found.scores, image.size, BUDGET, MIN_SCORE, RADIUS_PX)


def found_again(teacher: Teacher, photo: np.ndarray, degrees: float) -> tuple[float, float]:
    """Share of the labels that have one of the turned photo within 1 and 3 px."""
    image, matrix = turned(photo, degrees)
    xy = labels(teacher, photo)
    xy = xy[np.linalg.norm(xy - (np.array(SIZE) - 1) / 2, axis=1) < min(SIZE) / 2 - 8]
    there = xy @ matrix[:, :2].T + matrix[:, 2]
    distance = np.linalg.norm(there[:, None] - labels(teacher, image)[None], axis=2).min(axis=1)
    return float((distance < 1).mean()), float((distance < 3).mean())


def main() -> None:
    config = ExtractorConfig(max_keypoints=2000, max_side_px=0)
    extractor = Extractor(open_backend(kind="onnxruntime", threads=1), config)

    def once(image: np.ndarray) -> TeacherKeypoints:
        found = extractor.extract(image)
        return TeacherKeypoints(found.keypoints_px, np.float32(SURE) * found.scores)

    photos = [cv2.resize(read_gray(Path(name)), SIZE, interpolation=cv2.INTER_AREA) for name in sys.argv[1:]]
    for title, teacher in (("as it is", once), ("four turns", TurnedTeacher(once))):
        for degrees in DEGREES:
            near, far = np.mean([found_again(teacher, photo, degrees) for photo in photos], axis=0)
            print(
                f"{title:12s} turned by {degrees:2d} degrees: {near:.3f} within 1 px, {far:.3f} within 3 px", flush=True
            )


if __name__ == "__main__":
    main()
