"""Which errors of a calibration explain what many images say of it, and which only might."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from hfnet_core.geometry import Array

__all__ = ["Defect", "Explanation", "explained"]


class Defect(Enum):
    """What may be wrong: the numbers of a deviation that tell it, see `Evidence.moving`."""

    FOCAL_LENGTH = (0,)
    PRINCIPAL_POINT = (1, 2)
    DISTORTION = (3, 4)
    ROLLING_SHUTTER = (5,)


# Logarithm; pixels at the reference width; radial coefficients; seconds: standard deviations before any image is seen.
_WIDE = np.array([0.3, 100.0, 100.0, 0.5, 0.5, 0.05])
_USUAL = np.array([0.01, 2.0, 2.0, 0.01, 0.01, 0.002])  # and of calibrations of some care
_ROUNDS = 3  # of weights against images that err
_STRANGE = 3.0  # times the usual disagreement from which an image loses influence
_SURE2 = 25.0  # square of how many standard deviations, for each number
_NEARLY = 0.85  # share of what the best explanation explains, from which another one is told as well
_AGREEING = 0.4  # share of a defect that each half of the images must show


@dataclass(frozen=True, eq=False)
class Explanation:
    """What the images say together.

    defects: those that they name. rivals: each of these alone would explain nearly as much as the only one named. values, sigmas: [6] of each number: for defects from the fit of all of them, for the
    rest as if it were the only other error. together: [6] if everything were wrong at once. likely: [6] what is believable, given how good calibrations usually are.
    """

    defects: frozenset[Defect]
    rivals: frozenset[Defect]
    values: Array
    sigmas: Array
    together: Array
    likely: Array


@dataclass(frozen=True, eq=False)
class _Images:
    """Normal equations [N, 6, 6] and [N, 6] of images from different places."""

    information: Array
    scores: Array

    def fit(self, numbers: Sequence[int], usual: Array = _WIDE) -> tuple[Array, Array, float]:
        """Values, their covariance as the disagreement of images shows it, and by how much the errors shrink."""
        chosen = list(numbers)
        information, scores = self.information[:, chosen][:, :, chosen], self.scores[:, chosen]
        inverse = np.linalg.inv(information.sum(axis=0) + np.diag(1.0 / usual[chosen] ** 2))
        values = inverse @ scores.sum(axis=0)
        left = scores - information @ values
        count = len(scores)
        covariance = inverse @ (left.T @ left) @ inverse * (count / max(count - len(chosen), 1)) + inverse
        return values, covariance, float(values @ scores.sum(axis=0))

    def robust(self) -> _Images:
        """With less weight for images that disagree with the others."""
        everything = list(range(self.scores.shape[1]))
        spread = np.linalg.inv(self.information + np.diag(1.0 / _WIDE**2))
        weights = np.ones(len(self.scores))
        for _ in range(_ROUNDS):
            values, _, _ = self._weighted(weights).fit(everything)
            left = self.scores - self.information @ values
            off = np.sqrt(np.einsum("ni,nij,nj->n", left, spread, left))
            weights = 1.0 / (1.0 + (off / max(_STRANGE * float(np.median(off)), 1e-9)) ** 2)
        return self._weighted(weights)

    def _weighted(self, weights: Array) -> _Images:
        return _Images(self.information * weights[:, None, None], self.scores * weights[:, None])

    def halves(self) -> tuple[_Images, _Images]:
        middle = len(self.scores) // 2
        return (
            _Images(self.information[:middle], self.scores[:middle]),
            _Images(self.information[middle:], self.scores[middle:]),
        )


def explained(
    information: Array, scores: Array, notable: Mapping[Defect, Array], suspecting: bool = False
) -> Explanation:
    """The few defects that explain normal equations [N, 6, 6] and [N, 6].

    notable: of each defect, what its numbers are multiplied with [K, M] to be 1 in length where it matters. The one
    that explains most is taken first; what it leaves is explained by others, as long as they are sure, notable, and the
    same in both halves of the images. suspecting: half of that suffices, for what is worth a closer look.
    """
    if suspecting:
        notable = {defect: 2.0 * effect for defect, effect in notable.items()}
    sure2 = _SURE2 / 4.0 if suspecting else _SURE2
    images = _Images(information, scores).robust()
    named: list[Defect] = []
    alone: dict[Defect, float] = {}
    while True:
        gains = {
            defect: images.fit(_numbers([*named, defect]))[2]
            for defect in Defect
            if defect not in named and _holds(images, [*named, defect], defect, notable[defect], sure2)
        }
        if not gains:
            break
        alone = alone or gains
        named.append(max(gains, key=lambda defect: gains[defect]))
    named = [defect for defect in named if _holds(images, named, defect, notable[defect], sure2)]
    rivals = {
        defect
        for defect, gain in alone.items()
        if len(named) == 1 and defect is not named[0] and gain > _NEARLY * alone.get(named[0], np.inf)
    }
    values, sigmas = np.zeros(len(_WIDE)), np.zeros(len(_WIDE))
    for defect in Defect:
        beside = [] if defect in rivals else [one for one in named if one is not defect]
        numbers = _numbers([*beside, defect])
        found, covariance, _ = images.fit(numbers)
        for number in defect.value:
            at = numbers.index(number)
            values[number], sigmas[number] = found[at], covariance[at, at] ** 0.5
    likely, _, _ = images.fit(range(len(_WIDE)), np.where(np.isin(range(len(_WIDE)), _numbers(named)), _WIDE, _USUAL))
    together, _, _ = images.fit(range(len(_WIDE)))
    return Explanation(frozenset(named), frozenset(rivals), values, sigmas, together, likely)


def _numbers(defects: Sequence[Defect]) -> list[int]:
    return sorted(number for defect in defects for number in defect.value)


def _holds(images: _Images, together: Sequence[Defect], defect: Defect, notable: Array, sure2: float) -> bool:
    """Whether a defect is sure and notable beside others, and seen by each half of the images."""
    numbers = _numbers(together)
    own = [numbers.index(number) for number in defect.value]
    values, covariance, _ = images.fit(numbers)
    wanted = values[own]
    if wanted @ np.linalg.solve(covariance[np.ix_(own, own)], wanted) < sure2 * len(own):
        return False
    effect = notable @ wanted
    if effect @ effect < 1.0:
        return False
    halves = (notable @ half.fit(numbers)[0][own] for half in images.halves())
    return all(float(seen @ effect) >= _AGREEING * float(effect @ effect) for seen in halves)
