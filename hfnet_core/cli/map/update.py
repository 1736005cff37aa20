"""`hfnet map update`: a map that follows its place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hfnet_core.cli.feature_options import FeatureArguments
from hfnet_core.cli.map.tools import build_tools
from hfnet_core.cli.option_sets import BagArguments, ModelFile, WorkerArguments, with_option_sets
from hfnet_core.config import MapBuildConfig
from hfnet_core.maintenance.updating.update import Limits, update_map
from hfnet_core.maps.storage import MAP_SUFFIX, check_output, load_map, save_map
from hfnet_core.recordings.stretches.reading import recordings_of
from hfnet_core.terminal import SafeConsole

__all__ = ["update"]


@with_option_sets
def update(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map.")],
    bags: Annotated[
        list[Path], typer.Argument(metavar="BAG...", help="Visits: recordings, or folders that the node kept.")
    ],
    recording: BagArguments,
    computing: WorkerArguments,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=f"The new map, NAME{MAP_SUFFIX} [default: MAP itself]")
    ] = None,
    max_keyframes: Annotated[int | None, typer.Option(min=2, help="Most keyframes of the new map.")] = None,
    max_megabytes: Annotated[float | None, typer.Option(min=0.1, help="Largest size of the new map.")] = None,
    model: ModelFile = None,
) -> None:
    """Learn stretches where localization is weak, forget what is gone; refused where the map would become worse."""
    target = path if output is None else output
    check_output(target)
    limits = Limits(max_keyframes, None if max_megabytes is None else int(max_megabytes * 1e6))
    options = recording.options()
    with (
        recordings_of(bags) as visits,
        build_tools(model, MapBuildConfig(), computing, target, FeatureArguments()) as tools,
    ):
        landmark_map = load_map(path, tools.extractor.info.model_hash, verify=True, in_memory=True)
        updated = update_map(landmark_map, visits, tools, limits, options)
        save_map(updated.landmark_map, target)
    table = Table("", str(target), show_header=True)
    for row in updated.rows:
        table.add_row(*row)
    SafeConsole(stderr=True).print(table)
