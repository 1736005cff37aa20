from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from robot import until

from hfnet_ros.worker import Mailbox, Worker


def test_the_newest_wins():
    box: Mailbox[int] = Mailbox()
    assert not box.put(1)
    assert box.put(2)
    assert box.take() == 2
    assert not box.put(3)
    box.close()
    assert box.take() is None


def test_worker_skips_to_the_newest_and_stops():
    done, gate = [], threading.Event()

    def work(item: int) -> None:
        gate.wait(5)
        done.append(item)

    worker = Worker(work, "test")
    worker.start()
    worker.put(0)
    time.sleep(0.05)  # 0 is at hand
    replaced = [worker.put(item) for item in range(1, 5)]
    assert replaced == [False, True, True, True]
    gate.set()
    until(lambda: done == [0, 4])
    assert worker.stop(2.0)
    worker.put(9)
    assert done == [0, 4]


def test_stop_says_when_the_item_at_hand_takes_too_long():
    gate = threading.Event()
    worker = Worker(lambda _: gate.wait(5), "test")
    worker.start()
    worker.put(1)
    time.sleep(0.05)
    assert not worker.stop(0.05)
    assert worker.stopping
    gate.set()
    assert worker.stop(2.0)
