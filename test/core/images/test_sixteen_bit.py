from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hfnet_core.images.pixels import to_gray
from hfnet_core.images.reading import significant_bits_of
from hfnet_core.images.sixteen_bit import RunningBits, at_full_range, sample_of, significant_bits

GRAY = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint16)


def of_bits(bits: int, gray: np.ndarray = GRAY) -> np.ndarray:
    return (gray.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_images_of_any_depth_look_like_the_same_in_8_bits(bits: int) -> None:
    image = of_bits(bits)
    assert significant_bits([image]) == bits
    gray = to_gray(at_full_range(image, bits))
    assert np.abs(gray - GRAY).max() < 1.0
    assert at_full_range(image, bits).max() == 65535


def test_hot_pixels_say_nothing() -> None:
    image = of_bits(12)
    image[3, 5] = image[20, 40] = 65535
    assert significant_bits([image]) == 12
    assert at_full_range(image, 12)[3, 5] == 65535


def test_the_brightest_images_of_a_recording_decide_for_all() -> None:
    night = of_bits(12, GRAY // 16)
    assert significant_bits([night]) == 8
    assert significant_bits([night, of_bits(12), night]) == 12


def test_black_and_8_bit_images_say_nothing() -> None:
    assert significant_bits([]) == 16
    assert significant_bits([np.zeros((9, 9), np.uint16), GRAY.astype(np.uint8)]) == 16
    assert at_full_range(GRAY.astype(np.uint8), 12).dtype == np.uint8


def test_colour_images_are_scaled_alike_in_all_channels() -> None:
    image = np.dstack([of_bits(12), of_bits(12) // 2, of_bits(12) // 4])
    assert significant_bits([image]) == 12
    assert np.array_equal(at_full_range(image, 12)[:, :, 0], at_full_range(image[:, :, 0], 12))


def test_of_a_stream_the_depth_only_grows() -> None:
    running = RunningBits()
    assert running.apply(np.zeros((9, 9), np.uint16)).max() == 0
    assert running.apply(of_bits(10)).max() == 65535
    assert running.apply(of_bits(12)).max() == 65535
    dark = running.apply(of_bits(10))  # now known to be dark, of 12 bits
    assert dark.max() == at_full_range(of_bits(10), 12).max() < 20_000
    eight = GRAY.astype(np.uint8)
    assert running.apply(eight) is eight


def test_samples_spread_over_a_recording() -> None:
    assert sample_of(1) == (0,)
    assert sample_of(3) == (0, 1, 2)
    assert sample_of(1000) == (0, 142, 285, 428, 570, 713, 856, 999)
    assert sample_of(0) == ()


def test_files_of_one_camera_tell_their_bits_together(tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.png" for index in range(4)]
    (tmp_path / "0.png").write_bytes(b"damaged")
    cv2.imwrite(str(files[1]), of_bits(10, GRAY // 4))
    cv2.imwrite(str(files[2]), of_bits(12))
    assert significant_bits_of(files[:2]) == 8
    assert significant_bits_of(files) == 12  # the last one is missing
    cv2.imwrite(str(files[3]), GRAY.astype(np.uint8))
    assert significant_bits_of(files[3:]) == significant_bits_of([]) == 16
