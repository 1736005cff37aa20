from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from robot import until

from hfnet_ros.node.latest_only import Mailbox, Worker


def test_the_newest_wins():
    box: Mailbox[int] = Mailbox()
    assert box.put(1) is None
    assert box.put(2) == 1
    assert box.take() == 2
    assert box.put(3) is None
    box.close()
    assert box.take() is None


def test_senders_take_turns():
    """A camera whose images come last does not keep the others from being heard."""
    box: Mailbox[str] = Mailbox()
    assert box.put("left 1", sender="left") is None
    assert box.put("right 1", sender="right") is None
    assert box.put("left 2", sender="left") == "left 1"
    assert box.take() == "left 2"
    box.put("left 3", sender="left")
    assert box.put("right 2", sender="right") == "right 1"
    assert [box.take(), box.take()] == ["right 2", "left 3"]


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
    assert replaced == [None, 1, 2, 3]
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
