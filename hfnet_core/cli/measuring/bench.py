"""`hfnet bench ...`: measurements side by side in one run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import cv2
import typer

from hfnet_core.benchmarks import feature_bench, feature_tables, localization_suite
from hfnet_core.benchmarks.distractors import photos_and_crops
from hfnet_core.benchmarks.feature_metrics import TRIALS, load_sequences
from hfnet_core.cli.measuring.feature_protocols import add_commands
from hfnet_core.cli.option_sets import BagArguments, ModelFile, with_option_sets
from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError
from hfnet_core.evaluation.depth_sequence import load_depth_sequence, render_courtyard, turned
from hfnet_core.front_ends.matchers import MATCHERS
from hfnet_core.front_ends.registry import TAKEN, FrontEndSetup
from hfnet_core.terminal import SafeConsole

__all__ = ["app"]

_FRONT_ENDS = (
    f"FRONT_END or FRONT_END+MATCHER, repeated: {TAKEN}; matchers {', '.join(MATCHERS)} [default: hfnet, sift, orb]"
)
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
    distractor_count: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="Retrieval among so many; repeated. Beyond the images there are, crops of them count."
        ),
    ] = None,
    keypoints: Annotated[int, typer.Option(min=10, help="Keypoints per image, for every front end.")] = 1000,
    trials: Annotated[int, typer.Option(min=1, help="Seeds of RANSAC that relocalization is averaged over.")] = TRIALS,
    model: Annotated[Path | None, typer.Option(help="Network (ONNX); default: the shipped one.")] = None,
    aliked: Annotated[Path | None, typer.Option(help="ALIKED weights, if not of the `peers` extra.")] = None,
    front_end: Annotated[list[str] | None, typer.Option(help=_FRONT_ENDS)] = None,
    map_step: Annotated[int, typer.Option(min=1, help="Of the walk's map frames, only every so many.")] = 1,
    query_step: Annotated[int, typer.Option(min=1, help="Of the walk's queries, only every so many.")] = 1,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads of networks; 0 for one per core.")] = 0,
) -> None:
    """Matching accuracy, repeatability, homographies, relocalization, retrieval and time of front ends side by side."""
    if planar is None and depth is None and not courtyard:
        raise ConfigError("nothing to measure: give --planar FOLDER, --depth FOLDER or --courtyard")
    if depth is not None and courtyard:
        raise ConfigError("--depth and --courtyard are two walks: give one of them")
    console = SafeConsole()
    sequences = load_sequences(planar) if planar is not None else []
    walk = load_depth_sequence(depth, first_query) if depth is not None else None
    walk = render_courtyard() if courtyard else walk
    walk = turned(walk, turn) if walk is not None and turn else walk
    if walk is not None:
        walk = replace(walk, map_frames=walk.map_frames[::map_step], query_frames=walk.query_frames[::query_step])
    others = _distractors(distractors, distractor_count or []) if distractors is not None else None
    cv2.setNumThreads(threads or -1)
    config, weights = ExtractorConfig(max_keypoints=keypoints), {} if aliked is None else {"aliked": aliked}
    chosen = front_end or ["hfnet", "sift", "orb", *(["aliked"] if aliked is not None else [])]
    competing = feature_bench.contestants(chosen, FrontEndSetup(config, model, threads=threads, weights=weights))
    with console.status("measuring") as status:
        scores = feature_bench.run(
            competing, sequences, walk, others, lambda name: status.update(f"measuring {name}"), trials
        )
    if sequences:
        console.print(feature_tables.planar_table(scores))
    if walk is not None:
        console.print(feature_tables.depth_table(scores))
        for table in feature_tables.retrieval_tables(scores):
            console.print(table)
    console.print(feature_tables.time_table(scores))


def _distractors(folder: Path, counts: list[int]) -> feature_bench.Distractors:
    """Raises ConfigError where there is none."""
    paths = sorted(folder.rglob("*.[jp][pn]g"))
    if not paths:
        raise ConfigError(f"--distractors: {folder} holds no image (.jpg, .png)")
    return feature_bench.Distractors(lambda: photos_and_crops(paths, max(counts or [len(paths)])), counts)


@app.command()
@with_option_sets
def localize(
    map_bag: Annotated[Path, typer.Argument(metavar="MAP_BAG", help="Recording with poses: becomes the map.")],
    query_bag: Annotated[Path, typer.Argument(metavar="QUERY_BAG", help="Recording with poses: the queries.")],
    recording: BagArguments,
    front_end: Annotated[list[str], typer.Option("--front-end", "--features", help=f"{TAKEN}; repeat for several.")] = [  # noqa: B006
        "hfnet"
    ],
    query_features: Annotated[str, typer.Option(help="Where files of features have the queries, if not there.")] = "",
    foreign_images: Annotated[
        Path | None, typer.Option("--foreign-images", "--strangers", help="Folder of images from elsewhere.")
    ] = None,
    foreign_count: Annotated[
        int, typer.Option("--foreign-count", "--stranger-count", min=1, help="How many of them.")
    ] = 500,
    keypoints: Annotated[int, typer.Option(min=10, help="Keypoints per query image.")] = 1000,
    model: ModelFile = None,
    aliked: Annotated[Path | None, typer.Option(help="ALIKED weights, if not of the `peers` extra.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
) -> None:
    """Recall, errors, wrong poses, calibration, time by stage; other front ends and an hloc-style baseline beside."""
    console, found = SafeConsole(), []
    options = localization_suite.Options(
        keypoints, model, aliked, foreign_images, foreign_count, recording.of_one_camera(), query_features
    )
    with console.status("measuring") as status:
        for name in front_end:
            found.append(localization_suite.run(name, map_bag, query_bag, options, status.update))
            localization_suite.show(found[-1], console)
    if json is not None:
        localization_suite.write_json(json, found)


add_commands(app)
