"""Which of several maps an image shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import MapError
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.maps.library.library import HeldMap, MapLibrary
from hfnet_core.types import Localization, Localized, NotLocalized, Reason

__all__ = ["Held", "MapFinder", "Opened"]

Held = TypeVar("Held", bound=HeldMap)

_TRIED = 3  # maps, in the order of their similarity; each may have to be read from its file
_AS_SIMILAR = 0.9  # times the best similarity that a map must have to be tried at all


@dataclass(frozen=True, eq=False)
class Opened(Generic[Held]):
    """A map as it was loaded, and what localizes in it."""

    held: Held
    localizer: Localizer


class MapFinder(Generic[Held]):
    """Asks the maps that resemble an image most. The answer names its map."""

    def __init__(self, library: MapLibrary[Held], config: LocalizerConfig) -> None:
        self.library, self.config = library, config
        self._opened: dict[str, Opened[Held]] = {}

    def opened(self, name: str) -> Opened[Held]:
        """A map, which is loaded for it. Raises MapError."""
        held = self.library.held(name)
        known = self._opened.get(name)
        if known is None or known.held is not held:
            self._opened[name] = Opened(held, Localizer(held.landmark_map, self.config))
        self._opened = {key: one for key, one in self._opened.items() if key in self.library.loaded}
        return self._opened[name]

    def find(self, views: Sequence[View], without: Collection[str] = ()) -> Localization:
        """The pose in whichever map shows the images, or why there is none. without: maps that are not asked.

        Maps that cannot be read are passed over; raises MapError where that leaves none to ask. Where two maps explain
        the images about equally well, floors of one plan, none is believed.
        """
        found: list[Localized] = []
        refusal: NotLocalized | None = None
        unusable: list[MapError] = []
        for name in self._likely(views, without):
            try:
                localizer = self.opened(name).localizer
            except MapError as error:  # the others serve
                unusable.append(error)
                continue
            result = localizer.localize(views)
            if isinstance(result, Localized):
                found.append(replace(result, map_name=name))
            elif refusal is None or result.inliers > refusal.inliers:
                refusal = result
        if not found and refusal is None and unusable:
            raise unusable[0]
        if not found:
            return refusal or NotLocalized(Reason.NO_CANDIDATES)
        best, *others = sorted(found, key=lambda result: -result.guided)
        rivals = [other for other in others if other.guided >= self.config.ambiguity_ratio * best.guided]
        if not rivals:
            return best
        told = " and ".join(f"{one.guided} keypoints explained in {one.map_name}" for one in (best, *rivals))
        return NotLocalized(Reason.AMBIGUOUS, told, best.matches, best.inliers, confidence=best.confidence)

    def _likely(self, views: Sequence[View], without: Collection[str]) -> list[str]:
        """Names of the maps to ask, by their similarity to the view that resembles them most."""
        similar: dict[str, float] = {}
        for view in views:
            for name, value in self.library.ranked(view.features.global_descriptor):
                similar[name] = max(similar.get(name, -1.0), value)
        best = max(similar.values(), default=0.0)
        close = (name for name, value in similar.items() if value >= _AS_SIMILAR * best and name not in without)
        return sorted(close, key=lambda name: -similar[name])[:_TRIED]
