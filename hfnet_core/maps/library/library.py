"""A folder of maps, of which only those in use are in memory."""

from __future__ import annotations

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

    load: reads one map; what it raises for a file is raised when that map is first looked at. Not thread-safe.
    """

    def __init__(self, folder: Path, load: Callable[[Path], Held_co], most_loaded: int) -> None:
        self.folder, self._load, self._most = folder, load, max(1, most_loaded)
        self._held: OrderedDict[str, Held_co] = OrderedDict()
        self.entries: dict[str, MapEntry] = {}
        for path in maps_in(folder):
            self._take(path)

    def _take(self, path: Path) -> Held_co:
        """Load a map, and remember what it looks like."""
        held = self._load(path)
        known = held.landmark_map
        self.entries[path.stem] = MapEntry(path.stem, path, np.array(known.place_descriptors), known.cameras)
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
        """A map, from memory or from its file. Raises MapError, also where the file is gone."""
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]
        return self._take(self.entries[name].path)

    def ranked(self, descriptor: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Every map by the similarity of its most similar keyframe to an image's global descriptor, best first.

        Raises MapError for a descriptor of another model.
        """
        out = []
        for name, entry in self.entries.items():
            images, size = entry.place_descriptors.shape
            if descriptor.shape != (size,):
                raise MapError(
                    f"{entry.path}: its global descriptors have {size} values, the query's {descriptor.shape}: all "
                    "maps of a folder must be of the model in use; `hfnet map upgrade` describes them anew"
                )
            if images:
                out.append((name, float((entry.place_descriptors @ descriptor).max())))
        return sorted(out, key=lambda item: -item[1])
