"""A map in a table, for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from hfnet_core.georeference.datum import Georeference
from hfnet_core.localization.covisibility import nearby_keyframes
from hfnet_core.maintenance.check import MapCheck
from hfnet_core.mapping.georeferencing import MISSING
from hfnet_core.maps.coverage import SECTORS, coverage_of, group_places, plan_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.statistics import COUNTS, counts

__all__ = ["accuracy_rows", "look_alike_rows", "summarize", "summarize_check"]

_ALIKE_SHOWN = 3


def summarize(landmark_map: LandmarkMap, path: Path) -> Table:
    """Contents, cameras, extent, quality and origin of a map."""
    table = Table(title=path.name, show_header=False, title_justify="left")
    for name, value in _rows(landmark_map, path):
        table.add_row(name, value)
    return table


def _rows(landmark_map: LandmarkMap, path: Path) -> list[tuple[str, str]]:
    tracks = counts(landmark_map.keyframes, landmark_map.landmarks, landmark_map.observations)["mean_track_length"]
    local = landmark_map.observation_descriptors
    rows = [
        ("keyframes", f"{landmark_map.keyframes:,}"),
        ("landmarks", f"{landmark_map.landmarks:,}"),
        ("observations", f"{landmark_map.observations:,} (mean track length {tracks:.2f})"),
        ("descriptors", f"local {local.shape[1]} ({local.dtype}), global {landmark_map.global_descriptors.shape[1]}"),
        ("scales", " ".join(f"{factor:g}" for factor in sorted([1.0, *landmark_map.scale_factors.tolist()]))),
        ("frame", landmark_map.frame_id),
        ("extent of landmarks", _extent(landmark_map)),
    ]
    for index, camera in enumerate(landmark_map.cameras):
        values = " ".join(f"{value:.5g}" for value in camera.params)
        rows.append((f"camera {index}", f"{camera.model} {camera.width}x{camera.height}: {values}"))
    for name, value in landmark_map.provenance.get("statistics", {}).items():
        if name not in COUNTS:
            rows.append((name, str(value)))
    loops = landmark_map.provenance.get("loop_closures")
    if loops is not None:
        rows.append(("loop closures", ", ".join(f"{value} {name}" for name, value in loops.items())))
    if "gravity" in landmark_map.provenance:
        rows.append(("gravity", str(landmark_map.provenance["gravity"])))
    rows += look_alike_rows(landmark_map)
    rows += [*_origin(landmark_map.provenance), *_place(landmark_map.provenance)]
    for place, recording in enumerate(landmark_map.recordings):
        number = recording["number"]
        said = "; ".join(f"{name} {value}" for name, value in recording.items() if name != "number")
        rows.append((f"recording {number if number >= 0 else place}", said))
    for step in landmark_map.provenance.get("history", []):
        said = "; ".join(f"{name} {value}" for name, value in step.items() if name not in ("step", "history"))
        rows.append((str(step.get("step", "step")), said))
    rows.append(("model", landmark_map.made_with))
    if path.is_file():
        rows.append(("file", f"{path.stat().st_size / 1e6:.1f} MB"))
    return rows


def look_alike_rows(landmark_map: LandmarkMap) -> list[tuple[str, str]]:
    """Which keyframes other places show as well: one of each group of places that are alike."""
    alike = list(dict.fromkeys(landmark_map.alike_keyframes.tolist()))
    if not alike:
        return []
    examples = []
    for group in group_places(landmark_map, alike)[:_ALIKE_SHOWN]:
        there = landmark_map.look_alikes_of(group[0])[0] @ landmark_map.map_from_camera(group[0])
        doubles = nearby_keyframes(landmark_map, there, 1)
        names = [landmark_map.keyframe_names[index] for index in (group[0], *doubles)]
        x, y, z = there.translation
        examples.append(f"{' is like '.join(names)}, at x {x:.2f} y {y:.2f} z {z:.2f}")
    said = f"{len(alike)} of {landmark_map.keyframes} keyframes show what another place does, too: "
    return [("look-alike places", said + "; ".join(examples))]


def _origin(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where poses and metres come from; what could not be used."""
    rows = [("poses", str(provenance["pose_mode"]))] if "pose_mode" in provenance else []
    structure = provenance.get("structure")
    if structure:
        left_out = structure["left_out_count"]
        names = ", ".join(structure["left_out"]) + (", ..." if left_out > len(structure["left_out"]) else "")
        rows.append(("images registered", f"{structure['registered']} of {structure['images']}"))
        if left_out:
            rows.append(("images left out", f"{left_out}: {names}"))
    scale = provenance.get("scale")
    if scale:
        arbitrary = scale["source"] == "arbitrary"
        rows.append(("scale", "ARBITRARY: metres mean nothing" if arbitrary else f"from {scale['source']}"))
    return rows


