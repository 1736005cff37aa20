# ruff: noqa: E402
"""Photos from plain folders: the same order always, what TensorFlow 1 made of them, and no more memory for more."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tiny_paper import draw_folder

from hfnet_core.errors import DatasetError
from hfnet_core.training.data.streaming.photo_stream import (
    PhotoBatches,
    Photos,
    PhotoView,
    find_photos,
    read_rgb,
    resized,
)

VIEW = PhotoView((48, 32), 4, True, 0)


def test_photos_are_shuffled_once_and_the_first_ones_kept_apart(tmp_path: Path) -> None:
    first, second = draw_folder(tmp_path / "a", 30), draw_folder(tmp_path / "b", 20)
    (first / "notes.txt").write_text("no image")
    photos, again = (find_photos([first, second], 6, 0) for _ in range(2))
    assert photos.paths == again.paths
    assert photos.digest == again.digest
    assert (photos.validation, photos.training) == (6, 44)
    assert sorted(photos.paths) == sorted(str(path) for folder in (first, second) for path in folder.rglob("*.png"))
    assert list(photos.paths) != sorted(photos.paths)
    other = find_photos([first, second], 6, 1)
    assert other.digest != photos.digest
    assert find_photos([first], 192, 0).validation == 6  # never more than a fifth


def test_a_photo_of_folders_that_overlap_counts_once(tmp_path: Path) -> None:
    """Else what is kept for validation would be trained on."""
    outer, inner = draw_folder(tmp_path / "all", 20), draw_folder(tmp_path / "all/paris", 10)
    (tmp_path / "link").symlink_to(inner)
    photos = find_photos([outer, inner, tmp_path / "link", outer], 6, 0)
    assert len(photos.paths) == 30
    assert photos.paths == find_photos([outer], 6, 0).paths


def test_folders_without_images_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none: no such folder of images"):
        find_photos([tmp_path / "none"], 0, 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty: no image in this folder or below"):
        find_photos([tmp_path / "empty"], 0, 0)


def test_a_step_has_its_photos_whatever_was_read_before(tmp_path: Path) -> None:
    photos = find_photos([draw_folder(tmp_path, 13)], 2, 0)
    plain = PhotoView((48, 32), 4, False, 0)
    stream = PhotoBatches(photos, plain, 100)
    colours = torch.cat([stream[step].clean[:, :, 0, 0] for step in range(6)])  # two rounds of 11, and 2
    expected = [read_rgb(photos.paths[2 + place % 11], (48, 32))[0, 0] for place in range(24)]
    np.testing.assert_array_equal(colours.numpy(), np.array(expected))
    late, alone = PhotoBatches(photos, VIEW, 100)[5], PhotoBatches(photos, VIEW, 100)
    assert torch.equal(alone[5].images, late.images)
    assert not torch.equal(alone[5].images, alone[16].images)  # the same photos, seen with other noise
    gray = stream[0].images[:, 0, 0, 0]
    np.testing.assert_allclose(gray, np.array(expected[:4]) @ [0.2989, 0.5870, 0.1140], rtol=1e-6)


@pytest.mark.parametrize("size", [(64, 48), (20, 16), (33, 25)])
def test_images_are_resized_as_tensorflow_1_does(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (25, 33, 3)).astype(np.uint8)
    found = resized(image, size)
    assert found.shape == (size[1], size[0], 3)
    for x, y in ((0, 0), (size[0] - 1, size[1] - 1), (size[0] // 3, size[1] // 2), (7, 5)):
        column, row = x * 33 / size[0], y * 25 / size[1]
        left, top = int(column), int(row)
        right, bottom = min(left + 1, 32), min(top + 1, 24)
        a, b = column - left, row - top
        values = image.astype(np.float64)
        upper = values[top, left] * (1 - a) + values[top, right] * a
        lower = values[bottom, left] * (1 - a) + values[bottom, right] * a
        np.testing.assert_allclose(found[y, x], upper * (1 - b) + lower * b, atol=1e-3)


def test_gray_and_deep_images_are_photos_too(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((20, 30), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((20, 30, 3), 300 * 256 // 2, np.uint16))
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "gray.png"), (16, 16)), np.full((16, 16, 3), 77, np.float32))
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "deep.png"), (16, 16)), np.full((16, 16, 3), 150, np.float32))


def test_a_broken_photo_is_named_and_replaced(tmp_path: Path) -> None:
    draw_folder(tmp_path, 10)
    (tmp_path / "photo_004.png").write_bytes(b"no image")
    photos = find_photos([tmp_path], 0, 0)
    bad = next(number for number, path in enumerate(photos.paths) if path.endswith("photo_004.png"))
    stream = PhotoBatches(photos, VIEW, 100)
    batches = [stream[step] for step in range(5)]
    assert all(len(batch.images) == 4 for batch in batches)
    assert torch.cat([batch.broken for batch in batches]).tolist() == [bad, bad]  # once in each of two rounds
    assert torch.equal(stream[bad // 4].images, batches[bad // 4].images)


def test_folders_of_broken_photos_give_empty_batches(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        path.write_bytes(b"no image")
    batch = PhotoBatches(Photos(tuple(map(str, paths)), 0), VIEW, 1)[0]
    assert batch.images.shape == (0, 1, 32, 48)
    assert batch.clean.shape == (0, 3, 32, 48)
    assert set(batch.broken.tolist()) == {0, 1, 2}


def test_memory_does_not_grow_with_the_photos_seen(tmp_path: Path) -> None:
    photos = find_photos([draw_folder(tmp_path, 200)], 0, 0)
    stream = PhotoBatches(photos, VIEW, 10_000)
    peaks = []
    tracemalloc.start()
    try:
        for step in range(240):
            stream[step]
            if step in (59, 239):
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000  # bytes; the photos read in between have 3.3 MB
