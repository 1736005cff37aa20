"""How likely a pose is right: a logistic regression on what matching and verification say of it.

Calibrated over many right and wrong hypotheses by `hfnet calibrate`; the result lies beside the weights, one for each
model (see models/judgement.json). A model that nobody calibrated is judged by the numbers of matches alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from hfnet_core.geometry import Array
from hfnet_core.localization.appearance.distinctness import Distinctness
from hfnet_core.localization.appearance.viewing import findable
from hfnet_core.localization.correspondences import Correspondences, Query
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.uncertainty.covariance import coverage
from hfnet_core.localization.verification import Witness
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import FocalFit

__all__ = ["DENSE", "SPARSE", "Calibration", "Evidence", "calibration_of", "evidence_of", "log_odds", "misfit"]

SPARSE = ("inliers", "ratio", "coverage", "support", "explained", "expected", "focal", "near", "viewed")
DENSE = (*SPARSE, "agreement", "contradiction", "alike", "witnessed", "distinct", "distinctness")
_GENERIC = "generic"
_CELLS = 4.0  # log odds of agreement up to which they count in full: a few cells err together
_HEARD = 8  # cells that are asked, more than which say no more by being asked
_MUCH = 30.0  # log odds of agreement that are much, either way
_SEEN_SO = 0.3  # mean findability of inliers beyond which it says no more
_USUAL_FOCAL = 0.02  # relative error of a calibration that needs no explanation


@dataclass(frozen=True)
class Evidence:
    """What speaks for a pose.

    inliers of matches: correspondences found without knowing it, coverage: share of image cells with one. explained:
    keypoints of the guided pass that agree, of `asked` landmarks that should be seen; support: their share of cells.
    focal: by how many standard deviations, and beyond what is usual, another focal length would fit better. near: it
    was looked for near an expected pose. viewed: how findable the inliers are from there, 0..1: the map saw what is in
    the image from about there, and not from another side. witness: of what the pose was not fitted to, None without
    dense descriptors.
    """

    inliers: int
    matches: int
    coverage: float
    explained: int
    asked: int
    support: float
    focal: float
    near: bool
    viewed: float
    distinct: float
    distinctness: float
    witness: Witness | None

    @cached_property
    def numbers(self) -> Mapping[str, float]:
        """By the names of DENSE. Shares are drawn towards chance where little was counted."""
        witness = self.witness or Witness()
        return {
            "inliers": float(np.log1p(self.inliers)),
            "ratio": float(np.log((self.inliers + 1.0) / (self.matches + 5.0))),
            "coverage": float(np.log(self.coverage + 0.02)),
            "support": float(np.log(self.support + 0.02)),
            "explained": float(np.log1p(self.explained)),
            "expected": float(np.log((self.explained + 1.0) / (self.asked + 20.0))),
            "focal": min(max(self.focal - 1.0, 0.0), 10.0),
            "near": float(self.near),
            "viewed": min(self.viewed, _SEEN_SO),
            "agreement": float(np.sign(witness.agreement) * np.log1p(abs(witness.agreement) / _CELLS)),
            # many inliers, and nothing else fits: one thing of the place, somewhere else
            "contradiction": min(witness.agreement, 0.0) / _MUCH * float(np.log1p(self.inliers)),
            "alike": (witness.alike + 1.0) / (witness.cells + 8.0),
            # a place that shows nothing but what the pose was fitted to has no witness, and a wrong one often is such
            "witnessed": float(np.log1p(min(witness.cells, _HEARD))),
            "distinct": float(np.log1p(self.distinct)),
            "distinctness": self.distinctness,
        }


def evidence_of(
    query: Query,
    refined: Hypothesis,
    witness: Witness | None,
    fits: Sequence[FocalFit | None],
    landmark_map: LandmarkMap,
    distinctness: Distinctness,
) -> Evidence:
    """Of a refined hypothesis. fits: what each view says of its focal length; distinctness: of the map's landmarks."""
    support = refined.found.where(refined.agreeing)
    # without dense descriptors nobody asks for it: descriptors of other kinds are alike in other numbers
    distinct = 0.0 if witness is None else float(distinctness(support.landmarks).sum())
    off = [abs(fit.change) / (_USUAL_FOCAL + fit.sigma) for fit in fits if fit is not None]
    return Evidence(
        min(refined.inliers, refined.guided),  # evidence holds both ways
        refined.matches,
        coverage(refined.evidence, query),
        refined.guided,
        refined.asked,
        coverage(support, query),
        max(off, default=0.0),
        refined.near,
        _viewed(query, refined, support, landmark_map),
        distinct,
        (distinct + 1.0) / (len(support) + 4.0),
        witness,
    )


def _viewed(query: Query, refined: Hypothesis, support: Correspondences, landmark_map: LandmarkMap) -> float:
    """Mean findability of what made a pose."""
    out = 0.0
    for number, view in enumerate(query.views):
        landmarks = support.landmarks[support.views == number]
        map_from_camera = refined.map_from_rig @ view.rig_from_camera
        out += float(findable(landmark_map, landmarks, map_from_camera, query.cameras[number]).sum())
    return out / max(len(support), 1)


@dataclass(frozen=True)
class Calibration:
    """bias + sum of weight times number are the log odds of being right."""

    bias: float
    weights: Mapping[str, float]

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any]) -> Calibration:
        """As a judgement file has it. Raises KeyError, TypeError, ValueError or AttributeError for what is none."""
        return cls(float(stored["bias"]), {str(name): float(value) for name, value in stored["weights"].items()})

    def log_odds(self, evidence: Evidence) -> float:
        numbers = evidence.numbers
        return self.bias + sum(weight * numbers[name] for name, weight in self.weights.items())

    def of_rows(self, names: Sequence[str], rows: Array) -> Array:
        """[N] log odds of evidence as rows [N, len(names)]."""
        return np.asarray(rows @ np.array([self.weights.get(name, 0.0) for name in names]) + self.bias)


@lru_cache(maxsize=8)
def calibration_of(model_hash: str, dense: bool) -> Calibration:
    """What was stored for a model; for others what holds for features in general, which asks for more."""
    stored = json.loads((files("hfnet_core") / "models" / "judgement.json").read_text(encoding="utf-8"))
    return Calibration.of_stored(stored.get(model_hash, stored[_GENERIC])["dense" if dense else "sparse"])


def log_odds(evidence: Evidence, model_hash: str) -> float:
    """Natural logarithm of the odds that a pose with this evidence is right."""
    return calibration_of(model_hash, evidence.witness is not None).log_odds(evidence)


def misfit(evidence: Evidence, model_hash: str) -> float:
    """What another focal length, which would fit better, takes from the log odds of a pose with this evidence."""
    weights = calibration_of(model_hash, evidence.witness is not None).weights
    return -weights.get("focal", 0.0) * evidence.numbers["focal"]
