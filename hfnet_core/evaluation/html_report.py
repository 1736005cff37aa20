"""A run as one self-contained HTML file: numbers, recall curves, latency, states over time, plan, worst frames."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.config import EvaluationConfig
from hfnet_core.evaluation import html_parts
from hfnet_core.evaluation.metrics import RECALL_LEVELS, Sample, judge, score, state
from hfnet_core.evaluation.picture import (
    COLORS,
    INK,
    PANEL,
    Thumbnail,
    draw_errors,
    draw_plan,
    dressed,
    pictures_of,
)
from hfnet_core.evaluation.report import rows
from hfnet_core.files import written_whole
from hfnet_core.images.drawing import draw as draw_matches
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.options import BagOptions

__all__ = ["worst_frames", "write_html"]

_FRAMES = 8
_RECALL_RANGE = {"near": (0.5, 100.0), "far": (1.0, 1000.0)}  # centimetres
_MODE_COLORS = {"tracking": COLORS["right"], "global": "#4aa3df", "pose": COLORS["right"]}


def worst_frames(
    path: Path, samples: Sequence[Sample], config: EvaluationConfig, options: BagOptions | None = None
) -> list[Thumbnail]:
    """The images of a bag that went worst, in this order: wrong poses, silent ones (one per reason, then others), and
    the largest errors; with what the localizer saw drawn in, where that is known."""
    return [
        item if item.sample.result is None else replace(item, image=draw_matches(item.image, None, item.sample.result))
        for item in pictures_of(path, samples, _worst(samples, config), options)
    ]


def _worst(samples: Sequence[Sample], config: EvaluationConfig) -> list[Sample]:
    wrong = [item for item in samples if judge(item, config) == "wrong"]
    silent = [item for item in samples if judge(item, config) == "silent" and not item.blind]
    one_each = list({state(item): item for item in silent}.values())
    off = sorted((item for item in samples if judge(item, config) == "right"), key=_distance, reverse=True)
    chosen = {item.stamp_ns: item for item in [*wrong, *one_each[: _FRAMES // 2], *off[: _FRAMES // 2], *silent, *off]}
    return list(chosen.values())[:_FRAMES]


def _distance(sample: Sample) -> float:
    return sample.error[0] if sample.error is not None else -1.0


def write_html(
    path: Path,
    samples: Sequence[Sample],
    config: EvaluationConfig | None = None,
    landmark_map: LandmarkMap | None = None,
    frames: Sequence[Thumbnail] = (),
    title: str = "Localization",
    notes: Sequence[tuple[str, str]] = (),
    evo: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Write the report. notes: further lines of its table; evo: as `evo_statistics` gives them.

    Raises ConfigError without matplotlib, DatasetError when no sample has ground truth or the file cannot be written.
    """
    config = config or EvaluationConfig()
    numbers = [*rows(score(samples, config), config), *notes]
    sections = [html_parts.table(numbers), *([_evo_table(evo)] if evo else [])]
    with dressed() as figure_class:
        drawn = [
            ("Recall", "share of the images whose pose is within a distance, and within an angle", _recall),
            ("States over time", "what each image was answered with", _states),
            ("Errors over time", "bands: no pose; dashed: wrong from here on", _errors),
            ("Latency", "number of images by time from the image to the answer; dashed: median and 95 %", _latency),
        ]
        for name, said, draw in drawn:
            figure = figure_class(figsize=(12, 3.2), layout="constrained")
            if draw(figure, samples, config):
                sections.append(html_parts.section(name, said, _picture_of(figure)))
        figure = figure_class(figsize=(12, 8), layout="constrained")
        draw_plan(figure.add_subplot(), samples, config, landmark_map)
        sections.append(html_parts.section("Plan", "map, true path and published poses", _picture_of(figure)))
    if frames:
        shown = "".join(_frame(frame, config) for frame in frames)
        said = "wrong poses first, then images without a pose, then the largest errors"
        sections.append(html_parts.section("Worst frames", said, f'<div class="frames">{shown}</div>'))
    written_whole(path, html_parts.document(title, sections))


