"""rosbag1 files whose definitions of messages are not what they should be, as the RealSense viewer writes them.

rosbags refuses a whole bag where the digest of one type does not fit its definition, needed or not.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rosbags.rosbag1 import Reader
from rosbags.typesys import Stores, get_typestore

from hfnet_core.recordings.containers.definitions import store_of, types_from_msg

__all__ = ["PlainRosbag1"]

_log = logging.getLogger(__name__)


class PlainRosbag1:
    """Has what `BagReader` uses of rosbags' AnyReader. Types are today's where the recorded definition is unusable."""

    is2 = False

    def __init__(self, path: Path) -> None:
        self._path, self._reader = path, Reader(path)
        self._types: Any = None

    def open(self) -> None:
        """Raises what rosbags raises for a file that is damaged."""
        self._reader.open()
        found = dict(get_typestore(Stores.ROS1_NOETIC).fielddefs)
        for connection in self._reader.connections:
            own = self._definition(connection)
            found.update({name: fields for name, fields in own.items() if name not in found or not _is_known(name)})
        self._types = store_of(found, [connection.msgtype for connection in self._reader.connections])

    def _definition(self, connection: Any) -> dict[str, Any]:
        try:
            return types_from_msg(connection.msgdef.data, connection.msgtype)
        except Exception as error:  # the parser fails in every way; the topic can do without it, or is not needed
            _log.warning("%s: %s: definition cannot be read (%s)", self._path, connection.topic, type(error).__name__)
            return {}

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    @property
    def connections(self) -> list[Any]:
        """As rosbags has them."""
        return list(self._reader.connections)

    @property
    def topics(self) -> Any:
        """By name, as rosbags has them."""
        return self._reader.topics

    def messages(self, connections: Collection[Any]) -> Iterator[tuple[Any, int, bytes]]:
        """(connection, time of recording in ns, serialized message), in order of time."""
        yield from self._reader.messages(connections=list(connections))

    def deserialize(self, raw: bytes, msgtype: str) -> Any:
        """A message as an object."""
        return self._types.deserialize_ros1(raw, msgtype)


def _is_known(name: str) -> bool:
    """Whether a type has not changed since ROS 1 began; of others the recorded definition is the better one."""
    return name.split("/", maxsplit=1)[0] in ("std_msgs", "geometry_msgs", "sensor_msgs", "nav_msgs", "tf2_msgs", "tf")
