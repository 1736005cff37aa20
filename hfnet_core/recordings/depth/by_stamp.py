"""Messages of a topic by the stamps of another one, which come in about the same order."""

from __future__ import annotations

from typing import Any

from hfnet_core.recordings.bag_reader import BagReader, stamp_of

__all__ = ["ByStamp"]


# Messages behind the one looked for that are read: some come too early, and some drivers begin with stamps of another
# clock, which would else be waited for until the end.
_READ_AHEAD = 8


class ByStamp:
    """Asked for in the order of recording; going back begins anew. tolerance_ns: how far away a message may be."""

    def __init__(self, reader: BagReader, topic: str, tolerance_ns: int) -> None:
        self._reader, self._topic, self._tolerance_ns = reader, topic, tolerance_ns
        self._restart()

    def _restart(self) -> None:
        self._messages = iter(self._reader.messages([self._topic]))
        self._waiting: list[tuple[int, Any]] = []
        self._asked_ns: int | None = None

    def nearest(self, stamp_ns: int) -> Any:
        """The message nearest to a stamp, None where none is near."""
        if self._asked_ns is not None and stamp_ns < self._asked_ns:
            self._restart()
        self._asked_ns = stamp_ns
        self._read_until(stamp_ns + self._tolerance_ns)
        near = ((abs(own_ns - stamp_ns), message) for own_ns, message in self._waiting)
        apart, message = min(near, key=lambda item: item[0], default=(self._tolerance_ns + 1, None))
        return message if apart <= self._tolerance_ns else None

    def _read_until(self, last_ns: int) -> None:
        self._waiting = [item for item in self._waiting if item[0] >= last_ns - 2 * self._tolerance_ns]
        behind = sum(own_ns > last_ns for own_ns, _ in self._waiting)
        while behind < _READ_AHEAD:
            found = next(self._messages, None)
            if found is None:
                break
            own_ns = stamp_of(found[2], found[1])
            if own_ns >= last_ns - 2 * self._tolerance_ns:
                self._waiting.append((own_ns, found[2]))
            behind += own_ns > last_ns