def _evo_table(evo: Mapping[str, Mapping[str, float]]) -> str:
    wanted = ("rmse", "mean", "median", "max")
    head = "".join(f"<td>{name}</td>" for name in ("", *wanted))
    lines = "".join(
        f"<tr><td>{html.escape(name)}</td>{''.join(f'<td>{values[key]:.4f}</td>' for key in wanted)}</tr>"
        for name, values in evo.items()
    )
    return html_parts.section("Trajectory", "by evo, without any alignment", f"<table><tr>{head}</tr>{lines}</table>")


def _picture_of(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _frame(frame: Thumbnail, config: EvaluationConfig) -> str:
    error = frame.sample.error
    said = f"{100 * error[0]:.1f} cm, {error[1]:.2f} deg" if error is not None else frame.sample.reason or "no pose"
    caption = f"{frame.time_s:.2f} s: {said}"
    return html_parts.figure(frame.image, caption, bad=judge(frame.sample, config) == "wrong")


def _recall(figure: Any, samples: Sequence[Sample], config: EvaluationConfig) -> bool:
    seeing = [item for item in samples if item.truth is not None and not item.blind]
    errors = np.array([item.error for item in seeing if item.error is not None]).reshape(-1, 2)
    if not len(errors):
        return False
    largest_deg = max(angle for _, angle in RECALL_LEVELS[config.recall_levels])
    near = np.sort(100 * errors[errors[:, 1] <= largest_deg, 0])
    axes = figure.add_subplot(1, 2, 1)
    axes.step(near, 100 * np.arange(1, len(near) + 1) / len(seeing), where="post", color=COLORS["right"])
    axes.set_xscale("log")
    axes.set_xlim(*_RECALL_RANGE[config.recall_levels])
    axes.set_xlabel(f"position error, cm (within {largest_deg:g} deg)")
    turned = figure.add_subplot(1, 2, 2)
    angles = np.sort(errors[:, 1])
    turned.step(angles, 100 * np.arange(1, len(angles) + 1) / len(seeing), where="post", color=COLORS["right"])
    turned.set_xlim(0, config.wrong_angle_deg)
    turned.set_xlabel("orientation error, degrees")
    for item in (axes, turned):
        item.set_ylim(0, 101)
        item.set_ylabel("% of the images")
        item.grid(alpha=0.15)
    return True


def _states(figure: Any, samples: Sequence[Sample], config: EvaluationConfig) -> bool:
    start_ns = min(sample.stamp_ns for sample in samples)
    said = [state(sample) for sample in samples]
    lanes = sorted(set(said), key=lambda name: (name not in _MODE_COLORS, -said.count(name)))
    figure.set_figheight(1.2 + 0.3 * len(lanes))
    axes = figure.add_subplot()
    for lane, name in enumerate(lanes):
        own = [item for item, word in zip(samples, said, strict=True) if word == name]
        times = [(item.stamp_ns - start_ns) * 1e-9 for item in own]
        colors = [
            COLORS["wrong"] if judge(item, config) == "wrong" else _MODE_COLORS.get(name, COLORS["silent"])
            for item in own
        ]
        axes.scatter(times, [lane] * len(own), c=colors, marker="|", s=120)
    axes.set_yticks(range(len(lanes)), [f"{name} ({said.count(name)})" for name in lanes])
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlabel("s")
    return True


def _errors(figure: Any, samples: Sequence[Sample], config: EvaluationConfig) -> bool:
    draw_errors(figure.add_subplot(), samples, config)
    return any(sample.error is not None for sample in samples)


def _latency(figure: Any, samples: Sequence[Sample], config: EvaluationConfig) -> bool:
    times = np.array([1e3 * sample.latency_s for sample in samples if sample.latency_s is not None])
    if not len(times):
        return False
    axes = figure.add_subplot()
    limit = float(np.percentile(times, 99)) * 1.3
    axes.hist(np.minimum(times, limit), bins=60, range=(0.0, limit), color=COLORS["right"])
    for share in (50, 95):
        axes.axvline(float(np.percentile(times, share)), color=INK, linestyle="--", linewidth=1)
    axes.set_xlabel("ms (the last bar holds all above)")
    axes.set_facecolor(PANEL)
    return True
