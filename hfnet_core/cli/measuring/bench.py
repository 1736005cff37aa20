"""`hfnet bench ...`: measurements side by side in one run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hfnet_core.benchmarks import feature_bench, localization_suite
from hfnet_core.benchmarks.feature_metrics import TRIALS, load_sequences
from hfnet_core.benchmarks.retrieval_metrics import RetrievalScores
from hfnet_core.cli.option_sets import BagArguments, ModelFile, with_option_sets
from hfnet_core.errors import ConfigError
from hfnet_core.evaluation.depth_sequence import Overlaps, load_depth_sequence, render_courtyard, turned
from hfnet_core.images.reading import read_image
from hfnet_core.terminal import SafeConsole

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Measure features and localization beside their rivals.")


@app.command()
def features(
    planar: Annotated[
        Path | None, typer.Option(help="Folder of planar sequences in HPatches naming (1.png, H_1_2, ...).")
    ] = None,
    depth: Annotated[
        Path | None, typer.Option(help="Folder with images/, depth/, poses_tum.txt, camera.json: relocalization.")
    ] = None,
    first_query: Annotated[int, typer.Option(help="Number of the first query frame of the depth sequence.")] = 500,
    courtyard: Annotated[
        bool, typer.Option("--courtyard", help="Instead of --depth: two rendered walks with exact depth.")
    ] = False,
    turn: Annotated[
        float, typer.Option(min=-180, max=180, help="Turn the queries of the walk about their middle (degrees).")
    ] = 0.0,
    distractors: Annotated[Path | None, typer.Option(help="Folder of unrelated images for retrieval.")] = None,
    keypoints: Annotated[int, typer.Option(min=10, help="Keypoints per image, for every front end.")] = 1000,
    trials: Annotated[int, typer.Option(min=1, help="Seeds of RANSAC that relocalization is averaged over.")] = TRIALS,
    model: Annotated[Path | None, typer.Option(help="Network (ONNX); default: the shipped one.")] = None,
    aliked: Annotated[Path | None, typer.Option(help="ALIKED weights (.pth); needs the `train` extra.")] = None,
) -> None:
    """Matching accuracy, repeatability, homographies, relocalization, retrieval and time of ours, SIFT, ORB, ALIKED."""
    if planar is None and depth is None and not courtyard:
        raise ConfigError("nothing to measure: give --planar FOLDER, --depth FOLDER or --courtyard")
    if depth is not None and courtyard:
        raise ConfigError("--depth and --courtyard are two walks: give one of them")
    console = SafeConsole()
    sequences = load_sequences(planar) if planar is not None else []
    walk = load_depth_sequence(depth, first_query) if depth is not None else None
    walk = render_courtyard() if courtyard else walk
    walk = turned(walk, turn) if walk is not None and turn else walk
    others = [read_image(path) for path in sorted(distractors.rglob("*.[jp][pn]g"))] if distractors is not None else []
    extractors = feature_bench.front_ends(model, keypoints, aliked)
    with console.status("measuring") as status:
        scores = feature_bench.run(
            extractors, sequences, walk, others, lambda name: status.update(f"measuring {name}"), trials
        )
    if sequences:
        console.print(_planar_table(scores))
    if walk is not None:
        console.print(_depth_table(scores))
        for table in _retrieval_tables(scores):
            console.print(table)


@app.command()
@with_option_sets
def localize(
    map_bag: Annotated[Path, typer.Argument(metavar="MAP_BAG", help="Recording with poses: becomes the map.")],
    query_bag: Annotated[Path, typer.Argument(metavar="QUERY_BAG", help="Recording with poses: the queries.")],
    recording: BagArguments,
    front_end: Annotated[list[str], typer.Option(help="hfnet, sift, orb or aliked; repeat for several.")] = ["hfnet"],  # noqa: B006
    foreign_images: Annotated[
        Path | None, typer.Option("--foreign-images", "--strangers", help="Folder of images from elsewhere.")
    ] = None,
    foreign_count: Annotated[
        int, typer.Option("--foreign-count", "--stranger-count", min=1, help="How many of them.")
    ] = 500,
    keypoints: Annotated[int, typer.Option(min=10, help="Keypoints per query image.")] = 1000,
    model: ModelFile = None,
    aliked: Annotated[Path | None, typer.Option(help="ALIKED weights (.pth); needs the `train` extra.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
) -> None:
    """Recall, errors, wrong poses, calibration, time by stage; other front ends and an hloc-style baseline beside."""
    console, found = SafeConsole(), []
    options = localization_suite.Options(
        keypoints, model, aliked, foreign_images, foreign_count, recording.of_one_camera()
    )
    with console.status("measuring") as status:
        for name in front_end:
            found.append(localization_suite.run(name, map_bag, query_bag, options, status.update))
            localization_suite.show(found[-1], console)
    if json is not None:
        localization_suite.write_json(json, found)


def _planar_table(scores: list[feature_bench.FrontEndScores]) -> Table:
    table = Table(title="Planar sequences: mean matching accuracy at 1/3/5 px, repeatability and homography at 3 px")
    for column in ("front end", "sequence", "MMA@1", "MMA@3", "MMA@5", "repeat.", "error px", "homography"):
        table.add_column(column, justify="left" if column in ("front end", "sequence") else "right")
    for score in scores:
        rows = [
            (name, [*h.accuracy, h.repeatability, h.localization_error_px, h.homography_accuracy])
            for name, h in score.homographies.items()
        ]
        mean = [sum(values[i] for _, values in rows) / len(rows) for i in range(6)]
        for name, values in [*rows, ("mean", mean)]:
            table.add_row(score.name, name, *(f"{value:.3f}" for value in values), end_section=name == "mean")
    return table


def _depth_table(scores: list[feature_bench.FrontEndScores]) -> Table:
    table = Table(
        title="Relocalization with given landmarks, extraction time",
        caption="share of query frames, mean over seeds of RANSAC and standard deviation between them",
    )
    for column in ("front end", "5cm/2°", "10cm/5°", "25cm/5°", "median", "median time"):
        table.add_column(column, justify="left" if column == "front end" else "right")
    for score in scores:
        found, relocalization = score.relocalization, ["-"] * 4
        if found is not None:
            recall = zip(found.recall, found.deviation, strict=True)
            relocalization = [f"{mean:.1%} ±{100 * deviation:.1f}" for mean, deviation in recall]
            relocalization.append(f"{found.median_m * 100:.1f} cm {found.median_deg:.2f}°")
        table.add_row(score.name, *relocalization, f"{score.extraction_s * 1e3:.0f} ms")
    return table


def _retrieval_tables(scores: list[feature_bench.FrontEndScores]) -> Iterator[Table]:
    """One per reading of unknown depth; only one where all depth is known."""
    measured = {score.name: score.retrieval for score in scores if score.retrieval}
    printed: list[dict[str, RetrievalScores]] = []
    for reading in Overlaps._fields:
        found = {name: by_reading[reading] for name, by_reading in measured.items() if reading in by_reading}
        if found and found not in printed:
            printed.append(found)
            yield _retrieval_table(found, reading.replace("_", " "))


def _retrieval_table(found: dict[str, RetrievalScores], reading: str) -> Table:
    one = next(iter(found.values()))  # all are asked the same
    among = f"R+: also among {one.distractors} others; " if one.distractors else ""
    table = Table(
        title=f"Retrieval: map images with at least half of the view in common, points without depth {reading}",
        caption=f"{one.queries} queries, by chance R@1 {one.chance_1:.1%}; {among}adapted: averaged over map images "
        "with a common view, as in a map; SIFT: a VLAD of 32 words of its own",
    )
    for column in ("front end", "descriptors", "R@1", "R@5", *(("R+@1", "R+@5") if one.distractors else ())):
        table.add_column(column, justify="left" if column in ("front end", "descriptors") else "right")
    for name, scores in found.items():
        for kind, recalls in (("as they are", scores.plain), ("adapted", scores.adapted)):
            shares = [
                f"{share:.1%}"
                for recall in (recalls.alone, recalls.among)
                if recall
                for share in (recall.at_1, recall.at_5)
            ]
            table.add_row(name, kind, *shares, end_section=kind == "adapted")
    return table
