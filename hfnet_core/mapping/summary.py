"""A map in a table, for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.table import Table

from hfnet_core.mapping.check import MapCheck
from hfnet_core.mapping.landmark_map import LandmarkMap

__all__ = ["summarize", "summarize_check"]


def summarize(landmark_map: LandmarkMap, path: Path) -> Table:
    """Contents, cameras, extent, quality and origin of a map."""
    table = Table(title=path.name, show_header=False, title_justify="left")
    for name, value in _rows(landmark_map, path):
        table.add_row(name, value)
    return table


def _rows(landmark_map: LandmarkMap, path: Path) -> list[tuple[str, str]]:
    tracks = landmark_map.observations / max(landmark_map.landmarks, 1)
    local = landmark_map.observation_descriptors
    rows = [
        ("keyframes", f"{landmark_map.keyframes:,}"),
        ("landmarks", f"{landmark_map.landmarks:,}"),
        ("observations", f"{landmark_map.observations:,} (mean track length {tracks:.2f})"),
        ("descriptors", f"local {local.shape[1]} ({local.dtype}), global {landmark_map.global_descriptors.shape[1]}"),
        ("frame", landmark_map.frame_id),
        ("extent of landmarks", _extent(landmark_map)),
    ]  # fmt: skip
    for index, camera in enumerate(landmark_map.cameras):
        values = " ".join(f"{value:.5g}" for value in camera.params)
        rows.append((f"camera {index}", f"{camera.model} {camera.width}x{camera.height}: {values}"))
    for name, value in landmark_map.provenance.get("statistics", {}).items():
        if name not in ("keyframes", "landmarks", "observations", "mean_track_length"):
            rows.append((name, str(value)))
    for index, recording in enumerate(landmark_map.provenance.get("recordings", [])):
        rows.append((f"recording {index}", "; ".join(f"{name} {value}" for name, value in recording.items())))
    model = landmark_map.provenance.get("model", {})
    rows.append(("model", f"{model.get('name', '?')} {model.get('version', '')} {landmark_map.model_hash}"))
    if path.is_file():
        rows.append(("file", f"{path.stat().st_size / 1e6:.1f} MB"))
    return rows


def _extent(landmark_map: LandmarkMap) -> str:
    if not landmark_map.landmarks:
        return "empty"
    low, high = np.quantile(landmark_map.landmarks_xyz, (0.01, 0.99), axis=0)
    return " x ".join(f"{value:.1f}" for value in high - low) + " m (1st to 99th percentile)"


_WEAK_SHOWN = 10


def summarize_check(landmark_map: LandmarkMap, check: MapCheck, path: Path) -> Table:
    """How held-back keyframes fared, and where the map is weak."""
    table = Table(title=path.name, show_header=False, title_justify="left")
    found = check.localized
    table.add_row("checksums", "right")
    table.add_row("connected parts", str(check.components))
    table.add_row("keyframes localized without themselves", f"{len(found)} of {len(check.held_back)}")
    if found:
        metres = np.quantile([item.error_m for item in found], (0.5, 0.95))
        degrees = np.quantile([item.error_deg for item in found], (0.5, 0.95))
        table.add_row("error, median", f"{metres[0]:.3f} m, {degrees[0]:.2f} deg")
        table.add_row("error, 95th percentile", f"{metres[1]:.3f} m, {degrees[1]:.2f} deg")
        table.add_row("inliers, median", f"{np.median([item.inliers for item in found]):.0f}")
    for item in check.weak[:_WEAK_SHOWN]:
        x, y, z = landmark_map.map_from_camera(item.keyframe).translation
        name = landmark_map.keyframe_names[item.keyframe]
        table.add_row(
            "weak place", f"{name} at x {x:.2f} y {y:.2f} z {z:.2f}: {item.reason or f'{item.inliers} inliers'}"
        )
    if len(check.weak) > _WEAK_SHOWN:
        table.add_row("weak places in all", str(len(check.weak)))
    return table
