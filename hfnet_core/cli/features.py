"""`hfnet export-features` and `hfnet match-features`: predictions as files, for other programs and for later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.cli.option_sets import BagArguments, ModelFile, with_option_sets
from hfnet_core.cli.progress import progress_bars
from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError
from hfnet_core.evaluation.offline import is_bag
from hfnet_core.features.exchange.hloc_files import read_pairs, write_pairs
from hfnet_core.front_ends.exporting import ExportOptions
from hfnet_core.front_ends.exporting import export_features as export
from hfnet_core.front_ends.match_exporting import Asked, export_matches, retrieved_names
from hfnet_core.front_ends.matchers import MATCHERS, matcher
from hfnet_core.front_ends.registry import TAKEN, FrontEndSetup, front_end

__all__ = ["export_features", "match_features"]

_DEFAULTS = ExtractorConfig()


@with_option_sets
def export_features(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of images, subfolders included, or a bag.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for .npz files, or NAME.h5 as hloc has it.")],
    recording: BagArguments,
    dense: Annotated[bool, typer.Option("--dense", help="Map of descriptors, not those at keypoints (.npz).")] = False,
    keypoints: Annotated[int, typer.Option(help="Strongest keypoints per image.")] = _DEFAULTS.max_keypoints,
    threshold: Annotated[float, typer.Option(help="Lowest score of a keypoint.")] = _DEFAULTS.detection_threshold,
    nms: Annotated[int, typer.Option(help="Radius of non-maximum suppression; 0 for none (px).")] = (
        _DEFAULTS.nms_radius_px
    ),
    max_side: Annotated[int, typer.Option(help="Reduce larger images to it; 0 keeps them (px).")] = (
        _DEFAULTS.max_side_px
    ),
    features: Annotated[str, typer.Option(help=f"Whose: {TAKEN}.")] = "hfnet",
    retrieval: Annotated[str, typer.Option(help="Whose global descriptor: hfnet, netvlad=FILE, a file [own].")] = "",
    global_output: Annotated[Path | None, typer.Option(help="Second file .h5 for global descriptors.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Describe images again that are in OUT.")] = False,
    model: ModelFile = None,
) -> None:
    """Write keypoints, scores, local and global descriptors of images; goes on where it was stopped."""
    config = ExtractorConfig(
        max_keypoints=keypoints, detection_threshold=threshold, nms_radius_px=nms, max_side_px=max_side
    )
    source = front_end(features, FrontEndSetup(config, model), retrieval)
    told = recording.of_one_camera() if is_bag(images) else None
    options = ExportOptions(dense, overwrite, global_output, told)
    with progress_bars() as show:
        done = export(images, output, source, options, show)
    said = f", {done.present} were there" if done.present else ""
    left = f", {len(done.broken)} could not be used" if done.broken else ""
    typer.echo(f"{output}: {done.written} images written{said}{left}")


def match_features(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="File .h5 of features.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File .h5 of matches, appended to.")],
    pairs: Annotated[Path | None, typer.Option(help="Pairs to match, `NAME0 NAME1` a line.")] = None,
    retrieved: Annotated[int, typer.Option(min=0, help="Instead: each image with so many that look alike.")] = 0,
    queries: Annotated[str, typer.Option(help="With --retrieved: names of those that ask start so.")] = "",
    database: Annotated[str, typer.Option(help="With --retrieved: names of those that are asked start so.")] = "",
    pairs_output: Annotated[Path | None, typer.Option(help="Write the pairs there.")] = None,
    how: Annotated[str, typer.Option("--matcher", help=f"One of {', '.join(MATCHERS)}.")] = "nn",
    trained_for: Annotated[str, typer.Option(help="For learned matchers: whose features these are.")] = "",
) -> None:
    """Match images by features in a file, for pairs from a list or from retrieval, as hloc stores them."""
    if (pairs is None) == (retrieved == 0):
        raise ConfigError("give either --pairs FILE or --retrieved NUMBER")
    chosen = read_pairs(pairs) if pairs is not None else retrieved_names(features, retrieved, Asked(queries, database))
    if pairs_output is not None:
        write_pairs(pairs_output, chosen)
    with progress_bars() as show:
        count = export_matches(features, chosen, output, matcher(how, trained_for), show)
    typer.echo(f"{output}: matches of {count} pairs")
