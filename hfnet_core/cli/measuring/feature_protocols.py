"""`hfnet bench hpatches | sfm | retrieval`: the HF-Net paper's evaluations of front ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hfnet_core.benchmarks.feature_protocols import hpatches as patches
from hfnet_core.benchmarks.feature_protocols import retrieval_by_pose as by_pose
from hfnet_core.benchmarks.feature_protocols import sfm_depth
from hfnet_core.cli.option_sets import ModelFile
from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError
from hfnet_core.front_ends.registry import TAKEN, FrontEndSetup, front_end, local_front_end
from hfnet_core.terminal import SafeConsole

__all__ = ["add_commands"]

_SPARE = 5  # times the budget is extracted, for non-maximum suppression to choose from
_FrontEnds = Annotated[list[str] | None, typer.Option("--front-end", "--features", help=f"Repeated: {TAKEN}.")]
_Scenes = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of the scenes.")]


def hpatches(
    data: _Scenes,
    front_ends: _FrontEnds = None,
    keypoints: Annotated[int, typer.Option(min=1, help="Budget of keypoints: 500 or 300 in the paper.")] = 500,
    nms: Annotated[int, typer.Option(min=0, help="Radius of non-maximum suppression: 8 or 4 (px).")] = 8,
    border: Annotated[int, typer.Option(min=0, help="Keypoints this near to the border do not count (px).")] = 0,
    protocol: Annotated[str, typer.Option(help=f"Size of images: {', '.join(patches.PROTOCOLS)}.")] = "640",
    partial: Annotated[bool, typer.Option("--partial", help="Scenes need not be complete.")] = False,
    model: ModelFile = None,
) -> None:
    """Detectors and descriptors on HPatches, as in the paper's tables; split by illumination and viewpoint."""
    scenes, budget = patches.check_layout(data, whole=not partial), patches.Budget(keypoints, nms, border)
    console = SafeConsole()
    tables = (
        _table(f"Detectors: {keypoints} keypoints, NMS {nms}, {protocol}", "repeat.", "error px", "mAP"),
        _table("Descriptors", "matching score", "mAP", *(f"homography {px:g} px" for px in patches.HOMOGRAPHY_PX)),
    )
    with console.status("measuring") as status:
        for name in front_ends or ["hfnet", "sift", "orb"]:
            source = local_front_end(name, _setup(keypoints, model))
            told = lambda scene, name=name: status.update(f"{name}: {scene}")  # noqa: E731
            for split, found in patches.evaluate(source.extract, scenes, budget, protocol, told).items():
                detector = (found.repeatability, found.localization_px, found.detector_map)
                descriptor = (found.matching_score, found.descriptor_map, *found.homography)
                for table, values in zip(tables, (detector, descriptor), strict=True):
                    table.add_row(name, split, str(found.pairs), *(f"{value:.3f}" for value in values))
    for table in tables:
        console.print(table)


def sfm(
    data: _Scenes,
    front_ends: _FrontEnds = None,
    keypoints: Annotated[int, typer.Option(min=1, help="Budget of keypoints.")] = 1000,
    nms: Annotated[int, typer.Option(min=0, help="Radius of non-maximum suppression (px).")] = 4,
    model: ModelFile = None,
) -> None:
    """Detectors, descriptors and poses on SfM models with depth maps, warped through depth."""
    scales = sfm_depth.read_scales(data / "scales.txt")
    table = _table(f"{keypoints} keypoints, NMS {nms}", "repeat.", "error px", "mAP", "matching score", "mAP", "pose")
    console = SafeConsole()
    with console.status("measuring") as status:
        for name in front_ends or ["hfnet", "sift", "orb"]:
            source = local_front_end(name, _setup(keypoints, model))
            for scene, scale in scales.items():
                status.update(f"{name}: {scene}")
                budget = patches.Budget(keypoints, nms)
                found = sfm_depth.evaluate_scene(source.extract, data / scene, scale, budget)
                detector = (found.repeatability, found.localization_px, found.detector_map)
                values = (*detector, found.matching_score, found.descriptor_map, found.pose)
                table.add_row(name, scene, str(found.pairs), *(f"{value:.3f}" for value in values))
    console.print(table)


def retrieval(
    database: Annotated[Path, typer.Argument(metavar="DATABASE", help="Folder of images with poses_tum.txt.")],
    queries: Annotated[Path, typer.Argument(metavar="QUERIES", help="The same, or with --nclt ROOT both sequences.")],
    nclt: Annotated[Path | None, typer.Option(help="Root of NCLT: DATABASE and QUERIES are its sequences.")] = None,
    front_ends: _FrontEnds = None,
    metres: Annotated[float, typer.Option(min=0, help="Positives were taken this near to each other (m).")] = 10.0,
    degrees: Annotated[float, typer.Option(min=0, max=180, help="And look less than this apart (deg).")] = 90.0,
    every: Annotated[int, typer.Option(min=1, help="Only every so many images.")] = 1,
    model: ModelFile = None,
) -> None:
    """Recall@N of global descriptors, positives by pose: NCLT as in the paper, or two folders."""
    if nclt is not None:
        known, asked = (by_pose.nclt_places(nclt, str(name), every) for name in (database, queries))
    else:
        known, asked = (by_pose.folder_places(folder)[::every] for folder in (database, queries))
    prepare = by_pose.as_nclt if nclt is not None else lambda image: image
    table = Table(title=f"Recall@N, positives within {metres:g} m and {degrees:g} degrees", title_justify="left")
    for column in ("front end", "queries", *map(str, by_pose.AT)):
        table.add_column(column, justify="left" if column == "front end" else "right")
    console = SafeConsole()
    with console.status("measuring") as status:
        for name in front_ends or ["hfnet"]:
            status.update(name)
            source = front_end("hfnet", FrontEndSetup(model=model), "" if name == "hfnet" else name)
            if not source.info.spec.global_dim and name == "hfnet":
                raise ConfigError("the network has no global descriptor")
            describe = lambda image, source=source: source.extract(image).global_descriptor  # noqa: E731
            rows, places = by_pose.describe_places(describe, known, prepare)
            other_rows, other_places = by_pose.describe_places(describe, asked, prepare)
            positive = by_pose.Positive(metres, degrees)
            found = by_pose.recall_by_pose(other_rows, other_places, rows, places, positive)
            table.add_row(name, f"{found.queries} of {found.asked}", *(f"{value:.1%}" for value in found.recall))
    console.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("front end", "", "pairs", *columns):
        table.add_column(column, justify="left" if column in ("front end", "") else "right")
    return table


def _setup(keypoints: int, model: Path | None) -> FrontEndSetup:
    config = ExtractorConfig(max_keypoints=min(keypoints * _SPARE, 20_000), nms_radius_px=4, detection_threshold=0.0)
    return FrontEndSetup(config, model)


def add_commands(app: typer.Typer) -> None:
    """Under `hfnet bench`."""
    for command in (hpatches, sfm, retrieval):
        app.command()(command)
