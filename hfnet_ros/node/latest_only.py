"""A thread that always works on the newest item."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Mailbox", "Worker"]

T = TypeVar("T")


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


class Worker(Generic[T]):
    """Calls `work` in its own thread with the newest item of each sender, in turn."""

    def __init__(self, work: Callable[[T], None], name: str) -> None:
        self._work, self._mailbox = work, Mailbox[T]()
        self.stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: T, sender: Hashable = None) -> T | None:
        """Hand over an item; returns the one of this sender that it replaced before it was begun."""
        return self._mailbox.put(item, sender)

    def stop(self, timeout_s: float) -> bool:
        """Finish the item at hand and end; False if that takes longer."""
        self.stopping = True
        self._mailbox.close()
        if self._thread.ident is not None:  # it was started
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._mailbox.take()) is not None:
            self._work(item)
