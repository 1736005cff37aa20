"""The preloaded map: one per file and process, shared by every localizer in it; its pictures and its place on Earth."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread, get_native_id
from typing import Any
from weakref import WeakValueDictionary, finalize

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import NavSatFix, PointCloud2
from visualization_msgs.msg import Marker

from hfnet_core.config import NodeConfig
from hfnet_core.errors import ConfigError, MapError
from hfnet_core.georeference.datum import Georeference
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, verify_map
from hfnet_ros.conversions import datum_to_fix, keyframes_to_marker, landmarks_to_cloud, no_fix
from hfnet_ros.node.diagnostics import Reporter
from hfnet_ros.rclpy_typed import LATCHED, Log, lifecycle_publisher, now_ns

__all__ = ["Datum", "MapNotFoundError", "MapView", "SharedMap", "Verification", "file_version", "shared_map"]

_HASHED_BYTES = 1 << 20
_RETRY_S = 1.0  # navsat_transform may come later than the map
_VERIFY_MIB: int = NodeConfig().map_verify_mib
_NICE = 10  # the check of a large map may take as long as it likes


class MapNotFoundError(MapError):
    """There is no such file."""


Version = tuple[int, int, int]


def file_version(path: Path) -> Version:
    """What tells one content of a file from another. Raises OSError."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


class _StoppedError(Exception):
    """Nobody wants to know any more."""


