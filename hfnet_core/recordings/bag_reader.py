"""Opening a recording of any kind (rosbag1, rosbag2 in sqlite3 or mcap) through one small class with clear errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from hfnet_core.errors import DatasetError, HFNetError
from hfnet_core.extras import needed
from hfnet_core.files import read_file
from hfnet_core.limits import METADATA
from hfnet_core.recordings.image_folder import images_of

if TYPE_CHECKING:
    from hfnet_core.recordings.containers.opening import Container

__all__ = ["BagReader", "Topic", "stamp_of"]

_log = logging.getLogger(__name__)
_MOST_MESSAGES = 2**40


def _opening() -> ModuleType:
    """The module that opens recordings, by libraries that not every robot has."""
    needed("rosbags")
    from hfnet_core.recordings.containers import opening

    return opening


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its type without the `msg` part (sensor_msgs/Image) and its number of messages.

    latched: late subscribers were given its last messages (ROS 1 latching, ROS 2 transient local durability).
    """

    name: str
    type: str
    count: int
    latched: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.type}, {self.count})"


class BagReader:
    """A bag that is open for reading: topics and messages.

    path: a .bag file, a rosbag2 directory, or a bare .mcap or .db3 file. Use as a context manager. Every failure to
    read is a DatasetError that names the bag.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise DatasetError(f"{self.path}: no such bag")
        if self.path.is_dir() and self.path.suffix == ".bag":  # readers go by the name
            raise DatasetError(f"{self.path}: is a folder, but only rosbag1 files end in .bag: rename it")
        if not (self.path / "metadata.yaml").exists() and (count := len(images_of(self.path))):
            raise DatasetError(
                f"{self.path}: a folder of {count} images, no recording; `hfnet bag from-images {self.path}` makes one"
            )
        if (self.path / "metadata.yaml").exists():
            read_file(self.path / "metadata.yaml", METADATA)  # parsing more takes minutes
        with self._readable():
            self._container: Container | None = _opening().open_container(self.path)
            self._reader = self._container.reader
        self.topics = tuple(self._summarize())

    def _summarize(self) -> Iterator[Topic]:
        with self._readable():
            topics = sorted(self._reader.topics.items())  # counts those of metadata.yaml together, whatever they are
        for name, info in topics:
            if not isinstance(name, str) or type(info.msgcount) is not int or not 0 <= info.msgcount < _MOST_MESSAGES:
                raise DatasetError(
                    f"{self.path}: says of topic {name!r} that it has {info.msgcount!r} messages: damaged"
                )
            if info.msgtype is None:
                _log.warning("%s: topic %s has messages of several types and is left out", self.path, name)
                continue
            latched = any(_is_latched(connection.ext) for connection in info.connections)
            yield Topic(name, info.msgtype.replace("/msg/", "/"), info.msgcount, latched)

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files. Closing twice is allowed."""
        container, self._container = self._container, None
        if container is not None:
            container.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turns whatever a damaged file makes the parsers raise into one line.

        The parsers of the containers fail with struct, sqlite, zstd, assertion, key and value errors alike; nothing
        of ours runs inside, so a broad net catches no bug of ours.
        """
        try:
            yield
        except HFNetError as error:
            named = str(error).startswith(str(self.path))
            raise DatasetError(str(error) if named else f"{self.path}: {error}") from error
        except Exception as error:
            lines = str(error).strip().splitlines()
            reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
            raise DatasetError(
                f"{self.path}: cannot be read as a bag ({reason}); is the recording complete? {self._remedy()}"
            ) from error

    def _remedy(self) -> str:
        if self.path.suffix == ".bag":
            return "`rosbag reindex` may repair it"
        mcap = self.path.suffix == ".mcap" or any(self.path.glob("*.mcap"))
        return "`mcap recover` may repair it" if mcap else "`ros2 bag reindex` may repair it"

    def of_type(self, *types: str) -> list[Topic]:
        """Topics of the given types that have messages, by name."""
        return [topic for topic in self.topics if topic.type in types and topic.count]

    def topic(self, name: str) -> Topic:
        """A topic by its name. Raises DatasetError listing what there is."""
        for topic in self.topics:
            if topic.name == name:
                if not topic.count:
                    raise DatasetError(f"{self.path}: topic {name} has no messages")
                return topic
        listed = ", ".join(str(topic) for topic in self.topics) or "nothing"
        raise DatasetError(f"{self.path}: no topic {name}; the bag has {listed}")

    def serialized(self, names: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """(topic name, time of recording in ns, message as CDR) of the named topics, in order of recording.

        Messages of a rosbag1 are converted to today's definitions.
        """
        return self._read(
            names, lambda raw, msgtype: bytes(raw if self._reader.is2 else _opening().ros1_to_cdr(raw, msgtype))
        )

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """(topic name, time of recording in ns, message) of the named topics, in order of recording."""
        return self._read(names, self._deserialized)

    def _deserialized(self, raw: bytes, msgtype: str) -> Any:
        return self._reader.deserialize(raw, msgtype)  # of the reader there is now

    def _read(self, names: Collection[str], decode: Callable[[Any, str], Any]) -> Iterator[tuple[str, int, Any]]:
        wanted = [connection for connection in self._reader.connections if connection.topic in names]
        if not wanted:
            return
        good, bad, reason = 0, 0, ""
        for connection, recorded_ns, raw in self._raw(wanted):
            try:
                message = decode(raw, self._type_asked_for(connection, names))
            except Exception as error:  # as in `_readable`
                bad, reason = bad + 1, reason or f"{connection.topic}: {type(error).__name__}"
                continue
            good += 1
            yield connection.topic, recorded_ns, message
        if bad and not good:
            raise DatasetError(f"{self.path}: none of {bad} messages can be read, the first of {reason}")
        if bad:
            _log.warning("%s: %d messages are damaged and left out, the first of %s", self.path, bad, reason)

    def _type_asked_for(self, connection: Any, names: Collection[str]) -> str:
        """A message's type. Raises TypeError where a damaged index leads to messages that nobody asked for."""
        msgtype = str(connection.msgtype)
        types = [topic.type for topic in self.topics if topic.name == connection.topic]
        if connection.topic not in names or types != [msgtype.replace("/msg/", "/")]:
            raise TypeError(f"a {msgtype} among others")
        return msgtype

    def _raw(self, wanted: Sequence[Any]) -> Iterator[tuple[Any, int, bytes]]:
        """(connection, time of recording, content); past a damaged chunk of an MCAP file it goes on with the next."""
        given = 0
        try:
            for item in self._guarded(self._reader.messages(connections=wanted)):
                given += 1
                yield item
        except DatasetError as error:
            scan = None if isinstance(error.__cause__, HFNetError) else self._scanned()  # a limit is a limit
            if scan is None or self._container is None:
                raise
            _log.warning("%s", error)
            self._container.close()
            self._container, self._reader = scan, scan.reader
            names = {(connection.topic, connection.msgtype) for connection in wanted}
            again = [item for item in self._reader.connections if (item.topic, item.msgtype) in names]
            yield from islice(self._guarded(self._reader.messages(connections=again)), given, None)

    def _scanned(self) -> Container | None:
        found: Container | None = None
        with suppress(DatasetError), self._readable():  # nothing is left: what went wrong first says more
            found = _opening().scanned(self.path)
        return found

    def _guarded(self, iterator: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self._readable():
                item = next(iterator, None)
            if item is None:
                return
            yield item


def _is_latched(details: Any) -> bool:
    """From what a container says of a connection."""
    if getattr(details, "latching", None):
        return True
    profiles = getattr(details, "offered_qos_profiles", ())
    return any(getattr(profile.durability, "name", "") == "TRANSIENT_LOCAL" for profile in profiles)


def stamp_of(message: Any, recorded_ns: int) -> int:
    """The header's stamp in ns, or the time of recording for a driver that leaves the header at zero."""
    stamp = message.header.stamp
    header_ns = int(stamp.sec) * 10**9 + int(stamp.nanosec)
    return header_ns if header_ns else recorded_ns
