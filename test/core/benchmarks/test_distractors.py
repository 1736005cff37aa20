"""Photos, then crops of them without end: as many as asked, each another, none kept."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import textured_image

from hfnet_core.benchmarks.distractors import photos_and_crops


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), textured_image(200, 160, seed=number))
    return paths


def test_photos_come_first_as_they_are_and_crops_of_all_of_them_follow(photos: list[Path]) -> None:
    images = list(photos_and_crops(photos, 20))
    assert [image.shape[:2] for image in images] == [(160, 200)] * 3 + [(240, 320)] * 17
    for image, path in zip(images, photos, strict=False):
        np.testing.assert_array_equal(image, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    assert len({image.tobytes() for image in images}) == 20
    again = list(photos_and_crops(photos, 20))
    assert all(np.array_equal(one, other) for one, other in zip(images, again, strict=True))


def test_fewer_than_the_photos_are_some_of_the_photos(photos: list[Path]) -> None:
    assert [image.shape[:2] for image in photos_and_crops(photos, 2)] == [(160, 200)] * 2
