"""`hfnet localize MAP IMAGE|BAG`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.config import ExtractorConfig, LocalizerConfig, from_mapping
from hfnet_core.offline import localize_bag, localize_images

__all__ = ["localize"]


def localize(
    map_file: Annotated[Path, typer.Argument(metavar="MAP", help="Map made by `hfnet map build`.")],
    source: Annotated[Path, typer.Argument(metavar="IMAGE|DIR|BAG", help="An image, a folder of images, or a bag.")],
    calibration: Annotated[
        Path | None, typer.Option(help="Camera of the image (JSON or camera_info YAML); default: the map's camera.")
    ] = None,
    image_topic: Annotated[str | None, typer.Option(help="Image topic of the bag, if it has several.")] = None,
    model: Annotated[Path | None, typer.Option(help="Network (ONNX); default: the shipped one.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write poses here, one TUM line per localized image.")] = None,
    tracking: Annotated[bool, typer.Option(help="In a bag, use each pose as a prior for the next image.")] = True,
) -> None:
    """Where was this image taken? Prints a pose, or why there is none, per image."""
    extractor, localizer = ExtractorConfig(), from_mapping(LocalizerConfig, {"tracking": tracking})
    if source.suffix.lower() in {".bag", ".mcap", ".db3"} or (source / "metadata.yaml").exists():
        localize_bag(map_file, source, calibration, image_topic, model, output, extractor, localizer)
    else:
        localize_images(map_file, source, calibration, model, output, extractor, localizer)
