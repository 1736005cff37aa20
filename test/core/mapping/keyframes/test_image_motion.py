from __future__ import annotations

import cv2
import numpy as np
import pytest
from bags import START, STEP
from helpers import textured_image

from hfnet_core.errors import DatasetError
from hfnet_core.mapping.keyframes.image_motion import ImageMotion
from hfnet_core.mapping.keyframes.selection import choose_by_motion, simultaneous
from hfnet_core.progress import silent
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions

PANORAMA = textured_image(900, 240, 3)


def shifted(shift: float, width: int = 320) -> np.ndarray:
    matrix = np.array([[1.0, 0.0, -shift], [0.0, 1.0, 0.0]])
    return cv2.warpAffine(PANORAMA, matrix, (width, 240))


def test_motion_is_the_displacement_since_the_mark() -> None:
    motion = ImageMotion()
    assert motion.moved(shifted(0)) == float("inf")  # nothing is marked yet
    motion.mark()
    for shift in (8, 16, 24, 32):
        assert motion.moved(shifted(shift)) == pytest.approx(shift / 320, abs=0.01)
    motion.mark()
    assert motion.moved(shifted(40)) == pytest.approx(8 / 320, abs=0.01)


def test_another_picture_is_infinitely_far() -> None:
    motion = ImageMotion()
    motion.moved(shifted(0))
    motion.mark()
    assert motion.moved(textured_image(320, 240, 99)) == float("inf")
    assert motion.moved(textured_image(320, 200, 99)) == float("inf")  # another size is another picture
    assert motion.moved(np.full((200, 320, 3), 7, np.uint16)) == float("inf")  # nothing to follow


def test_parallax_counts_where_the_middle_stays_in_place() -> None:
    motion = ImageMotion()
    motion.moved(shifted(0))
    motion.mark()
    sheared = cv2.warpAffine(shifted(0), np.array([[1.0, 0.1, -12.0], [0.0, 1.0, 0.0]]), (320, 240))
    assert motion.moved(sheared) > 0.05
    motion.moved(shifted(0))
    motion.mark()
    zoomed = cv2.warpAffine(shifted(0), np.array([[1.05, 0.0, -8.0], [0.0, 1.05, -6.0]]), (320, 240))
    assert motion.moved(zoomed) < 0.04


def chosen(tmp_path, images: list[np.ndarray], **options: object) -> list[int]:  # type: ignore[no-untyped-def]
    with open_writer(tmp_path / "bag", "mcap", overwrite=True) as writer:
        for index, image in enumerate(images):
            writer.image(START + index * STEP, image)
    with Bag(tmp_path / "bag", BagOptions(camera_optional=True)) as bag:
        return choose_by_motion(bag, 0.1, options.get("named", ()), silent)  # type: ignore[arg-type]


def test_a_film_is_thinned_by_motion(tmp_path) -> None:  # type: ignore[no-untyped-def]
    film = [shifted(4 * index) for index in range(80)]
    found = chosen(tmp_path, film)
    assert found[0] == 0
    assert 7 <= len(found) <= 12
    assert set(np.diff(found)) <= {7, 8, 9, 10, 11}
    assert {3, 5} <= set(chosen(tmp_path, film, named={3, 5}))


def test_blurred_images_of_a_film_are_passed_over(tmp_path) -> None:  # type: ignore[no-untyped-def]
    film = [shifted(4 * index) for index in range(80)]
    for index in (8, 9, 24, 25, 40):
        film[index] = cv2.blur(film[index], (9, 9))
    assert not {8, 9, 24, 25, 40} & set(chosen(tmp_path, film))


def test_few_images_and_photos_are_all_taken(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert chosen(tmp_path, [shifted(16 * index) for index in range(6)]) == list(range(6))
    assert chosen(tmp_path, [shifted(0)] * 3) == [0]
    softer = [cv2.blur(shifted(16 * index), (3, 3)) if 0 < index < 9 else shifted(16 * index) for index in range(10)]
    assert chosen(tmp_path, softer) == list(range(10))
    photos = [textured_image(320, 240 + 8 * (seed % 3), seed) for seed in range(70)]
    photos[30] = cv2.blur(photos[30], (9, 9))
    assert chosen(tmp_path, photos) == list(range(70))


def test_an_uncalibrated_camera_is_guessed_only_where_that_is_allowed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with open_writer(tmp_path / "bag", "mcap") as writer:
        writer.image(START, shifted(0))
        writer.image(START + STEP, textured_image(200, 400, 1))
    with pytest.raises(DatasetError, match="no sensor_msgs/CameraInfo"):
        Bag(tmp_path / "bag")
    with Bag(tmp_path / "bag", BagOptions(camera_optional=True)) as bag:
        assert bag.camera_unknown
        frames = list(bag.frames())
    assert [(frame.camera.width, frame.camera.focal_length[0]) for frame in frames] == [(320, 384), (200, 480)]
    assert all(frame.camera_guessed for frame in frames)


def test_images_of_two_cameras_taken_at_once() -> None:
    ms = 10**6
    assert simultaneous([0, 33 * ms, 66 * ms, 100 * ms], [34 * ms, 98 * ms, 120 * ms]) == [1, 3]
    assert simultaneous([16 * ms, 50 * ms], [33 * ms]) == []
    assert simultaneous([], [1]) == []
