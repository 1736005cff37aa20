"""Which of several maps an image shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import MapError
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.judgement import CONVINCING, PLAUSIBLE
from hfnet_core.localization.localizer import Localizer
from hfnet_core.maps.library.library import HeldMap, MapLibrary
from hfnet_core.types import Localization, Localized, NotLocalized, Reason

__all__ = ["Held", "MapFinder", "Opened", "named"]

Held = TypeVar("Held", bound=HeldMap)

# Maps that are asked, in the order of their similarity, and times the best one's that each must have; each may have to
# be read from its file. Once one has answered, of further ones whether they say the same: floors of one plan, whose
# similarities were in no particular order down to 0.85 times the best.
_TRIED, _AS_SIMILAR = 3, 0.9
_MOST, _SIMILAR = 8, 0.7


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

    def find(self, views: Sequence[View]) -> Localization:
        """The pose in whichever map shows the images, or why there is none.

        Maps that cannot be read are passed over; raises MapError where that leaves none to ask. Where another map
        explains the images as well, as floors of one plan do, none is believed: half as well, if its pose would be
        believed by itself. Places of an AMBIGUOUS answer are all in the map that they name.
        """
        asked = self._ask(views)
        found = [result for result in asked.values() if isinstance(result, Localized)]
        if not found:
            return self._refused([result for result in asked.values() if isinstance(result, NotLocalized)])
        best = max(found, key=lambda result: result.guided)
        rivals = [name for name, other in asked.items() if name != best.map_name and self._is_rival(other, best)]
        if not rivals:
            return best
        told = " and ".join(f"{_explained(asked[name])} in {name}" for name in (best.map_name, *rivals))
        detail = f"{told}; if these are one place, `hfnet map merge` makes one map"
        return NotLocalized(Reason.AMBIGUOUS, detail, best.matches, best.inliers, confidence=best.confidence)

    def _refused(self, answers: Sequence[NotLocalized]) -> NotLocalized:
        """Of the map that came nearest to a pose. What is of its keyframes and landmarks stays away, as nothing says of
        which map it is; so do its look-alike places where another map may show the images as well.
        """
        if not answers:
            return NotLocalized(Reason.NO_CANDIDATES)
        best = max(answers, key=lambda answer: answer.inliers)
        alone = not any(self._may_be_here(other, best.inliers) for other in answers if other is not best)
        return replace(best, keyframes=(), matched=None, places=best.places if alone else ())

    def _ask(self, views: Sequence[View]) -> dict[str, Localization]:
        """What each map says that is asked, by name."""
        asked: dict[str, Localization] = {}
        unusable: list[MapError] = []
        similar = self._similar(views)
        tried, as_similar = _TRIED, _AS_SIMILAR
        for number, (name, value) in enumerate(similar):
            most = similar[0][1]
            if number >= tried or value < most - (1.0 - as_similar) * abs(most):
                break
            try:
                result = self.opened(name).localizer.localize(views)
            except MapError as error:  # the others serve
                unusable.append(error)
                continue
            if isinstance(result, Localized):
                tried, as_similar = _MOST, _SIMILAR
            asked[name] = named(result, name)
        if not asked and unusable:
            raise unusable[0]
        return asked

    def _is_rival(self, other: Localization, best: Localized) -> bool:
        """Whether what another map says of the images leaves open which of the two they show."""
        if isinstance(other, Localized):
            return other.guided >= CONVINCING * self.config.ambiguity_ratio * best.guided
        return self._may_be_here(other, best.inliers)

    def _may_be_here(self, other: NotLocalized, inliers: int) -> bool:
        """Whether a pose that was not believed is plausible beside one with so many inliers."""
        ratio = self.config.ambiguity_ratio
        if other.confidence >= self.config.min_confidence:  # likely enough, and it has doubles in its own map
            ratio *= CONVINCING
        return other.confidence >= PLAUSIBLE and other.inliers >= ratio * inliers

    def _similar(self, views: Sequence[View]) -> list[tuple[str, float]]:
        """Names of maps and how similar each is to the view that resembles it most, the most similar first."""
        similar: dict[str, float] = {}
        for view in views:
            for name, value in self.library.ranked(view.features.global_descriptor):
                similar[name] = max(similar.get(name, -1.0), value)
        return sorted(similar.items(), key=lambda one: -one[1])


def named(answer: Localization, name: str) -> Localization:
    """The same with the map that its poses are in."""
    if isinstance(answer, Localized):
        return replace(answer, map_name=name)
    if not answer.places:
        return answer
    return replace(answer, places=tuple(replace(place, map_name=name) for place in answer.places))


def _explained(answer: Localization) -> str:
    if isinstance(answer, Localized):
        return f"{answer.guided} keypoints explained"
    return f"{answer.inliers} inliers"
