"""`hfnet bag`: making recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.cli.progress import progress_bars
from hfnet_core.geometry import Pose
from hfnet_core.images.registration import DepthMount
from hfnet_core.recordings.bag_writer import write_folder_bag
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.image_folder import list_folder
from hfnet_core.recordings.tum import parse_pose

__all__ = ["app"]

app = typer.Typer(help="Make recordings.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `from-images` a command of its own although it is the only one."""


@app.command("from-images")
def from_images(
    folder: Annotated[Path, typer.Argument(help="Folder of jpg or png images, or one that has them in images/.")],
    poses: Annotated[Path | None, typer.Option(help="TUM file [default: poses_tum.txt of the folder]")] = None,
    camera: Annotated[Path | None, typer.Option(help="Calibration [default: camera.json of the folder]")] = None,
    trust_calibration: Annotated[
        bool, typer.Option("--trust-calibration", help="Take a calibration that looks impossible all the same.")
    ] = False,
    depth_camera: Annotated[
        Path | None,
        typer.Option(help="Calibration of depth/ that is not registered to the images [default: depth_camera.json]"),
    ] = None,
    camera_from_depth: Annotated[
        str | None, typer.Option(help="Where that camera is beside the images': 'x y z qx qy qz qw' [default: there]")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The bag [default: name of the folder]")] = None,
    storage: Annotated[str, typer.Option(help="mcap, sqlite3 or rosbag1.")] = "mcap",
    rate: Annotated[float, typer.Option(help="Images per second where no poses give stamps.", min=0.001)] = 15.0,
    first: Annotated[int | None, typer.Option(help="First frame number.")] = None,
    last: Annotated[int | None, typer.Option(help="Last frame number.")] = None,
    every: Annotated[int, typer.Option(help="Keep each n-th frame.", min=1)] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bag.")] = False,
) -> None:
    """Turn a folder of images, with camera and poses, into a bag."""
    beside = folder / "poses_tum.txt"
    poses = poses or (beside if beside.is_file() else None)
    calibration = camera or folder / "camera.json"
    if camera is None and not calibration.is_file():
        typer.echo(
            f"{calibration}: not there, so the bag has no calibration (a map finds it from the images)", err=True
        )
    known = None
    if camera or calibration.is_file():
        known = camera_from_file(calibration, trust=trust_calibration)
    output = output or Path(folder.resolve().name + (".bag" if storage == "rosbag1" else ""))
    frames = list_folder(folder, poses, rate_hz=rate, first=first, last=last, every=every)
    mount = _depth_mount(depth_camera or folder / "depth_camera.json", depth_camera is not None, camera_from_depth)
    with progress_bars() as show:
        count = write_folder_bag(
            frames, known, output, storage=storage, overwrite=overwrite, progress=show, depth_mount=mount
        )
    typer.echo(
        f"{output}: {count} images, {sum(frame.map_from_camera is not None for frame in frames)} poses ({storage})"
    )


def _depth_mount(calibration: Path, named: bool, camera_from_depth: str | None) -> DepthMount | None:
    if not named and not calibration.is_file():
        return None
    pose = Pose() if camera_from_depth is None else parse_pose(camera_from_depth)
    return DepthMount(camera_from_file(calibration), pose)
