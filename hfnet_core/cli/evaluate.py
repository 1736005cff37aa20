"""`hfnet eval-bag MAP BAG`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from hfnet_core.config import EvaluationConfig, LocalizerConfig, from_mapping
from hfnet_core.evaluation.bag import evaluate_bag
from hfnet_core.evaluation.metrics import score
from hfnet_core.evaluation.picture import draw, thumbnails
from hfnet_core.evaluation.report import print_score, write_json
from hfnet_core.evaluation.trajectory import evo_statistics
from hfnet_core.mapping.bags import BagOptions
from hfnet_core.mapping.pose_sources import PoseOptions
from hfnet_core.offline import OfflineLocalizer

__all__ = ["eval_bag"]


def eval_bag(
    map_file: Annotated[Path, typer.Argument(metavar="MAP", help="Map made by `hfnet map build`.")],
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="A recording with poses of the same place.")],
    image_topic: Annotated[str | None, typer.Option(help="Image topic, if the bag has several.")] = None,
    pose_topic: Annotated[str | None, typer.Option(help="Topic of the true poses, or /tf.")] = None,
    poses: Annotated[Path | None, typer.Option(help="True poses as a TUM file.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Camera, in place of camera_info.")] = None,
    model: Annotated[Path | None, typer.Option(help="Network (ONNX); default: the shipped one.")] = None,
    tracking: Annotated[
        bool, typer.Option(help="Use each pose as a prior for the next image.")
    ] = LocalizerConfig.tracking,
    levels: Annotated[str, typer.Option(help="Bounds of recall: near or far.")] = EvaluationConfig.recall_levels,
    json: Annotated[Path | None, typer.Option(help="Write all numbers here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw map, paths and errors here (PNG).")] = None,
    evo: Annotated[bool, typer.Option(help="Add evo's APE and RPE to the JSON.")] = False,
) -> None:
    """How well does a map localize a recording? Compares with the recording's own poses."""
    config = from_mapping(EvaluationConfig, {"recall_levels": levels})
    localizer = OfflineLocalizer(map_file, model, localizer=from_mapping(LocalizerConfig, {"tracking": tracking}))
    options = BagOptions(image_topic, calibration=calibration, poses=PoseOptions(pose_topic=pose_topic, poses=poses))
    with Progress(transient=True) as bar:
        task = bar.add_task("localizing", total=None)
        samples = evaluate_bag(
            localizer, bag, options, lambda done, total: bar.update(task, completed=done, total=total)
        )
    result = score(samples, config)
    print_score(result, f"{bag.name} in {map_file.name}", config)
    if json is not None:
        details = {"map": str(map_file), "bag": str(bag), "evo": evo_statistics(samples) if evo else {}}
        write_json(json, result, samples, config, details)
    if picture is not None:
        draw(picture, samples, config, localizer.map, thumbnails(bag, samples, config, options))
