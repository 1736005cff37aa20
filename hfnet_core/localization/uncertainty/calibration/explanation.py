"""Which errors explain what many images say, and which only might."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, TypeVar

import numpy as np

from hfnet_core.geometry import Array

__all__ = ["Defect", "DriveDefect", "Explanation", "Suspects", "explained"]


class Defect(Enum):
    """What may be wrong with a calibration: the numbers that tell it, see `Evidence.moving`."""

    FOCAL_LENGTH = (0,)
    PRINCIPAL_POINT = (1, 2)
    DISTORTION = (3, 4)
    ROLLING_SHUTTER = (5,)


class DriveDefect(Enum):
    """What may be wrong between camera and odometry: the numbers that tell it, as a motion in drive.py has them."""

    POSITION = (0, 1, 2)
    ORIENTATION = (3, 4, 5)
    TIME = (6,)


Suspect = TypeVar("Suspect", bound=Enum)


@dataclass(frozen=True, eq=False)
class Suspects(Generic[Suspect]):
    """What may be wrong, and from where on it matters.

    notable: of each, what its numbers are multiplied with [K, M] to be 1 in length where it matters. wide: [P] standard
    deviations of all numbers before anything is seen, and usual: of calibrations of some care. beside: numbers that are
    always left open.
    """

    notable: Mapping[Suspect, Array]
    wide: Array
    usual: Array
    beside: tuple[int, ...] = ()

    def numbers(self, suspects: Iterable[Suspect]) -> list[int]:
        return sorted({*self.beside, *(number for suspect in suspects for number in suspect.value)})

    def half(self) -> Suspects[Suspect]:
        """The same, that matter from half of it on."""
        return replace(self, notable={suspect: 2.0 * effect for suspect, effect in self.notable.items()})


_ROUNDS = 3  # of weights against images that err
_STRANGE = 3.0  # times the usual disagreement from which an image loses influence
_SURE2 = 25.0  # square of how many standard deviations; a quarter more for each further number
_NEARLY = 0.85  # share of what the best explanation explains, from which another one is told as well
_AGREEING = 0.4  # share of a defect that each half of the images must show


@dataclass(frozen=True, eq=False)
class Explanation(Generic[Suspect]):
    """What all say together.

    defects: those that they name. rivals: each of these alone would explain nearly as much as the only one named.
    values, sigmas: [P] of each number: for defects from the fit of all of them, for the rest as if it were the only
    other error. together: [P] if everything were wrong at once. likely: [P] what is believable, given how good
    calibrations usually are.
    """

    defects: frozenset[Suspect]
    rivals: frozenset[Suspect]
    values: Array
    sigmas: Array
    together: Array
    likely: Array


@dataclass(frozen=True, eq=False)
class _Equations:
    """Normal equations [N, P, P] and [N, P] that err independently, and standard deviations [P] beforehand."""

    information: Array
    scores: Array
    wide: Array

    def fit(self, numbers: Sequence[int]) -> tuple[Array, Array, float]:
        """Values, their covariance as disagreement shows it, and by how much the errors shrink."""
        chosen = list(numbers)
        information, scores = self.information[:, chosen][:, :, chosen], self.scores[:, chosen]
        inverse = np.linalg.inv(information.sum(axis=0) + np.diag(1.0 / self.wide[chosen] ** 2))
        values = inverse @ scores.sum(axis=0)
        left = scores - information @ values
        count = len(scores)
        covariance = inverse @ (left.T @ left) @ inverse * (count / max(count - len(chosen), 1)) + inverse
        return values, covariance, float(values @ scores.sum(axis=0))

    def robust(self) -> _Equations:
        """With less weight for those that disagree with the others."""
        everything = range(len(self.wide))
        spread = np.linalg.inv(self.information + np.diag(1.0 / self.wide**2))
        weights = np.ones(len(self.scores))
        for _ in range(_ROUNDS):
            values, _, _ = self._weighted(weights).fit(everything)
            left = self.scores - self.information @ values
            off = np.sqrt(np.einsum("ni,nij,nj->n", left, spread, left))
            weights = 1.0 / (1.0 + (off / max(_STRANGE * float(np.median(off)), 1e-9)) ** 2)
        return self._weighted(weights)

    def _weighted(self, weights: Array) -> _Equations:
        return replace(
            self, information=self.information * weights[:, None, None], scores=self.scores * weights[:, None]
        )

    def halves(self) -> tuple[_Equations, _Equations]:
        middle = len(self.scores) // 2
        first, second = slice(None, middle), slice(middle, None)
        return (
            replace(self, information=self.information[first], scores=self.scores[first]),
            replace(self, information=self.information[second], scores=self.scores[second]),
        )


def explained(
    information: Array, scores: Array, suspects: Suspects[Suspect], suspecting: bool = False
) -> Explanation[Suspect]:
    """The few defects that explain normal equations [N, P, P] and [N, P].

    The one that explains most is taken first; what it leaves is explained by others, as long as they are sure, notable,
    and the same in both halves. suspecting: half of that suffices, for what is worth a closer look.
    """
    asked, sure2 = (suspects.half(), _SURE2 / 4.0) if suspecting else (suspects, _SURE2)
    equations = _Equations(information, scores, suspects.wide).robust()
    named: list[Suspect] = []
    alone: dict[Suspect, float] = {}
    while True:
        gains = {
            suspect: equations.fit(asked.numbers([*named, suspect]))[2]
            for suspect in asked.notable
            if suspect not in named and _holds(equations, [*named, suspect], suspect, asked, sure2)
        }
        if not gains:
            break
        alone = alone or gains
        named.append(max(gains, key=lambda suspect: gains[suspect]))
    named = [suspect for suspect in named if _holds(equations, named, suspect, asked, sure2)]
    rivals = _rivals(named, alone)
    values, sigmas = np.zeros(len(suspects.wide)), np.zeros(len(suspects.wide))
    for suspect in asked.notable:
        numbers = asked.numbers([suspect] if suspect in rivals else {*named, suspect})
        found, covariance, _ = equations.fit(numbers)
        for number in suspect.value:
            at = numbers.index(number)
            values[number], sigmas[number] = found[at], covariance[at, at] ** 0.5
    everything = range(len(suspects.wide))
    likely = np.where(np.isin(everything, asked.numbers(named)), suspects.wide, suspects.usual)
    return Explanation(
        frozenset(named),
        rivals,
        values,
        sigmas,
        together=equations.fit(everything)[0],
        likely=replace(equations, wide=likely).fit(everything)[0],
    )


def _rivals(named: Sequence[Suspect], alone: Mapping[Suspect, float]) -> frozenset[Suspect]:
    if len(named) != 1:
        return frozenset()
    enough = _NEARLY * alone.get(named[0], np.inf)
    return frozenset(suspect for suspect, gain in alone.items() if suspect is not named[0] and gain > enough)


def _holds(
    equations: _Equations, together: Sequence[Suspect], own: Suspect, suspects: Suspects[Suspect], sure2: float
) -> bool:
    """Whether a defect is sure and notable beside others, and seen by each half."""
    numbers, notable = suspects.numbers(together), suspects.notable[own]
    at = [numbers.index(number) for number in own.value]
    values, covariance, _ = equations.fit(numbers)
    wanted = values[at]
    if wanted @ np.linalg.solve(covariance[np.ix_(at, at)], wanted) < sure2 * (1.0 + 0.25 * (len(at) - 1)):
        return False
    effect = notable @ wanted
    if effect @ effect < 1.0:
        return False
    halves = (notable @ half.fit(numbers)[0][at] for half in equations.halves())
    return all(float(seen @ effect) >= _AGREEING * float(effect @ effect) for seen in halves)
