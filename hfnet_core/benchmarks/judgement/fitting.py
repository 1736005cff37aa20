"""Logistic regression of right against wrong hypotheses, and how well its probabilities hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from hfnet_core.benchmarks.judgement.collection import Hypotheses
from hfnet_core.benchmarks.judgement.image_families import COMPOSITE, WRONG_CALIBRATION
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array
from hfnet_core.localization.confidence import DENSE, Calibration

__all__ = ["Held", "calibrated_only", "fit", "held_out", "reliability"]

_RIDGE = 1e-3  # on standardised weights
# All other numbers speak for a pose, never against it; a regression that says otherwise has seen too little.
_EITHER_WAY = ("near",)
_FOCAL = -3.0  # log odds for each unit by which another focal length would fit better
_USUAL = 10.0  # right hypotheses for each wrong one: with it what is told of held out recordings is about what holds
_LEAST = 40  # hypotheses of each kind


@dataclass(frozen=True)
class Held:
    """A source that the calibration did not see. accepted: share of right hypotheses at the threshold; wrong: wrong
    ones accepted, of `wrong_asked`; reachable: share of images with a right hypothesis, and answered: with an accepted
    one."""

    source: str
    accepted: float
    wrong: int
    wrong_asked: int
    reachable: float
    answered: float


def fit(found: Hypotheses, names: Sequence[str]) -> Calibration:
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
    return Calibration(plain.bias + float(np.log(_USUAL)), {**plain.weights, **fixed})


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


def held_out(found: Hypotheses, names: Sequence[str], min_confidence: float) -> list[Held]:
    """Each source judged by a calibration on all the others; none where these are too few to calibrate on."""
    out = []
    for source in sorted(set(found.source.tolist())):
        own = found.source == source
        try:
            calibration = fit(_where(found, ~own), names)
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
    images = len(np.unique(found.image))
    reachable = len(np.unique(found.image[found.right]))
    answered = len(np.unique(found.image[found.right & accepted]))
    wrong = int((accepted & ~found.right).sum())
    share = float(accepted[found.right].mean()) if found.right.any() else 0.0
    return Held(source, share, wrong, int((~found.right).sum()), reachable / images, answered / images)


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
