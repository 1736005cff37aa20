"""`hfnet map extend | merge | align | prune | view`: life with maps after they are built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hfnet_core.cli.option_sets import BagArguments, ModelFile, with_option_sets
from hfnet_core.cli.progress import progress_bars
from hfnet_core.config import MapBuildConfig, MapCareConfig
from hfnet_core.errors import ConfigError, printable
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Similarity
from hfnet_core.maintenance.align import fit_positions, floor_alignment, moved_map, read_positions
from hfnet_core.maintenance.check import MapCheck, check_map
from hfnet_core.maintenance.extend import extend_map
from hfnet_core.maintenance.merge import merge_maps
from hfnet_core.maintenance.prune import Budget, prune_map
from hfnet_core.maintenance.summary import accuracy_rows, summarize
from hfnet_core.maintenance.view import check_view_name, draw_map
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.mapping.keyframes.workspace import open_workspace
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import MAP_SUFFIX, check_output, load_map, save_map
from hfnet_core.progress import Progress as Report
from hfnet_core.recordings.tum import parse_pose
from hfnet_core.terminal import SafeConsole

__all__ = ["add_commands"]

_CARE = MapCareConfig()

Map = Annotated[Path, typer.Argument(metavar="MAP", help="A map.")]
Output = Annotated[Path, typer.Option("--output", "-o", help=f"The new map, NAME{MAP_SUFFIX}.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to `hfnet map`."""
    for command in (extend, merge, align, prune, view):
        app.command(command.__name__)(command)


@with_option_sets
def extend(
    path: Map,
    bags: Annotated[list[Path], typer.Argument(metavar="BAG...", help="Recordings of the same place.")],
    output: Output,
    recording: BagArguments,
    model: ModelFile = None,
) -> None:
    """Add recordings of another day or in other light to a map; its frame stays."""
    check_output(output)
    config, options = MapBuildConfig(), recording.options()
    extractor = Extractor(open_backend(model, "onnxruntime"), config.extraction)
    landmark_map = load_map(path, extractor.info.model_hash, verify=True)
    with progress_bars() as show, open_workspace(output) as workspace:
        extended = extend_map(landmark_map, bags, BuildTools(extractor, config, show, workspace), options)
        save_map(extended.landmark_map, output)
    for number, placing in enumerate(extended.placings, start=1):
        typer.echo(
            f"recording {number}: {len(placing.placed)} keyframes added, {placing.localized} of them localized; "
            f"{placing.contradicted} contradicted the odometry; {placing.left_out} left out"
        )
    SafeConsole().print(summarize(extended.landmark_map, output))


def merge(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="A map, whose frame stays.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="A map that overlaps it.")],
    output: Output,
    scale: Annotated[bool, typer.Option("--scale", help="The second map may have another scale.")] = False,
) -> None:
    """Join two maps that overlap."""
    check_output(output)
    one, other = load_map(first, verify=True), load_map(second, verify=True)
    with progress_bars() as show:
        merged = merge_maps(one, other, scaled=scale, progress=show)
        save_map(merged.landmark_map, output)
    found = merged.overlap
    typer.echo(
        f"{found.agreeing} of {found.keyframes} keyframes of {second.name} agree where they are in {first.name}; "
        f"{merged.fused} landmarks are seen by both; scale of the second: {found.scale:.4f}"
    )
    SafeConsole().print(summarize(merged.landmark_map, output))


