"""`hfnet map`: building maps and looking into them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hfnet_core.cli.map_care import add_commands
from hfnet_core.cli.progress import progress_bars
from hfnet_core.config import MapBuildConfig, from_mapping
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.maintenance.check import check_map
from hfnet_core.maintenance.colmap_import import import_foreign
from hfnet_core.maintenance.summary import summarize, summarize_check
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.keyframes.workers import open_workers
from hfnet_core.mapping.keyframes.workspace import open_workplace
from hfnet_core.maps.colmap import export_colmap, export_ply, import_colmap
from hfnet_core.maps.storage import MAP_SUFFIX, check_output, load_map, save_map
from hfnet_core.recordings.options import BagOptions, PoseOptions, options_per_camera
from hfnet_core.recordings.tum import parse_pose

__all__ = ["app"]

app = typer.Typer(help="Build maps and look into them.", no_args_is_help=True)
_DEFAULTS = MapBuildConfig()
_Scheduler = Annotated[str | None, typer.Option(help="Dask scheduler whose workers compute: tcp://HOST:8786.")]
_Workers = Annotated[int, typer.Option(min=0, help="Or this many processes of this machine, by Dask.")]


@app.command("build")
def build(
    bags: Annotated[list[Path], typer.Argument(metavar="BAG...", help="Recordings.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=f"The map, NAME{MAP_SUFFIX}.")],
    image_topic: Annotated[list[str] | None, typer.Option(help="Image topic; one for each of several cameras.")] = None,
    camera_info_topic: Annotated[list[str] | None, typer.Option(help="Its calibration, if not beside it.")] = None,
    calibration: Annotated[list[Path] | None, typer.Option(help="Calibration file instead of camera_info.")] = None,
    pose_topic: Annotated[str | None, typer.Option(help="Topic of poses, or /tf.")] = None,
    poses: Annotated[Path | None, typer.Option(help="Poses from a TUM file instead of a topic.")] = None,
    pose_frame: Annotated[str | None, typer.Option(help="Frame whose poses these are [default: camera]")] = None,
    map_frame: Annotated[str | None, typer.Option(help="Fixed frame of /tf [default: map, world or odom]")] = None,
    base_from_camera: Annotated[list[str] | None, typer.Option(help="Instead of /tf: 'x y z qx qy qz qw'.")] = None,
    model: Annotated[Path | None, typer.Option(help="Network (ONNX) [default: the one that ships]")] = None,
    keyframe_distance_m: Annotated[float, typer.Option(help="A keyframe after this motion.")] = (
        _DEFAULTS.keyframe_distance_m
    ),
    keyframe_angle_deg: Annotated[float, typer.Option(help="Or after this turn.")] = _DEFAULTS.keyframe_angle_deg,
    refine: Annotated[bool, typer.Option(help="Refine poses and calibration.")] = _DEFAULTS.refine_poses,
    pose_mode: Annotated[str, typer.Option(help="Poses from: auto, given, drifting (odometry), or images alone.")] = (
        _DEFAULTS.pose_mode
    ),
    known_distance: Annotated[str, typer.Option(help="Images alone: 'IMAGE_A IMAGE_B METRES', numbers from 0.")] = "",
    scale_free: Annotated[bool, typer.Option("--scale-free", help="Images alone: metres may be arbitrary.")] = False,
    descriptor_dtype: Annotated[str, typer.Option(help="Descriptors stored as int8 or float16.")] = (
        _DEFAULTS.descriptor_dtype
    ),
    scheduler: _Scheduler = None,
    workers: _Workers = 0,
) -> None:
    """Build a map from bags."""
    check_output(output)
    config = from_mapping(
        MapBuildConfig,
        {
            "keyframe_distance_m": keyframe_distance_m, "keyframe_angle_deg": keyframe_angle_deg,
            "refine_poses": refine, "pose_mode": pose_mode, "known_distance": known_distance, "scale_free": scale_free,
            "descriptor_dtype": descriptor_dtype,
        },
    )  # fmt: skip
    common = BagOptions(poses=PoseOptions(pose_topic, poses, pose_frame, map_frame))
    mounts = [parse_pose(text) for text in base_from_camera or ()]
    options = options_per_camera(common, image_topic or (), camera_info_topic or (), calibration or (), mounts)
    extractor = _extractor(model, config, shared=bool(scheduler or workers))
    with (
        progress_bars() as show,
        open_workers(scheduler, workers) as hands,
        open_workplace(output, hands) as workplace,
    ):
        built = build_map(bags, extractor, config, options, show, workplace)
        save_map(built, output)
    Console(stderr=True).print(summarize(built, output))


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
    with progress_bars() as show:
        found = check_map(landmark_map, lambda done, total: show("localizing keyframes", done, total))
    Console().print(summarize_check(landmark_map, found, path))


@app.command("export")
def export(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="A map.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the COLMAP model, or NAME.ply.")],
    text: Annotated[bool, typer.Option("--text", help="Write text files instead of binary ones.")] = False,
) -> None:
    """Write a map as a COLMAP model, or its landmarks as a PLY point cloud."""
    landmark_map = load_map(path, verify=True)
    if output.suffix.lower() == ".ply":
        export_ply(landmark_map, output)
    else:
        export_colmap(landmark_map, output, text=text)
    typer.echo(f"{output}: written")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="MODEL", help="A COLMAP model, binary or text.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=f"The map, NAME{MAP_SUFFIX}.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of its images: describe them anew. Not for our own exports.")
    ] = None,
    frame: Annotated[str, typer.Option(help="With --images: name of the model's frame.")] = "map",
    model: Annotated[Path | None, typer.Option(help="With --images: network (ONNX).")] = None,
    scheduler: _Scheduler = None,
    workers: _Workers = 0,
) -> None:
    """Make a map of a COLMAP model: one exported by `hfnet map export`, or with --images anybody's."""
    check_output(output)
    if images is None:
        imported = import_colmap(folder)
        save_map(imported, output)
    else:
        config = MapBuildConfig()
        extractor = _extractor(model, config, shared=bool(scheduler or workers))
        with (
            progress_bars() as show,
            open_workers(scheduler, workers) as hands,
            open_workplace(output, hands) as workplace,
        ):
            found = import_foreign(
                folder, images, extractor, config, frame_id=frame, progress=show, workplace=workplace
            )
            imported = found.landmark_map
            save_map(imported, output)
        if found.missing:
            typer.echo(f"{len(found.missing)} images of the model are not in {images}: {found.missing[0]}, ...")
    Console().print(summarize(imported, output))


def _extractor(model: Path | None, config: MapBuildConfig, *, shared: bool) -> Extractor:
    """shared: other processes use it too, which a GPU's engine could not."""
    return Extractor(open_backend(model, "onnxruntime" if shared else "auto"), config.extraction)


add_commands(app)
