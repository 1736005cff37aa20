"""`hfnet map upgrade`: an old map for new weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.cli.feature_options import FeatureArguments
from hfnet_core.cli.map.tools import build_tools
from hfnet_core.cli.option_sets import BagArguments, ModelFile, WorkerArguments, with_option_sets
from hfnet_core.config import MapBuildConfig, MapCareConfig
from hfnet_core.errors import printable
from hfnet_core.maintenance.summary import summarize
from hfnet_core.maintenance.upgrading.upgrade import upgrade_map
from hfnet_core.maps.storage import MAP_SUFFIX, check_output, load_map, save_map
from hfnet_core.terminal import SafeConsole

__all__ = ["upgrade"]


@with_option_sets
def upgrade(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map, of whatever network.")],
    bags: Annotated[list[Path], typer.Argument(metavar="BAG...", help="The recordings that it was made of.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=f"The new map, NAME{MAP_SUFFIX}.")],
    recording: BagArguments,
    computing: WorkerArguments,
    described: FeatureArguments,
    max_missing: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of keyframes that may lack their images.")
    ] = MapCareConfig.max_missing,
    multi_scale: Annotated[
        bool, typer.Option("--multi-scale", help="For queries from much nearer or further away, as of a build.")
    ] = MapBuildConfig.multi_scale,
    model: ModelFile = None,
) -> None:
    """Describe an old map with new weights, from its recordings; poses, cameras, frame and place on Earth stay."""
    check_output(output)
    options = recording.options()
    landmark_map = load_map(path, verify=True)
    with build_tools(model, MapBuildConfig(multi_scale=multi_scale), computing, output, described) as tools:
        upgraded = upgrade_map(landmark_map, bags, tools, options, max_missing)
        save_map(upgraded.landmark_map, output)
    if upgraded.missing:
        names = ", ".join(printable(name) for name in upgraded.missing)
        typer.echo(f"{len(upgraded.missing)} keyframes are left out, their images are not in the recordings: {names}")
    SafeConsole().print(summarize(upgraded.landmark_map, output))
