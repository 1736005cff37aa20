from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import textured_image
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.images.preparation import ROTATIONS, Preparation, read_mask, rotation_by_up
from hfnet_core.types import Features, Float32


class Bright:
    """Finds bright pixels; descriptors are places in the image that was given."""

    def __init__(self) -> None:
        self.given: NDArray[np.uint8] | None = None

    def extract(self, image: NDArray[np.uint8]) -> Features:
        self.given = image
        y, x = np.nonzero(image == 255)
        pixels = np.stack([x, y], axis=1).astype(np.float32)
        height, width = image.shape[:2]
        ones = np.ones(len(pixels), np.float32)
        return Features(pixels, ones, pixels.copy(), np.zeros(4, np.float32), width, height, Places())


class Places:
    def sample(self, xy_px: Float32) -> Float32:
        return xy_px


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_keypoints_come_back_where_they_were_taken(rotation: int) -> None:
    image = np.zeros((40, 60), np.uint8)
    for x, y in ((3, 5), (50, 7), (20, 33)):
        image[y, x] = 255
    extractor = Bright()
    found = Preparation(rotation).extract(extractor, image)
    assert extractor.given is not None
    assert extractor.given.shape == ((60, 40) if rotation in (90, 270) else (40, 60))
    assert sorted(map(tuple, found.keypoints_px.tolist())) == [(3, 5), (20, 33), (50, 7)]
    assert (found.width, found.height) == (60, 40)
    assert found.rotation == rotation
    assert found.dense is not None
    assert np.array_equal(found.dense.sample(found.keypoints_px), found.descriptors)  # both in the turned image


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_turned_by_its_rotation_an_image_is_upright(rotation: int) -> None:
    upright = textured_image(64, 48, 1)
    as_taken = np.rot90(upright, rotation // 90)  # counterclockwise, as the camera was turned
    assert np.array_equal(Preparation(rotation).before(np.ascontiguousarray(as_taken)), upright)


def test_up_tells_the_rotation() -> None:
    for up, rotation in (
        ((0, -1, 0), 0), ((-1, 0, 0), 90), ((0, 1, 0), 180), ((1, 0, 0), 270), ((0.3, -0.9, 0.3), 0),
        ((-0.9, -0.3, 0.3), 90), ((0, 0, 1), None), ((0.2, 0.2, 0.96), None),
    ):  # fmt: skip
        assert rotation_by_up(np.array(up, float)) == rotation
    # Up of a scene that is seen upright points to the top row after turning.
    image = np.zeros((8, 8), np.uint8)
    image[4, 0] = 255  # what is up lies to the left
    rotation = rotation_by_up(np.array([-1.0, 0.0, 0.0])) or 0
    assert Preparation(rotation).before(image)[0].max() == 255


def test_what_is_hidden_has_no_keypoints_and_no_contrast() -> None:
    image = np.full((60, 80), 100, np.uint8)
    image[30:, :] = 255
    image[10, 10] = image[15, 60] = 255
    mask = np.ones((60, 80), bool)
    mask[30:] = False
    extractor = Bright()
    found = Preparation(0, mask).extract(extractor, image)
    assert sorted(map(tuple, found.keypoints_px.tolist())) == [(10, 10), (60, 15)]
    assert len(found.scores) == len(found.descriptors) == 2
    assert extractor.given is not None
    assert set(np.unique(extractor.given[30:])) == {100}
    assert image[40, 40] == 255  # the image itself is as it was
    image[24, 40] = 255  # on the edge of what is hidden
    assert len(Preparation(0, mask).extract(extractor, image)) == 2
    turned = Preparation(180, mask).extract(extractor, image)
    assert sorted(map(tuple, turned.keypoints_px.tolist())) == [(10, 10), (60, 15)]


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(DatasetError, match="the mask is 20x10, the image 80x60"):
        Preparation(0, np.ones((10, 20), bool)).before(np.zeros((60, 80), np.uint8))


def test_masks_from_images_and_polygons(tmp_path: Path) -> None:
    picture = np.full((60, 80, 3), 255, np.uint8)
    picture[40:, :] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), picture)
    mask = read_mask(tmp_path / "mask.png", (80, 60))
    assert mask[:40].all()
    assert not mask[40:].any()
    hood = [[0, 40], [79, 40], [79, 59], [0, 59]]
    for name, content in (("a.json", [hood]), ("b.yaml", {"hide": [hood]})):
        (tmp_path / name).write_text(json.dumps(content))
        assert np.array_equal(read_mask(tmp_path / name, (80, 60)), mask)


def test_masks_that_cannot_be_are_refused_by_name(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((60, 80), np.uint8))
    cv2.imwrite(str(tmp_path / "small.png"), np.full((6, 8), 255, np.uint8))
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "line.json").write_text("[[[1, 2], [3, 4]]]")
    (tmp_path / "far.json").write_text("[[[1, 2], [3, 4], [1e9, 0]]]")
    (tmp_path / "word.yaml").write_text("hide: all")
    for name, message in (
        ("black.png", "hides 100%"), ("small.png", "8x6, the images are 80x60"), ("text.json", "cannot be read"),
        ("line.json", "no list of polygons"), ("far.json", "no list of polygons"), ("word.yaml", "no list of polygons"),
        ("none.png", "no such image"), ("none.json", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(DatasetError, match=message) as caught:
            read_mask(tmp_path / name, (80, 60))
        assert name in str(caught.value)
