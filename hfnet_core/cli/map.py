"""`hfnet map`: building maps and looking into them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBars

from hfnet_core.config import ExtractorConfig, MapBuildConfig, from_mapping
from hfnet_core.errors import ConfigError
from hfnet_core.features.backend import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.bags import BagOptions
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.pose_sources import PoseOptions
from hfnet_core.mapping.poses import parse_pose
from hfnet_core.mapping.storage import MAP_SUFFIX, load_map, save_map
from hfnet_core.mapping.summary import summarize

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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBars(*columns, console=console) as bars:
        tasks: dict[str, int] = {}

        def show(stage: str, done: int, total: int) -> None:
            task = tasks.setdefault(stage, bars.add_task(stage, total=total) if stage not in tasks else 0)
            bars.update(task, completed=done, total=total)  # type: ignore[arg-type]

        built = build_map(bags, extractor, config, options, show)
    save_map(built, output)
    console.print(summarize(built, output))


@app.command("info")
def info(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map.")],
    verify: Annotated[bool, typer.Option(help="Compare every array with its checksum.")] = True,
) -> None:
    """Show what a map contains."""
    Console().print(summarize(load_map(path, verify=verify), path))
