# ruff: noqa: E402
"""Keypoints of all quarter turns, in the pixels of the image as it is."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.training.data.teacher_keypoints import TeacherKeypoints
from hfnet_core.training.teachers.turned import TurnedTeacher


def brightest(image: np.ndarray) -> TeacherKeypoints:
    """The brightest pixel, and of every image the one beside its upper left corner, by which it tells what is up."""
    y, x = np.unravel_index(image.argmax(), image.shape)
    return TeacherKeypoints(np.array([[x, y], [1, 0]], np.float32), np.array([0.9, 0.5], np.float32))


def test_what_is_found_in_turned_images_comes_back_to_the_same_pixels() -> None:
    image = np.zeros((30, 50), np.uint8)
    image[7, 41] = 200
    found = TurnedTeacher(brightest)(image)
    np.testing.assert_allclose(found.scores, [0.9, 0.5] * 4, rtol=1e-6)
    np.testing.assert_array_equal(found.xy[0::2], [[41, 7]] * 4)
    assert {tuple(xy) for xy in found.xy[1::2].tolist()} == {(1, 0), (0, 28), (48, 29), (49, 1)}


def test_labels_turn_with_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 255, (24, 40), np.uint8)
    teacher = TurnedTeacher(brightest)
    upright, turned = teacher(image), teacher(np.ascontiguousarray(np.rot90(image, -1)))
    back = {(y, 23 - x) for x, y in turned.xy.tolist()}
    assert back == {tuple(xy) for xy in upright.xy.tolist()}
