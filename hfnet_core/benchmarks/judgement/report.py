"""What a calibration says, for files and for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hfnet_core.benchmarks.judgement.collection import Hypotheses
from hfnet_core.benchmarks.judgement.fitting import calibrated_only, fit, held_out, reliability
from hfnet_core.errors import DatasetError
from hfnet_core.files import read_text
from hfnet_core.localization.confidence import DENSE, SPARSE, Calibration
from hfnet_core.maps.description import parse_json

__all__ = ["calibrated", "table"]

_UNKNOWN = 0.4  # log odds that a network which nobody calibrated is doubted by


def calibrated(
    found: Hypotheses,
    model_hash: str,
    former: Path,
    everything: Hypotheses | None = None,
    prior: tuple[str, float] | None = None,
) -> str:
    """The text of a judgement file: that of this model anew, those of other models as they are in `former`.

    prior: hash of a model in `former` and the share, 0..1, that its calibration has in this one: of weights before
    these, calibrated on recordings that are not at hand any more. Raises DatasetError where `former` has none of it.

    everything: hypotheses of several kinds of features, for those that nobody calibrated; without, these are judged as
    in `former` or, where that says nothing, as this model with more doubt. Raises DatasetError where `former` is
    another kind of file.
    """
    stored = _former(former) if former.exists() else {}
    own = {"sparse": _stored(fit(found, SPARSE))}
    if _has_witness(found):
        own = {"dense": _stored(fit(found, DENSE)), **own}
    if prior is not None:
        own = {
            kind: _mixed(fitted, _of_model(stored, prior[0], kind, former), prior[1]) for kind, fitted in own.items()
        }
    stored[model_hash] = own
    stored.setdefault("generic", {kind: _doubted(fitted) for kind, fitted in own.items()})
    if everything is not None:
        stored["generic"] = {**stored["generic"], "sparse": _doubted(_stored(fit(everything, SPARSE)))}
    return json.dumps(stored, indent=1) + "\n"


def _of_model(stored: dict[str, Any], model_hash: str, kind: str, path: Path) -> dict[str, Any]:
    found = stored.get(model_hash, {}).get(kind)
    if found is None:
        raise DatasetError(f"{path}: has no {kind} calibration of {model_hash}; it has: {', '.join(sorted(stored))}")
    return dict(found)


def _mixed(fitted: dict[str, Any], prior: dict[str, Any], share: float) -> dict[str, Any]:
    """Log odds that are the mean of both."""
    names = dict.fromkeys([*fitted["weights"], *prior["weights"]])

    def mean(one: float, other: float) -> float:
        return round((1.0 - share) * one + share * other, 4)

    weights = {name: mean(fitted["weights"].get(name, 0.0), prior["weights"].get(name, 0.0)) for name in names}
    return {"bias": mean(fitted["bias"], prior["bias"]), "weights": weights}


def _has_witness(found: Hypotheses) -> bool:
    """Whether the features have dense descriptors."""
    return bool(found.numbers[:, DENSE.index("agreement")].any())


def _doubted(fitted: dict[str, Any]) -> dict[str, Any]:
    return {**fitted, "bias": round(fitted["bias"] - _UNKNOWN, 4)}


def _former(path: Path) -> dict[str, Any]:
    try:
        stored = parse_json(read_text(path, "a judgement file"))
    except ValueError as error:
        raise DatasetError(f"{path}: is no judgement file ({error}); give another --output") from error
    if not isinstance(stored, dict) or not all(isinstance(value, dict) for value in stored.values()):
        raise DatasetError(f"{path}: is no judgement file; give another --output")
    return stored


def table(found: Hypotheses, min_confidence: float) -> str:
    """Each source by a calibration on the others, and how well the probabilities hold over all."""
    names = DENSE if _has_witness(found) else SPARSE
    lines = ["held out          right accepted   wrong accepted   images answered of those reachable"]
    several = len(set(found.source.tolist())) > 1
    lines += [
        f"{held.source:<18}{100 * held.accepted:6.1f} %       {held.wrong:5d} of {held.wrong_asked:<6d} "
        f"{100 * held.answered:6.1f} of {100 * held.reachable:.1f} %"
        for held in (held_out(found, names, min_confidence) if several else ())
    ]
    lines.append("probability told  share that is right   hypotheses")
    lines += [
        f"{told:16.4f}  {right:19.4f}   {count:10d}"
        for told, right, count in reliability(calibrated_only(found), fit(found, names), names)
    ]
    return "\n".join(lines)


def _stored(calibration: Calibration) -> dict[str, Any]:
    weights = {name: round(value, 4) for name, value in calibration.weights.items() if value}
    return {"bias": round(calibration.bias, 4), "weights": weights}
