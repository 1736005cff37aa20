"""Which images of several cameras are put together, and when a shot goes on without the missing ones."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

import numpy as np
from robot import image_msg

from hfnet_ros.node.frame_sets import Shot, ShotAssembler
from hfnet_ros.node.inputs import ImageMessage

MS = 10**6
START = 1_700_000_000 * 10**9
BOTH, WAIT_S = (0, 1), 0.05


def image(offset_ms: float) -> ImageMessage:
    return ImageMessage(
        image_msg(np.zeros((2, 2), np.uint8), START + round(offset_ms * MS)), False, time.perf_counter()
    )


def offsets(shot: Shot | None) -> dict[int, float] | None:
    return None if shot is None else {camera: (i.stamp_ns - START) / MS for camera, i in shot.images.items()}


@pytest.fixture
def shots() -> ShotAssembler:
    return ShotAssembler(tolerance_s=0.01, timeout_s=WAIT_S)


def test_images_of_one_time_make_a_shot(shots: ShotAssembler) -> None:
    assert shots.add(0, image(0), BOTH) is None
    shot = shots.add(1, image(8), BOTH)
    assert offsets(shot) == {0: 0, 1: 8}
    assert shot is not None
    assert shot.stamp_ns == START + 8 * MS
    assert shots.add(1, image(40), BOTH) is None
    assert shots.add(0, image(51), BOTH) is None  # 11 ms apart
    assert offsets(shots.add(1, image(52), BOTH)) == {0: 51, 1: 52}
    assert shots.dropped == 1


def test_a_camera_that_lags_by_frames_is_waited_for(shots: ShotAssembler) -> None:
    """One driver delivers three images later than the other: the newest image of each would never fit."""
    for frame in range(3):
        assert shots.add(0, image(33 * frame), BOTH) is None
    for frame in range(3, 9):
        assert shots.add(0, image(33 * frame), BOTH) is None
        late = 33 * (frame - 3)
        assert offsets(shots.add(1, image(late + 1), BOTH)) == {0: late, 1: late + 1}
    assert shots.dropped == 0


def test_the_newest_complete_shot_wins(shots: ShotAssembler) -> None:
    for frame in range(3):
        shots.add(0, image(33 * frame), BOTH)
    assert offsets(shots.add(1, image(66), BOTH)) == {0: 66, 1: 66}
    assert shots.dropped == 2
    assert shots.add(1, image(33), BOTH) is None  # too late
    assert shots.dropped == 3
    assert shots.overdue() is None


def test_an_incomplete_shot_goes_after_the_timeout(shots: ShotAssembler) -> None:
    shots.add(0, image(0), BOTH)
    assert shots.overdue() is None
    time.sleep(WAIT_S + 0.01)
    assert offsets(shots.overdue()) == {0: 0}
    assert shots.overdue() is None
    assert shots.add(1, image(1), BOTH) is None  # its shot is gone
    assert shots.dropped == 1


def test_a_silent_camera_is_not_waited_for(shots: ShotAssembler) -> None:
    assert offsets(shots.add(0, image(0), (0,))) == {0: 0}
    assert shots.add(0, image(33), BOTH) is None


def test_clocks_that_have_nothing_in_common_do_not_fill_the_memory(shots: ShotAssembler) -> None:
    for frame in range(100):
        shots.add(0, image(33 * frame), BOTH)
        shots.add(1, image(10**6 + 33 * frame), BOTH)
    assert shots.dropped >= 190


def test_time_may_start_over(shots: ShotAssembler) -> None:
    shots.add(0, image(1000), BOTH)
    assert shots.add(1, image(1000), BOTH) is not None
    shots.clear()
    shots.add(0, image(0), BOTH)
    assert offsets(shots.add(1, image(0), BOTH)) == {0: 0, 1: 0}
