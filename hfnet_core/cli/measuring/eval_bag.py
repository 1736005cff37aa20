"""`hfnet eval-bag MAP BAG`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from hfnet_core.cli.option_sets import BagArguments, ModelFile, with_option_sets
from hfnet_core.cli.progress import progress_bars
from hfnet_core.config import UNHURRIED_MS, EvaluationConfig, LocalizerConfig, from_mapping
from hfnet_core.evaluation.bag import evaluate_bag, map_from_bag
from hfnet_core.evaluation.gallery import GALLERY_PICTURES, write_gallery
from hfnet_core.evaluation.html_report import worst_frames, write_html
from hfnet_core.evaluation.match_pictures import bag_pictures
from hfnet_core.evaluation.metrics import score
from hfnet_core.evaluation.offline import OfflineLocalizer, is_bag
from hfnet_core.evaluation.picture import draw, thumbnails
from hfnet_core.evaluation.report import print_score, rows, write_json
from hfnet_core.evaluation.trajectory import evo_statistics
from hfnet_core.extras import needed
from hfnet_core.localization.uncertainty.calibration.watch import CalibrationWatch
from hfnet_core.maps.storage import MAP_SUFFIX

__all__ = ["eval_bag"]


@with_option_sets
def eval_bag(
    map_or_bag: Annotated[
        Path, typer.Argument(metavar="MAP", help="Map made by `hfnet map build`, or a recording to make one of first.")
    ],
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="A recording with poses of the same place.")],
    recording: BagArguments,
    model: ModelFile = None,
    tracking: Annotated[
        bool, typer.Option(help="Use each pose as a prior for the next image.")
    ] = LocalizerConfig.tracking,
    levels: Annotated[str, typer.Option(help="Bounds of recall: near or far.")] = EvaluationConfig.recall_levels,
    json: Annotated[Path | None, typer.Option(help="Write all numbers here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw map, paths and errors here (PNG).")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write curves, time lines and the worst images here (one HTML file).")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(help="Draw some images beside the map's here, with their matches (one HTML file).")
    ] = None,
    evo: Annotated[bool, typer.Option(help="Add evo's APE and RPE to the JSON (the report has them anyway).")] = False,
) -> None:
    """How well does a map localize a recording? Compares with the recording's own poses."""
    config = from_mapping(EvaluationConfig, {"recall_levels": levels})
    for module, wanted in (("evo.core.metrics", evo or report), ("matplotlib", report or picture)):
        if wanted:  # before hours of work, not after
            needed(module)
    options = recording.of_one_camera()
    settings = from_mapping(LocalizerConfig, {"tracking": tracking, "search_budget_ms": UNHURRIED_MS})
    with TemporaryDirectory() as folder, progress_bars() as show:
        map_file = map_or_bag
        if is_bag(map_or_bag):
            map_file = Path(folder) / f"{map_or_bag.stem}{MAP_SUFFIX}"
            map_from_bag(map_or_bag, map_file, model, options, show)
        localizer = OfflineLocalizer(map_file, model, localizer=settings)
        samples = evaluate_bag(localizer, bag, options, lambda done, total: show("localizing images", done, total))
    result = score(samples, config)
    title = f"{bag.name} in {map_file.name}"
    doubt = localizer.calibration.conclude()
    print_score(result, title, config)
    if doubt:
        typer.echo(doubt)
    statistics = evo_statistics(samples) if evo or report is not None else {}
    if json is not None:
        details: dict[str, object] = {"map": str(map_file), "bag": str(bag), "evo": statistics}
        details |= {"focal_warning": doubt, **_calibration(localizer.calibration)}
        write_json(json, result, samples, config, details)
    if report is not None:
        frames = worst_frames(bag, samples, config, options)
        notes = [("calibration", text) for text in (doubt, *_calibration(localizer.calibration).values()) if text]
        write_html(report, samples, config, localizer.map, frames, title, notes, statistics)
    if gallery is not None:
        map_bag = map_or_bag if is_bag(map_or_bag) else None
        pictures = bag_pictures(localizer, bag, samples, GALLERY_PICTURES, options, map_bag)
        write_gallery(gallery, title, list(pictures), rows(result, config))
    if picture is not None:
        draw(picture, samples, config, localizer.map, thumbnails(bag, samples, config, options))


def _calibration(watch: CalibrationWatch) -> dict[str, str]:
    """What the images say of the calibration, and of the mounting and stamps beside the recording's poses."""
    return {"calibration": "; ".join(watch.summaries.values()), "poses_and_images": watch.drive_summary}
