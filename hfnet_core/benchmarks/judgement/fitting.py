"""Logistic regression of right against wrong hypotheses, and how well its probabilities hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from hfnet_core.benchmarks.judgement.collection import Hypotheses
from hfnet_core.benchmarks.judgement.image_families import AS_IT_IS, COMPOSITE, WRONG_CALIBRATION
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array
from hfnet_core.localization.confidence import DENSE, Calibration

__all__ = ["Held", "Prior", "calibrated_only", "fit", "held_out", "reliability"]

_RIDGE = 1e-3  # on standardised weights
# All other numbers speak for a pose, never against it; a regression that says otherwise has seen too little.
_EITHER_WAY = ("near",)
_FOCAL = -3.0  # log odds for each unit by which another focal length would fit better
_USUAL = 10.0  # right hypotheses for each wrong one: with it what is told of held out recordings is about what holds
_LEAST = 40  # hypotheses of each kind


@dataclass(frozen=True)
class Held:
    """A source that the calibration did not see. accepted: share of right hypotheses at the threshold. wrong: wrong
    ones accepted, of `wrong_asked`. misled: wrong ones of images with a wrong calibration, of `misled_asked`; these
    count nowhere else. answered: images as they are with a right hypothesis accepted, of `reachable` with a right one.
    """

    source: str
    accepted: float
    wrong: int
    wrong_asked: int
    misled: int
    misled_asked: int
    answered: int
    reachable: int


@dataclass(frozen=True)
class Prior:
    """What recordings have taught that are not at hand any more: a calibration, of weights before these, and the share,
    0..1, that its log odds have in those of a new one."""

    calibration: Calibration
    share: float

    def with_fitted(self, fitted: Calibration) -> Calibration:
        """Log odds that are the mean of both."""
        names = dict.fromkeys([*fitted.weights, *self.calibration.weights])
        former = self.calibration.weights
        weights = {name: self._mean(fitted.weights.get(name, 0.0), former.get(name, 0.0)) for name in names}
        return Calibration(self._mean(fitted.bias, self.calibration.bias), weights)

    def _mean(self, fitted: float, former: float) -> float:
        return (1.0 - self.share) * fitted + self.share * former


def fit(found: Hypotheses, names: Sequence[str], prior: Prior | None = None) -> Calibration:
    """Weights of the numbers named. Every source and family counts alike, right and wrong ones too.

    Images with a wrong calibration take no part: what speaks against these is weighed by `_FOCAL`. Right poses of
    images that are mostly of something else take none either: to learn that they are right is to learn that what
    contradicts a pose does not count, and another place that has a door in common with this one would be believed.
    Raises DatasetError where there are too few.
    """
    found = calibrated_only(found)
    found = _where(found, ~(found.right & np.isin(found.family, COMPOSITE)))
    if min(int(found.right.sum()), int((~found.right).sum())) < _LEAST:
        raise DatasetError(
            f"{int(found.right.sum())} right and {int((~found.right).sum())} wrong hypotheses are too few to calibrate "
            f"on; give more recordings or foreign images (at least {_LEAST} of each)"
        )
    plain = _regression(found, [name for name in names if name != "focal"])
    fixed = {"focal": _FOCAL} if "focal" in names else {}
    fitted = Calibration(plain.bias + float(np.log(_USUAL)), {**plain.weights, **fixed})
    return fitted if prior is None else prior.with_fitted(fitted)


def _regression(found: Hypotheses, names: Sequence[str]) -> Calibration:
    columns = [DENSE.index(name) for name in names]
    rows, shares = found.numbers[:, columns], _shares(found)
    centre = shares @ rows
    spread = np.sqrt(np.maximum(shares @ (rows - centre) ** 2, 1e-9))
    standard, target = (rows - centre) / spread, np.where(found.right, 1.0, -1.0)

    def loss(parameters: Array) -> tuple[float, Array]:
        margin = target * (standard @ parameters[:-1] + parameters[-1])
        value = shares @ np.logaddexp(0.0, -margin) + 0.5 * _RIDGE * parameters[:-1] @ parameters[:-1]
        slope = -shares * target / (1.0 + np.exp(np.clip(margin, -500, 500)))
        return float(value), np.r_[standard.T @ slope + _RIDGE * parameters[:-1], slope.sum()]

    bounds = [(None if name in _EITHER_WAY else 0.0, None) for name in names] + [(None, None)]
    solved = minimize(loss, np.zeros(len(names) + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    weights = solved.x[:-1] / spread
    return Calibration(float(solved.x[-1] - weights @ centre), dict(zip(names, weights.tolist(), strict=True)))


def calibrated_only(found: Hypotheses) -> Hypotheses:
    """Those of images whose calibration is right."""
    return _where(found, ~np.isin(found.family, WRONG_CALIBRATION))


def held_out(found: Hypotheses, names: Sequence[str], min_confidence: float, prior: Prior | None = None) -> list[Held]:
    """Each source judged by a calibration on all the others; none where these are too few to calibrate on."""
    out = []
    for source in sorted(set(found.source.tolist())):
        own = found.source == source
        try:
            calibration = fit(_where(found, ~own), names, prior)
        except DatasetError:
            continue
        out.append(_judged(_where(found, own), calibration, names, min_confidence, str(source)))
    return out


def reliability(found: Hypotheses, calibration: Calibration, names: Sequence[str]) -> list[tuple[float, float, int]]:
    """(mean probability told, share that is right, how many) by probability, from unlikely to likely."""
    told = 1.0 / (1.0 + np.exp(-_log_odds(found, calibration, names)))
    edges = [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 1.0 + 1e-9]
    out = []
    for low, high in pairwise(edges):
        own = (told >= low) & (told < high)
        if own.any():
            out.append((float(told[own].mean()), float(found.right[own].mean()), int(own.sum())))
    return out


def _judged(
    found: Hypotheses, calibration: Calibration, names: Sequence[str], min_confidence: float, source: str
) -> Held:
    odds = _log_odds(found, calibration, names)
    accepted = odds >= np.log(min_confidence / (1.0 - min_confidence))
    calibrated = ~np.isin(found.family, WRONG_CALIBRATION)
    right, wrong, misled = found.right & calibrated, ~found.right & calibrated, ~found.right & ~calibrated
    images = right & (found.family == AS_IT_IS)
    share = float(accepted[right].mean()) if right.any() else 0.0
    return Held(
        source,
        share,
        int((accepted & wrong).sum()),
        int(wrong.sum()),
        int((accepted & misled).sum()),
        int(misled.sum()),
        len(np.unique(found.image[images & accepted])),
        len(np.unique(found.image[images])),
    )


def _log_odds(found: Hypotheses, calibration: Calibration, names: Sequence[str]) -> Array:
    return calibration.of_rows(names, found.numbers[:, [DENSE.index(name) for name in names]])


def _shares(found: Hypotheses) -> Array:
    """[N] weights, sum 1: half for right ones, half for wrong ones, within them the same for each source and family."""
    out = np.zeros(len(found))
    for right in (True, False):
        groups: Mapping[str, NDArray[np.bool_]] = {
            f"{source}/{family}": (found.source == source) & (found.family == family) & (found.right == right)
            for source, family in {(str(s), str(f)) for s, f in zip(found.source, found.family, strict=True)}
        }
        filled = [rows for rows in groups.values() if rows.any()]
        for rows in filled:
            out[rows] = 0.5 / len(filled) / rows.sum()
    return out


def _where(found: Hypotheses, chosen: NDArray[np.bool_]) -> Hypotheses:
    return Hypotheses(**{name: column[chosen] for name, column in vars(found).items()})
