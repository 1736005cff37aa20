"""A picture of a run: the map from above, true and found path coloured by error, errors over time, some images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import EvaluationConfig
from hfnet_core.evaluation.metrics import Sample, judge, score
from hfnet_core.evaluation.report import rows
from hfnet_core.extras import needed
from hfnet_core.files import whole_file
from hfnet_core.geometry import Array
from hfnet_core.images.pixels import as_uint8
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions

__all__ = ["Thumbnail", "draw", "draw_errors", "draw_plan", "dressed", "pictures_of", "thumbnails"]

PAPER, PANEL, INK, FAINT = "#10151c", "#18202a", "#e8edf2", "#7d8b99"
COLORS = {"right": "#59d98c", "wrong": "#ff4d4d", "silent": "#f2b84b", "blind": "#8a97a6", "untested": "#8a97a6"}
_ERROR_RANGE_CM = (0.5, 50.0)
_THUMBNAILS = 6


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """An image of the run. image: [H, W] or [H, W, 3] RGB uint8."""

    sample: Sample
    time_s: float
    image: NDArray[Any] = field(repr=False)


def thumbnails(
    path: Path, samples: Sequence[Sample], config: EvaluationConfig, options: BagOptions | None = None
) -> list[Thumbnail]:
    """A few images of the bag: a blind or silent one, the worst one, and others evenly over time."""
    return pictures_of(path, samples, [samples[index] for index in _choose(samples, config)], options)


def pictures_of(
    path: Path, samples: Sequence[Sample], chosen: Sequence[Sample], options: BagOptions | None = None
) -> list[Thumbnail]:
    """The images of some samples of a run, in their order; those that the bag lacks are left out."""
    by_stamp = {sample.stamp_ns: sample for sample in chosen}
    found: dict[int, Thumbnail] = {}
    with Bag(path, options) as bag:
        indices = [index for index, item in enumerate(bag.timeline()) if item.stamp_ns in by_stamp]
        for frame in bag.frames(indices):
            time_s = (frame.stamp_ns - samples[0].stamp_ns) * 1e-9
            found[frame.stamp_ns] = Thumbnail(by_stamp[frame.stamp_ns], time_s, as_uint8(frame.image))
    return [found[stamp] for stamp in by_stamp if stamp in found]


@contextmanager
def dressed() -> Iterator[Any]:
    """The class of figures, in the colours of all our pictures. Raises MissingExtraError without matplotlib."""
    matplotlib, figures = needed("matplotlib"), needed("matplotlib.figure")
    colors = {
        "text.color": INK,
        "axes.labelcolor": FAINT,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "axes.edgecolor": PANEL,
        "axes.facecolor": PANEL,
        "figure.facecolor": PAPER,
        "font.size": 10,
    }
    with matplotlib.rc_context(colors):
        yield figures.Figure


def _choose(samples: Sequence[Sample], config: EvaluationConfig) -> list[int]:
    """Indices, ascending, at most _THUMBNAILS."""
    verdicts = [judge(sample, config) for sample in samples]
    blind = [index for index, sample in enumerate(samples) if sample.blind]
    wrong, silent = (
        [index for index, verdict in enumerate(verdicts) if verdict == word] for word in ("wrong", "silent")
    )
    special = [found[len(found) // 2] for found in (wrong, blind or silent) if found]
    errors = [sample.error[0] if sample.error is not None else -1.0 for sample in samples]
    if max(errors, default=-1.0) >= 0:
        special.append(int(np.argmax(errors)))
    right = [index for index, verdict in enumerate(verdicts) if verdict == "right" and index not in special]
    count = min(_THUMBNAILS - len(set(special)), len(right))
    even = [right[round(position)] for position in np.linspace(0, len(right) - 1, count + 2)[1:-1]] if count > 0 else []
    return sorted({*special, *even})[:_THUMBNAILS]


def draw(
    path: Path,
    samples: Sequence[Sample],
    config: EvaluationConfig | None = None,
    landmark_map: LandmarkMap | None = None,
    pictures: Sequence[Thumbnail] = (),
    title: str = "Localization",
    notes: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a PNG. notes: further lines beside the score's.

    Raises ConfigError without matplotlib, DatasetError when there is nothing to draw or it cannot be written.
    """
    config = config or EvaluationConfig()
    result = score(samples, config)
    with dressed() as Figure:
        figure = Figure(figsize=(16, 10))
        grid = figure.add_gridspec(
            5,
            4,
            width_ratios=(1, 1, 0.56, 0.56),
            height_ratios=(1, 1, 1, 0.5, 0.5),
            left=0.035,
            right=0.985,
            top=0.93,
            bottom=0.055,
            hspace=0.28,
            wspace=0.09,
        )
        figure.text(0.035, 0.955, title, fontsize=19, weight="bold")
        draw_plan(figure.add_subplot(grid[:4, :2]), samples, config, landmark_map)
        for index in range(_THUMBNAILS):
            axes = figure.add_subplot(grid[index // 2, 2 + index % 2])
            _draw_thumbnail(axes, pictures[index] if index < len(pictures) else None, config)
        draw_errors(figure.add_subplot(grid[4, :2]), samples, config)
        _draw_numbers(figure.add_subplot(grid[3:, 2:]), [*rows(result, config), *notes])
        with whole_file(path) as temporary:
            figure.savefig(temporary, dpi=100, format="png")


def _plane(samples: Sequence[Sample], landmark_map: LandmarkMap | None) -> Array:
    """[2, 3] axes of the view from above: the cameras' common upright direction is looked along."""
    poses = [sample.truth or sample.estimate for sample in samples]
    downs = [pose.rotation[:, 1] for pose in poses if pose is not None]
    if landmark_map is not None:
        downs += list(landmark_map.keyframe_poses[:, :, 1])
    up = -np.mean(downs, axis=0) if downs else np.array([0.0, 0.0, 1.0])
    up = up / max(float(np.linalg.norm(up)), 1e-9)
    if up[2] > np.cos(np.deg2rad(25)):  # near enough to a map with z up: keep its x and y
        up = np.array([0.0, 0.0, 1.0])
    seed = np.array([1.0, 0.0, 0.0]) if abs(up[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    right = seed - (seed @ up) * up
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(up, right)])


def draw_plan(axes: Any, samples: Sequence[Sample], config: EvaluationConfig, landmark_map: LandmarkMap | None) -> None:
    from matplotlib.colors import LogNorm

    plane = _plane(samples, landmark_map)
    up = np.cross(plane[0], plane[1])
    axes.set_facecolor(PAPER)
    axes.set_aspect("equal")
    poses = [pose for sample in samples for pose in (sample.truth, sample.estimate) if pose is not None]
    around = np.array([pose.translation for pose in poses]).reshape(-1, 3) @ plane.T
    if landmark_map is not None and landmark_map.landmarks:
        points = np.asarray(landmark_map.landmarks_xyz, dtype=np.float64)
        flat, height = points @ plane.T, points @ up
        low, high = np.percentile(height, (2, 98))
        shade = np.clip((height - low) / max(high - low, 1e-6), 0.0, 1.0)
        axes.scatter(*flat.T, s=1.2, c=shade, cmap="bone", vmin=-0.6, vmax=1, alpha=0.55, linewidths=0, zorder=1)
        keyframes = landmark_map.keyframe_poses[:, :, 3] @ plane.T
        axes.plot(
            *keyframes.T,
            "o",
            color="#4aa3df",
            markersize=2.6,
            alpha=0.8,
            zorder=2,
            label=f"{landmark_map.keyframes} keyframes, {landmark_map.landmarks} landmarks",
        )
        around = np.vstack([around, keyframes, np.percentile(flat, (2, 98), axis=0)])
    truth = (
        np.array([sample.truth.translation for sample in samples if sample.truth is not None]).reshape(-1, 3) @ plane.T
    )
    axes.plot(*truth.T, "-", color="white", linewidth=1.0, alpha=0.9, zorder=3, label="true path")
    silent = [item.truth.translation for item in samples if item.truth is not None and item.estimate is None]
    if silent:
        axes.plot(
            *(np.array(silent) @ plane.T).T,
            "x",
            color=COLORS["silent"],
            markersize=3,
            alpha=0.7,
            zorder=4,
            label=f"{len(silent)} images without a pose",
        )
    found = [
        (item.estimate.translation, 100 * item.error[0], judge(item, config))
        for item in samples
        if item.estimate is not None and item.error is not None
    ]
    if found:
        at = np.array([place for place, _, _ in found]) @ plane.T
        errors_cm = np.clip([error for _, error, _ in found], *_ERROR_RANGE_CM)
        drawn = axes.scatter(
            *at.T,
            c=errors_cm,
            s=26,
            zorder=5,
            cmap="turbo",
            norm=LogNorm(*_ERROR_RANGE_CM),
            linewidths=0,
            label="published poses",
        )
        bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.5, pad=0.01, ticks=[0.5, 1, 2, 5, 10, 25, 50])
        bar.ax.set_yticklabels(["0.5", "1", "2", "5", "10", "25", "50 cm"])
        bar.outline.set_visible(False)
        wrong = at[[verdict == "wrong" for _, _, verdict in found]]
        if len(wrong):
            axes.plot(
                *wrong.T, "o", color=COLORS["wrong"], fillstyle="none", markersize=13, label="wrong poses", zorder=6
            )
    if len(around):
        margin = 0.06 * float(np.ptp(around, axis=0).max()) + 0.2
        axes.set_xlim(around[:, 0].min() - margin, around[:, 0].max() + margin)
        axes.set_ylim(around[:, 1].min() - margin, around[:, 1].max() + margin)
    axes.legend(loc="upper left", fontsize=9, facecolor=PANEL, edgecolor=PANEL, labelcolor=INK, framealpha=0.8)
    axes.set_title("seen from above, metres", loc="left", fontsize=10, color=FAINT)


def _draw_thumbnail(axes: Any, item: Thumbnail | None, config: EvaluationConfig) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(PANEL)
    if item is None:
        axes.set_visible(False)
        return
    axes.imshow(item.image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    verdict = "blind" if item.sample.blind and item.sample.estimate is None else judge(item.sample, config)
    for side in axes.spines.values():
        side.set_color(COLORS[verdict])
        side.set_linewidth(2.5)
    error = item.sample.error
    said = f"{100 * error[0]:.1f} cm, {error[1]:.2f} deg" if error is not None else "no pose"
    if verdict == "blind":
        said += ": nothing to see"
    axes.set_title(f"{item.time_s:.1f} s: {said}", fontsize=9, color=COLORS[verdict], loc="left", pad=3)


def draw_errors(axes: Any, samples: Sequence[Sample], config: EvaluationConfig) -> None:
    axes.set_facecolor(PANEL)
    start_ns = min(sample.stamp_ns for sample in samples)
    times = np.array([(sample.stamp_ns - start_ns) * 1e-9 for sample in samples])
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    for time_s, sample in zip(times, samples, strict=True):
        if sample.truth is not None and sample.estimate is None:
            color = COLORS["blind"] if sample.blind else COLORS["silent"]
            axes.axvspan(time_s - step / 2, time_s + step / 2, color=color, alpha=0.35, linewidth=0)
    found = [
        (time_s, 100 * max(item.error[0], 1e-4))
        for time_s, item in zip(times, samples, strict=True)
        if item.error is not None
    ]
    if found:
        axes.plot(*np.array(found).T, ".", color=COLORS["right"], markersize=4)
    axes.axhline(100 * config.wrong_distance_m, color=COLORS["wrong"], linewidth=1, linestyle="--")
    axes.set_yscale("log")
    axes.set_ylim(0.1, max(300 * config.wrong_distance_m, 100.0))
    axes.set_xlim(times[0] - step, times[-1] + step)
    axes.set_title(
        "position error, cm, over time, s (bands: no pose; dashed: wrong)", loc="left", fontsize=10, color=FAINT
    )


def _draw_numbers(axes: Any, lines: Sequence[tuple[str, str]]) -> None:
    axes.set_axis_off()
    for index, (name, value) in enumerate(lines):
        height = 1.0 - (index + 0.5) / max(len(lines), 1)
        axes.text(0.0, height, name, color=FAINT, fontsize=10.5, va="center", transform=axes.transAxes)
        axes.text(
            1.0,
            height,
            value,
            color=INK,
            fontsize=11,
            va="center",
            ha="right",
            weight="bold",
            transform=axes.transAxes,
        )
