"""The messages of a bag in the order of recording, and the time at which they are played."""

from __future__ import annotations

import importlib
import json
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_reader import BagReader, Topic

__all__ = ["Entry", "Tape", "Timing", "moved_ns", "restamp", "starts_with_header"]

_RENAMED = {"tf/tfMessage": "tf2_msgs/TFMessage"}
_AHEAD = 64  # messages read ahead of their time
_NAP_S = 0.1  # how late an end may be noticed


@dataclass(frozen=True)
class Timing:
    """When a bag is played. Nanoseconds; start_ns by the wall clock. restamped: whether stamps were moved to it.

    After a pause, and at the start of each loop, another one holds.
    """

    bag: str
    first_ns: int
    start_ns: int
    rate: float
    restamped: bool
    finished: bool = False

    def played_ns(self, bag_ns: int) -> int:
        """Wall time at which a time of the bag is due."""
        return self.start_ns + round((bag_ns - self.first_ns) / self.rate)

    def bag_ns(self, stamp_ns: int) -> int:
        """Time of the bag that a published stamp stands for."""
        return self.first_ns + round((stamp_ns - self.start_ns) * self.rate) if self.restamped else stamp_ns

    @classmethod
    def from_json(cls, text: str) -> Timing:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Entry:
    """One message, serialized as it was recorded."""

    topic: Topic
    recorded_ns: int
    data: bytes


class Tape:
    """The messages of a bag; iterating reads it from the beginning, ahead in a thread.

    Raises DatasetError where the bag cannot be read.
    """

    def __init__(self, path: Path, names: Sequence[str] = ()) -> None:
        """names: only these topics."""
        self._reader = BagReader(path)
        self.path = path
        chosen = [self._reader.topic(name) for name in names] or [topic for topic in self._reader.topics if topic.count]
        self.types: dict[str, type[Any]] = {}
        self.topics: list[Topic] = []
        self.skipped: list[Topic] = []
        for topic in chosen:
            message_type = _message_type(topic.type)
            if message_type is None:
                self.skipped.append(topic)
            else:
                self.types[topic.name] = message_type
                self.topics.append(topic)
        if self.skipped and (names or not self.topics):
            listed = ", ".join(str(topic) for topic in self.skipped)
            self._reader.close()
            raise DatasetError(f"{path}: no Python package here has the messages of {listed}; install it")

    def __iter__(self) -> Iterator[Entry]:
        queue: Queue[Entry | Exception | None] = Queue(_AHEAD)
        ended = threading.Event()
        thread = threading.Thread(target=self._read, args=(queue, ended), daemon=True)
        thread.start()
        try:
            while True:
                with suppress(Empty):
                    item = queue.get(timeout=_NAP_S)
                    if item is None:
                        return
                    if isinstance(item, Exception):
                        raise item
                    yield item
        finally:
            ended.set()
            thread.join()

    def _read(self, queue: Queue[Entry | Exception | None], ended: threading.Event) -> None:
        def put(item: Entry | Exception | None) -> bool:
            while not ended.is_set():
                with suppress(Full):
                    queue.put(item, timeout=_NAP_S)
                    return True
            return False

        topics = {topic.name: topic for topic in self.topics}
        try:
            for name, recorded_ns, data in self._reader.serialized(list(topics)):
                if not put(Entry(topics[name], recorded_ns, data)):
                    return
            put(None)
        except Exception as error:  # handed to the playing thread, which raises it
            put(error)

    def close(self) -> None:
        self._reader.close()


def _message_type(name: str) -> type[Any] | None:
    """The Python class of `package/Name`, None where its package is not installed."""
    package, _, kind = _RENAMED.get(name, name).partition("/")
    try:
        found: type[Any] | None = getattr(importlib.import_module(f"{package}.msg"), kind, None)
    except ImportError:
        return None
    return found


def starts_with_header(kind: type[Any]) -> bool:
    """Whether messages of a type begin with a std_msgs/Header."""
    fields = kind.get_fields_and_field_types()
    return next(iter(fields.values()), "") == "std_msgs/Header"


def moved_ns(stamp_ns: int, timing: Timing) -> int:
    """A stamp moved to the time of playing; as it is where it is zero, or no message could hold it then."""
    moved = timing.played_ns(stamp_ns)
    return moved if stamp_ns and 0 <= moved < 2**31 * 10**9 else stamp_ns


def restamp(data: bytes, timing: Timing) -> bytes:
    """A serialized message that begins with a std_msgs/Header, its stamp moved to the time of playing.

    In CDR the stamp (int32 s, uint32 ns) follows the 4 bytes of encapsulation, whose second says the byte order. A
    stamp of zero stays: a driver that did not stamp its images still did not; so does what is too short, or has a stamp
    of another clock that would be moved out of what a stamp can hold.
    """
    if len(data) < 12:
        return data
    layout = "<iI" if data[1] else ">iI"
    seconds, nanoseconds = struct.unpack_from(layout, data, 4)
    stamp_ns = seconds * 10**9 + nanoseconds
    moved = moved_ns(stamp_ns, timing)
    if moved == stamp_ns:
        return data
    return data[:4] + struct.pack(layout, moved // 10**9, moved % 10**9) + data[12:]
