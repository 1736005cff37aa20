"""A folder of maps, of which only those in use are in memory."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import MapError
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import MAP_SUFFIX
from hfnet_core.types import Camera

__all__ = ["HeldMap", "LoadedMap", "MapEntry", "MapLibrary", "maps_in"]


_log = logging.getLogger(__name__)
_AGAIN_S = 5.0  # until a map that cannot be used is read again


class HeldMap(Protocol):
    """A map that somebody has loaded from a file."""

    @property
    def landmark_map(self) -> LandmarkMap: ...

    @property
    def path(self) -> Path: ...


@dataclass(frozen=True, eq=False)
class LoadedMap:
    """A map and the file that it is from."""

    landmark_map: LandmarkMap
    path: Path


Held_co = TypeVar("Held_co", bound=HeldMap, covariant=True)


@dataclass(frozen=True, eq=False)
class MapEntry:
    """What stays in memory of a map that is not in use. name: of its file, without suffix. place_descriptors: [M, G], a
    copy."""

    name: str
    path: Path
    place_descriptors: NDArray[np.float32]
    cameras: tuple[Camera, ...]


def maps_in(folder: Path) -> list[Path]:
    """The map files of a folder, by name. Raises MapError where there are none."""
    found = sorted(path for path in folder.iterdir() if path.suffix == MAP_SUFFIX and path.is_file())
    if not found:
        raise MapError(f"{folder}: no map ({MAP_SUFFIX}) in this folder; build some with `hfnet map build`")
    return found


class MapLibrary(Generic[Held_co]):
    """The maps of a folder by name. At most `most_loaded` are held, those asked for last.

    load: reads one map. One that cannot be read is named in `unusable`, and the others serve; it is tried again now and
    then. Not thread-safe.
    """

    def __init__(self, folder: Path, load: Callable[[Path], Held_co], most_loaded: int) -> None:
        self.folder, self._load, self._most = folder, load, max(1, most_loaded)
        self._held: OrderedDict[str, Held_co] = OrderedDict()
        self.entries: dict[str, MapEntry] = {}
        self.unusable: dict[str, str] = {}
        """By name: why a map cannot be used now. Those that could not even be listed are not in `entries`."""
        self._again_s: dict[str, float] = {}
        for path in maps_in(folder):
            self._try(path)
        if not self.entries:
            raise MapError(f"{folder}: none of its maps can be used: {'; '.join(self.unusable.values())}")

    def _try(self, path: Path) -> None:
        try:
            self._take(path)
        except MapError as error:
            self._set_aside(path.stem, str(error))

    def _set_aside(self, name: str, why: str) -> None:
        self.unusable[name], self._again_s[name] = why, time.monotonic() + _AGAIN_S
        self._held.pop(name, None)

    def _is_resting(self, name: str) -> bool:
        return name in self.unusable and time.monotonic() < self._again_s[name]

    def set_aside(self, name: str, why: str) -> None:
        """Pass a map over for a while: it was found to be damaged."""
        _log.warning("map %s is passed over: %s", name, why)
        self._set_aside(name, why)

    def _take(self, path: Path) -> Held_co:
        """Load a map, and remember what it looks like."""
        held = self._load(path)
        known = held.landmark_map
        self.entries[path.stem] = MapEntry(path.stem, path, np.array(known.place_descriptors), known.cameras)
        self.unusable.pop(path.stem, None)
        self._held[path.stem] = held
        self._held.move_to_end(path.stem)
        while len(self._held) > self._most:
            self._held.popitem(last=False)
        return held

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the maps in memory, the one asked for last at the end."""
        return tuple(self._held)

    def held(self, name: str) -> Held_co:
        """A map, from memory or from its file. Raises MapError, also where the file is gone or was damaged a moment
        ago."""
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]
        if self._is_resting(name):
            raise MapError(self.unusable[name])
        try:
            return self._take(self.entries[name].path)
        except MapError as error:
            self.set_aside(name, str(error))
            raise

    def ranked(self, descriptor: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Every map that can be used by the similarity of its most similar keyframe to an image's global descriptor,
        best first.

        Raises MapError for a descriptor of another model, and where no map can be used.
        """
        out = []
        for name, entry in self.entries.items():
            images, size = entry.place_descriptors.shape
            if descriptor.shape != (size,):
                raise MapError(
                    f"{entry.path}: its global descriptors have {size} values, the query's {descriptor.shape}: all "
                    "maps of a folder must be of the model in use; `hfnet map upgrade` describes them anew"
                )
            if images and not self._is_resting(name):
                out.append((name, float((entry.place_descriptors @ descriptor).max())))
        if not out and self.unusable:
            raise MapError("; ".join(self.unusable.values()))
        return sorted(out, key=lambda item: -item[1])
