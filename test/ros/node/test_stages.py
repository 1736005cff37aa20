from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from robot import until

from hfnet_ros.node.stages import Laps, Mailbox, Pace, Stages


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


class Work:
    """Two stages whose items wait for their gates; what was begun and done, in order."""

    def __init__(self) -> None:
        self.prepared: list[int] = []
        self.begun: list[int] = []
        self.finished: list[int] = []
        self.first, self.second = threading.Semaphore(0), threading.Semaphore(0)
        self.stages: Stages[int, int] = Stages(self._prepare, self._finish, "test")
        self.stages.pace.decide = lambda: True
        self.stages.start()

    def _prepare(self, item: int, _: float) -> int:
        self.prepared.append(item)
        assert self.first.acquire(timeout=5)
        return item

    def _finish(self, item: int, _: float) -> None:
        self.begun.append(item)
        assert self.second.acquire(timeout=5)
        self.finished.append(item)

    def show(self, item: int) -> int | None:
        return self.stages.put(item)

    def end(self) -> None:
        for gate in (self.first, self.second):
            gate.release(100)
        assert self.stages.stop(2.0)


@pytest.fixture
def work():
    work = Work()
    yield work
    work.end()


def test_while_an_item_is_finished_the_next_is_prepared(work):
    work.show(0)
    work.first.release()
    until(lambda: work.begun == [0])  # and its gate is closed
    work.show(1)
    until(lambda: work.prepared == [0, 1])
    assert work.finished == []
    work.first.release()
    work.second.release(2)
    until(lambda: work.finished == [0, 1])


def test_where_they_take_turns_nothing_is_prepared_meanwhile(work):
    work.stages.pace.decide = lambda: False
    for item in (0, 2):
        work.show(item)
        work.first.release()
        until(lambda item=item: work.begun[-1:] == [item])
        work.show(item + 1)
        time.sleep(0.05)
        assert work.prepared[-1] == item
        assert work.show(item + 2) == item + 1
        work.second.release()
    until(lambda: work.prepared == [0, 2, 4])
    assert work.finished == [0, 2]


def test_the_newest_is_prepared_and_what_it_replaced_is_told(work):
    work.show(0)
    until(lambda: work.prepared == [0])
    assert [work.show(item) for item in range(1, 5)] == [None, 1, 2, 3]
    work.first.release(2)
    work.second.release(2)
    until(lambda: work.finished == [0, 4])


def test_nothing_is_prepared_while_something_prepared_waits(work):
    """It would only get older: the next one is as new as it can be when its turn comes."""
    for item in (0, 1):
        work.show(item)
        until(lambda item=item: work.prepared == list(range(item + 1)))
        work.first.release()
    work.show(2)
    time.sleep(0.05)
    assert work.prepared == [0, 1]
    assert work.show(3) == 2
    work.second.release()
    until(lambda: work.prepared == [0, 1, 3])


class Machine:
    """Items that come at an interval, and stages that take so long by turns and at once."""

    def __init__(self, monkeypatch, interval_s: float, by_turns_s: tuple, at_once_s: tuple) -> None:
        self.now, self.pace, self.interval_s = 0.0, Pace(), interval_s
        self.took_s = {False: by_turns_s, True: at_once_s}
        monkeypatch.setattr("hfnet_ros.node.stages.time.perf_counter", lambda: self.now)

    def run(self, items: int) -> list[bool]:
        """For each whether both stages work at once."""
        said = []
        for _ in range(items):
            self.pace.arrived()
            self.now += self.interval_s
            said.append(self.pace.decide())
            for stage, seconds in enumerate(self.took_s[said[-1]]):
                self.pace.took(stage, seconds)
        return said


def test_turns_are_taken_where_they_suffice(monkeypatch):
    machine = Machine(monkeypatch, 0.033, (0.020, 0.012), (0.001, 0.001))
    assert not any(machine.run(1000))


def test_both_stages_work_at_once_where_that_is_what_keeps_up(monkeypatch):
    machine = Machine(monkeypatch, 0.033, (0.022, 0.015), (0.030, 0.020))
    assert not any(machine.run(5))  # nothing is known yet
    machine.run(20)
    assert all(machine.run(1000))
    machine.interval_s = 0.025  # items come faster
    machine.run(20)
    assert not any(machine.run(100))


def test_where_even_that_does_not_keep_up_it_is_tried_now_and_then(monkeypatch):
    """The stages slow each other down: items would be older in the end, and no more of them would be taken."""
    machine = Machine(monkeypatch, 0.033, (0.022, 0.015), (0.040, 0.020))
    said = machine.run(3000)
    assert 0.02 < np.mean(said) < 0.05


@pytest.mark.parametrize("by_turns_s", [(0.035, 0.015), (0.010, 0.040)])
def test_it_is_not_tried_where_one_stage_alone_is_too_slow(monkeypatch, by_turns_s):
    machine = Machine(monkeypatch, 0.033, by_turns_s, (0.001, 0.001))
    assert not any(machine.run(1000))


def test_a_silence_is_no_rate(monkeypatch):
    machine = Machine(monkeypatch, 0.033, (0.022, 0.015), (0.030, 0.020))
    machine.run(40)
    machine.now += 3600.0
    assert all(machine.run(40))


def test_stop_leaves_what_is_only_prepared(work):
    for item in (0, 1):
        work.show(item)
        until(lambda item=item: work.prepared == list(range(item + 1)))
        work.first.release()
    work.stages.stop(0.0)
    work.end()
    work.show(9)
    assert work.finished == [0]


def test_stop_says_when_the_items_at_hand_take_too_long(work):
    work.show(1)
    until(lambda: work.prepared == [1])
    assert not work.stages.stop(0.05)
    assert work.stages.stopping


def test_waiting_for_the_image_before_is_not_overhead():
    """Received at 0; the first thread is free after 0.1 s, the second when it is asked."""
    laps = Laps(time.perf_counter() - 0.3)
    laps.begun(laps.received_s + 0.1)
    laps.end("extraction")
    time.sleep(0.1)
    laps.begun(time.perf_counter())
    laps.end("publishing")
    totals = laps.totals
    assert laps.seconds["waiting"] == pytest.approx(0.4, abs=0.02)
    assert totals["total"] == pytest.approx(0.4, abs=0.02)
    assert totals["overhead"] == pytest.approx(0.2, abs=0.02)