class Verification:
    """A large map compared with its checksums while it is in use, in a thread of its own that gives way to others.

    `verdict` says how far it is, for people. `damage` is empty until damage is found.
    """

    def __init__(self, path: Path, landmark_map: LandmarkMap, version: Version) -> None:
        """version: of the file when the map was loaded from it."""
        self.verdict, self.damage = "verifying", ""
        self._stop = Event()
        self._thread = Thread(target=self._run, args=(path, landmark_map, version), name="map-check", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nobody uses the map any more."""
        self._stop.set()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _between(self) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def _run(self, path: Path, landmark_map: LandmarkMap, version: Version) -> None:
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICE)
        damage = ""
        try:
            verify_map(path, landmark_map, self._between)
        except _StoppedError:
            return
        except MapError as error:
            damage = str(error)
        except Exception as error:  # of a thread, nobody would hear of it
            self.verdict = f"not verified: unexpected {type(error).__name__}: {error}"
            return
        if _changed(path, version):  # what was compared is not what was loaded
            self.verdict = "not verified: the file has changed meanwhile"
        elif damage:
            self.verdict, self.damage = "damaged", f"no pose is published: {damage}, then call load_map"
        else:
            self.verdict = "verified"


def _changed(path: Path, version: Version) -> bool:
    try:
        return file_version(path) != version
    except OSError:
        return True


@dataclass(frozen=True, eq=False)
class SharedMap:
    """A loaded map with where it came from. map_hash: short identity of the file. version: of that file then.

    verification: of a map that was not verified before it was used.
    """

    landmark_map: LandmarkMap
    path: Path
    map_hash: str
    version: Version
    verification: Verification | None = None

    @property
    def damage(self) -> str:
        """Why no pose in this map can be trusted, empty as long as nothing is known against it."""
        return "" if self.verification is None else self.verification.damage

    def tell(self, reporter: Reporter) -> None:
        """Say how far the verification is, and what it found."""
        verdict = "verified" if self.verification is None else self.verification.verdict
        reporter.health.fact("map verification", verdict)
        if self.damage:
            reporter.complain("map", self.damage)
        else:
            reporter.health.clear("map")

    def change(self) -> str:
        """What became of the file since it was loaded, empty if nothing."""
        try:
            version = file_version(self.path)
        except OSError as error:
            return f"map file {self.path} is gone ({error.strerror}): the node goes on with what it has loaded"
        if version != self.version:
            return f"map file {self.path} has changed: call load_map to use it"
        return ""


_Key = tuple[str, Version, str, bool, bool]
_maps: WeakValueDictionary[_Key, SharedMap] = WeakValueDictionary()
_loading: WeakValueDictionary[_Key, Lock] = WeakValueDictionary()  # held by who reads a map
_lock = Lock()  # of the two tables above, held for a moment: who wants another map does not wait for one that is read


def shared_map(path: Path, model_hash: str, memory_mib: int = 0, verify_mib: int = _VERIFY_MIB) -> SharedMap:
    """The map in a file, loaded once as long as somebody keeps it.

    A file that was replaced since is loaded again. memory_mib: larger maps are mapped instead of read. verify_mib:
    larger maps are verified in the background. Raises MapError when it is missing, damaged or of another model.
    """
    try:
        version = file_version(path)
    except OSError as error:
        kind = MapNotFoundError if isinstance(error, FileNotFoundError) else MapError
        raise kind(f"{path}: map cannot be read ({error.strerror}); build one with `hfnet map build`") from error
    verify, in_memory = version[2] <= verify_mib << 20, version[2] <= memory_mib << 20
    key = (str(path.resolve()), version, model_hash, verify, in_memory)
    with _lock:
        loading = _loading.setdefault(key, Lock())
    with loading:
        with _lock:
            found = known = _maps.get(key)
        if found is None:
            loaded = load_map(path, model_hash, verify=verify, in_memory=in_memory)
            identity = _identity(path)
            verification = None if verify else Verification(path, loaded, version)
            found = SharedMap(loaded, path, identity, version, verification)
            if verification is not None:
                finalize(found, verification.stop)
            with _lock:
                _maps[key] = found
    if found is known and found.damage:  # of one that is new the node says it itself
        raise MapError(found.damage)
    return found


def _identity(path: Path) -> str:
    """A hash of size, beginning and end: enough to tell maps apart without reading gigabytes. Raises MapError."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            digest.update(file.read(_HASHED_BYTES) or b"")
            file.seek(max(0, size - _HASHED_BYTES))
            digest.update(file.read(_HASHED_BYTES) or b"")
    except OSError as error:  # the file was there a moment ago
        raise MapError(f"{path}: changes while it is read ({error.strerror}); load it again") from error
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


class Datum:
    """Where the map's origin is on Earth: latched and, where asked for, set in navsat_transform.

    service: of type robot_localization/srv/SetDatum, "" for none. Raises ConfigError where that package is missing.
    """

    def __init__(self, node: LifecycleNode, service: str) -> None:
        self._node, self._service, self._log = node, service, Log.of(node)
        self._set_datum = _set_datum_type(service) if service else None
        self._fix = lifecycle_publisher(node, NavSatFix, "~/datum", LATCHED)
        self._client: Any = node.create_client(self._set_datum, service) if self._set_datum is not None else None
        self._timer: Any = None
        self._has_told = False

    def show(self, shown: SharedMap, frame_id: str) -> Georeference | None:
        """Publish and set the datum of a map; nothing for a map without one. Returns it."""
        place = Georeference.of(shown.landmark_map.provenance)
        self._stop()
        if place is None:
            if self._service:
                self._log.warning(f"datum_service: {shown.path} has no place on Earth: build it from a bag with GPS")
            if self._has_told:  # who listens, or comes later, would take that of the map before for this one's
                self._fix.publish(no_fix(frame_id, now_ns(self._node)))
            return None
        self._has_told = True
        self._fix.publish(datum_to_fix(place, frame_id, now_ns(self._node)))
        if self._client is not None:
            self._timer = self._node.create_timer(_RETRY_S, lambda: self._set(place))
        return place

    def _set(self, place: Georeference) -> None:
        if not self._client.service_is_ready() or self._set_datum is None:
            return
        self._stop()
        request: Any = self._set_datum.Request()
        request.geo_pose.position.latitude = place.datum.latitude_deg
        request.geo_pose.position.longitude = place.datum.longitude_deg
        request.geo_pose.position.altitude = place.datum.altitude_m
        request.geo_pose.orientation.z = math.sin(place.heading_rad / 2)
        request.geo_pose.orientation.w = math.cos(place.heading_rad / 2)
        self._client.call_async(request)
        self._log.info(f"datum of the map given to {self._service}")

    def _stop(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None

    def close(self) -> None:
        self._stop()
        if self._client is not None:
            self._node.destroy_client(self._client)
        self._node.destroy_lifecycle_publisher(self._fix)


def _set_datum_type(service: str) -> Any:
    try:
        from robot_localization.srv import SetDatum
    except ImportError as error:
        raise ConfigError(
            f"datum_service {service}: robot_localization is not installed: install ros-$ROS_DISTRO-robot-localization "
            "or give navsat_transform the datum that `hfnet map info` shows"
        ) from error
    return SetDatum
