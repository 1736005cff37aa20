"""What a calibration says, for files and for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnet_core.benchmarks.judgement.collection import Hypotheses
from hfnet_core.benchmarks.judgement.fitting import Prior, calibrated_only, fit, held_out, reliability
from hfnet_core.errors import DatasetError
from hfnet_core.files import read_text
from hfnet_core.localization.confidence import DENSE, SPARSE, Calibration
from hfnet_core.maps.description import parse_json

__all__ = ["calibrated", "priors_of", "table"]

_UNKNOWN = 0.4  # log odds that a network which nobody calibrated is doubted by
_KINDS = {"dense": DENSE, "sparse": SPARSE}


def priors_of(former: Path, model_hash: str, share: float) -> dict[str, Prior]:
    """What a judgement file knows of a model, by kind ("dense", "sparse"), as a share, 0..1, of a new calibration.

    Raises DatasetError where it is no judgement file or has nothing of the model.
    """
    stored = _former(former) if former.exists() else {}
    if model_hash not in stored:
        raise DatasetError(
            f"{former}: has no calibration of {model_hash or 'no hash'}; it has: {', '.join(sorted(stored)) or 'none'}"
        )
    try:
        own = stored[model_hash]
        return {kind: Prior(Calibration.of_stored(own[kind]), share) for kind in _KINDS if kind in own}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{former}: the calibration of {model_hash} is none ({error!r}); make it anew") from error


def calibrated(
    found: Hypotheses,
    model_hash: str,
    former: Path,
    everything: Hypotheses | None = None,
    priors: Mapping[str, Prior] | None = None,
) -> str:
    """The text of a judgement file: that of this model anew, those of other models as they are in `former`.

    everything: hypotheses of several kinds of features, for those that nobody calibrated; without, these are judged as
    in `former` or, where that says nothing, as this model with more doubt. priors: see `priors_of`. Raises DatasetError
    where `former` is another kind of file, or there are priors, and none for what is calibrated.
    """
    stored = _former(former) if former.exists() else {}
    kinds = _KINDS if _has_witness(found) else {"sparse": SPARSE}
    own = {kind: _stored(fit(found, names, _prior(kind, priors))) for kind, names in kinds.items()}
    stored[model_hash] = own
    stored.setdefault("generic", {kind: _doubted(fitted) for kind, fitted in own.items()})
    if everything is not None:
        stored["generic"] = {**stored["generic"], "sparse": _doubted(_stored(fit(everything, SPARSE)))}
    return json.dumps(stored, indent=1) + "\n"


def _prior(kind: str, priors: Mapping[str, Prior] | None) -> Prior | None:
    if priors is not None and kind not in priors:
        raise DatasetError(f"the model of --prior has no {kind} calibration, and these features are judged by one")
    return None if priors is None else priors[kind]


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


def table(found: Hypotheses, min_confidence: float, priors: Mapping[str, Prior] | None = None) -> str:
    """Each source by a calibration on the others, and how well the probabilities hold over all."""
    kind = "dense" if _has_witness(found) else "sparse"
    names, prior = _KINDS[kind], _prior(kind, priors)
    several = len(set(found.source.tolist())) > 1
    held = held_out(found, names, min_confidence, prior) if several else []
    lines = ["held out             right accepted   wrong accepted   images as they are, answered of those reachable"]
    lines += [
        f"{one.source:<20} {100 * one.accepted:12.1f} %   {one.wrong:6d} of {one.wrong_asked:<4d}   "
        f"{one.answered:6d} of {one.reachable}"
        for one in held
    ]
    if held:
        misled, asked = sum(one.misled for one in held), sum(one.misled_asked for one in held)
        lines.append(f"of {asked} wrong ones of images with a wrong calibration, {misled} accepted")
    lines.append("probability told  share that is right   hypotheses")
    lines += [
        f"{told:16.4f}  {right:19.4f}   {count:10d}"
        for told, right, count in reliability(calibrated_only(found), fit(found, names, prior), names)
    ]
    return "\n".join(lines)


def _stored(calibration: Calibration) -> dict[str, Any]:
    weights = {name: round(value, 4) for name, value in calibration.weights.items() if value}
    return {"bias": round(calibration.bias, 4), "weights": weights}
