from __future__ import annotations

import threading

import pytest

from hfnet_core.threads import side_by_side


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_results_come_in_order(at_once: int) -> None:
    assert side_by_side(str, [3, 1, 2], at_once) == ["3", "1", "2"]
    assert side_by_side(str, [], at_once) == []


def test_so_many_are_at_work_at_once() -> None:
    both = threading.Barrier(2, timeout=5)
    assert side_by_side(lambda item: both.wait() >= 0, [0, 1, 2, 3], 2) == [True] * 4


def test_one_item_stays_in_its_thread() -> None:
    assert side_by_side(lambda _: threading.current_thread(), [0], 2) == [threading.current_thread()]


def test_the_first_failure_is_raised() -> None:
    def work(item: int) -> int:
        if item:
            raise ValueError(item)
        return item

    with pytest.raises(ValueError, match="1"):
        side_by_side(work, [0, 1, 2], 2)