def align(
    path: Map,
    output: Output,
    frame: Annotated[str | None, typer.Option(help="Name of the new frame [default: the old one]")] = None,
    transform: Annotated[str | None, typer.Option(help="new_from_old: 'x y z qx qy qz qw'.")] = None,
    factor: Annotated[float, typer.Option(min=1e-6, help="With --transform: new metres in an old one.")] = 1.0,
    positions: Annotated[
        Path | None, typer.Option(help="Where keyframes are: CSV (keyframe,x,y,z) or TUM, by name or stamp.")
    ] = None,
    scale: Annotated[bool, typer.Option("--scale", help="With --positions: find the scale as well.")] = False,
    max_error_m: Annotated[float, typer.Option(help="Positions further off are wrong.")] = _CARE.align_error_m,
    floor: Annotated[bool, typer.Option("--floor", help="Find the floor; make it level, at z = 0.")] = False,
) -> None:
    """Bring a map into another frame: by a transform, by known positions, or onto its floor."""
    check_output(output)
    if (transform is not None) + (positions is not None) + floor != 1:
        raise ConfigError("align by exactly one of --transform, --positions and --floor")
    landmark_map = load_map(path, verify=True)
    if positions is not None:
        fit = fit_positions(landmark_map, read_positions(positions), max_error_m, scaled=scale)
        new_from_old = fit.new_from_old
        turned = (
            ""
            if fit.turned_deg is None
            else (f", orientations {'' if fit.oriented else 'not '}used (they differ by {fit.turned_deg:.1f} deg)")
        )
        typer.echo(f"{fit.inliers} of {fit.used} positions agree, {fit.rmse_m:.3f} m RMSE{turned}")
    elif transform is not None:
        new_from_old = Similarity(factor, parse_pose(transform))
    else:
        new_from_old = floor_alignment(landmark_map, _CARE.floor_error_m)
    moved = moved_map(landmark_map, new_from_old, frame)
    save_map(moved, output)
    x, y, z = new_from_old.pose.translation
    quat = " ".join(f"{value:.6f}" for value in new_from_old.pose.quat_xyzw())
    typer.echo(f"{printable(moved.frame_id)} from old: {x:.4f} {y:.4f} {z:.4f} {quat}, scale {new_from_old.scale:.6f}")


def prune(
    path: Map,
    output: Output,
    max_size_mib: Annotated[float | None, typer.Option(min=0.01, help="Largest file.")] = None,
    max_landmarks: Annotated[int | None, typer.Option(min=1, help="Most landmarks.")] = None,
    min_per_keyframe: Annotated[int, typer.Option(help="Landmarks each keyframe keeps.")] = _CARE.min_per_keyframe,
) -> None:
    """Make a map smaller by what serves least, and report how well keyframes are localized before and after."""
    check_output(output)
    care = MapCareConfig(min_per_keyframe=min_per_keyframe)
    size = None if max_size_mib is None else round(max_size_mib * 2**20)
    budget = Budget(size, max_landmarks, care.min_per_keyframe)
    landmark_map = load_map(path, verify=True)
    with progress_bars() as show:
        before = _check(landmark_map, "localizing keyframes, before", show)
        pruned = prune_map(landmark_map, before.hits, budget)
        after = _check(pruned, "localizing keyframes, after", show, landmark_map)
        save_map(pruned, output)
    table = Table("", "before", "after", title=output.name, title_justify="left")
    sizes = [f"{file.stat().st_size / 2**20:.1f} MiB" for file in (path, output)]
    table.add_row("file", *sizes)
    for name in ("keyframes", "landmarks", "observations"):
        table.add_row(name, *(f"{getattr(item, name):,}" for item in (landmark_map, pruned)))
    rows = dict(accuracy_rows(after))
    for name, value in accuracy_rows(before):
        table.add_row(name, value, rows.get(name, "-"))
    SafeConsole().print(table)


def view(
    path: Map,
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png (plan) or a .html (to turn and zoom).")],
) -> None:
    """Draw a map: plan, coverage, keyframes and weak places."""
    check_view_name(output)
    landmark_map = load_map(path, verify=True)
    with progress_bars() as show:
        draw_map(landmark_map, _check(landmark_map, "localizing keyframes", show), output, path.name)
    typer.echo(f"{output}: written")


def _check(landmark_map: LandmarkMap, stage: str, show: Report, queries: LandmarkMap | None = None) -> MapCheck:
    return check_map(landmark_map, lambda done, total: show(stage, done, total), queries)
