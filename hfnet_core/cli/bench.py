"""`hfnet bench ...`: measurements side by side in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hfnet_core.errors import ConfigError
from hfnet_core.evaluation import feature_bench
from hfnet_core.evaluation.feature_metrics import load_depth_sequence, load_sequences
from hfnet_core.offline import read_image

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Measure features and localization beside their rivals.")


@app.callback()
def _root() -> None:
    """Keeps `features` a sub-command while it is the only one."""


@app.command()
def features(
    planar: Annotated[
        Path | None, typer.Option(help="Folder of planar sequences in HPatches naming (1.png, H_1_2, ...).")
    ] = None,
    depth: Annotated[
        Path | None, typer.Option(help="Folder with images/, depth/, poses_tum.txt, camera.json: relocalization.")
    ] = None,
    first_query: Annotated[int, typer.Option(help="Number of the first query frame of the depth sequence.")] = 500,
    distractors: Annotated[Path | None, typer.Option(help="Folder of unrelated images for retrieval.")] = None,
    keypoints: Annotated[int, typer.Option(min=10, help="Keypoints per image, for every front end.")] = 1000,
    model: Annotated[Path | None, typer.Option(help="Network (ONNX); default: the shipped one.")] = None,
    aliked: Annotated[Path | None, typer.Option(help="ALIKED weights (.pth); needs the `train` extra.")] = None,
) -> None:
    """Matching accuracy, repeatability, homographies, relocalization, retrieval and time of ours, SIFT, ORB, ALIKED."""
    if planar is None and depth is None:
        raise ConfigError("nothing to measure: give --planar FOLDER, --depth FOLDER or both")
    console = Console()
    sequences = load_sequences(planar) if planar is not None else []
    walk = load_depth_sequence(depth, first_query) if depth is not None else None
    others = [read_image(path) for path in sorted(distractors.rglob("*.[jp][pn]g"))] if distractors is not None else []
    extractors = feature_bench.front_ends(model, keypoints, aliked)
    with console.status("measuring") as status:
        scores = feature_bench.run(extractors, sequences, walk, others, lambda name: status.update(f"measuring {name}"))
    if sequences:
        console.print(_planar_table(scores))
    if walk is not None:
        console.print(_depth_table(scores))


def _planar_table(scores: list[feature_bench.FrontEndScores]) -> Table:
    table = Table(title="Planar sequences: mean matching accuracy at 1/3/5 px, repeatability and homography at 3 px")
    for column in ("front end", "sequence", "MMA@1", "MMA@3", "MMA@5", "repeat.", "error px", "homography"):
        table.add_column(column, justify="left" if column in ("front end", "sequence") else "right")
    for score in scores:
        rows = [(name, [*h.accuracy, h.repeatability, h.localization_error_px, h.homography_accuracy])
                for name, h in score.homographies.items()]  # fmt: skip
        mean = [sum(values[i] for _, values in rows) / len(rows) for i in range(6)]
        for name, values in [*rows, ("mean", mean)]:
            table.add_row(score.name, name, *(f"{value:.3f}" for value in values), end_section=name == "mean")
    return table


def _depth_table(scores: list[feature_bench.FrontEndScores]) -> Table:
    table = Table(title="Relocalization with given landmarks, retrieval, extraction time")
    for column in ("front end", "5cm/2°", "10cm/5°", "25cm/5°", "median", "R@1", "R@5", "chance", "median time"):
        table.add_column(column, justify="left" if column == "front end" else "right")
    for score in scores:
        found, retrieved = score.relocalization, score.retrieval
        relocalization = ["-"] * 4
        if found is not None:
            relocalization = [f"{share:.1%}" for share in found.recall]
            relocalization.append(f"{found.median_m * 100:.1f} cm {found.median_deg:.2f}°")
        retrieval = ["-"] * 3
        if retrieved is not None:
            retrieval = [f"{share:.1%}" for share in (retrieved.recall_1, retrieved.recall_5, retrieved.chance_1)]
        table.add_row(score.name, *relocalization, *retrieval, f"{score.extraction_s * 1e3:.0f} ms")
    return table
