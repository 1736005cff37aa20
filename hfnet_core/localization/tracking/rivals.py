"""Places that explain the images about equally well, followed until one remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hfnet_core.config import LocalizerConfig
from hfnet_core.localization.tracking.consistency import Sighting, distance2
from hfnet_core.types import Localized

__all__ = ["Rivals"]

_MOST = 32  # followed, those seen last


@dataclass(frozen=True, eq=False)
class _Rival:
    """A place in the last image, and the keypoints that it has explained since it was first seen."""

    seen: Sighting
    answer: Localized
    explained: int
    images: int


class Rivals:
    """A handful of poses of one robot. In which of several look-alike places it is, images on its way tell sooner or
    later: a place that explains clearly less of what is seen is given up. One that an image does not name is not: it
    need not have been looked at, or its pose was off this time."""

    def __init__(self) -> None:
        self._followed: list[_Rival] = []

    def clear(self) -> None:
        """Forget all: it is known where the robot is, or nothing is."""
        self._followed = []

    def follow(self, answers: Sequence[tuple[Sighting, Localized]], config: LocalizerConfig) -> Localized | None:
        """Take the places of an image into account; the one that remains, once there were others, or None.

        answers: all that explain the image, with where and when they were seen.
        """
        most = max(answer.guided for _, answer in answers)
        before = max((rival.explained for rival in self._followed), default=0)
        images = max((rival.images for rival in self._followed), default=0)
        left, followed, led_on = list(self._followed), [], False
        for seen, answer in answers:
            rival = _led_to(left, seen, config)
            if rival is not None:
                left.remove(rival)
                led_on = True
            told = before if rival is None else rival.explained  # nothing was said against one that was not named
            followed.append(_Rival(seen, answer, told + answer.guided, images + 1))
        if led_on:
            followed += [replace(rival, explained=rival.explained + most, images=images + 1) for rival in left]
        elif self._followed:  # carried away, or all were wrong
            followed = [_Rival(seen, answer, answer.guided, 1) for seen, answer in answers]
        best = max(followed, key=lambda rival: rival.explained)
        kept = [rival for rival in followed if rival.explained >= config.ambiguity_ratio * best.explained]
        self._followed = sorted(kept, key=lambda rival: -rival.seen.stamp_s)[:_MOST]
        alone = len(self._followed) == 1 and best.images > 1
        return best.answer if alone else None


def _led_to(rivals: Sequence[_Rival], seen: Sighting, config: LocalizerConfig) -> _Rival | None:
    """The rival that a sighting continues."""
    for rival in rivals:
        expected = rival.seen.expected(seen.stamp_s, seen.odom_from_rig)
        if distance2(rival.seen, expected, seen, config) <= config.gate_chi2:
            return rival
    return None
