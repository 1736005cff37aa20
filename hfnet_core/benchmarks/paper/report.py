"""Files of results for visuallocalization.net, the log of a run, and recall where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hfnet_core.benchmarks.datasets.dataset import Bounds, Dataset
from hfnet_core.benchmarks.paper.answers import QueryAnswer
from hfnet_core.benchmarks.paper.presets import Preset
from hfnet_core.evaluation.query_list import write_results
from hfnet_core.files import written_whole

__all__ = ["by_condition", "log_of", "recall", "write_log", "write_result_file"]


def write_result_file(path: Path, answers: Sequence[QueryAnswer], *, fallback: bool) -> int:
    """Write the poses that are asked for; fallback: those of similar map images too, where none was found.

    Returns how many fell back. Raises DatasetError when the file cannot be written.
    """
    asked = [answer for answer in answers if answer.submitted]
    poses = [
        (answer.submitted, pose)
        for answer in asked
        if (pose := answer.map_from_camera or (answer.fallback if fallback else None)) is not None
    ]
    write_results(path, poses)
    return len(poses) - sum(answer.map_from_camera is not None for answer in asked)


def by_condition(answers: Sequence[QueryAnswer]) -> Mapping[str, list[QueryAnswer]]:
    """In order of appearance."""
    found: dict[str, list[QueryAnswer]] = {}
    for answer in answers:
        found.setdefault(answer.condition, []).append(answer)
    return found


def recall(answers: Sequence[QueryAnswer], bounds: Bounds) -> list[float] | None:
    """Share of the queries with known truth whose pose is within each bound; None where no truth is known."""
    tested = [answer for answer in answers if answer.truth is not None]
    if not tested:
        return None
    errors = [answer.error for answer in tested]
    return [
        sum(error is not None and error[0] <= metres and error[1] <= degrees for error in errors) / len(tested)
        for metres, degrees in bounds
    ]


def log_of(
    dataset: Dataset, preset: Preset, answers: Sequence[QueryAnswer], *, fallback: bool, model: str
) -> dict[str, Any]:
    """What happened, with what settings, in plain numbers."""
    conditions = {
        name: _summary(own, dataset.bounds(name), fallback=fallback) for name, own in by_condition(answers).items()
    }
    settings = {name: asdict(getattr(preset, name)) for name in ("building", "extraction", "localizer")}
    return {
        "dataset": dataset.title,
        "model": model,
        "preset": preset.name,
        "conditions": conditions,
        "failures": [
            {
                "index": index,
                "name": answer.name,
                "place": answer.place,
                "reason": answer.state,
                "fallback": fallback and answer.fallback is not None and bool(answer.submitted),
            }
            for index, answer in enumerate(answers)
            if answer.map_from_camera is None
        ],
        "config": settings,
    }


def write_log(path: Path, log: Mapping[str, Any]) -> None:
    """As YAML. Raises DatasetError when it cannot be written."""
    written_whole(path, yaml.safe_dump(dict(log), sort_keys=False, allow_unicode=True, width=120))


def _summary(answers: Sequence[QueryAnswer], bounds: Bounds, *, fallback: bool) -> dict[str, Any]:
    found = [answer for answer in answers if answer.map_from_camera is not None]
    ratios = [answer.inliers / max(answer.matches, 1) for answer in found]
    out: dict[str, Any] = {
        "queries": len(answers),
        "success_rate": round(len(found) / max(len(answers), 1), 4),
        "mean_inliers": _mean([float(answer.inliers) for answer in found]),
        "mean_inlier_ratio": _mean(ratios),
        "failures": len(answers) - len(found),
        "fallbacks": sum(item.map_from_camera is None and item.fallback is not None for item in answers) * fallback,
        "seconds": _times(answers),
    }
    shares = recall(answers, bounds)
    if shares is not None:
        errors = np.array([answer.error for answer in answers if answer.error is not None]).reshape(-1, 2)
        out["recall"] = {
            f"{metres:g} m, {degrees:g} deg": round(share, 4)
            for (metres, degrees), share in zip(bounds, shares, strict=True)
        }
        if len(errors):
            metres, degrees = np.median(errors, axis=0)
            out["median_error"] = {"metres": round(float(metres), 4), "degrees": round(float(degrees), 3)}
    return out


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def _times(answers: Sequence[QueryAnswer]) -> dict[str, dict[str, float]]:
    """Mean and median of each stage."""
    stages = {stage: None for answer in answers for stage in answer.seconds}
    values = {stage: [answer.seconds[stage] for answer in answers if stage in answer.seconds] for stage in stages}
    return {
        stage: {"mean": round(float(np.mean(own)), 5), "median": round(float(np.median(own)), 5)}
        for stage, own in values.items()
    }
