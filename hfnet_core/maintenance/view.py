"""Pictures of a map: a plan as PNG, and one HTML file to turn and zoom in that works without a network."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError
from hfnet_core.extras import needed
from hfnet_core.files import whole_file, written_whole
from hfnet_core.maintenance.check import WEAK_INLIERS, MapCheck
from hfnet_core.maps.coverage import SECTORS, Plan, coverage_of, group_places, plan_of
from hfnet_core.maps.landmark_map import LandmarkMap

__all__ = ["check_view_name", "draw_map"]

_MAX_POINTS = 200_000  # in the HTML: more make it slow on small machines
_PLAN_POINTS = 50_000
_PLACEHOLDER = "/*DATA*/null"
_PAPER, _PANEL, _INK, _FAINT, _WEAK = "#10151c", "#18202a", "#e8edf2", "#7d8b99", "#ff4d4d"


def check_view_name(path: Path) -> None:
    """Raises ConfigError, before any work, when a view cannot be written there."""
    if path.suffix.lower() not in (".png", ".html"):
        raise ConfigError(f"{path}: a view is a .png or an .html file")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such directory to write a view into")


def draw_map(landmark_map: LandmarkMap, check: MapCheck, path: Path, title: str) -> None:
    """Write `path`, .png or .html, complete or not at all. Raises ConfigError, see `check_view_name`."""
    check_view_name(path)
    if path.suffix.lower() == ".html":
        written_whole(path, _page(landmark_map, check, title))
    else:
        _draw_plan(landmark_map, check, path, title)


def _page(landmark_map: LandmarkMap, check: MapCheck, title: str) -> str:
    """The viewer with the map inside. In it z is up; a map with another axis up is turned for the view."""
    upright = _upright(plan_of(landmark_map))
    lengths = np.diff(landmark_map.landmark_offsets)
    chosen = np.sort(np.argsort(-lengths, kind="stable")[:_MAX_POINTS])
    points = landmark_map.landmarks_xyz[chosen] @ upright.T
    poses = landmark_map.keyframe_poses
    low, high = np.quantile(points, (0.02, 0.98), axis=0) if len(points) else np.zeros((2, 3))
    centres = poses[:, :, 3] @ upright.T
    axes = np.einsum("ij,mjk->mki", upright, poses[:, :, :3])  # each camera axis as a row
    extent = max(float(np.linalg.norm(high - low)), 1.0)
    weak = {item.keyframe: item for item in check.weak}
    content = {
        "title": title,
        "facts": _facts(landmark_map, check),
        "points": _base64(points),
        "shades": _base64(np.clip(np.log2(np.maximum(lengths[chosen], 1)) / 4, 0, 1)),
        "poses": _base64(np.concatenate([centres[:, None], axes], axis=1)),
        "weak": [int(index in weak) for index in range(landmark_map.keyframes)],
        "names": list(landmark_map.keyframe_names),
        "remarks": [item.reason or f"{item.inliers} inliers, {item.error_m:.3f} m" for item in check.held_back],
        "centre": np.round((low + high) / 2, 3).tolist(),
        "extent": round(extent, 3),
        "keyframe_size": round(min(extent / 40, 0.3), 3),
    }
    # A name with "</script>" in it must not end the script.
    text = json.dumps(content).replace("<", "\\u003c")
    return (files("hfnet_core.maintenance") / "viewer.html").read_text(encoding="utf-8").replace(_PLACEHOLDER, text, 1)


def _upright(plan: Plan) -> NDArray[np.float64]:
    """[3, 3] rotation of the map for the viewer, where z is up."""
    out = np.zeros((3, 3))
    out[0, plan.across], out[1, plan.along], out[2, plan.up] = 1.0, plan.sign, plan.sign
    return out


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def _facts(landmark_map: LandmarkMap, check: MapCheck) -> str:
    covered = coverage_of(landmark_map, plan_of(landmark_map))
    return (
        f"{landmark_map.keyframes:,} keyframes, {landmark_map.landmarks:,} landmarks, frame "
        f"{landmark_map.frame_id!r}. {len(check.localized)} of {len(check.held_back)} keyframes found without "
        f"themselves, {len(check.weak)} weak (under {WEAK_INLIERS} inliers). Gone through: {covered.area_m2:.1f} m²."
    )


def _draw_plan(landmark_map: LandmarkMap, check: MapCheck, path: Path, title: str) -> None:
    plan = plan_of(landmark_map)
    figure = needed("matplotlib.figure").Figure(figsize=(12, 9), facecolor=_PAPER, layout="constrained")
    needed("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=_PANEL)
    _draw_landmarks(axes, landmark_map, plan)
    _draw_coverage(figure, axes, landmark_map, plan)
    _draw_keyframes(axes, landmark_map, check, plan)
    axes.set_aspect("equal")
    axes.set_title(f"{title}, from above ({plan.name} is up)", color=_INK, loc="left")
    axes.set_xlabel(f"{'xyz'[plan.across]} in m", color=_INK)
    axes.set_ylabel(f"{'' if plan.sign > 0 else '-'}{'xyz'[plan.along]} in m", color=_INK)
    axes.tick_params(colors=_FAINT)
    axes.legend(loc="upper right", facecolor=_PANEL, labelcolor=_INK, framealpha=0.8)
    figure.supxlabel(_facts(landmark_map, check), color=_FAINT, fontsize=8)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _draw_landmarks(axes: Any, landmark_map: LandmarkMap, plan: Plan) -> None:
    lengths = np.diff(landmark_map.landmark_offsets)
    chosen = np.argsort(-lengths, kind="stable")[:_PLAN_POINTS]
    flat = plan.flat(landmark_map.landmarks_xyz[chosen])
    axes.scatter(flat[:, 0], flat[:, 1], s=1.5, c=_FAINT, linewidths=0, alpha=0.6, label="landmarks")
    if len(flat):  # a few far landmarks must not make the rest a dot
        centres = plan.flat(landmark_map.keyframe_poses[:, :, 3])
        everything = np.concatenate([np.quantile(flat, (0.005, 0.995), axis=0), centres])
        axes.set_xlim(everything[:, 0].min() - 0.5, everything[:, 0].max() + 0.5)
        axes.set_ylim(everything[:, 1].min() - 0.5, everything[:, 1].max() + 0.5)


def _draw_coverage(figure: Any, axes: Any, landmark_map: LandmarkMap, plan: Plan) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    covered = coverage_of(landmark_map, plan)
    squares = [Rectangle(tuple(corner), covered.cell_m, covered.cell_m) for corner in covered.cells]
    cells = PatchCollection(squares, cmap="viridis", alpha=0.45, linewidths=0)
    cells.set_array(covered.directions)
    cells.set_clim(1, SECTORS)
    axes.add_collection(cells)
    bar = figure.colorbar(cells, ax=axes, shrink=0.6)
    bar.set_label(f"directions of {SECTORS} seen from this cell", color=_INK)
    bar.ax.tick_params(colors=_FAINT)


def _draw_keyframes(axes: Any, landmark_map: LandmarkMap, check: MapCheck, plan: Plan) -> None:
    centres = plan.flat(landmark_map.keyframe_poses[:, :, 3])
    ahead = plan.flat(landmark_map.keyframe_poses[:, :, 2])
    weak = np.zeros(landmark_map.keyframes, dtype=bool)
    weak[[item.keyframe for item in check.weak]] = True
    for rows, color, label in ((~weak, "#59d98c", "keyframes"), (weak, _WEAK, "weak keyframes")):
        if rows.any():
            axes.quiver(
                *centres[rows].T,
                *ahead[rows].T,
                color=color,
                label=label,
                angles="xy",
                scale_units="xy",
                scale=4,
                width=0.002,
                zorder=3,
            )
    for group in group_places(landmark_map, np.flatnonzero(weak).tolist()):
        axes.scatter(*centres[group].mean(axis=0), s=300, facecolors="none", edgecolors=_WEAK, zorder=4)
