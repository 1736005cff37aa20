"""Places that explain the images about equally well, followed until one remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hfnet_core.config import LocalizerConfig
from hfnet_core.localization.tracking.consistency import Sighting, distance2
from hfnet_core.types import Localized

__all__ = ["Rivals"]


@dataclass(frozen=True, eq=False)
class _Rival:
    """A place in the last image, and the keypoints that it has explained since it was first seen."""

    seen: Sighting
    answer: Localized
    explained: int
    images: int


class Rivals:
    """A handful of poses of one robot. In which of several look-alike places it is, its way tells sooner or later: a
    place that the motion does not lead to, or that explains clearly less of what is seen on the way, is given up."""

    def __init__(self) -> None:
        self._followed: list[_Rival] = []

    def clear(self) -> None:
        """Forget all: it is known where the robot is, or nothing is."""
        self._followed = []

    def follow(self, answers: Sequence[tuple[Sighting, Localized]], config: LocalizerConfig) -> Localized | None:
        """Take the places of an image into account; the one that remains, once there were others, or None.

        answers: all that explain the image, with where and when they were seen.
        """
        followed = [_Rival(seen, answer, answer.guided, 1) for seen, answer in answers]
        if self._followed:
            led_to = [self._led_to(seen, answer, config) for seen, answer in answers]
            known = [rival for rival in led_to if rival is not None]
            followed = known or followed  # where none continues, the robot was carried away, or all were wrong
        best = max(followed, key=lambda rival: rival.explained)
        self._followed = [rival for rival in followed if rival.explained >= config.ambiguity_ratio * best.explained]
        alone = len(self._followed) == 1 and best.images > 1
        return best.answer if alone else None

    def _led_to(self, seen: Sighting, answer: Localized, config: LocalizerConfig) -> _Rival | None:
        """The rival that this sighting continues."""
        for rival in self._followed:
            expected = rival.seen.expected(seen.stamp_s, seen.odom_from_rig)
            if distance2(rival.seen, expected, seen, config) <= config.gate_chi2:
                return _Rival(seen, answer, rival.explained + answer.guided, rival.images + 1)
        return None
