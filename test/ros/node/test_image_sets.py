"""Which images of several cameras are put together, and when a set goes on without the missing ones."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

import numpy as np
from robot import image_msg

from hfnet_ros.node.image_sets import ImageSet, ImageSetAssembler
from hfnet_ros.node.inputs import ImageMessage

MS = 10**6
START = 1_700_000_000 * 10**9
BOTH, WAIT_S = (0, 1), 0.05
LATER = START + 10**12


def image(offset_ms: float) -> ImageMessage:
    """Taken and received at a time."""
    stamp_ns = START + round(offset_ms * MS)
    return ImageMessage(image_msg(np.zeros((2, 2), np.uint8), stamp_ns), False, stamp_ns, time.perf_counter())


def offsets(images: ImageSet | None) -> dict[int, float] | None:
    return None if images is None else {camera: (i.stamp_ns - START) / MS for camera, i in images.images.items()}


@pytest.fixture
def assembler() -> ImageSetAssembler:
    return ImageSetAssembler(BOTH, tolerance_s=0.01, timeout_s=WAIT_S)


def test_images_of_one_time_make_a_set(assembler: ImageSetAssembler) -> None:
    assert assembler.add(0, image(0), BOTH) is None
    images = assembler.add(1, image(8), BOTH)
    assert offsets(images) == {0: 0, 1: 8}
    assert images is not None
    assert images.stamp_ns == START + 8 * MS
    assert assembler.add(1, image(40), BOTH) is None
    assert assembler.add(0, image(51), BOTH) is None  # 11 ms apart
    assert offsets(assembler.add(1, image(52), BOTH)) == {0: 51, 1: 52}
    assert assembler.dropped == 1


def test_a_camera_that_lags_by_frames_is_waited_for(assembler: ImageSetAssembler) -> None:
    """One driver delivers three images later than the other: the newest image of each would never fit."""
    for frame in range(3):
        assert assembler.add(0, image(33 * frame), BOTH) is None
    for frame in range(3, 9):
        assert assembler.add(0, image(33 * frame), BOTH) is None
        late = 33 * (frame - 3)
        assert offsets(assembler.add(1, image(late + 1), BOTH)) == {0: late, 1: late + 1}
    assert assembler.dropped == 0


def test_the_newest_complete_set_wins(assembler: ImageSetAssembler) -> None:
    for frame in range(3):
        assembler.add(0, image(33 * frame), BOTH)
    assert offsets(assembler.add(1, image(66), BOTH)) == {0: 66, 1: 66}
    assert assembler.dropped == 2
    assert assembler.add(1, image(33), BOTH) is None  # too late
    assert assembler.dropped == 3
    assert assembler.overdue(LATER) is None


def test_an_incomplete_set_goes_after_the_timeout(assembler: ImageSetAssembler) -> None:
    assembler.add(0, image(0), BOTH)
    assert assembler.overdue(START + 49 * MS) is None
    assert offsets(assembler.overdue(START + 50 * MS)) == {0: 0}
    assert assembler.overdue(LATER) is None
    assert assembler.add(1, image(1), BOTH) is None  # its images is gone
    assert assembler.dropped == 1


def test_a_silent_camera_is_not_waited_for(assembler: ImageSetAssembler) -> None:
    assert offsets(assembler.add(0, image(0), (0,))) == {0: 0}
    assert assembler.add(0, image(33), BOTH) is None


def test_clocks_that_have_nothing_in_common_do_not_fill_the_memory(assembler: ImageSetAssembler) -> None:
    for frame in range(100):
        assembler.add(0, image(33 * frame), BOTH)
        assembler.add(1, image(10**6 + 33 * frame), BOTH)
    assert assembler.dropped >= 190


def test_time_may_start_over(assembler: ImageSetAssembler) -> None:
    assembler.add(0, image(1000), BOTH)
    assert assembler.add(1, image(1000), BOTH) is not None
    assembler.clear()
    assembler.add(0, image(0), BOTH)
    assert offsets(assembler.add(1, image(0), BOTH)) == {0: 0, 1: 0}


def test_a_group_of_one_camera_never_waits() -> None:
    alone = ImageSetAssembler([3], tolerance_s=0.0, timeout_s=WAIT_S)
    assert [offsets(alone.add(3, image(ms), BOTH)) for ms in (0, 1, 2)] == [{3: 0}, {3: 1}, {3: 2}]
    assert alone.dropped == 0
