"""A score for people and for machines: a table and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hfnet_core.config import EvaluationConfig
from hfnet_core.evaluation.metrics import Sample, Score, Spread, judge
from hfnet_core.files import written_whole
from hfnet_core.terminal import SafeConsole

__all__ = ["print_score", "rows", "write_json"]


def rows(score: Score, config: EvaluationConfig | None = None) -> list[tuple[str, str]]:
    """What the table says: (name, value)."""
    config = config or EvaluationConfig()
    seeing = score.images - score.blind
    out = [("images", str(score.images))]
    if score.untested:
        out.append(("images without ground truth", str(score.untested)))
    if score.blind:
        silent = score.blind - score.blind_published
        out.append(("images that show nothing, no pose published", f"{silent} of {score.blind}"))
    localized = score.published - score.blind_published
    out.append(("localized", f"{localized} of {seeing} ({100 * score.published_share:.1f} %)"))
    for recall in score.recalls:
        name = f"within {_metres(recall.distance_m)}, {recall.angle_deg:g} deg"
        out.append((name, f"{100 * recall.share:.1f} %"))
    bounds = f"{_metres(config.wrong_distance_m)} or {config.wrong_angle_deg:g} deg"
    out.append((f"wrong poses (over {bounds})", str(score.wrong)))
    if score.distance_m is not None and score.angle_deg is not None:
        out.append(("position error, median / p95", _pair(score.distance_m, 100, "cm")))
        out.append(("orientation error, median / p95", _pair(score.angle_deg, 1, "deg")))
    if score.latency_s is not None:
        p50, p95, p99 = (1e3 * value for value in (score.latency_s.p50, score.latency_s.p95, score.latency_s.p99))
        out.append(("latency, p50 / p95 / p99", f"{p50:.0f} / {p95:.0f} / {p99:.0f} ms"))
    if score.mean_nees is not None:
        out.append(("covariance: mean NEES (6 is ideal)", f"{score.mean_nees:.1f}"))
    return out


def _metres(value: float) -> str:
    return f"{value:g} m" if value >= 1 else f"{100 * value:g} cm"


def _pair(spread: Spread, factor: float, unit: str) -> str:
    return f"{factor * spread.p50:.2f} / {factor * spread.p95:.2f} {unit}"


def print_score(
    score: Score,
    title: str,
    config: EvaluationConfig | None = None,
    notes: Sequence[tuple[str, str]] = (),
    console: Console | None = None,
) -> None:
    """Print the table. notes: further lines."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in [*rows(score, config), *notes]:
        bad = name.startswith("wrong") and score.wrong > 0
        table.add_row(name, value, style="bold red" if bad else None)
    (console or SafeConsole()).print(table)


def write_json(
    path: Path,
    score: Score,
    samples: Sequence[Sample],
    config: EvaluationConfig,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write the score, what it was made of, and details of the run. Raises DatasetError when it cannot be written."""
    listed = [_describe(sample, config) for sample in samples]
    content = {"score": score.to_json(), "details": dict(details or {}), "images": listed}
    written_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _describe(sample: Sample, config: EvaluationConfig) -> dict[str, Any]:
    out: dict[str, Any] = {"stamp_ns": sample.stamp_ns, "verdict": judge(sample, config)}
    if sample.error is not None:
        out["distance_m"], out["angle_deg"] = sample.error
    if sample.latency_s is not None:
        out["latency_s"] = sample.latency_s
    if sample.reason:
        out["reason"] = sample.reason
    if sample.blind:
        out["blind"] = True
    return out
