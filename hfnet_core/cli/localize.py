"""`hfnet localize MAP IMAGE|DIR|BAG`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.cli.feature_options import FeatureArguments
from hfnet_core.cli.option_sets import BagArguments, ModelFile, with_option_sets
from hfnet_core.config import UNHURRIED_MS, ExtractorConfig, LocalizerConfig, from_mapping
from hfnet_core.errors import ConfigError
from hfnet_core.evaluation.gallery import GALLERY_PICTURES, write_gallery
from hfnet_core.evaluation.match_pictures import images_in, list_pictures
from hfnet_core.evaluation.offline import Answer, OfflineLocalizer, is_bag
from hfnet_core.evaluation.query_list import read_query_list, result_names, write_results
from hfnet_core.geometry import Pose
from hfnet_core.recordings.tum import write_tum
from hfnet_core.terminal import SafeConsole, styled
from hfnet_core.types import Localized

__all__ = ["localize"]


@with_option_sets
def localize(
    map_file: Annotated[
        Path, typer.Argument(metavar="MAP", help="Map made by `hfnet map build`, or a folder of maps.")
    ],
    source: Annotated[Path, typer.Argument(metavar="IMAGE|DIR|BAG", help="An image, a folder of images, or a bag.")],
    recording: BagArguments,
    described: FeatureArguments,
    model: ModelFile = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the poses here: TUM lines; with --queries `NAME qw qx qy qz tx ty tz`.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Images of DIR and their cameras: `NAME MODEL WIDTH HEIGHT PARAMS...` of COLMAP."),
    ] = None,
    name_parts: Annotated[int, typer.Option(min=1, help="Parts of the path that name an image in OUTPUT.")] = 1,
    gallery: Annotated[
        Path | None, typer.Option(help="With --queries: draw some beside their map images here (one HTML file).")
    ] = None,
    map_images: Annotated[
        Path | None, typer.Option(help="Folder of the map's images, for --gallery; without it, landmarks as dots.")
    ] = None,
    tracking: Annotated[bool, typer.Option(help="In a bag, use each pose as a prior for the next image.")] = True,
) -> None:
    """Where was this image taken? One line per image: its pose in the map, or why there is none.

    Without a calibration the bag's counts, or the map's for images. A bag's own poses are not needed.
    """
    options = replace(recording.of_one_camera(), poses_wanted=recording.tells_poses)
    calibration = options.calibration
    if queries is None and gallery is not None:
        raise ConfigError("--gallery shows images of a list: give --queries; for a bag see `hfnet eval-bag`")
    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"{output.parent}: no such folder to write the poses into")
    if map_file.is_dir() and (output is not None or gallery is not None):
        raise ConfigError(f"{map_file}: --output and --gallery take one map; poses of several are in several frames")
    localizer = from_mapping(LocalizerConfig, {"tracking": tracking, "search_budget_ms": UNHURRIED_MS})
    given = described.source(ExtractorConfig(), model) if described.given else None
    offline = OfflineLocalizer(map_file, model, localizer=localizer, source=given)
    if queries is not None:
        if calibration is not None:
            raise ConfigError("--queries and --calibration both tell the cameras: give one of them")
        listed = read_query_list(queries)
        names: dict[str, str] = {}
        if output is not None:  # says what is wrong with them before any work
            called = result_names([name for name, _ in listed], name_parts)
            names = {str(source / name): short for (name, _), short in zip(listed, called, strict=True)}
        told: list[Answer] = []
        heard = _remembered(offline.listed(source, listed, trust=options.trust_calibration), told)
        poses = _report(heard)
        if gallery is not None:
            cameras = (camera for _, camera in listed)
            pictures = list_pictures(offline, zip(told, cameras, strict=True), GALLERY_PICTURES, images_in(map_images))
            write_gallery(gallery, f"{source.name} in {map_file.name}", list(pictures))
        if output is not None:
            write_results(output, [(names[answer.name], pose) for answer, pose in poses])
        return
    answers = offline.bag(source, options) if is_bag(source) else offline.images(source, calibration, options)
    poses = _report(answers)
    doubt = offline.calibration.conclude()
    if doubt:
        SafeConsole(highlight=False, soft_wrap=True).print(styled((doubt, "yellow")))
    if output is not None:
        write_tum(output, [(answer.stamp_ns, pose) for answer, pose in poses])


def _remembered(answers: Iterable[Answer], into: list[Answer]) -> Iterator[Answer]:
    for answer in answers:
        into.append(answer)
        yield answer


def _report(answers: Iterable[Answer]) -> list[tuple[Answer, Pose]]:
    console = SafeConsole(highlight=False, soft_wrap=True)
    poses: list[tuple[Answer, Pose]] = []
    asked = 0
    for answer in answers:
        asked += 1
        result = answer.result
        if not isinstance(result, Localized):
            console.print(styled(f"{answer.name}: ", ("not localized", "yellow"), f": {result}"))
            continue
        poses.append((answer, result.map_from_camera))
        x, y, z = result.map_from_camera.translation
        sigma_m = float(result.covariance.diagonal()[:3].max() ** 0.5)
        console.print(
            styled(
                f"{answer.name}: ",
                (result.mode.value, "green"),
                f" x {x:.3f} y {y:.3f} z {z:.3f} m (±{sigma_m:.3f}), ",
                f"{result.inliers} of {result.matches} matches agree",
                f", in {result.map_name}" if result.map_name else "",
            )
        )
    console.print(f"{len(poses)} of {asked} images localized")
    return poses
