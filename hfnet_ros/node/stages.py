"""Two threads that always work on the newest item, one of them at most a stage behind the other.

While one finishes an item the other prepares the next, where the processor has the time. Whatever is not begun in time
is replaced by what is newer; what is begun is finished, in order.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Laps", "Mailbox", "Pace", "Stages"]

T = TypeVar("T")
U = TypeVar("U")

_REMEMBERED = 9  # durations
_AGAIN = 300  # items after which it is tried again whether both stages at once are quick enough


class Mailbox(Generic[T]):
    """One slot for each sender: what is not taken in time is replaced; who waits longest comes first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._items: dict[Hashable, T] = {}  # in the order of waiting, which replacing does not change
        self._closed = False

    def put(self, item: T, sender: Hashable = None) -> T | None:
        """Leave an item; returns the one that it replaced."""
        with self._condition:
            replaced = self._items.get(sender)
            self._items[sender] = item
            self._condition.notify()
            return replaced

    def take(self) -> T | None:
        """Wait for an item; None once the box is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._items or self._closed)
            return None if self._closed else self._items.pop(next(iter(self._items)))

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class _Usual:
    """The median of the last few durations, in seconds; infinite until there are so many."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_REMEMBERED)
        self.seconds = math.inf

    def add(self, seconds: float) -> None:
        self._last.append(seconds)
        if len(self._last) == _REMEMBERED:
            self.seconds = statistics.median(self._last)


class Pace:
    """Whether two stages had better work at once or take turns.

    By turns, every item is done as fast as can be. Where items come too fast for that, both work at once, if that is
    enough to take every one of them: a few items show it. If it is not, because the stages slow each other down, items
    would only be older in the end, and it is taken turns again.
    """

    def __init__(self) -> None:
        self._arrived_s: float | None = None
        self._interval, self._by_turns, self._at_once = _Usual(), (_Usual(), _Usual()), (_Usual(), _Usual())
        self._since_trial = 0
        self.is_at_once = False

    def arrived(self) -> None:
        """An item came."""
        now_s = time.perf_counter()
        if self._arrived_s is not None:
            self._interval.add(now_s - self._arrived_s)
        self._arrived_s = now_s

    def took(self, stage: int, seconds: float) -> None:
        """The first stage (0) or the second (1) is done with an item."""
        (self._at_once if self.is_at_once else self._by_turns)[stage].add(seconds)

    def decide(self) -> bool:
        """Whether the next item may be begun while this one is in its second stage."""
        self._since_trial += 1
        if self._since_trial > _AGAIN:
            self._since_trial, self._at_once = 0, (_Usual(), _Usual())
        interval_s, turn_s = self._interval.seconds, [stage.seconds for stage in self._by_turns]
        known_s = [stage.seconds for stage in self._at_once]
        possible = max(known_s if max(known_s) < math.inf else turn_s) < interval_s
        self.is_at_once = possible and (self.is_at_once or sum(turn_s) >= interval_s)
        return self.is_at_once


class Stages(Generic[T, U]):
    """Calls `prepare` with the newest item of each sender, in turn, and then `finish` with what it returned.

    An item stays in its thread, of which there are two: while one finishes an item, the other may prepare the next.
    Both are in the order in which items were begun, and neither may raise. They are told since when their item could
    have been at work, as time.perf_counter(): until then it waited for the one before.
    """

    def __init__(self, prepare: Callable[[T, float], U], finish: Callable[[U, float], None], name: str) -> None:
        self._prepare, self._finish = prepare, finish
        self._mailbox, self.pace = Mailbox[T](), Pace()
        self._first, self._second = threading.Lock(), threading.Lock()
        self.stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True) for number in range(2)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def put(self, item: T, sender: Hashable = None) -> T | None:
        """Hand over an item; returns the one of this sender that it replaced before it was begun."""
        self.pace.arrived()
        return self._mailbox.put(item, sender)

    def stop(self, timeout_s: float) -> bool:
        """Let what is at hand end; False if that takes longer. What is only prepared is not finished any more."""
        self.stopping = True
        self._mailbox.close()
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while True:
            with self._first:
                prepared = self._prepared()
                while prepared is not None and not self.pace.decide():
                    self._end(prepared)
                    prepared = self._prepared()
            if prepared is None:
                return
            self._end(prepared)

    def _prepared(self) -> U | None:
        """The next item, once nothing else is finished; None once all is over."""
        free_s = time.perf_counter()
        item = self._mailbox.take()
        if item is None:
            return None
        began_s = time.perf_counter()
        prepared = self._prepare(item, free_s)
        self.pace.took(0, time.perf_counter() - began_s)
        self._second.acquire()
        return prepared

    def _end(self, prepared: U) -> None:
        began_s = time.perf_counter()
        try:
            if not self.stopping:
                self._finish(prepared, began_s)
        finally:
            self.pace.took(1, time.perf_counter() - began_s)
            self._second.release()


class Laps:
    """Seconds of one image by stage, from its arrival on."""

    def __init__(self, received_s: float) -> None:
        self.seconds = {"waiting": 0.0}
        self.received_s = self._last_s = received_s
        self._queued_s = 0.0

    def begun(self, free_s: float) -> None:
        """A thread takes it up that was free from `free_s` on: until then it waited for the image before."""
        self._queued_s += max(0.0, free_s - self._last_s)
        before_s = self.seconds["waiting"]
        self.end("waiting")
        self.seconds["waiting"] += before_s

    def end(self, stage: str) -> None:
        now_s = time.perf_counter()
        self.seconds[stage] = now_s - self._last_s
        self._last_s = now_s

    @property
    def totals(self) -> dict[str, float]:
        """Everything, and the part that is neither network nor geometry nor an image before."""
        total = self._last_s - self.received_s
        work = sum(self.seconds.get(stage, 0.0) for stage in ("extraction", "odometry", "localization"))
        return {"total": total, "overhead": total - work - self._queued_s}
