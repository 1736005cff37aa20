"""The preloaded map: one per file and process, shared by every localizer in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker

from hfnet_core.errors import MapError
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map
from hfnet_ros.conversions import keyframes_to_marker, landmarks_to_cloud
from hfnet_ros.rclpy_typed import LATCHED, lifecycle_publisher, now_ns

__all__ = ["MapNotFoundError", "MapView", "SharedMap", "shared_map"]

_HASHED_BYTES = 1 << 20


class MapNotFoundError(MapError):
    """There is no such file."""


_Version = tuple[int, int, int]


def _version(path: Path) -> _Version:
    """What tells one content of a file from another. Raises OSError."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


@dataclass(frozen=True, eq=False)
class SharedMap:
    """A loaded map with where it came from. map_hash: short identity of the file. version: of that file then."""

    landmark_map: LandmarkMap
    path: Path
    map_hash: str
    version: _Version

    def change(self) -> str:
        """What became of the file since it was loaded, empty if nothing."""
        try:
            version = _version(self.path)
        except OSError as error:
            return f"map file {self.path} is gone ({error.strerror}): the node goes on with what it has loaded"
        if version != self.version:
            return f"map file {self.path} has changed: call load_map to use it"
        return ""


_maps: WeakValueDictionary[tuple[str, _Version], SharedMap] = WeakValueDictionary()
_lock = Lock()


def shared_map(path: Path, model_hash: str, memory_mib: int = 0) -> SharedMap:
    """The map in a file, loaded once as long as somebody keeps it.

    A file that was replaced since is loaded again. memory_mib: larger maps are mapped instead of read.
    Raises MapError when it is missing, damaged or of another model.
    """
    try:
        version = _version(path)
    except OSError as error:
        kind = MapNotFoundError if isinstance(error, FileNotFoundError) else MapError
        raise kind(f"{path}: map cannot be read ({error.strerror}); build one with `hfnet map build`") from error
    key = (str(path.resolve()), version)
    with _lock:
        found = _maps.get(key)
        if found is None or found.landmark_map.model_hash != model_hash:
            loaded = load_map(path, model_hash, in_memory=version[2] <= memory_mib << 20)
            found = SharedMap(loaded, path, _identity(path), version)
            _maps[key] = found
        return found


def _identity(path: Path) -> str:
    """A hash of size, beginning and end: enough to tell maps apart without reading gigabytes."""
    digest = hashlib.sha256(str(path.stat().st_size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_HASHED_BYTES))
        file.seek(max(0, path.stat().st_size - _HASHED_BYTES))
        digest.update(file.read(_HASHED_BYTES))
    return digest.hexdigest()[:16]


class MapView:
    """The map for rviz: landmarks as a cloud, keyframes as frustums, both latched."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._cloud = lifecycle_publisher(node, PointCloud2, "~/map_cloud", LATCHED)
        self._keyframes = lifecycle_publisher(node, Marker, "~/keyframes", LATCHED)

    def show(self, shown: SharedMap, frame_id: str) -> None:
        stamp_ns = now_ns(self._node)
        self._cloud.publish(landmarks_to_cloud(shown.landmark_map, frame_id, stamp_ns))
        self._keyframes.publish(keyframes_to_marker(shown.landmark_map, frame_id, stamp_ns))

    def close(self) -> None:
        for publisher in (self._cloud, self._keyframes):
            self._node.destroy_lifecycle_publisher(publisher)
