"""`hfnet map`: building maps and looking into them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBars

from hfnet_core.config import ExtractorConfig, MapBuildConfig, from_mapping
from hfnet_core.errors import ConfigError
from hfnet_core.features.backend import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.bags import BagOptions
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.check import check_map
from hfnet_core.mapping.colmap import export_colmap, import_colmap
from hfnet_core.mapping.pose_sources import PoseOptions
from hfnet_core.mapping.poses import parse_pose
from hfnet_core.mapping.storage import MAP_SUFFIX, load_map, save_map
from hfnet_core.mapping.summary import summarize, summarize_check
from hfnet_core.mapping.workplace import open_workplace

__all__ = ["app"]

app = typer.Typer(help="Build maps and look into them.", no_args_is_help=True)
_DEFAULTS = MapBuildConfig()


@app.command("build")
def build(
    bags: Annotated[list[Path], typer.Argument(metavar="BAG...", help="Recordings with poses in one frame.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=f"The map, NAME{MAP_SUFFIX}.")],
    image_topic: Annotated[str | None, typer.Option(help="Image topic, if there are several.")] = None,
    camera_info_topic: Annotated[str | None, typer.Option(help="Its calibration, if not beside it.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Calibration file instead of camera_info.")] = None,
    pose_topic: Annotated[str | None, typer.Option(help="Topic of poses, or /tf.")] = None,
    poses: Annotated[Path | None, typer.Option(help="Poses from a TUM file instead of a topic.")] = None,
    pose_frame: Annotated[str | None, typer.Option(help="Frame whose poses these are [default: camera]")] = None,
    map_frame: Annotated[str | None, typer.Option(help="Fixed frame of /tf [default: map, world or odom]")] = None,
    base_from_camera: Annotated[str | None, typer.Option(help="Instead of /tf: 'x y z qx qy qz qw'.")] = None,
    model: Annotated[Path | None, typer.Option(help="Network (ONNX) [default: the one that ships]")] = None,
    keyframe_distance_m: Annotated[float, typer.Option(help="A keyframe after this motion.")] = (
        _DEFAULTS.keyframe_distance_m
    ),
    keyframe_angle_deg: Annotated[float, typer.Option(help="Or after this turn.")] = _DEFAULTS.keyframe_angle_deg,
    refine: Annotated[bool, typer.Option(help="Refine poses and calibration.")] = _DEFAULTS.refine_poses,
) -> None:
    """Build a map from bags."""
    if output.suffix != MAP_SUFFIX:
        raise ConfigError(f"{output}: a map's name ends in {MAP_SUFFIX}")
    if not output.parent.is_dir():
        raise ConfigError(f"{output.parent}: no such directory to write a map into")
    config = from_mapping(
        MapBuildConfig,
        {"keyframe_distance_m": keyframe_distance_m, "keyframe_angle_deg": keyframe_angle_deg, "refine_poses": refine},
    )
    given = parse_pose(base_from_camera) if base_from_camera is not None else None
    options = BagOptions(image_topic, camera_info_topic, calibration,
                         PoseOptions(pose_topic, poses, pose_frame, map_frame, given))  # fmt: skip
    extractor = Extractor(open_backend(model), ExtractorConfig(max_keypoints=config.max_keypoints))
    console = Console(stderr=True)
    with ProgressBars(*_columns(), console=console) as bars:
        tasks: dict[str, int] = {}

        def show(stage: str, done: int, total: int) -> None:
            task = tasks.setdefault(stage, bars.add_task(stage, total=total) if stage not in tasks else 0)
            bars.update(task, completed=done, total=total)  # type: ignore[arg-type]

        with open_workplace(output) as workplace:
            built = build_map(bags, extractor, config, options, show, workplace)
            save_map(built, output)
    console.print(summarize(built, output))


@app.command("info")
def info(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map.")],
    verify: Annotated[bool, typer.Option(help="Compare every array with its checksum.")] = True,
) -> None:
    """Show what a map contains."""
    Console().print(summarize(load_map(path, verify=verify), path))


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map.")],
) -> None:
    """Verify a map's checksums, localize every keyframe without itself, and name weak places."""
    landmark_map = load_map(path, verify=True)
    console = Console()
    with ProgressBars(*_columns(), console=Console(stderr=True)) as bars:
        task = bars.add_task("localizing keyframes", total=landmark_map.keyframes)
        found = check_map(landmark_map, lambda done, total: bars.update(task, completed=done, total=total))
    console.print(summarize_check(landmark_map, found, path))


@app.command("export")
def export(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the COLMAP model.")],
    text: Annotated[bool, typer.Option("--text", help="Write text files instead of binary ones.")] = False,
) -> None:
    """Write a map as a COLMAP model."""
    export_colmap(load_map(path, verify=True), output, text=text)
    typer.echo(f"{output}: written")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="MODEL", help="A COLMAP model made by `hfnet map export`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=f"The map, NAME{MAP_SUFFIX}.")],
) -> None:
    """Make a map of an exported COLMAP model, for example after refining it there."""
    imported = import_colmap(folder)
    save_map(imported, output)
    Console().print(summarize(imported, output))


def _columns() -> tuple[ProgressColumn, ...]:
    return TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
