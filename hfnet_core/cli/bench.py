"""`hfnet bench ...`: measurements side by side in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import ConfigError
from hfnet_core.evaluation import feature_bench
from hfnet_core.evaluation import localization_bench as bench
from hfnet_core.evaluation.feature_metrics import load_depth_sequence, load_sequences
from hfnet_core.evaluation.metrics import Spread
from hfnet_core.evaluation.report import rows as score_rows
from hfnet_core.features.backend import open_backend
from hfnet_core.features.baselines import OrbExtractor, SiftExtractor
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.landmark_map import LandmarkMap
from hfnet_core.offline import read_image

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


@app.command()
def localize(
    map_bag: Annotated[Path, typer.Argument(metavar="MAP_BAG", help="Recording with poses: becomes the map.")],
    query_bag: Annotated[Path, typer.Argument(metavar="QUERY_BAG", help="Recording with poses: the queries.")],
    front_end: Annotated[list[str], typer.Option(help="hfnet, sift or orb; repeat for several.")] = ["hfnet"],  # noqa: B006
    strangers: Annotated[Path | None, typer.Option(help="Folder of images from elsewhere.")] = None,
    stranger_count: Annotated[int, typer.Option(min=1, help="How many of them.")] = 500,
    keypoints: Annotated[int, typer.Option(min=10, help="Keypoints per query image.")] = 1000,
    model: Annotated[Path | None, typer.Option(help="Network (ONNX); default: the shipped one.")] = None,
) -> None:
    """Recall, errors, wrong poses, calibration, time by stage; other front ends and an hloc-style baseline beside."""
    console = Console()
    network = Extractor(open_backend(model), ExtractorConfig(max_keypoints=keypoints))
    mapping_config = ExtractorConfig(max_keypoints=MapBuildConfig().max_keypoints)
    mapping = Extractor(open_backend(model), mapping_config)
    for name in front_end:
        with console.status(f"{name}: map"):
            found = build_map([map_bag], _front_end(name, mapping, mapping_config))
        with console.status(f"{name}: queries"):
            source = _front_end(name, network, network.config)
            queries = bench.read_queries(query_bag, source)
            runs = [
                bench.measure("global", queries, bench.globally(found)),
                bench.measure("tracking", queries, bench.tracking(found)),
                bench.measure("hloc-style", queries, bench.hloc_style(found)),
            ]
            kidnapping = bench.evaluate_kidnapping(found, queries)
        console.print(_runs_table(name, found, queries, runs))
        console.print(f"cut into pieces: right within two images of {kidnapping.recovered} of {kidnapping.cuts} cuts, "
                      f"{kidnapping.wrong} wrong poses")  # fmt: skip
        if strangers is not None:
            with console.status(f"{name}: strangers"):
                images = bench.stranger_images(strangers, stranger_count, read_image)
                seen = bench.evaluate_strangers(found, images, source, None)
            console.print(f"images from elsewhere: {seen.accepted} of {seen.images} accepted")


def _front_end(name: str, network: Extractor, config: ExtractorConfig) -> bench.FeatureSource:
    """The named front end; the classical ones borrow the network's global descriptor to retrieve with."""
    if name == "hfnet":
        return network
    classical = {"sift": SiftExtractor, "orb": OrbExtractor}
    if name not in classical:
        raise ConfigError(f"front end {name!r} is not known; choose hfnet, sift or orb")
    return bench.BorrowedRetrieval(classical[name](config), network)


def _runs_table(name: str, found: LandmarkMap, queries: list[bench.Query], runs: list[bench.Run]) -> Table:
    extraction = Spread.of([query.extraction_s for query in queries])
    title = f"{name}: {found.keyframes} keyframes, {found.landmarks} landmarks, {len(queries)} queries"
    if extraction is not None:
        title += f", features {extraction.p50 * 1e3:.0f} ms"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for run in runs:
        table.add_column(run.name, justify="right")
    labels = [label for label, _ in score_rows(runs[0].score)]
    for label in labels:
        table.add_row(label, *(dict(score_rows(run.score)).get(label, "-") for run in runs))
    for stage in dict.fromkeys(stage for run in runs for stage in run.stages_s):
        table.add_row(f"  {stage}, p50 / p95", *(_milliseconds(run.stages_s.get(stage)) for run in runs))
    return table


def _milliseconds(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.p50 * 1e3:.1f} / {spread.p95 * 1e3:.1f} ms"


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