def _place(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where on Earth the map's origin is, and how its axes stand there."""
    place = Georeference.of(provenance)
    if place is None:
        return [("origin on Earth", f"unknown: {provenance[MISSING]}")] if MISSING in provenance else []
    at = place.datum
    scale = "" if abs(place.scale - 1) < 1e-9 else f"; {place.scale:.4f} m on Earth for one of the map"
    return [
        ("origin on Earth", f"{place.in_words()}, z axis {place.tilt_deg:.2f} deg from up{scale}"),
        (
            "GPS",
            f"{place.fixes - place.outliers} of {place.fixes} fixes of {place.source} agree, "
            f"{place.residual_m:.2f} m RMS horizontally",
        ),
        ("datum for navsat_transform", f"[{at.latitude_deg:.8f}, {at.longitude_deg:.8f}, {place.heading_rad:.6f}]"),
    ]


def _extent(landmark_map: LandmarkMap) -> str:
    if not landmark_map.landmarks:
        return "empty"
    low, high = np.quantile(landmark_map.landmarks_xyz, (0.01, 0.99), axis=0)
    return " x ".join(f"{value:.1f}" for value in high - low) + " m (1st to 99th percentile)"


_WEAK_SHOWN = 10


def summarize_check(landmark_map: LandmarkMap, check: MapCheck, path: Path) -> Table:
    """How held-back keyframes fared, what the map covers, and where it is weak."""
    table = Table(title=path.name, show_header=False, title_justify="left")
    table.add_row("checksums", "right")
    table.add_row("connected parts", str(check.components))
    for name, value in (*_coverage_rows(landmark_map), *accuracy_rows(check), *look_alike_rows(landmark_map)):
        table.add_row(name, value)
    places = group_places(landmark_map, [item.keyframe for item in check.weak])
    by_keyframe = {item.keyframe: item for item in check.weak}
    for group in places[:_WEAK_SHOWN]:
        x, y, z = landmark_map.keyframe_poses[group, :, 3].mean(axis=0)
        worst = by_keyframe[group[0]]
        names = landmark_map.keyframe_names[group[0]] + (f" and {len(group) - 1} more" if len(group) > 1 else "")
        said = worst.reason or f"{worst.inliers} inliers"
        table.add_row("weak place", f"x {x:.2f} y {y:.2f} z {z:.2f}: {names}: {said}")
    if len(places) > _WEAK_SHOWN:
        table.add_row("weak places in all", str(len(places)))
    return table


def accuracy_rows(check: MapCheck) -> list[tuple[str, str]]:
    """How many held-back keyframes were found, and how well."""
    found = check.localized
    rows = [("keyframes localized without themselves", f"{len(found)} of {len(check.held_back)}")]
    if found:
        metres = np.quantile([item.error_m for item in found], (0.5, 0.95))
        degrees = np.quantile([item.error_deg for item in found], (0.5, 0.95))
        sigmas = [item.sigma_m for item in found if item.sigma_m is not None]
        rows += [
            ("agreement with their poses, median", f"{metres[0]:.3f} m, {degrees[0]:.2f} deg"),
            ("agreement, 95th percentile", f"{metres[1]:.3f} m, {degrees[1]:.2f} deg"),
            ("expected accuracy of a query, median", f"{np.median(sigmas):.3f} m (one sigma, worst direction)"),
            ("inliers, median", f"{np.median([item.inliers for item in found]):.0f}"),
        ]
    return rows


def _coverage_rows(landmark_map: LandmarkMap) -> list[tuple[str, str]]:
    covered = coverage_of(landmark_map, plan_of(landmark_map))
    if not len(covered.cells):
        return []
    directions = covered.directions
    return [
        ("area gone through", f"{covered.area_m2:.1f} m2 (cells of {covered.cell_m:g} m with a keyframe)"),
        (
            "directions seen from there",
            f"{directions.mean():.1f} of {SECTORS} on average; only one from "
            f"{(directions == 1).mean():.0%} of it: a robot that looks elsewhere is lost",
        ),
    ]
