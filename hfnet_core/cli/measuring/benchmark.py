"""`hfnet benchmark DATASET DATA`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hfnet_core.benchmarks.datasets.catalogue import DATASETS, open_dataset
from hfnet_core.benchmarks.paper.place_run import Extractors
from hfnet_core.benchmarks.paper.presets import PRESETS, preset_of
from hfnet_core.benchmarks.paper.run import Options, Outcome, run_dataset
from hfnet_core.cli.feature_options import FeatureArguments
from hfnet_core.cli.option_sets import ModelFile, with_option_sets
from hfnet_core.cli.progress import progress_bars
from hfnet_core.terminal import SafeConsole

__all__ = ["benchmark"]


@with_option_sets
def benchmark(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=f"{', '.join(DATASETS)}.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of its download, unpacked.")],
    described: FeatureArguments,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for maps, results, log and gallery. [DATASET-results]")
    ] = None,
    place: Annotated[list[str] | None, typer.Option(help="Only this slice or scene; repeat for several.")] = None,
    condition: Annotated[list[str] | None, typer.Option(help="Only queries of this condition; repeat.")] = None,
    preset: Annotated[
        str, typer.Option(help=f"Settings: {', '.join(PRESETS)}; auto takes the paper's where it has some.")
    ] = "auto",
    method: Annotated[str, typer.Option(help="What the file of results is named after.")] = Options.method,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Submit the most similar map image's pose where none is found.")
    ] = False,
    truth: Annotated[
        Path | None, typer.Option(help="True poses of queries: `NAME qw qx qy qz tx ty tz`, camera from map.")
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="Failed and localized queries of each condition in the gallery.")
    ] = Options.pictures,
    model: ModelFile = None,
) -> None:
    """Run an evaluation of the paper: from a downloaded dataset to results, a log and a gallery.

    A run that was ended goes on where it was.
    """
    opened, settings = open_dataset(dataset, data), preset_of(dataset, preset)
    of_map = described.source(settings.building.extraction, model, "onnxruntime")
    extractors = Extractors(of_map, described.source(settings.extraction, model, "onnxruntime"))
    options = Options(tuple(place or ()), tuple(condition or ()), method, fallback, truth, pictures)
    with progress_bars() as show:
        folder = output or Path(f"{dataset}-results")
        outcome = run_dataset(opened, folder, settings, extractors, options, show)
    SafeConsole().print(_table(outcome))
    for path in (outcome.results, outcome.log_file, outcome.gallery):
        if path is not None:
            typer.echo(f"{path}: written")


def _table(outcome: Outcome) -> Table:
    table = Table(title=f"{outcome.log['dataset']}, preset {outcome.log['preset']}")
    for column in ("condition", "queries", "localized", "inliers", "recall", "median error"):
        table.add_column(column, justify="left" if column == "condition" else "right")
    for name, summary in outcome.log["conditions"].items():
        recall = " / ".join(f"{100 * share:.1f}" for share in summary.get("recall", {}).values())
        error = summary.get("median_error")
        told = f"{100 * error['metres']:.1f} cm {error['degrees']:.2f} deg" if error else "-"
        inliers = "-" if summary["mean_inliers"] is None else f"{summary['mean_inliers']:.0f}"
        table.add_row(
            name, str(summary["queries"]), f"{100 * summary['success_rate']:.1f} %", inliers, recall or "-", told
        )
    return table
