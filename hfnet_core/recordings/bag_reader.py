"""Opening a recording of any kind (rosbag1, rosbag2 in sqlite3 or mcap) through one small class with clear errors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from hfnet_core.errors import DatasetError, HFNetError
from hfnet_core.extras import needed
from hfnet_core.files import read_file
from hfnet_core.limits import METADATA
from hfnet_core.recordings.containers.decompression import TooLargeError, bound_rosbags
from hfnet_core.recordings.image_folder import images_of

__all__ = ["BagReader", "Topic", "stamp_of"]


def _any_reader(path: Path) -> Any:
    """rosbags' reader of a recording, bounded."""
    bound_rosbags()
    return needed("rosbags.highlevel").AnyReader([path], default_typestore=_ros2_types())


@cache
def _ros2_types() -> Any:
    typesys = needed("rosbags.typesys")
    return typesys.get_typestore(typesys.Stores.ROS2_JAZZY)


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
            self._reader = _any_reader(self.path)
            self._reader.open()
        self.topics = tuple(self._summarize())

    def _summarize(self) -> Iterator[Topic]:
        for name, info in sorted(self._reader.topics.items()):
            if info.msgtype is None:
                raise DatasetError(f"{self.path}: topic {name} has messages of several types")
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
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turns whatever a damaged file makes the parsers raise into one line.

        The parsers of the containers fail with struct, sqlite, zstd, assertion, key and value errors alike; nothing
        of ours runs inside, so a broad net catches no bug of ours.
        """
        try:
            yield
        except TooLargeError as error:
            raise DatasetError(f"{self.path}: {error}") from error
        except HFNetError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines()
            reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
            raise DatasetError(
                f"{self.path}: cannot be read as a bag ({reason}); is the recording complete? "
                "`ros2 bag reindex` or `rosbag reindex` may repair it"
            ) from error

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
            names, lambda raw, msgtype: bytes(raw if self._reader.is2 else _ros2_types().ros1_to_cdr(raw, msgtype))
        )

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """(topic name, time of recording in ns, message) of the named topics, in order of recording."""
        return self._read(names, self._reader.deserialize)

    def _read(self, names: Collection[str], decode: Callable[[Any, str], Any]) -> Iterator[tuple[str, int, Any]]:
        wanted = [connection for connection in self._reader.connections if connection.topic in names]
        if not wanted:
            return
        with self._readable():
            iterator = self._reader.messages(connections=wanted)
        while True:
            with self._readable():
                item = next(iterator, None)
                if item is None:
                    return
                connection, recorded_ns, raw = item
                message = decode(raw, connection.msgtype)
            yield connection.topic, recorded_ns, message


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
