"""Poses over time where there are several maps: in one as long as it holds, then in whichever the images show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.several.finder import Held, MapFinder, named
from hfnet_core.localization.tracking.consistency import UNKNOWN_PRIOR, Consistency
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.maps.library.library import MapLibrary
from hfnet_core.types import Localization, Localized

__all__ = ["MapsTracker"]


@dataclass(frozen=True, eq=False)
class _Within(Generic[Held]):
    """A tracker in a map, which stays as it was loaded: its file may be another one meanwhile."""

    name: str
    held: Held
    tracker: Tracker


class MapsTracker(Generic[Held]):
    """A `Tracker` in the map where the robot is.

    Without a past all maps are asked; look-alike places of one of them are followed there until one remains. Where the
    current map fails, the others are asked; `gate_images` images in a row that agree on another one, in places that the
    motion between them allows, are believed. Not thread-safe.
    """

    def __init__(self, library: MapLibrary[Held], config: LocalizerConfig) -> None:
        self.library = library
        self._finder = MapFinder(library, config)
        self._here = self._within(next(iter(library.entries)))
        self._pending: _Within[Held] | None = None
        self._agreeing = 0
        self._has_past = False

    def _within(self, name: str) -> _Within[Held]:
        """Raises MapError."""
        opened = self._finder.opened(name)
        return _Within(name, opened.held, Tracker(opened.localizer))

    @property
    def current(self) -> str:
        """Name of the map where the robot is, or was last."""
        return self._here.name

    @property
    def held(self) -> Held:
        """That map: of its keyframes and landmarks are the results."""
        return self._here.held

    @property
    def localizer(self) -> Localizer:
        """In the current map."""
        return self._here.tracker.localizer

    @property
    def awaits(self) -> bool:
        """Whether images show another map, and too few of them so far."""
        return self._pending is not None

    @property
    def consistency(self) -> Consistency:
        return self._here.tracker.consistency

    def configure(self, config: LocalizerConfig) -> None:
        """Other settings; the past stays."""
        self._finder = MapFinder(self.library, config)
        self._here.tracker.localizer = Localizer(self.held.landmark_map, config)

    def reset(self) -> None:
        """Forget everything about the past: the next image is searched for in all maps."""
        self._here.tracker.reset()
        self._has_past = False
        self._forget_pending()

    def set_prior(self, map_from_rig: Pose, stamp_s: float, covariance: Array = UNKNOWN_PRIOR) -> None:
        """Start from a pose in the current map that somebody else gives."""
        self._here.tracker.set_prior(map_from_rig, stamp_s, covariance)
        self._has_past = True
        self._forget_pending()

    def miss(self) -> None:
        """Note that an image gave no pose."""
        self._here.tracker.miss()

    def process(self, views: Sequence[View], stamp_s: float, odom_from_rig: Pose | None = None) -> Localization:
        """As `Tracker.process`; poses are in the map that they name."""
        if not self._has_past:
            return self._begin(views, stamp_s, odom_from_rig)
        result = self._here.tracker.process(views, stamp_s, odom_from_rig)
        if isinstance(result, Localized):
            self._forget_pending()
            return named(result, self.current)
        return self._in_another_map(views, stamp_s, odom_from_rig) or named(result, self.current)

    def _begin(self, views: Sequence[View], stamp_s: float, odom_from_rig: Pose | None) -> Localization:
        """In whichever map shows the images. Of look-alike places all are followed, as long as one map has them."""
        found = self._finder.find(views)
        shown = [found] if isinstance(found, Localized) else found.places
        if not shown:
            self._here.tracker.miss()
            return found
        if isinstance(found, Localized) or shown[0].map_name != self.current:
            self._here = self._within(shown[0].map_name)
        result = self._here.tracker.process(views, stamp_s, odom_from_rig)
        self._has_past = isinstance(result, Localized)
        return named(result, self.current)

    def _in_another_map(self, views: Sequence[View], stamp_s: float, odom_from_rig: Pose | None) -> Localization | None:
        """A pose in another map, once enough images agree on it and the current one does not show as much."""
        found = self._finder.find(views)
        if not isinstance(found, Localized) or found.map_name == self.current:
            self._forget_pending()
            return None
        if self._pending is None or found.map_name != self._pending.name:
            self._pending, self._agreeing = self._within(found.map_name), 0
        result = self._pending.tracker.process(views, stamp_s, odom_from_rig)
        self._agreeing = self._agreeing + 1 if isinstance(result, Localized) else 0
        if not isinstance(result, Localized) or self._agreeing < self.localizer.config.gate_images:
            return None
        self._here = self._pending
        self._forget_pending()
        return named(result, self.current)

    def _forget_pending(self) -> None:
        self._pending, self._agreeing = None, 0
