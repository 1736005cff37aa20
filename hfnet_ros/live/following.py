"""The localization node beside a mapping node: it takes every version of the map as it appears."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from hfnet_ros.node.map_component import SharedMap, Version, file_version

__all__ = ["MapFollower"]


class MapFollower:
    """Notices that the file of the map in use was replaced, and loads it in a thread of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._result: SharedMap | Exception | None = None
        self._path: Path | None = None
        self._tried: Version | None = None

    def watch(self, current: SharedMap, load: Callable[[str], SharedMap]) -> SharedMap | Exception | None:
        """What has come of a new version: the map, or why it cannot be used, each told once; None while nothing has.

        Call this now and then. A version that cannot be used is not tried again; one of a map that is no longer in use
        by the time it is loaded is dropped.
        """
        if self._thread is not None:
            if self._thread.is_alive():
                return None
            self._thread, result, self._result = None, self._result, None
            return result if self._path == current.path else None
        try:
            version = file_version(current.path)
        except OSError:  # between two versions, or for good: the map in use stays
            return None
        if version in (current.version, self._tried):
            return None
        self._tried, self._path = version, current.path
        self._thread = threading.Thread(target=self._load, args=(str(current.path), load), name="map", daemon=True)
        self._thread.start()
        return None

    def _load(self, path: str, load: Callable[[str], SharedMap]) -> None:
        try:
            self._result = load(path)
        except Exception as error:  # told by whoever watches
            self._result = error
